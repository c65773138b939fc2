"""Would more data help? A power law through what training on fewer rankings reached.

Pairwise accuracy is taken to approach a limit as accuracy(n) = c − a·n^(−b), a form that fits most
learning curves well (Viering & Loog 2022, IEEE TPAMI 45, "The shape of learning curves", POW3).
Assumes that all sizes were measured on the same prompts, by models that had not seen them. The
intervals resample those prompts; they do not know how another draw of the training data would have
gone, nor whether the law holds beyond what was tried. The law never falls (a ≥ 0), so what more
data would bring is never below zero, nor is its interval: that more data would do harm is not among
the answers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import TypedDict

from plaudit.evaluation.layout import Floats
from plaudit.evaluation.statistics import Figure, Statistic, ratios, resample

# Of the exponent; slower than the slowest, a curve cannot be told from its beginning.
EXPONENTS = np.geomspace(0.1, 2.0, 100)
BEYOND = (2, 4)  # times the data at hand that are looked ahead to
POINTS = 60  # of the drawn curve
# Of what twice the data would bring, as shares: surely as much as the first, it would help; surely
# less than the second, hardly.
WORTHWHILE, NEGLIGIBLE = 0.005, 0.01


class PointRecord(TypedDict):
    """What training on so many rankings reaches; no ends where there can be no interval."""

    rankings: int
    value: float
    low: float | None
    high: float | None


class FitRecord(TypedDict):
    """The power law, and its curve in order."""

    formula: str
    limit: float
    exponent: float
    curve: list[PointRecord]


class CurveRecord(TypedDict):
    """What was measured, the fit, what more data would bring, and that in words."""

    points: list[PointRecord]
    fit: FitRecord
    gains: list[PointRecord]
    answer: str


def fit_power_law(sizes: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Least squares c, a and b of c − a·n^(−b), with a ≥ 0 and c ≤ 1, for many curves at once.

    Args:
        sizes: [S], how much was trained on, three sizes or more.
        values: [B, S], shares between 0 and 1 that were reached.

    Returns c [B], a [B] (for sizes divided by the largest) and b [B].

    >>> n = np.array([50, 100, 200, 400])
    >>> c, a, b = fit_power_law(n, [0.8 - 0.1 * (n / 400) ** -0.5])
    >>> bool(abs(c[0] - 0.8) < 0.02)
    True
    """
    n, y = np.asarray(sizes, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if n.ndim != 1 or len(n) < 3 or y.ndim != 2 or y.shape[1] != len(n):
        raise ValueError(f"sizes {n.shape} and values {y.shape} must be [S] and [B, S], S ≥ 3")
    least = np.full(len(y), np.inf)
    found = np.zeros((3, len(y)))
    for b in EXPONENTS:
        x = -((n / n.max()) ** -b)
        centred = x - x.mean()
        a = np.maximum((y - y.mean(1, keepdims=True)) @ centred / (centred @ centred), 0.0)
        c = y.mean(1) - a * x.mean()
        above = c > 1  # a limit beyond 1 is none: the line then goes through it
        a = np.where(above, (y - 1) @ x / (x @ x), a)
        c = np.where(above, 1.0, c)
        error = ((c[:, None] + a[:, None] * x - y) ** 2).sum(1)
        better = error < least
        least = np.where(better, error, least)
        found = np.where(better, np.stack([c, a, np.full(len(y), b)]), found)
    return found[0], found[1], found[2]


def learning_curve(
    sizes: Sequence[int],
    right: ArrayLike,
    pairs: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> CurveRecord:
    """The learning curve of pairwise accuracy, its fit, and what more data would bring.

    Args:
        sizes: [S], training rankings, in order, three or more.
        right: [P, S], for each prompt how many of its pairs models of each size had right.
        pairs: [P], how many there are; above zero.
        resamples: of the prompts.
        seed: of the resampling.

    A gain is the fitted accuracy there less the fitted accuracy at the largest size, zero or more,
    as the law has it.

    >>> right = np.array([[3, 4, 5], [2, 3, 4]] * 20)
    >>> learning_curve([50, 100, 200], right, [6] * 40)["points"][0]["value"]
    0.4166666666666667
    """
    n, sums = np.asarray(sizes, dtype=np.float64), np.asarray(right, dtype=np.float64)
    counts = np.repeat(np.asarray(pairs, dtype=np.float64)[:, None], len(n), axis=1)
    most = int(n.max())
    further = [most * times for times in BEYOND]
    at = np.unique(np.round(np.geomspace(n.min(), further[-1], POINTS)))
    at = np.unique(np.concatenate([at, n, further]))

    def curve_and_gains(values: Floats) -> Floats:
        c, a, b = fit_power_law(n, values)
        fitted = c[:, None] - a[:, None] * (at / most) ** -b[:, None]
        gains = fitted[:, np.searchsorted(at, further)] - fitted[:, np.searchsorted(at, [most])]
        return np.hstack([fitted, gains])

    measured = ratios(sums, counts, shares=True)
    fitted = Statistic(
        curve_and_gains(measured.values[None])[0],
        lambda weights: curve_and_gains(measured.of(weights)),
        np.repeat(measured.prompts[:1], len(at) + len(further)),
    )
    points, figures = resample([measured, fitted], len(sums), resamples=resamples, seed=seed)
    (limit,), _, (exponent,) = fit_power_law(n, measured.values[None])
    gains = _points(further, figures[len(at) :])
    return {
        "points": _points(n, points),
        "fit": {
            "formula": "c − a·n^(−b)",
            "limit": float(limit),
            "exponent": float(exponent),
            "curve": _points(at, figures[: len(at)]),
        },
        "gains": gains,
        "answer": _answer(gains[0], most),
    }


def _points(sizes: ArrayLike, figures: Sequence[Figure]) -> list[PointRecord]:
    return [
        {"rankings": int(size), **figure.as_dict()}
        for size, figure in zip(np.asarray(sizes), figures, strict=True)
    ]


def _answer(gain: PointRecord, most: int) -> str:
    estimate = (
        f"twice the data ({gain['rankings']:,} rankings to train on instead of {most:,}) would "
        f"bring an estimated {100 * gain['value']:+.1f} points of pairwise accuracy"
    )
    unknown = "It cannot be told yet whether more data would help"
    if gain["low"] is None or gain["high"] is None:
        return f"{unknown}: {estimate}, but too few prompts were tested for an interval."
    estimate += f" (95 % interval {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
    if gain["low"] >= WORTHWHILE:
        return f"More data would help: {estimate}."
    if gain["high"] < NEGLIGIBLE:
        return f"More data of this kind would hardly help: {estimate}."
    return f"{unknown}: {estimate}."
