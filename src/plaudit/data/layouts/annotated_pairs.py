"""Pairs with more beside them: a prompt in parts, and what rated or wrote each completion.

`chosen` is better than `rejected`; their ratings are kept, whatever they say. The prompt is a
`system` message, the turns of `history`, and the question with its `input` after it. Where it is
but one turn of whole dialogues, these count.

Data sets: UltraFeedback binarized (`score_chosen`), Tulu 3 preference mixes (`chosen_rating`),
Argilla's binarized ones (`chosen-rating`), Intel/orca_dpo_pairs (`system`, `question`),
LLaMA-Factory's Alpaca ranking (`instruction`, `input`, `system`, `history`). Sources: their cards;
LLaMA-Factory's data/README.md.
"""

from typing import Any

from plaudit.data.cells import is_messages, read_list
from plaudit.data.chat import assistant, user
from plaudit.data.layouts import COMMON, PROMPT, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import (
    CHOSEN_AND_REJECTED,
    both,
    instruction_and_input,
    messages,
    models,
    opened,
)
from plaudit.data.rankings import BadRowError, Fault

PARTS = ("system", "history", "tools")


def give(cell: Cells) -> Given:
    """The chosen completion first."""
    model = models(cell("chosen_model"), cell("rejected_model"))
    return Given(
        prompt=_prompt(cell),
        completions=(cell("chosen"), cell("rejected")),
        names=("chosen", "rejected"),
        implicit="prompt" not in cell.columns or _repeats_a_turn(cell),
        ranks=(0, 1),
        ratings=both(cell("chosen_rating"), cell("rejected_rating")),
        **common(cell) | ({"model": model} if model else {}),
    )


def _repeats_a_turn(cell: Cells) -> bool:
    """Whether the prompt is but one question of two dialogues of several, as in Tulu 3's mixes."""
    asked = cell("prompt")
    sides = [messages(cell("chosen")), messages(cell("rejected"))]
    return (
        isinstance(asked, str)
        and cell.columns.keys().isdisjoint((*PARTS, "input"))
        and all(
            is_messages(side)
            and len(side) > 2
            and any(turn["role"] == "user" and turn["content"] == asked for turn in side)
            for side in sides
        )
    )


def _prompt(cell: Cells) -> Any:
    """The parts of the prompt in their order: a dialogue where there can be several."""
    question = cell("prompt")
    if "input" in cell.columns:
        question = instruction_and_input(question, cell("input"))
    if cell.columns.keys().isdisjoint(PARTS) or question in (None, ""):
        return question
    dialogue = [message for turn in _history(cell("history")) for message in turn]
    last = messages(question)
    if is_messages(last):
        dialogue += last
    elif isinstance(last, str) and not last.isspace():
        dialogue.append(user(last))
    else:
        return question
    return opened(dialogue, cell("system"), cell("tools"))


def _history(value: Any) -> list[list[Any]]:
    """The turns before: messages, or each a question and its answer."""
    turns = [] if value in (None, "") else messages(read_list(value, "turns of history"))
    if is_messages(turns):
        return [turns]
    for turn in turns:
        if not (isinstance(turn, list) and len(turn) == 2):
            raise BadRowError(
                Fault.NOT_A_LIST, "a turn of the history is not a question and answer"
            )
    return [[user(asked), assistant(answered)] for asked, answered in turns]


def _fits(cell: Cells) -> bool:
    there = cell.columns.keys()
    rated = {"chosen_rating", "rejected_rating"} <= there
    has_input = "input" in there and cell.columns["input"] != cell.columns.get("prompt")
    in_parts = has_input or not there.isdisjoint(PARTS)
    return rated or ("prompt" in there and in_parts)


LAYOUT = Layout(
    texts={"chosen": ("chosen",), "rejected": ("rejected",)},
    order={},
    optional={
        **COMMON,
        "prompt": PROMPT,
        "input": ("input",),
        "system": ("system", "system_prompt"),
        "history": ("history",),
        "tools": ("tools",),
        **{
            f"{side}_rating": (
                f"{side}_rating",
                f"{side}-rating",
                f"score_{side}",
                f"{side}_score",
                f"rating_{side}",
            )
            for side in ("chosen", "rejected")
        },
        **{f"{side}_model": (f"{side}_model", f"{side}-model") for side in ("chosen", "rejected")},
    },
    give=give,
    row="pair",
    rewards=CHOSEN_AND_REJECTED,
    precedence=5,
    fits=_fits,
    better="chosen",
)
