"""Pairs: `chosen` and `rejected`, with their `prompt` or both beginning with it."""

from typing import Any

from plaudit.data.layouts import COMMON, PROMPT, Cells, Given, Layout, common
from plaudit.data.layouts._written import beside
from plaudit.data.rankings import Ranking


def give(cell: Cells) -> Given:
    """The chosen completion first."""
    return Given(
        prompt=cell("prompt"),
        completions=(cell("chosen"), cell("rejected")),
        names=("chosen", "rejected"),
        implicit="prompt" not in cell.columns,
        ranks=(0, 1),
        **common(cell),
    )


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """A row for each ordered pair."""
    return [
        {
            "prompt": ranking.prompt,
            "chosen": ranking.completions[i],
            "rejected": ranking.completions[j],
            **beside(ranking, i, j),
        }
        for i, j in ranking.pairs()
    ]


LAYOUT = Layout(
    texts={"chosen": ("chosen",), "rejected": ("rejected",)},
    order={},
    optional={"prompt": PROMPT, **COMMON},
    give=give,
    row="pair",
    rewards=("reward_chosen", "reward_rejected"),
    precedence=10,
    write=write,
)
