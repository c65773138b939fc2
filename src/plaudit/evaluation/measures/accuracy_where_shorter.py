"""Pairwise accuracy on the pairs whose better completion is the shorter one.

There, preferring the longer is always wrong: a rule that looks at length alone scores 0 and a coin
toss 0.5. A policy that is trained on a reward far below 0.5 here learns to write long. Length is in
characters; pairs of equal length are not among those measured. Equal rewards count half.

>>> lengths = [[10, 90], [90, 10], [50, 50]]
>>> MEASURE([[1, 0], [0, 1], [0, 1]], [[0, 1]] * 3, lengths=lengths, resamples=0).value
1.0
"""

from plaudit.evaluation.items import Items, accuracy_by_amount
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def accuracy_where_shorter(layout: Layout, reward: Floats, length: Floats) -> Items:
    """1 where the better completion of a pair scores higher, for those where it is shorter."""
    _, shorter = accuracy_by_amount(layout, reward, length).halves()
    return shorter


MEASURE = Measure(
    accuracy_where_shorter,
    "accuracy where shorter",
    "share",
    compared=True,
    position=12,
    row=12,
    hint="pairs whose better completion is the shorter one; length alone gets none",
    shown=("headline", "report", "printed", "card"),
)
