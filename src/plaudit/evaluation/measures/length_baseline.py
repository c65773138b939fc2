"""Pairwise accuracy of always preferring the longer completion; equal lengths count half.

>>> MEASURE([[0, 0], [0, 0]], [[0, 1], [0, 1]], lengths=[[120, 80], [10, 10]], resamples=0).value
0.75
"""

from plaudit.evaluation.items import Items, pairwise_accuracy
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def length_baseline(layout: Layout, reward: Floats, length: Floats) -> Items:
    """1 where the better completion of a pair is the longer, 1/2 where both are as long."""
    return pairwise_accuracy(layout, length)


MEASURE = Measure(
    length_baseline,
    "preferring the longer",
    "share",
    position=16,
    row=20,
    hint="what length alone gets",
    shown=("headline", "report", "printed", "card"),
)
