"""Ranked lists: a prompt a row with lists of its `completions` and their `ranks`."""

from plaudit.data.layouts import COMPLETION, COMPLETIONS, PROMPT, Cells, Given, Layout, common


def give(cell: Cells) -> Given:
    """All completions of the prompt."""
    return Given(
        prompt=cell("prompt"),
        completions=cell("completions"),
        ranks=cell("ranks"),
        **common(cell),
    )


LAYOUT = Layout(
    texts={"prompt": PROMPT, "completions": COMPLETIONS},
    order={"ranks": ("ranks", "rank")},
    lists={"completions": COMPLETION},
    give=give,
    row="ranking",
    precedence=20,
)
