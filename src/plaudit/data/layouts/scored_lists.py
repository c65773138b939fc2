"""Scored lists: a prompt a row with lists of its `completions` and their `scores`."""

from plaudit.data.layouts import COMPLETION, COMPLETIONS, PROMPT, Cells, Given, Layout, common


def give(cell: Cells) -> Given:
    """All completions of the prompt."""
    return Given(
        prompt=cell("prompt"),
        completions=cell("completions"),
        ratings=cell("scores"),
        order_name="score",
        **common(cell),
    )


LAYOUT = Layout(
    texts={"prompt": PROMPT, "completions": COMPLETIONS},
    order={"scores": ("scores", "ratings", "score", "rating")},
    lists={"completions": COMPLETION},
    give=give,
    row="ranking",
    precedence=30,
)
