"""Pairwise accuracy of the 80 % of the pairs whose rewards differ most.

What is right where the model may abstain from one pair in five. A model that knows where it errs
gets more than its pairwise accuracy, which is what abstaining at random gets. Which pairs are kept
is decided once, on all prompts; of equal differences at the edge each pair is there in part.

>>> MEASURE([[3, 0], [2, 0], [2, 0], [2, 0], [0, 1]], [[0, 1]] * 5, resamples=0).value
1.0
"""

from plaudit.evaluation.abstention import accuracy_of_surest
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure
from plaudit.evaluation.statistics import Statistic


def accuracy_where_sure(layout: Layout, reward: Floats) -> Statistic:
    """1 where the better completion of a pair scores higher, for the surest pairs."""
    return accuracy_of_surest(layout, reward)


MEASURE = Measure(
    accuracy_where_sure,
    "accuracy of the surest 80 %",
    "share",
    position=141,
    row=42,
    hint="the fifth of the pairs with the smallest difference of rewards left aside",
    shown=["report"],
)
