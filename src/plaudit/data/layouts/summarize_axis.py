"""summarize_from_feedback, axis: one `summary` of a post a row, rated on several axes.

The higher `axes.overall`, from 1 to 7, is better; all axes are kept as attributes. Source: the card
of openai/summarize_from_feedback; Stiennon et al. 2020, arXiv:2009.01325.
"""

from plaudit.data.layouts import Cells, Given, Layout, common
from plaudit.data.layouts._shapes import is_record, record
from plaudit.data.layouts._summaries import to_summarise


def give(cell: Cells) -> Given:
    """One summary; the rows of a post make its ranking."""
    summary = record(cell("summary"), "summary")
    axes = record(summary.get("axes"), "axes")
    return Given(
        prompt=to_summarise(cell("info")),
        completions=(summary.get("text"),),
        names=("summary",),
        ratings=(axes.get("overall"),),
        order_name="overall rating",
        attributes={name: (value,) for name, value in axes.items()},
        **common(cell) | {"model": summary.get("policy")},
    )


LAYOUT = Layout(
    texts={"info": ("info",), "summary": ("summary",)},
    order={},
    give=give,
    row="completion",
    rewards=("reward",),
    fits=lambda cell: is_record(cell("summary"), "text", "axes"),
    better="the higher axes.overall",
)
