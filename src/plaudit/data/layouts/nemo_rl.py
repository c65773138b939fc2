"""NeMo-RL: a `context` of messages with `completions`, each a record of its rank and messages.

The lowest rank, 0, is best. Source: NeMo-RL's guides to DPO and to reward models,
`PreferenceDataset`.
"""

from plaudit.data.layouts import Cells, Given, Layout, common
from plaudit.data.layouts._shapes import is_records, records


def give(cell: Cells) -> Given:
    """All completions with their ranks."""
    rows = records(cell("completions"), "completions")
    return Given(
        prompt=cell("context"),
        completions=tuple(row.get("completion") for row in rows),
        ranks=tuple(row.get("rank") for row in rows),
        **common(cell),
    )


LAYOUT = Layout(
    texts={"context": ("context",), "completions": ("completions",)},
    order={},
    give=give,
    row="ranking",
    fits=lambda cell: is_records(cell("completions"), "rank", "completion"),
    better="the lower rank",
)
