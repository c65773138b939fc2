"""Ranked lists: a prompt a row with lists of its `completions` and their `ranks`.

`scores` or ratings beside the ranks, of which more is better, are kept, and must say the same.
"""

from typing import Any

from plaudit.data.layouts import (
    COMPLETION,
    COMPLETIONS,
    PROMPT,
    Cells,
    Given,
    Layout,
    common,
    numbers_beside,
)
from plaudit.data.layouts._written import beside
from plaudit.data.rankings import Ranking


def give(cell: Cells) -> Given:
    """All completions of the prompt."""
    scores = numbers_beside(cell("scores"))
    return Given(
        prompt=cell("prompt"),
        completions=cell("completions"),
        ranks=cell("ranks"),
        ratings=scores if isinstance(scores, list) else None,
        **common(cell),
    )


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """One row, with ranks from 1 on."""
    return [
        {
            "prompt": ranking.prompt,
            "completions": list(ranking.completions),
            "ranks": [rank + 1 for rank in ranking.ranks],
            **beside(ranking),
        }
    ]


LAYOUT = Layout(
    texts={"prompt": PROMPT, "completions": COMPLETIONS},
    order={"ranks": ("ranks", "rank")},
    beside={"scores": ("scores", "ratings", "score", "rating")},
    lists={"completions": COMPLETION},
    give=give,
    row="ranking",
    precedence=20,
    write=write,
)
