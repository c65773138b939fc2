"""Whether the model is right as often as it is sure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from plaudit.console import counted
from plaudit.evaluation.layout import Floats
from plaudit.reporting.drawing import Data, Drawing, Theme, errors, percent_tick
from plaudit.reporting.plots import Plot


def reliability(bins: Sequence[Mapping[str, Any]]) -> Drawing:
    """How often the model is right, over how sure it says it is.

    `bins` is the entry `reliability` of what `summarise` returns: for each bin of the predicted
    probability that the first of two completions is the better one, the mean prediction, the
    observed share with its interval, and the number of pairs. Points on the diagonal are well
    calibrated; below it, the model is surer than it is right. The heading says so only where the
    mean gap is beyond what noise alone makes in 95 of 100 cases.

    >>> observed = {"value": 0.6, "low": 0.5, "high": 0.7}
    >>> row = {"low": 0.8, "high": 0.9, "predicted": 0.85, "observed": observed, "pairs": 40}
    >>> reliability([row]).heading
    'Surer than it is right: by 25 points on average'
    """
    pairs = np.array([row["pairs"] for row in bins], dtype=np.float64)
    predicted = np.array([row["predicted"] for row in bins], dtype=np.float64)
    observed = np.array([row["observed"]["value"] for row in bins], dtype=np.float64)
    if not len(bins):
        heading = "No pairs to hold predictions against"
    else:
        # What a prediction below one half is sure of is the opposite.
        too_sure = np.where(predicted >= 0.5, predicted - observed, observed - predicted)
        weight = pairs / pairs.sum()
        gap, noise = float(weight @ too_sure), float(np.hypot.reduce(weight * _noise(bins)))
        if abs(gap) <= 1.96 * noise:
            heading = "As sure as it is right, as far as these pairs can tell"
        else:
            how = "Surer than it is right" if gap > 0 else "Less sure than it could be"
            heading = f"{how}: by {100 * abs(gap):.0f} points on average"
    detail = f"{counted(int(pairs.sum()), 'pair')} in {counted(len(bins), 'bin')}, 95 % intervals"
    start = 0.5 if all(row["low"] >= 0.5 for row in bins) else 0.0

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        axes.plot([start, 1], [start, 1], ":", color=theme.grey, label="as sure as it is right")
        for row in bins:
            figure = row["observed"]
            reach = errors(figure["value"], figure["low"], figure["high"])
            axes.errorbar(row["predicted"], figure["value"], reach, color=theme.blue, linewidth=1.5)
        if len(bins):
            # The area of a point is the share of the pairs behind it.
            area = 10 + 170 * pairs / pairs.max()
            axes.scatter(
                predicted, observed, area, color=theme.blue, zorder=3, label="larger: more pairs"
            )
        axes.set(
            xlim=(start - 0.02, 1.02),
            ylim=(-0.03, 1.03),
            xlabel="probability the model gives",
            ylabel="how often it comes true",
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(percent_tick))

    data = Data(
        ("from", "to", "predicted", "observed", "low", "high", "pairs"),
        [
            (row["low"], row["high"], row["predicted"], *row["observed"].values(), row["pairs"])
            for row in bins
        ],
    )
    return Drawing(heading, detail, draw, 4.2, data=data)


def _noise(bins: Sequence[Mapping[str, Any]]) -> Floats:
    """The standard error of the observed share of each bin.

    That of its interval, which knows that the pairs of a prompt go together, but no less than that
    of as many independent pairs: a bin with few of them may have no interval, or one of no width.
    """
    found = []
    for row in bins:
        low, high = row["observed"]["low"], row["observed"]["high"]
        of_interval = 0.0 if low is None else (high - low) / (2 * 1.96)
        independent = np.sqrt(row["predicted"] * (1 - row["predicted"]) / row["pairs"])
        found.append(max(of_interval, float(independent)))
    return np.array(found)


PLOT = Plot(
    "evaluation",
    lambda evaluation: reliability(evaluation.summary["reliability"]),
    section="Does it know how sure to be?",
    position=30,
)
