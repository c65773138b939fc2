"""Chatbot Arena conversations, Arena 140k and MT-bench judgments: two dialogues and the winner.

`winner` is model_a, model_b or a tie: "tie", "tie (bothbad)" or "both_bad". The first `turn`
questions are what was judged: MT-bench's rows hold both turns whichever of them a vote is about.
The prompt is what both dialogues begin with. Sources: the cards of
lmsys/chatbot_arena_conversations, lmsys/mt_bench_human_judgments and
lmarena-ai/arena-human-preference-140k.
"""

from collections.abc import Mapping
from typing import Any

from plaudit.data.cells import is_messages, read_number, read_text
from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import FIRST, SECOND, TIE, messages, models, unknown, verdict

WINNERS = {
    "model_a": FIRST,
    "model_b": SECOND,
    "tie": TIE,
    "tie (bothbad)": TIE,
    "both_bad": TIE,
}


def give(cell: Cells) -> Given:
    """Both dialogues, that of model A first."""
    names = ("conversation_a", "conversation_b")
    return Given(
        completions=tuple(_judged(cell(name), cell("turn"), name) for name in names),
        names=names,
        implicit=True,
        ranks=verdict(cell("winner"), "winner", WINNERS),
        **common(cell) | {"model": models(cell("model_a"), cell("model_b"))},
    )


def _judged(dialogue: Any, turn: Any, name: str) -> Any:
    """The dialogue up to the answer to its question number `turn`.

    A message of Arena 140k's has a count of tokens, too, on one side only; it is no part of it.
    """
    dialogue = messages(dialogue)
    if is_messages(dialogue):
        dialogue = [{k: v for k, v in turn.items() if k != "num_tokens"} for turn in dialogue]
    if turn in (None, "") or not isinstance(dialogue, list):
        return dialogue
    number = read_number(turn, "turn")
    read = read_text(dialogue, name, True)
    asked = [
        at
        for at, message in enumerate(read)
        if isinstance(message, Mapping) and message["role"] == "user"
    ]
    if number not in range(1, len(asked) + 1):
        raise unknown("turn", turn)
    return read if number == len(asked) else read[: asked[int(number)]]


LAYOUT = Layout(
    texts={"conversation_a": ("conversation_a",), "conversation_b": ("conversation_b",)},
    order={"winner": ("winner",)},
    optional={
        **COMMON,
        "model_a": ("model_a",),
        "model_b": ("model_b",),
        "turn": ("turn",),
    },
    give=give,
    row="pair",
    better="the winner",
)
