"""Scored: one completion a row with its `score` or rating, 2 being better than 1."""

from typing import Any

from plaudit.data.layouts import COMPLETION, PROMPT, Cells, Given, Layout, common
from plaudit.data.layouts._written import beside
from plaudit.data.rankings import Ranking


def give(cell: Cells) -> Given:
    """One completion; the rows of a prompt make its ranking."""
    return Given(
        prompt=cell("prompt"),
        completions=(cell("completion"),),
        ratings=(cell("score"),),
        order_name="score",
        **common(cell),
    )


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """A row for each completion, the best first; the score is how many ranks are below it."""
    worst = max(ranking.ranks)
    order = sorted(range(len(ranking.ranks)), key=lambda i: ranking.ranks[i])
    return [
        {
            "prompt": ranking.prompt,
            "answer": ranking.completions[i],
            "score": worst - ranking.ranks[i],
            **beside(ranking, i),
        }
        for i in order
    ]


LAYOUT = Layout(
    texts={"prompt": PROMPT, "completion": COMPLETION},
    order={"score": ("score", "rating")},
    single=("completion",),
    give=give,
    row="completion",
    rewards=("reward",),
    precedence=50,
    write=write,
)
