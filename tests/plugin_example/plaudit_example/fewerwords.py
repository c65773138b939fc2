"""A benchmark in which the answer of fewer words is right."""

from collections.abc import Sequence

from plaudit.data.rows import Row
from plaudit.evaluation.suite import Item, Means, Part, Suite, make_item


def read_row(row: Row) -> Item:
    """`ask`, `few` and `many`, of which `few` is right."""
    cell = row.values or {}
    return make_item(row, None, cell.get("ask"), [cell.get("few"), cell.get("many")], (0, 1))


def score(items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means) -> Part:
    """Accuracy; equal rewards count as wrong."""
    return mean.part([few > many for few, many in rewards])


SUITE = Suite(
    title="Fewer words",
    fields=("ask", "few", "many"),
    read=read_row,
    score=score,
    definition="accuracy; equal rewards count as wrong",
    source="this package",
)
