"""Expected calibration error over all pairs, ties too: who is sure of a tie is wrong by half.

As `calibration_error`, with the tied pairs in it: a tied pair is right by one half, whichever
completion has the higher reward, so that it is calibrated at a probability of 0.5 alone. That a
model gives tied completions rewards far apart is thus seen, which ordered pairs do not show. Of all
pairs of prompts that have an ordered one; nothing to measure where no pair is tied.

>>> MEASURE([[0.0, 0.0, 0.0]], [[0, 1, 1]], resamples=0).value
0.0
"""

import numpy as np
from scipy.special import expit

from plaudit.evaluation.calibration import Confidence, bin_of, with_ties
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure
from plaudit.evaluation.measures.calibration_error import gaps_of
from plaudit.evaluation.statistics import Statistic


def calibration_error_with_ties(layout: Layout, reward: Floats) -> Statistic:
    """The sum of the gaps of all bins, over ordered pairs and tied ones."""
    pairs = with_ties(layout, reward)
    if not len(pairs.margin):
        nothing = np.full((1, 1), np.nan)
        return Statistic(nothing[0], lambda w: np.repeat(nothing, len(w), axis=0), np.zeros(1))
    sure = expit(np.abs(pairs.margin))
    right = np.where(pairs.label == 1, (np.sign(pairs.margin) + 1) / 2, 0.5)
    every = np.ones(len(sure))
    return gaps_of(layout, pairs.ranking, Confidence(sure, right, bin_of(sure)), every)


MEASURE = Measure(
    calibration_error_with_ties,
    "calibration error with ties",
    "share",
    lower_is_better=True,
    group="probabilities",
    position=149,
    row=32,
    hint="a tie is right by half: sure of it is wrong",
    short="calibr. error, ties too",
)
