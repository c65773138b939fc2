"""Calibration error of the 80 % of the pairs that the model is surest of, uncertainty included.

`calibration_error_with_uncertainty` where the model does not abstain.
"""

from plaudit.evaluation.abstention import KEPT
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure
from plaudit.evaluation.measures.calibration_error import calibration_error_of
from plaudit.evaluation.statistics import Statistic


def calibration_error_where_certain(layout: Layout, reward: Floats, variance: Floats) -> Statistic:
    """The sum of the gaps of all bins, of the surest pairs."""
    return calibration_error_of(layout, reward, variance, KEPT)


MEASURE = Measure(
    calibration_error_where_certain,
    "calibration error of the surest 80 %, with the uncertainty",
    "share",
    lower_is_better=True,
    group="probabilities",
    position=147,
    row=62,
    hint="by probabilities nearer to one half where the head is uncertain",
    shown=["report"],
)
