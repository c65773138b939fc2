"""Calibration error of all pairs, by the probabilities that take the uncertainty into account.

`calibration_error` of σ((r_a − r_b) / √(1 + π v / 8)), v being the variance of the difference.
"""

from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure
from plaudit.evaluation.measures.calibration_error import calibration_error_of
from plaudit.evaluation.statistics import Statistic


def calibration_error_with_uncertainty(
    layout: Layout, reward: Floats, variance: Floats
) -> Statistic:
    """The sum of the gaps of all bins."""
    return calibration_error_of(layout, reward, variance)


MEASURE = Measure(
    calibration_error_with_uncertainty,
    "calibration error with the uncertainty",
    "share",
    lower_is_better=True,
    group="probabilities",
    position=146,
    row=60,
    hint="by probabilities nearer to one half where the head is uncertain",
    short="calibration, uncertain",
)
