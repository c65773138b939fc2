"""Share of the strictly ordered pairs in which the better completion has the higher reward.

Every pair of every ranking counts the same. Equal rewards count half, so that constant rewards
score what a coin toss scores.

>>> MEASURE([[2.0, 1.0, 0.0]], [[0, 2, 1]], resamples=0).value  # 2 of 3 pairs
0.6666666666666666
"""

from plaudit.evaluation.items import pairwise_accuracy
from plaudit.evaluation.measures import Measure

MEASURE = Measure(
    pairwise_accuracy,
    "pairwise accuracy",
    "share",
    compared=True,
    position=10,
    row=10,
    hint="a coin toss gets 50\N{NO-BREAK SPACE}%",
    shown=("headline", "report", "printed", "card"),
)
