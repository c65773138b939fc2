"""Ranked: one completion a row with its `rank`, 1 being better than 2."""

from plaudit.data.layouts import COMPLETION, PROMPT, Cells, Given, Layout, common


def give(cell: Cells) -> Given:
    """One completion; the rows of a prompt make its ranking."""
    return Given(
        prompt=cell("prompt"),
        completions=(cell("completion"),),
        ranks=(cell("rank"),),
        **common(cell),
    )


LAYOUT = Layout(
    texts={"prompt": PROMPT, "completion": COMPLETION},
    order={"rank": ("rank",)},
    single=("completion",),
    give=give,
    row="completion",
    rewards=("reward",),
    precedence=40,
)
