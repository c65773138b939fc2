"""Ranked lists: a prompt a row with lists of its `completions` and their `ranks`.

`scores` or ratings beside the ranks, of which more is better, are kept, and must say the same.
"""

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


LAYOUT = Layout(
    texts={"prompt": PROMPT, "completions": COMPLETIONS},
    order={"ranks": ("ranks", "rank")},
    beside={"scores": ("scores", "ratings", "score", "rating")},
    lists={"completions": COMPLETION},
    give=give,
    row="ranking",
    precedence=20,
)
