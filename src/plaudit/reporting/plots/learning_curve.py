"""What training on fewer rankings reached, and what more would."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from plaudit.console import counted
from plaudit.evaluation.measures import label
from plaudit.reporting.drawing import Data, Drawing, Theme, errors, share_ticks, thousands, written
from plaudit.reporting.plots import Plot


def learning_curve(curve: Mapping[str, Any], metric: str = "pairwise_accuracy") -> Drawing:
    """What training on fewer rankings reached, and what the fitted curve makes of more.

    `curve` holds "points", [{"rankings", "value", "low", "high"}], and "fit", {"formula", "curve":
    points of the same form, in order} or None. Where the fit goes beyond the most rankings that
    were tried it is drawn dashed.

    >>> points = [{"rankings": n, "value": v, "low": v, "high": v} for n, v in ((50, .6), (99, .7))]
    >>> learning_curve({"points": points, "fit": None}).heading
    'From 50 to 99 rankings: pairwise accuracy 60.0 % to 70.0 %'
    """
    points = sorted(curve["points"], key=lambda point: point["rankings"])
    if not points:
        raise ValueError("a learning curve needs a point")
    first, last = points[0], points[-1]
    heading = (
        f"From {first['rankings']:,} to {counted(last['rankings'], 'ranking')}: {label(metric)} "
        f"{written(metric, first['value'])} to {written(metric, last['value'])}"
    )
    fit = curve["fit"]
    detail = f"{counted(len(points), 'size')}, 95 % intervals"
    if fit is not None:
        detail += f"; fitted: {fit['formula']}"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        if fit is not None:
            at = np.array([point["rankings"] for point in fit["curve"]], dtype=np.float64)
            values = np.array([point["value"] for point in fit["curve"]], dtype=np.float64)
            if all(point["low"] is not None for point in fit["curve"]):
                lows = [point["low"] for point in fit["curve"]]
                highs = [point["high"] for point in fit["curve"]]
                axes.fill_between(at, lows, highs, color=theme.blue, alpha=0.15, linewidth=0)
            seen = at <= last["rankings"]
            axes.plot(at[seen], values[seen], color=theme.blue, label="fitted curve")
            if not seen.all():
                beyond = np.flatnonzero(~seen)
                from_here = slice(max(beyond[0] - 1, 0), None)
                axes.plot(
                    at[from_here],
                    values[from_here],
                    "--",
                    color=theme.blue,
                    label="beyond the data at hand",
                )
        for place, point in enumerate(points):
            axes.errorbar(
                point["rankings"],
                point["value"],
                errors(point["value"], point["low"], point["high"]),
                fmt="o",
                color=theme.vermillion,
                linewidth=1.5,
                label="measured" if place == 0 else None,
            )
        axes.set(xlabel="rankings to train on", ylabel=label(metric))
        axes.xaxis.set_major_formatter(FuncFormatter(thousands))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        share_ticks(axes, metric)

    both = {"measured": points, "fitted": [] if fit is None else fit["curve"]}
    data = Data(
        ("what", "rankings", "value", "low", "high"),
        [
            (what, *(point[key] for key in ("rankings", "value", "low", "high")))
            for what, every in both.items()
            for point in every
        ],
    )
    return Drawing(heading, detail, draw, 4.0, data=data)


def _draw(summary: Mapping[str, Any]) -> Drawing | None:
    curve = summary["learning_curve"]
    return None if curve is None else learning_curve(curve)


PLOT = Plot("cross-validation", _draw, section="Would more data help?", position=20)
