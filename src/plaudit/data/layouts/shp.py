"""SHP and SHP-2: a post, its `history`, with two comments on it, `human_ref_A` and `human_ref_B`.

`labels` is 1 where A is preferred to B and 0 where B is preferred to A; the scores are the
comments' net votes. Source: the cards of stanfordnlp/SHP and stanfordnlp/SHP-2.
"""

from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import FIRST, SECOND, both, verdict


def give(cell: Cells) -> Given:
    """Comment A first."""
    return Given(
        prompt=cell("history"),
        completions=(cell("human_ref_A"), cell("human_ref_B")),
        names=("human_ref_A", "human_ref_B"),
        ranks=verdict(cell("labels"), "label", {"1": FIRST, "0": SECOND}),
        ratings=both(cell("score_A"), cell("score_B")),
        **common(cell),
    )


LAYOUT = Layout(
    texts={
        "history": ("history",),
        "human_ref_A": ("human_ref_a",),
        "human_ref_B": ("human_ref_b",),
    },
    order={"labels": ("labels",)},
    optional={
        **COMMON,
        "category": ("domain",),
        "score_A": ("score_a",),
        "score_B": ("score_b",),
    },
    give=give,
    row="pair",
    better="A where labels is 1, B where it is 0",
)
