"""Expected calibration error: how far the model is from being right as often as it is sure.

A pair's confidence is σ(|r_a − r_b|), from 0.5 to 1, and it is right as in `pairwise_accuracy`.
With the pairs in ten bins of confidence of equal width, ECE = Σ_b (n_b / n) |accuracy_b −
confidence_b| (Naeini, Cooper & Hauskrecht 2015, AAAI; with confidences as here, Guo et al. 2017,
ICML). Nothing says which completion of a pair is to be named first, so p for one order and 1 − p
for the other are one prediction; that is why bins begin at 0.5.

ECE takes noise for error: a perfectly calibrated model gets about 0.03 on 1,000 pairs. Resamples
repeat that bias, so percentiles would not do; the interval holds the errors for which the measured
value is not surprising (see `_interval`). So it reaches 0 where the model may well be calibrated,
and may lie below what was measured.

>>> MEASURE([[0.0, 0.0]], [[0, 1]], resamples=0).value
0.0
"""

import numpy as np
from scipy.optimize import bisect

from plaudit.evaluation.abstention import log_odds, surest
from plaudit.evaluation.calibration import BINS, Confidence, confidence
from plaudit.evaluation.layout import Floats, Ints, Layout
from plaudit.evaluation.measures import Measure
from plaudit.evaluation.statistics import Statistic, divide, effective


def calibration_error(layout: Layout, reward: Floats) -> Statistic:
    """The sum of the gaps of all bins, with an interval of its own."""
    return calibration_error_of(layout, reward)


def calibration_error_of(
    layout: Layout, reward: Floats, variance: Floats | None = None, share: float = 1.0
) -> Statistic:
    """The same of this share of the pairs, the surest, by probabilities that take the `variance`
    `[N]` of the differences into account."""
    odds = log_odds(layout, reward, variance)
    weight = surest(np.abs(odds), share)
    return gaps_of(layout, layout.pair_ranking, confidence(layout, reward, odds), weight)


def gaps_of(layout: Layout, ranking: Ints, pairs_of: Confidence, weight: Floats) -> Statistic:
    """The error over pairs of these rankings [N], which count by their weight [N]."""
    size = len(layout.asked)
    cell = layout.slot[ranking] * BINS + pairs_of.bin
    gap = weight * (pairs_of.right - pairs_of.sure)
    excess = np.bincount(cell, gap, size * BINS).reshape(size, BINS)
    pairs = layout.per_prompt(ranking, weight)
    gaps = excess.sum(axis=0) / pairs.sum()

    def of(weights: Floats) -> Floats:
        return divide(weights @ excess, (weights @ pairs)[:, None])

    shares = np.bincount(pairs_of.bin, weight, minlength=BINS) / weight.sum()

    def interval(resampled: Floats, level: Floats) -> tuple[Floats, Floats]:
        seen = ~np.isnan(resampled).any(axis=1)  # some resamples may have none of these pairs
        low, high = _interval(gaps, shares, resampled[seen] - gaps, float(level[0]))
        return np.array([low]), np.array([high])

    return Statistic(
        np.array([np.abs(gaps).sum()]), of, effective(pairs[:, None]), interval=interval
    )


def _interval(gaps: Floats, share: Floats, noise: Floats, level: float) -> tuple[float, float]:
    """The interval of Σ |gap| by test inversion: the errors that the measured value allows.

    `gaps` [bins] are n_b / n (accuracy_b − confidence_b), `share` [bins] n_b / n, `noise` [B, bins]
    how the gaps vary over resamples. Had every bin been off by τ, to the side to which the model is
    off on the whole, the measured error would be one of Σ |±τ share + noise|. The interval is from
    the least τ whose upper quantile reaches the measured error to the greatest whose lower quantile
    does not pass it (test inversion over a one-parameter family: Carpenter 1999, JRSS B 61).

    Gaps in proportion to the measured ones would be another such family. They are themselves part
    noise, and their intervals miss more often: in simulations they cover down to 88 %, these from
    92 %.
    """
    error = float(np.abs(gaps).sum())
    side = share if gaps.sum() >= 0 else -share

    def least(quantile: float) -> float:
        """The τ from 0 to 1 at which this quantile of the error reaches the measured error."""

        def above(tau: float) -> float:
            return float(np.quantile(np.abs(tau * side + noise).sum(axis=1), quantile)) - error

        if above(0.0) >= 0:
            return 0.0
        # By halving: where it is not monotone, other methods end at another of its roots.
        return 1.0 if above(1.0) <= 0 else float(bisect(above, 0.0, 1.0, xtol=1e-12))

    return least(1 - level), least(level)


MEASURE = Measure(
    calibration_error,
    "calibration error",
    "share",
    lower_is_better=True,
    group="probabilities",
    position=130,
    row=30,
    hint="mean gap of sureness and being right",
)
