"""Scored: one completion a row with its `score` or rating, 2 being better than 1."""

from plaudit.data.layouts import COMPLETION, PROMPT, Cells, Given, Layout, common


def give(cell: Cells) -> Given:
    """One completion; the rows of a prompt make its ranking."""
    return Given(
        prompt=cell("prompt"),
        completions=(cell("completion"),),
        ratings=(cell("score"),),
        order_name="score",
        **common(cell),
    )


LAYOUT = Layout(
    texts={"prompt": PROMPT, "completion": COMPLETION},
    order={"score": ("score", "rating")},
    single=("completion",),
    give=give,
    row="completion",
    rewards=("reward",),
    precedence=50,
)
