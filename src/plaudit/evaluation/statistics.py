"""Figures and their 95 % intervals, by resampling prompts.

What is drawn with replacement is prompts, not pairs: the pairs of one prompt are not independent.
A resample is a weight for each prompt, how often it was drawn, and whatever is measured is a
function of such weights. So all that is measured together shares its resamples, differences are
paired, and a mean over items costs one product of weights and sums.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtr, ndtri, stdtrit
from typing_extensions import TypedDict

from plaudit.console import progress
from plaudit.evaluation.layout import Floats

DRAWS_AT_ONCE = 1 << 22
FEWEST_PROMPTS = 5  # for an interval
Z = float(ndtri(0.975))  # standard errors from a normal figure to an end of its interval
TINY = 1e-24  # a variance that is rounding


class FigureRecord(TypedDict):
    """A figure as JSON has it."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Figure:
    """A number and its 95 % interval; `low` and `high` are None where there can be no interval.

    >>> print(Figure(0.73, 0.712, 0.748))
    0.730 [0.712, 0.748]
    >>> print(Figure(0.73))
    0.730
    """

    value: float
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> FigureRecord:
        """The figure as JSON takes it."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        interval = self.interval()
        return f"{self.value:.3f} {interval}" if interval else f"{self.value:.3f}"

    def interval(self, form: str = ".3f") -> str:
        """The interval in brackets, or nothing when there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"[{self.low:{form}}, {self.high:{form}}]"


def percentiles(resampled: Floats, level: Floats) -> tuple[Floats, Floats]:
    """The quantiles at `level` [M] and 1 − `level` of resampled values [B, M], NaN left out.

    The percentile interval (Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13).
    """
    ends = np.full((2, len(level)), math.nan)
    for m, low in enumerate(level):
        measured = resampled[~np.isnan(resampled[:, m]), m]
        if len(measured):
            ends[:, m] = np.quantile(measured, (low, 1 - low))
    return ends[0], ends[1]


@dataclass(frozen=True)
class Statistic:
    """M figures to be: their values, and how to compute them again when prompts have weights.

    `of` takes weights [B, P], how often each of P prompts was drawn in each of B resamples, and
    returns the values [B, M]; NaN where a resample has nothing to measure. `prompts` [M] is how
    many prompts each figure rests on, as `effective` counts them. `trials` [M] is of how many items
    each is the share that succeeds, which asks for the interval of `_of_shares`; NaN for a figure
    that is no share. A statistic that needs another interval than percentiles brings its own: a
    function of what `of` returned for all resamples and of the level [M] of the lower end, that
    returns low and high ends [M].
    """

    values: Floats
    of: Callable[[Floats], Floats]
    prompts: Floats
    trials: Floats | None = None
    interval: Callable[[Floats, Floats], tuple[Floats, Floats]] = percentiles


def effective(counts: Floats) -> Floats:
    """How many prompts of equal weight the columns of counts [P, M] amount to: (Σ c)² / Σ c².

    Kish's effective sample size (1965, Survey Sampling, section 11.7): where few prompts have most
    of the pairs, those few decide. It is 0, for no interval, where fewer than five prompts have a
    count: what three prompts share says little of the next.

    >>> effective(np.array([[1.0], [1.0], [1.0], [1.0], [6.0]]))
    array([2.5])
    """
    kish = np.nan_to_num(divide(counts.sum(axis=0) ** 2, (counts**2).sum(axis=0)))
    # Below 2, the interval is all that resampling shows anyway.
    return np.where((counts > 0).sum(axis=0) < FEWEST_PROMPTS, 0.0, np.maximum(kish, 2.0))


def ratios(sums: Floats, counts: Floats, *, shares: bool | Sequence[bool] = False) -> Statistic:
    """Totals of M columns of sums [P, M] over those of counts [P, M]; NaN for nothing counted.

    `shares` says, of all columns or of each, that sums count successes among trials, so that the
    ratio is from 0 to 1, and asks for the interval of `_of_shares`, which holds near the ends too.
    """
    rows = np.flatnonzero(counts.any(axis=1))
    both = np.hstack([sums, counts])
    if len(rows) < len(both):  # a few prompts of many: a category, say
        both = both[rows]
    columns = sums.shape[1]

    def of(weights: Floats) -> Floats:
        totals = (weights if len(rows) == weights.shape[1] else weights[:, rows]) @ both
        return divide(totals[:, :columns], totals[:, columns:])

    total = counts.sum(axis=0)
    trials = np.where(shares, total, math.nan)
    return Statistic(divide(sums.sum(axis=0), total), of, effective(counts), trials)


def _of_shares(
    shares: Floats, resampled: Floats, prompts: Floats, trials: Floats
) -> tuple[Floats, Floats]:
    """Jeffreys' intervals of shares [M], for as many trials as those of so many prompts amount to.

    Where nearly all is right, many resamples hold no mistake, and percentiles end too early; where
    all is right, all resamples agree, which is no certainty. Jeffreys' interval is made for that
    (Brown, Cai & DasGupta 2001, Statistical Science 16), but takes trials for independent. So n is
    what gives independent trials the variance v that the resamples show, p (1 − p) / v, at most the
    trials there are, and the number of prompts where all or nothing is right; times (1.96 / t)²,
    since v is itself an estimate (Korn & Graubard 1998, Survey Methodology 24, with Clopper and
    Pearson's interval, which is wider). Where all resamples agree on another share, as on the half
    that equal rewards get, it is what it is.
    """
    size = np.maximum(prompts, 2)
    shares = shares.round(12)  # what adds up to all but rounding is all
    seen = ~np.isnan(resampled)
    apart = np.where(seen, resampled - shares, 0)
    variance = divide((apart**2).sum(axis=0), seen.sum(axis=0)) * size / (size - 1)
    certain = (shares <= 0) | (shares >= 1)
    n = np.where(certain, size, np.minimum(divide(shares * (1 - shares), variance), trials))
    n = n * (Z / stdtrit(size - 1, 0.975)) ** 2
    right, wrong = n * shares, n * (1 - shares)
    lows = np.where(shares > 0, betaincinv(right + 0.5, wrong + 0.5, 0.025), 0.0)
    highs = np.where(shares < 1, betaincinv(right + 0.5, wrong + 0.5, 0.975), 1.0)
    alike = ~certain & (variance < TINY)
    return np.where(alike, shares, lows), np.where(alike, shares, highs)


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient; NaN where the denominator is zero."""
    quotient = np.full(np.broadcast(numerator, denominator).shape, math.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator != 0)


def standard_error(low: float, high: float) -> float:
    """The standard error that a 95 % interval shows, as one of a normal figure."""
    return (high - low) / (2 * Z)


def less(a: Statistic, b: Statistic) -> Statistic:
    """The difference of two figures of one number each, a − b, paired."""

    def of(weights: Floats) -> Floats:
        return a.of(weights) - b.of(weights)

    return Statistic(a.values - b.values, of, np.minimum(a.prompts, b.prompts))


def resample(
    statistics: Sequence[Statistic],
    size: int | Sequence[int],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[list[Figure]]:
    """The figures of each statistic, with 95 % intervals from resampling `size` prompts.

    Where those are of several data sets, one after another, `size` is of each, and each is
    resampled by itself.

    Each resample draws that many prompts with replacement, the same for all statistics, and the
    interval is between two quantiles of the resampled values. With few prompts those of 2.5 and
    97.5 % are too close together, since the variance within a sample is too small by (n − 1) / n
    and not known exactly. So the levels are Φ(±√(n / (n − 1)) t), with t the 97.5 % quantile of
    Student's t for n − 1 degrees of freedom and n the effective number of prompts: 1.1 and 98.9 %
    for 12 prompts, 2.3 and 97.7 % for 100. This is the expanded percentile interval of Hesterberg
    2015, "What Teachers Should Know About the Bootstrap", The American Statistician 69.

    A figure in which fewer than five prompts have a say gets no interval, nor does any with
    `resamples=0`. A value that is NaN gives `Figure(nan)`.
    """
    outcomes: list[list[Floats]] = [[] for _ in statistics]
    rng = np.random.default_rng(seed)
    sizes = [size] if isinstance(size, int) else [*size]
    total = sum(sizes)
    # A block of resamples at a time, so that memory does not grow with resamples × prompts.
    block = max(1, DRAWS_AT_ONCE // max(total, 1))
    starts = range(0, resamples if total >= FEWEST_PROMPTS else 0, block)
    for start in progress(starts, "resampling prompts"):
        rows = min(block, resamples - start)
        weights = np.empty((rows, total))
        for row in weights:  # one by one, so that the counters stay in the processor's cache
            drawn = [np.bincount(rng.integers(n, size=n), minlength=n) for n in sizes]
            row[:] = np.concatenate(drawn)
        for outcome, statistic in zip(outcomes, statistics, strict=True):
            outcome.append(statistic.of(weights))
    return [
        _figures(statistic, outcome)
        for statistic, outcome in zip(statistics, outcomes, strict=True)
    ]


def _figures(statistic: Statistic, outcome: list[Floats]) -> list[Figure]:
    lows = highs = np.full(len(statistic.values), math.nan)
    if outcome:
        n = np.maximum(statistic.prompts, 2)
        level = ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975))
        resampled = np.concatenate(outcome)
        lows, highs = statistic.interval(resampled, level)
        if statistic.trials is not None:
            share = ~np.isnan(statistic.trials)
            lows[share], highs[share] = _of_shares(
                statistic.values[share],
                resampled[:, share],
                statistic.prompts[share],
                statistic.trials[share],
            )
    return [
        Figure(float(value))
        if prompts == 0 or math.isnan(low)
        else Figure(float(value), float(low), float(high))
        for value, prompts, low, high in zip(
            statistic.values, statistic.prompts, lows, highs, strict=True
        )
    ]


class Pending:
    """Statistics that are yet to be resampled, all together, and where each figure is to go.

    >>> pending, entry = Pending(), {}
    >>> pending.add(entry, ["share"], ratios(np.ones((3, 1)), np.full((3, 1), 2.0)))
    >>> pending.fill(3)
    >>> entry
    {'share': {'value': 0.5, 'low': None, 'high': None}}
    """

    def __init__(self) -> None:
        self.statistics: list[Statistic] = []
        self.places: list[tuple[dict[str, object], list[str]]] = []

    def add(self, entry: dict[str, object], keys: list[str], statistic: Statistic) -> None:
        """Keep a place in `entry` for each of the statistic's figures."""
        for key in keys:
            entry.setdefault(key, None)
        self.statistics.append(statistic)
        self.places.append((entry, keys))

    def fill(self, prompts: int, resamples: int = 1000, seed: int = 0) -> None:
        """Resample everything at once and put the figures in their places; None for NaN."""
        results = resample(self.statistics, prompts, resamples=resamples, seed=seed)
        for (entry, keys), figures in zip(self.places, results, strict=True):
            for key, figure in zip(keys, figures, strict=True):
                entry[key] = None if math.isnan(figure.value) else figure.as_dict()


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted for being several: the smallest times M, the next times M − 1, and so on.

    Each is raised to those before it and none is above 1. Keeps the chance of any false positive
    at the level, whatever the dependence (Holm 1979, Scandinavian Journal of Statistics 6).

    >>> holm([0.5, 0.01, 0.02])
    [0.5, 0.03, 0.04]
    """
    adjusted = [0.0] * len(p)
    least = 0.0
    for place, index in enumerate(np.argsort(p, kind="stable")):
        least = max(least, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = least
    return adjusted


def bootstrap(
    sums: ArrayLike,
    counts: ArrayLike,
    *,
    shares: bool | Sequence[bool] = False,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Figure]:
    """Ratios of column totals, with 95 % intervals from resampling the rows.

    `sums` and `counts` are [P, M]: for each of P prompts and M metrics the sum over its items and
    how many there are, all counts above zero. Each resample draws P rows with replacement, the same
    rows for all M columns, so that differences of columns are paired; see `resample`, and for
    `shares` see `ratios`.

    >>> print(bootstrap([[1.0], [0.0], [2.0], [1.0], [0.0]], [[1], [1], [2], [1], [1]])[0])
    0.667 [0.000, 1.000]
    """
    sums, counts = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if sums.ndim != 2 or sums.shape != counts.shape:
        raise ValueError(f"sums {sums.shape} and counts {counts.shape} must be one shape [P, M]")
    if len(sums) == 0 or not (counts > 0).all():
        raise ValueError("every prompt needs a count above zero")
    statistic = ratios(sums, counts, shares=shares)
    return resample([statistic], len(sums), resamples=resamples, seed=seed)[0]
