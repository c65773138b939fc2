"""Rows of two answers and how many more people voted for the second one."""

from plaudit.data.cells import read_number
from plaudit.data.layouts import PROMPT, Cells, Given, Layout


def give(cell: Cells) -> Given:
    """Both answers, rated by the votes for them over the other."""
    votes = read_number(cell("for_second"), "votes")
    return Given(
        prompt=cell("prompt"),
        completions=(cell("first"), cell("second")),
        names=("first", "second"),
        ratings=(-votes, votes),
    )


LAYOUT = Layout(
    texts={"prompt": ("asked", *PROMPT), "first": ("first",), "second": ("second",)},
    order={"for_second": ("for_second",)},
    give=give,
    row="pair",
)
