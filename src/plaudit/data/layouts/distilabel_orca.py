"""Argilla's distilabel version of the Orca pairs, with a `status` and ratings.

The prompt is `system` and `input`. `chosen` is better than `rejected`, but where `status` is "tie"
the two were rated alike. `rating` has the ratings of `generations`, which `order` calls chosen or
rejected. Source: the card of argilla/distilabel-intel-orca-dpo-pairs.
"""

from typing import Any

from plaudit.data.cells import read_list
from plaudit.data.chat import user
from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import (
    CHOSEN_AND_REJECTED,
    EMPTY,
    FIRST,
    TIE,
    opened,
    verdict,
)

STATUSES = {"unchanged": FIRST, "swapped": FIRST, "tie": TIE, "": FIRST}


def give(cell: Cells) -> Given:
    """The chosen completion first."""
    return Given(
        prompt=opened([user(cell("input"))], cell("system")) if cell("input") else None,
        completions=(cell("chosen"), cell("rejected")),
        names=("chosen", "rejected"),
        ranks=verdict(cell("status"), "status", STATUSES),
        ratings=_ratings(cell("rating"), cell("order")),
        **common(cell),
    )


def _ratings(rating: Any, order: Any) -> tuple[Any, Any] | None:
    """The ratings of chosen and rejected, where both are known."""
    if rating in EMPTY or order in EMPTY:
        return None
    known = dict(zip(read_list(order, "order"), read_list(rating, "ratings"), strict=False))
    return (known["chosen"], known["rejected"]) if {"chosen", "rejected"} <= known.keys() else None


LAYOUT = Layout(
    texts={"input": ("input",), "chosen": ("chosen",), "rejected": ("rejected",)},
    order={},
    optional={
        **COMMON,
        "system": ("system",),
        "rating": ("rating",),
        "order": ("order",),
        "status": ("status",),
    },
    give=give,
    row="pair",
    rewards=CHOSEN_AND_REJECTED,
    fits=lambda cell: cell.columns.keys() >= {"rating", "order", "status"},
    better="chosen, unless status is tie",
)
