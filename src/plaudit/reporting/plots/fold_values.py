"""How much figures vary from fold to fold of a cross-validation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from plaudit.console import counted
from plaudit.evaluation.measures import label, measure_named
from plaudit.reporting.drawing import Data, Drawing, Theme, errors, share_ticks, written
from plaudit.reporting.plots import Plot

MOST_PANELS = 4


def fold_values(metrics: Mapping[str, Mapping[str, Any]]) -> Drawing:
    """What each fold reached, a dot each, beside the mean over folds and its interval.

    `metrics` holds for each name {"mean", "low", "high", "folds": [values]}; the first four are
    drawn, each on its own scale.

    >>> fold_values({"auc": {"mean": 0.7, "low": 0.6, "high": 0.8, "folds": [0.6, 0.8]}}).heading
    'AUC from 0.600 to 0.800 over 2 folds'
    """
    shown = dict(list(metrics.items())[:MOST_PANELS])
    if not shown:
        raise ValueError("there is no metric to draw")
    name, first = next(iter(shown.items()))
    low, high = min(first["folds"]), max(first["folds"])
    first_label = measure_named(name).title
    heading = (
        f"{first_label} from {written(name, low)} to {written(name, high)} over "
        f"{counted(len(first['folds']), 'fold')}"
    )
    detail = "each dot a fold; beside them their mean with its 95 % interval"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        for axes, (name, entry) in zip(columns, shown.items(), strict=True):
            values = np.asarray(entry["folds"], dtype=np.float64)
            # Side by side in their order, so that equal folds do not hide each other.
            x = np.linspace(-0.25, 0.25, len(values)) if len(values) > 1 else np.zeros(1)
            axes.scatter(x, values, s=30, color=theme.blue, alpha=0.6, linewidths=0, label="fold")
            axes.errorbar(
                0.7,
                entry["mean"],
                errors(entry["mean"], entry["low"], entry["high"]),
                fmt="o",
                color=theme.vermillion,
                markersize=6,
                label="mean, 95 % interval",
            )
            axes.set(xlim=(-0.5, 1), xticks=[])
            axes.set_title(label(name).replace(" ", "\n", 1), fontsize=10)
            axes.grid(axis="x", visible=False)
            axes.yaxis.set_major_locator(MaxNLocator(5))
            share_ticks(axes, name)
            axes.tick_params(axis="y", labelsize=9)

    data = Data(
        ("measure", "fold", "value"),
        [
            (name, n, value)
            for name, entry in metrics.items()
            for n, value in enumerate(entry["folds"])
        ],
    )
    return Drawing(heading, detail, draw, 3.6, columns=len(shown), data=data)


PLOT = Plot(
    "cross-validation",
    lambda summary: fold_values(summary["metrics"]),
    section="From fold to fold",
    position=10,
)
