"""The T for which rewards / T have the least log loss: above 1 the model is too sure of itself.

Temperature scaling (Guo et al. 2017, ICML): T = argmin Σ log(1 + exp(−m / T)) over the margins m of
the strictly ordered pairs. Dividing by T changes no order and no accuracy. The sum is convex in
1 / T, so its slope has one root. Where every pair is right the best T is 0, where rewards are no
better than chance it is infinite; T is sought from 0.001 to 1000 and such an end given. Constant
rewards give 1: nothing to change.

>>> rewards = [[2.0, 0.0]] * 3 + [[0.0, 2.0]]  # right in 3 of 4, so σ(2 / T) should be 3 / 4
>>> round(MEASURE(rewards, [[0, 1]] * 4, resamples=0).value, 6)  # 2 / log 3
1.820478
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from plaudit.evaluation.items import margin
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure
from plaudit.evaluation.statistics import Figure, Statistic, effective

# Where a temperature is sought; the end is given where the best lies beyond it.
COOLEST, HOTTEST = 1e-3, 1e3
LOW, HIGH = float(-np.log(HOTTEST)), float(-np.log(COOLEST))  # log β, of β = 1 / T


def temperature(layout: Layout, reward: Floats) -> Statistic:
    """The best temperature, and how to find that of a resample.

    Resamples need the slope of the loss at every T for every set of weights. Its sum over each
    prompt is kept at some eighty T, so that the slopes of a resample are one product, and the root
    is sought between them by cubic interpolation: about six digits.
    """
    margins = margin(layout, reward).values
    prompts = effective(layout.per_prompt(layout.pair_ranking)[:, None])
    if not margins.any():
        return Statistic(np.ones(1), lambda weights: np.ones((len(weights), 1)), prompts)
    best = _best_log_beta(margins)
    nodes = _nodes(margins, best, layout.per_prompt(layout.pair_ranking, _slope(margins, best)))
    slopes = np.stack(
        [layout.per_prompt(layout.pair_ranking, _slope(margins, node)) for node in nodes], axis=1
    )

    def of(weights: Floats) -> Floats:
        return np.exp(-_roots(nodes, weights @ slopes))[:, None]

    return Statistic(np.exp([-best]), of, prompts)


def at_edge(figure: Figure) -> str:
    """A sentence where a temperature, or an end of its interval, is an end of the range in which it
    is sought, so that the best lies beyond it; else nothing.

    >>> at_edge(Figure(0.001))
    'The temperature is at the end of its range (0.001): all pairs are right, so the larger the \
margins the better, and how sure to be cannot be told from them.'
    >>> at_edge(Figure(1.2, 0.9, 1.7))
    ''
    """
    near = 1e-6
    if figure.value <= COOLEST * (1 + near):
        return (
            f"The temperature is at the end of its range ({COOLEST:g}): all pairs are right, so "
            "the larger the margins the better, and how sure to be cannot be told from them."
        )
    if figure.value >= HOTTEST * (1 - near):
        return (
            f"The temperature is at the end of its range ({HOTTEST:,.0f}): the rewards are no "
            "better than chance here, so no division makes them right as often as they are sure."
        )
    ends = [
        f"{end:,g}"
        for end, there in (
            (COOLEST, figure.low is not None and figure.low <= COOLEST * (1 + near)),
            (HOTTEST, figure.high is not None and figure.high >= HOTTEST * (1 - near)),
        )
        if there
    ]
    if not ends:
        return ""
    return (
        f"The interval of the temperature reaches the end of its range ({', '.join(ends)}): "
        "these rewards on these prompts, which are few or hard to tell apart, do not show how sure "
        "to be."
    )


def shown(value: float) -> str:
    """A temperature for a table; at an end of the range it is that or beyond.

    >>> shown(1.25), shown(1000.0), shown(0.001)
    ('1.250', '≥ 1,000', '≤ 0.001')
    """
    if value >= HOTTEST * (1 - 1e-6):
        return f"≥ {HOTTEST:,.0f}"
    return f"≤ {COOLEST:g}" if value <= COOLEST * (1 + 1e-6) else f"{value:.3f}"


def _slope(margins: Floats, log_beta: float) -> Floats:
    """How fast the log likelihood of each margin rises with β; it falls in β."""
    return margins * expit(-margins * np.exp(log_beta))


def _best_log_beta(margins: Floats) -> float:
    """log β of the least loss, within its range."""

    def slope(log_beta: float) -> float:
        return float(_slope(margins, log_beta).sum())

    if slope(LOW) <= 0:
        return LOW
    return HIGH if slope(HIGH) >= 0 else float(brentq(slope, LOW, HIGH, xtol=1e-14))


def _nodes(margins: Floats, best: float, pulls: Floats) -> Floats:
    """The log β at which slopes are kept: over the whole range, and closer where resamples fall.

    `pulls` [P] is the slope of each prompt at the best log β.
    """
    beta = np.exp(best)
    p = expit(margins * beta)
    bend = beta * (margins**2 * p * (1 - p)).sum()  # −d slope / d log β
    # The sandwich estimate of the standard error of log β, with prompts as clusters.
    spread = np.sqrt((pulls**2).sum()) / bend if bend > 0 else np.inf
    near = np.linspace(max(LOW, best - 6 * spread), min(HIGH, best + 6 * spread), 41)
    return np.unique(np.concatenate([np.linspace(LOW, HIGH, 41), near]))


def _roots(nodes: Floats, slopes: Floats) -> Floats:
    """Where rows of falling slopes [B, J], known at nodes [J], cross zero; else the near end."""
    # The last node whose slope is not below zero (in a resample that is separable it may round to
    # zero), and the four nodes around the crossing.
    last = (slopes >= 0).sum(axis=1) - 1
    left = np.clip(last - 1, 0, len(nodes) - 4)
    window = left[:, None] + np.arange(4)
    x, y = nodes[window], np.take_along_axis(slopes, window, axis=1)
    low, high = nodes[np.maximum(last, 0)], nodes[np.clip(last + 1, 0, len(nodes) - 1)]
    between = x[:, :, None] - x[:, None, :] + np.eye(4)
    scale = y / between.prod(axis=2)  # Lagrange's polynomial is Σ_j scale_j Π_{i≠j} (t − x_i)
    for _ in range(40):
        middle = (low + high) / 2
        away = np.repeat((middle[:, None] - x)[:, None, :], 4, axis=1)
        away[:, range(4), range(4)] = 1
        above = (scale * away.prod(axis=2)).sum(axis=1) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(slopes.any(axis=1), (low + high) / 2, 0.0)  # T = 1 where all margins are zero


MEASURE = Measure(
    temperature,
    "temperature",
    group="probabilities",
    ends=(COOLEST, HOTTEST),
    position=140,
    row=40,
    hint="divide rewards by it to be calibrated; above 1: too sure",
)
