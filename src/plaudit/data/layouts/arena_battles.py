"""Chatbot Arena 55k: the turns of a battle in three lists, `prompt`, `response_a`, `response_b`.

Each is a JSON list with a text for every turn. One of `winner_model_a`, `winner_model_b` and
`winner_tie` is 1. The prompt is what both dialogues begin with. Source: the data page of Kaggle's
LMSYS – Chatbot Arena Human Preference Predictions; the card of
lmarena-ai/arena-human-preference-55k.
"""

from collections.abc import Mapping
from typing import Any

from plaudit.data.cells import read_list
from plaudit.data.chat import assistant, user
from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import (
    FIRST,
    SECOND,
    TIE,
    from_json,
    models,
    unknown,
    word,
)
from plaudit.data.rankings import BadRowError, Fault

WINNERS = {"winner_model_a": FIRST, "winner_model_b": SECOND, "winner_tie": TIE}


def give(cell: Cells) -> Given:
    """Both dialogues, that of model A first."""
    names = ("response_a", "response_b")
    return Given(
        completions=tuple(_dialogue(cell("prompt"), cell(name), name) for name in names),
        names=names,
        implicit=True,
        ranks=_ranks({name: cell(name) for name in WINNERS}),
        **common(cell) | {"model": models(cell("model_a"), cell("model_b"))},
    )


def _dialogue(asked: Any, replied: Any, name: str) -> list[Any]:
    questions, answers = read_list(asked, "turns of the prompt"), read_list(replied, "turns")
    if len(questions) != len(answers):
        raise BadRowError(
            Fault.LENGTHS,
            f"lists of different length: {len(questions)} of prompt, {len(answers)} of {name}",
        )
    turns = zip(questions, answers, strict=True)
    return [message for q, a in turns for message in (user(q), assistant(a))]


def _ranks(winners: Mapping[str, Any]) -> Any:
    """The ranks of the one winner."""
    words = [word(value) for value in winners.values()]
    won = [name for name, said in zip(winners, words, strict=True) if said in ("1", "true")]
    if len(won) == 1 and all(said in ("0", "1", "true", "false") for said in words):
        return WINNERS[won[0]]
    return unknown("winner", winners)


def _fits(cell: Cells) -> bool:
    turns = from_json(cell("prompt"))
    return isinstance(turns, list) and all(isinstance(turn, str) for turn in turns)


LAYOUT = Layout(
    texts={
        "prompt": ("prompt",),
        "response_a": ("response_a",),
        "response_b": ("response_b",),
    },
    order={name: (name,) for name in WINNERS},
    optional={**COMMON, "model_a": ("model_a",), "model_b": ("model_b",)},
    give=give,
    row="pair",
    fits=_fits,
    better="the model whose winner column is 1",
)
