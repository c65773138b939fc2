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
    return Confidence(sure, pairwise_accuracy(layout, reward).values, bin_of(sure))


def bin_of(sure: Floats) -> Ints:
    """The bin of each probability from 0.5 to 1."""
    return np.minimum(((sure - 0.5) * (2 * BINS)).astype(np.intp), BINS - 1)


class AllPairs(NamedTuple):
    """Ordered pairs and tied ones, [A] each: difference of rewards, from the better side of an
    ordered one; label, 1 or of a tie 1/2; ranking."""

    margin: Floats
    label: Floats
    ranking: Ints


def with_ties(layout: Layout, reward: Floats) -> AllPairs:
    """All pairs of prompts that have an ordered one; none where no pair is tied.

    >>> from plaudit.evaluation.layout import lay_out
    >>> with_ties(lay_out([[1, 0, 1]], None), np.array([5.0, 3.0, 1.0])).label.tolist()
    [1.0, 0.5, 1.0]
    """
    asked = layout.slot[layout.any_ranking] >= 0
    first, second = layout.first[asked], layout.second[asked]
    apart = np.sign(layout.rank[second] - layout.rank[first])
    if apart.all():
        first = second = apart = np.empty(0, dtype=np.intp)
        asked = np.zeros(len(asked), bool)
    gap = (reward[first] - reward[second]) * np.where(apart < 0, -1, 1)
    return AllPairs(gap, np.where(apart == 0, 0.5, 1.0), layout.any_ranking[asked])


def edges(index: int) -> tuple[float, float]:
    """The confidences at which a bin begins and ends.

    >>> edges(9)
    (0.95, 1.0)
    """
    return 0.5 + index / (2 * BINS), 0.5 + (index + 1) / (2 * BINS)
