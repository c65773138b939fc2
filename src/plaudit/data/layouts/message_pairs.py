"""Axolotl's chat_template pairs: `messages` so far, and `chosen` and `rejected`, one message each.

Source: Axolotl's "RLHF", `chat_template.default`.
"""

from typing import Any

from plaudit.data.cells import is_messages
from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import (
    CHOSEN_AND_REJECTED,
    is_record,
    is_records,
    messages,
    opened,
    record,
)
from plaudit.data.layouts._written import asked, beside, one_reply
from plaudit.data.rankings import Ranking


def give(cell: Cells) -> Given:
    """The chosen completion first."""
    before: Any = messages(cell("messages"))
    if is_messages(before):
        before = opened(before, cell("system"), cell("tools"))
    return Given(
        prompt=before,
        completions=([record(cell("chosen"), "chosen")], [record(cell("rejected"), "rejected")]),
        names=("chosen", "rejected"),
        ranks=(0, 1),
        **common(cell),
    )


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """A row for each ordered pair."""
    return [
        {
            "messages": asked(ranking.prompt),
            "chosen": one_reply(ranking.completions[i]),
            "rejected": one_reply(ranking.completions[j]),
            **beside(ranking, i, j),
        }
        for i, j in ranking.pairs()
    ]


LAYOUT = Layout(
    texts={"messages": ("messages",), "chosen": ("chosen",), "rejected": ("rejected",)},
    order={},
    optional={**COMMON, "system": ("system",), "tools": ("tools",)},
    give=give,
    row="pair",
    rewards=CHOSEN_AND_REJECTED,
    fits=lambda cell: (
        all(is_record(cell(n), "role", "content") for n in ("chosen", "rejected"))
        or (
            is_records(cell("messages"), "from", "value")
            and all(is_record(cell(n), "from", "value") for n in ("chosen", "rejected"))
        )
    ),
    better="chosen",
    write=write,
)
