"""A benchmark in which the answer of fewer words is right."""

from collections.abc import Sequence

from plaudit.data.cells import read_text
from plaudit.data.rows import Row
from plaudit.evaluation.suite import Item, Means, Part, Suite, make_item, read_completion


def read_row(row: Row, all_text: bool) -> Item:
    """`ask`, `few` and `many`, of which `few` is right."""
    cell = row.values or {}
    completions = [read_completion(cell.get(name), name) for name in ("few", "many")]
    return make_item(row, None, read_text(cell.get("ask"), "ask", all_text), completions, (0, 1))


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
