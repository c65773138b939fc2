"""Pairwise accuracy of the 80 % of the pairs that the model is surest of, uncertainty included.

As `accuracy_where_sure`, but a difference of rewards counts for less where the head is uncertain of
it. Only where it is more than that does the uncertainty know of mistakes what the difference alone
does not.
"""

from plaudit.evaluation.abstention import accuracy_of_surest
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure
from plaudit.evaluation.statistics import Statistic


def accuracy_where_certain(layout: Layout, reward: Floats, variance: Floats) -> Statistic:
    """1 where the better completion of a pair scores higher, for the surest pairs."""
    return accuracy_of_surest(layout, reward, variance)


MEASURE = Measure(
    accuracy_where_certain,
    "accuracy of the surest 80 %, with the uncertainty",
    "share",
    position=142,
    row=44,
    hint="a difference counts for less where the head is uncertain of it",
    short="right of the surest 80 %",
)
