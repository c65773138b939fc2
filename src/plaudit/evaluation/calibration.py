"""How sure a model is of each pair, and in which bin of confidence the pair falls.

Under Bradley–Terry σ(r_a − r_b) is the probability that a is preferred to b. The calibration error
and the reliability plot ask how often that comes true, bin by bin.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from plaudit.evaluation.items import margin, pairwise_accuracy
from plaudit.evaluation.layout import Floats, Ints, Layout

# Confidence bins of equal width between 0.5 and 1.
BINS = 10


class Confidence(NamedTuple):
    """How sure the model was of every strictly ordered pair, [N] each: probability, right, bin."""

    sure: Floats
    right: Floats
    bin: Ints


def confidence(layout: Layout, reward: Floats, odds: Floats | None = None) -> Confidence:
    """The confidence of all pairs, by other log odds `[N]` than margins where they are given; the
    last bin holds 1 too."""
    sure = expit(np.abs(margin(layout, reward).values if odds is None else odds))
    bins = np.minimum(((sure - 0.5) * (2 * BINS)).astype(np.intp), BINS - 1)
    return Confidence(sure, pairwise_accuracy(layout, reward).values, bins)


def edges(index: int) -> tuple[float, float]:
    """The confidences at which a bin begins and ends.

    >>> edges(9)
    (0.95, 1.0)
    """
    return 0.5 + index / (2 * BINS), 0.5 + (index + 1) / (2 * BINS)
