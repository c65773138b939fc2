"""Calibration error of the 80 % of the pairs whose rewards differ most.

`calibration_error` where the model does not abstain: whether it is as often right as it is sure
there too.

>>> MEASURE([[0.0, 0.0]], [[0, 1]], resamples=0).value
0.0
"""

from plaudit.evaluation.abstention import KEPT
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure
from plaudit.evaluation.measures.calibration_error import calibration_error_of
from plaudit.evaluation.statistics import Statistic


def calibration_error_where_sure(layout: Layout, reward: Floats) -> Statistic:
    """The sum of the gaps of all bins, of the surest pairs."""
    return calibration_error_of(layout, reward, None, KEPT)


MEASURE = Measure(
    calibration_error_where_sure,
    "calibration error of the surest 80 %",
    "share",
    lower_is_better=True,
    group="probabilities",
    position=144,
    row=56,
    hint="the fifth of the pairs with the smallest difference of rewards left aside",
    shown=["report"],
)
