"""Pairwise accuracy with length taken out of play: what it would be if longer were as often worse.

The mean of two accuracies: on the pairs whose better completion is the longer one, and on those
where it is the shorter one. Preferring the longer scores exactly 0.5, and so does preferring the
shorter, or a coin toss, whatever the data prefer. Length is in characters; pairs of equal length
have no say. Equal rewards count half. It is the balanced accuracy of Brodersen et al. 2010, ICPR,
with "the better is longer" and "the better is shorter" as its two classes. It cannot be measured
where either kind is missing.

>>> lengths = [[90, 10], [90, 10], [10, 90]]  # right where the better is longer: 1 and 1; else 0
>>> MEASURE([[1, 0], [1, 0], [0, 1]], [[0, 1]] * 3, lengths=lengths, resamples=0).value
0.5
"""

from plaudit.evaluation.items import Items, accuracy_by_amount
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def length_controlled_accuracy(layout: Layout, reward: Floats, length: Floats) -> Items:
    """Whether pairs are right, in halves: those whose better completion is longer, or shorter."""
    return accuracy_by_amount(layout, reward, length)


MEASURE = Measure(
    length_controlled_accuracy,
    "length-controlled accuracy",
    "share",
    compared=True,
    position=14,
    row=14,
    hint="the mean of where the better is longer and where it is shorter; length alone gets "
    "50\N{NO-BREAK SPACE}%",
    shown=("headline", "report", "printed", "card"),
)
