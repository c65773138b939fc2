"""Pairwise accuracy of the rewards minus that of the length baseline, with a paired interval.

Both are measured on the same pairs in the same resamples, so what makes a resample easy for both
cancels and the interval is about the difference alone.

>>> MEASURE([[1.0, 0.0]], [[0, 1]], lengths=[[50, 90]], resamples=0).value
1.0
"""

from plaudit.evaluation.items import Items, pairwise_accuracy
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def accuracy_above_length(layout: Layout, reward: Floats, length: Floats) -> Items:
    """Whether the rewards have a pair right, less whether lengths have."""
    right, longer = (pairwise_accuracy(layout, score).values for score in (reward, length))
    return Items(right - longer, layout.pair_ranking)


MEASURE = Measure(
    accuracy_above_length,
    "above preferring the longer",
    "points",
    position=120,
    row=30,
    hint="the difference of the two, in points",
    short="above the longer",
    shown=("report", "printed", "card"),  # the verdict has it
)
