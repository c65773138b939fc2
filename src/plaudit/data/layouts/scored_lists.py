"""Scored lists: a prompt a row with lists of its `completions` and their `scores`."""

from typing import Any

from plaudit.data.layouts import COMPLETION, COMPLETIONS, PROMPT, Cells, Given, Layout, common
from plaudit.data.layouts._written import beside
from plaudit.data.rankings import Ranking


def give(cell: Cells) -> Given:
    """All completions of the prompt."""
    return Given(
        prompt=cell("prompt"),
        completions=cell("completions"),
        ratings=cell("scores"),
        order_name="score",
        **common(cell),
    )


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """One row; a score is how many ranks are below."""
    worst = max(ranking.ranks)
    return [
        {
            "prompt": ranking.prompt,
            "completions": list(ranking.completions),
            "scores": [worst - rank for rank in ranking.ranks],
            **beside(ranking),
        }
    ]


LAYOUT = Layout(
    texts={"prompt": PROMPT, "completions": COMPLETIONS},
    order={"scores": ("scores", "ratings", "score", "rating")},
    lists={"completions": COMPLETION},
    give=give,
    row="ranking",
    precedence=30,
    write=write,
)
