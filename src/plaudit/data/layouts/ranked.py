"""Ranked: one completion a row with its `rank`, 1 being better than 2.

A `score` or rating beside the rank, of which more is better, is kept, and must say the same.
"""

from typing import Any

from plaudit.data.layouts import COMPLETION, PROMPT, Cells, Given, Layout, common, numbers_beside
from plaudit.data.layouts._written import beside
from plaudit.data.rankings import Ranking


def give(cell: Cells) -> Given:
    """One completion; the rows of a prompt make its ranking."""
    score = numbers_beside(cell("score"))
    return Given(
        prompt=cell("prompt"),
        completions=(cell("completion"),),
        ranks=(cell("rank"),),
        ratings=None if score is None else (score,),
        **common(cell),
    )


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """A row for each completion, the best first, with its rank from 1 on."""
    order = sorted(range(len(ranking.ranks)), key=lambda i: ranking.ranks[i])
    return [
        {
            "prompt": ranking.prompt,
            "answer": ranking.completions[i],
            "rank": ranking.ranks[i] + 1,
            **beside(ranking, i),
        }
        for i in order
    ]


LAYOUT = Layout(
    texts={"prompt": PROMPT, "completion": COMPLETION},
    order={"rank": ("rank",)},
    beside={"score": ("score", "rating")},
    single=("completion",),
    give=give,
    row="completion",
    rewards=("reward",),
    precedence=40,
    write=write,
)
