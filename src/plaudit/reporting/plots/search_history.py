"""What the trials of a search reached, one after the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from plaudit.console import counted
from plaudit.evaluation.layout import Floats
from plaudit.evaluation.measures import label, measure_named
from plaudit.reporting.drawing import Data, Drawing, Theme, share_ticks, written
from plaudit.reporting.plots import Plot


def search_history(trials: Sequence[Mapping[str, Any]], metric: str) -> Drawing:
    """What each trial of a search reached, the best so far, and which were cut short.

    `trials` hold {"number", "state": "complete" | "pruned" | "failed", "value" or None}; failed
    ones have no place in the plot and are counted in its detail.

    >>> trial = {"number": 0, "state": "complete", "value": 0.71}
    >>> search_history([trial, trial | {"number": 1, "value": 0.7}], "pairwise_accuracy").heading
    'The best of 2 trials is number 0: pairwise accuracy 71.0 %'
    """
    lower = measure_named(metric).lower_is_better
    by_state: dict[str, tuple[Floats, Floats]] = {}
    for state in ("complete", "pruned"):
        rows = [
            (trial["number"], trial["value"])
            for trial in trials
            if trial["state"] == state and trial["value"] is not None
        ]
        table = np.array(sorted(rows), dtype=np.float64).reshape(-1, 2)
        by_state[state] = table[:, 0], table[:, 1]
    at, values = by_state["complete"]
    if len(values):
        best = int(np.argmin(values) if lower else np.argmax(values))
        heading = (
            f"The best of {counted(len(trials), 'trial')} is number {at[best]:.0f}: "
            f"{label(metric)} {written(metric, values[best])}"
        )
    else:
        heading = "No trial was completed"
    counts = [
        f"{sum(trial['state'] == state for trial in trials):,} {word}"
        for state, word in (("complete", "completed"), ("pruned", "pruned"), ("failed", "failed"))
    ]
    detail = ", ".join(counts)

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        if len(values):
            so_far = np.minimum.accumulate(values) if lower else np.maximum.accumulate(values)
            axes.step(at, so_far, where="post", color=theme.vermillion, label="best so far")
            axes.plot(at, values, "o", color=theme.blue, markersize=5, label="completed")
        numbers, ends = by_state["pruned"]
        if len(ends):
            axes.plot(
                numbers, ends, "x", color=theme.grey, markersize=6, label="pruned, where it stood"
            )
        axes.set(xlabel="trial", ylabel=label(metric))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        share_ticks(axes, metric)

    data = Data(("trial", "state", metric), [(t["number"], t["state"], t["value"]) for t in trials])
    return Drawing(heading, detail, draw, 4.0, data=data)


PLOT = Plot(
    "search",
    lambda search: search_history(search["trials"], search["metric"]),
    section="The search",
    position=10,
)
