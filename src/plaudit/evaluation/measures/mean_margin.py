"""Mean of r_better − r_worse over the strictly ordered pairs, in units of reward.

>>> MEASURE([[3.0, 1.0], [0.0, 1.0]], [[0, 1], [0, 1]], resamples=0).value
0.5
"""

from plaudit.evaluation.items import margin
from plaudit.evaluation.measures import Measure

MEASURE = Measure(
    margin,
    "mean margin",
    "signed",
    reward_units=True,
    position=90,
    row=50,
    hint="reward of chosen − reward of rejected",
)
