"""stack-exchange-paired: a `question` with two answers, `response_j` and `response_k`.

`response_j` is the answer with more votes. Source: the card of lvwerra/stack-exchange-paired.
"""

from plaudit.data.layouts import Cells, Given, Layout, common


def give(cell: Cells) -> Given:
    """The better answer first."""
    return Given(
        prompt=cell("question"),
        completions=(cell("response_j"), cell("response_k")),
        names=("response_j", "response_k"),
        ranks=(0, 1),
        **common(cell),
    )


LAYOUT = Layout(
    texts={
        "question": ("question",),
        "response_j": ("response_j",),
        "response_k": ("response_k",),
    },
    order={},
    give=give,
    row="pair",
    better="response_j",
)
