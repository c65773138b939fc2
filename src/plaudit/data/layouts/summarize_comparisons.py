"""summarize_from_feedback, comparisons: two `summaries` of a post, and the `choice`.

`choice` is the number, 0 or 1, of the better summary. Source: the card of
openai/summarize_from_feedback; Stiennon et al. 2020, arXiv:2009.01325.
"""

from plaudit.data.layouts import Cells, Given, Layout, common
from plaudit.data.layouts._shapes import FIRST, SECOND, is_records, records, verdict
from plaudit.data.layouts._summaries import to_summarise


def give(cell: Cells) -> Given:
    """All summaries, which are two."""
    rows = records(cell("summaries"), "summaries")
    return Given(
        prompt=to_summarise(cell("info")),
        completions=tuple(row.get("text") for row in rows),
        ranks=verdict(cell("choice"), "choice", {"0": FIRST, "1": SECOND}),
        **common(cell) | {"model": [row.get("policy") for row in rows]},
    )


LAYOUT = Layout(
    texts={"info": ("info",), "summaries": ("summaries",)},
    order={"choice": ("choice",)},
    give=give,
    row="ranking",
    fits=lambda cell: is_records(cell("summaries"), "text"),
    better="that of choice",
)
