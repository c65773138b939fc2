"""Plots of what it took to get there: training, folds, the learning curve, the search.

Each function takes the plain numbers that a run logged and returns a `Plot`. Every heading says
what the plot shows of the data at hand.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from plaudit.console import counted
from plaudit.evaluation.measures import label, measure_named
from plaudit.reporting.drawing import (
    Floats,
    Plot,
    Theme,
    errors,
    percent_tick,
    shortened,
    thousands,
)

MOST_PANELS = 4
MOST_SETTINGS = 3


def training_curves(log: Sequence[Mapping[str, Any]], best_step: int | None = None) -> Plot:
    """Loss and pairwise accuracy over training steps, for training and for validation.

    `log` holds the rows of `log.jsonl`: {"step", "loss", "accuracy"} for training and {"step",
    "eval_log_loss", "eval_pairwise_accuracy"} for validation; other keys are ignored. Training is
    drawn light, with a moving average over it when there are many points. `best_step` marks the
    checkpoint that was kept.

    >>> training_curves([{"step": 10, "eval_log_loss": 0.69}]).heading
    'Validation loss is lowest, 0.690, at step 10'
    """
    heading, detail = _training_heading(log, best_step)

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        for axes, measure, train, valid in (
            (columns[0], "log loss (nats)", "loss", "eval_log_loss"),
            (columns[1], "pairwise accuracy", "accuracy", "eval_pairwise_accuracy"),
        ):
            steps, values = _series(log, train)
            smooth = len(values) >= 50
            axes.plot(
                steps,
                values,
                color=theme.grey,
                alpha=0.4 if smooth else 1,
                linewidth=1 if smooth else 1.5,
                marker="o" if len(values) == 1 else None,
                label=None if smooth or not len(values) else "training",
            )
            if smooth:
                mean = _moving_mean(values)
                axes.plot(steps, mean, color=theme.grey, label="training (moving mean)")
            steps, values = _series(log, valid)
            if len(values):
                axes.plot(
                    steps, values, color=theme.blue, marker="o", markersize=4, label="validation"
                )
            if best_step is not None and axes.get_legend_handles_labels()[0]:
                axes.axvline(best_step, color=theme.vermillion, linestyle="--", linewidth=1.2)
                at, label_kept = np.flatnonzero(steps == best_step), f"kept: step {best_step:,}"
                axes.plot(steps[at], values[at], "o", color=theme.vermillion, label=label_kept)
            axes.set(xlabel="step", ylabel=measure)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            if not axes.get_legend_handles_labels()[0]:
                axes.set(xlim=(0, 1), ylim=(0, 1))
        columns[1].yaxis.set_major_formatter(FuncFormatter(percent_tick))

    return Plot(heading, detail, draw, 3.6, columns=2)


def fold_values(metrics: Mapping[str, Mapping[str, Any]]) -> Plot:
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
        f"{first_label} from {_form(name, low)} to {_form(name, high)} over "
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
            if measure_named(name).form == "share":
                axes.yaxis.set_major_formatter(FuncFormatter(percent_tick))
            axes.tick_params(axis="y", labelsize=9)

    return Plot(heading, detail, draw, 3.6, columns=len(shown))


def learning_curve(curve: Mapping[str, Any], metric: str = "pairwise_accuracy") -> Plot:
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
        f"{_form(metric, first['value'])} to {_form(metric, last['value'])}"
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
        if measure_named(metric).form == "share":
            axes.yaxis.set_major_formatter(FuncFormatter(percent_tick))

    return Plot(heading, detail, draw, 4.0)


def search_history(trials: Sequence[Mapping[str, Any]], metric: str) -> Plot:
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
            f"{label(metric)} {_form(metric, values[best])}"
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
        if measure_named(metric).form == "share":
            axes.yaxis.set_major_formatter(FuncFormatter(percent_tick))

    return Plot(heading, detail, draw, 4.0)


def search_settings(trials: Sequence[Mapping[str, Any]], metric: str) -> Plot | None:
    """What completed trials reached over each setting that varied; None where none did.

    At most three settings are drawn: those whose order agrees most with that of the values, by
    Spearman's rank correlation for numbers, by the spread between the best and worst mean for
    names. Numbers that span a factor of more than 20 are on a logarithmic scale.
    """
    done = [t for t in trials if t["state"] == "complete" and t["value"] is not None]
    names = {name: None for trial in done for name in trial["settings"]}
    varied = {}
    for name in names:
        rows = [(t["settings"][name], t["value"]) for t in done if name in t["settings"]]
        if len({repr(setting) for setting, _ in rows}) > 1:
            varied[name] = rows
    if not varied:
        return None
    strongest = sorted(varied, key=lambda name: -_strength(varied[name]))[:MOST_SETTINGS]
    heading = f"{measure_named(metric).title} over {counted(len(varied), 'setting')} that varied"
    detail = f"{counted(len(done), 'completed trial')}; the setting most related to it first"
    if len(strongest) < len(varied):
        detail += f"; {len(strongest)} are drawn"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        for place, (axes, name) in enumerate(zip(columns, strongest, strict=True)):
            given = [setting for setting, _ in varied[name]]
            values = [value for _, value in varied[name]]
            if _all_numbers(given):
                axes.scatter(given, values, s=22, color=theme.blue, alpha=0.7, linewidths=0)
                if min(given) > 0 and max(given) > 20 * min(given):
                    axes.set_xscale("log")
                    axes.xaxis.set_major_locator(LogLocator(numticks=3))
                    axes.xaxis.set_minor_locator(NullLocator())
                    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                else:
                    whole = all(isinstance(setting, int) for setting in given)
                    axes.xaxis.set_major_locator(MaxNLocator(3, integer=whole, min_n_ticks=2))
            else:
                kinds = sorted({str(setting) for setting in given})
                at = [kinds.index(str(setting)) for setting in given]
                axes.scatter(at, values, s=22, color=theme.blue, alpha=0.7, linewidths=0)
                axes.set_xticks(range(len(kinds)), kinds, rotation=30, ha="right")
                axes.set_xlim(-0.5, len(kinds) - 0.5)
            axes.set_title(shortened(name.replace("_", " "), 12, lines=3), fontsize=10)
            axes.tick_params(labelsize=8)
            if measure_named(metric).form == "share":
                axes.yaxis.set_major_formatter(FuncFormatter(percent_tick))
            if place:
                axes.sharey(columns[0])
                axes.tick_params(labelleft=False)
        columns[0].set_ylabel(label(metric))

    return Plot(heading, detail, draw, 3.4, columns=len(strongest))


def _strength(rows: Sequence[tuple[Any, float]]) -> float:
    """How much a setting has to do with the value, between 0 and 1."""
    from scipy.stats import rankdata

    settings, values = [setting for setting, _ in rows], [value for _, value in rows]
    ranks = rankdata(values)
    if np.ptp(ranks) == 0:
        return 0.0
    if _all_numbers(settings):
        return abs(float(np.corrcoef(rankdata(settings), ranks)[0, 1]))
    groups = np.array([str(setting) for setting in settings])
    # The share of the ranks' variance between the groups, as a correlation: its square root.
    means = np.array([ranks[groups == group].mean() for group in groups])
    return float(np.std(means) / np.std(ranks))


def _all_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _form(metric: str, value: float) -> str:
    return f"{100 * value:.1f} %" if measure_named(metric).form == "share" else f"{value:.3f}"


def _training_heading(log: Sequence[Mapping[str, Any]], best: int | None) -> tuple[str, str]:
    steps, losses = _series(log, "eval_log_loss")
    accuracy = dict(zip(*_series(log, "eval_pairwise_accuracy"), strict=True))
    if len(losses):
        lowest = int(np.argmin(losses))
        heading = f"Validation loss is lowest, {losses[lowest]:.3f}, at step {steps[lowest]:,.0f}"
        if steps[lowest] in accuracy:
            heading += f"; pairwise accuracy there {100 * accuracy[steps[lowest]]:.1f} %"
    else:
        steps, losses = _series(log, "loss")
        if len(losses):
            heading = f"Training loss went from {losses[0]:.3f} to {losses[-1]:.3f}"
        else:
            heading = "Nothing was logged yet"
    detail = f"{counted(len(_series(log, 'loss')[0]), 'training row')}, " + counted(
        len(_series(log, "eval_log_loss")[0]), "evaluation"
    )
    if best is not None:
        detail += f"; the checkpoint of step {best:,} was kept"
    return heading, detail


def _series(log: Sequence[Mapping[str, Any]], key: str) -> tuple[Floats, Floats]:
    """The steps and values of the rows that have `key`, where it is finite."""
    rows = [(row["step"], row[key]) for row in log if row.get(key) is not None]
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    table = table[np.isfinite(table[:, 1])]
    return table[:, 0], table[:, 1]


def _moving_mean(values: Floats) -> Floats:
    """The mean over a twentieth of the series around each point, over what there is at the ends."""
    window = np.ones(len(values) // 20 * 2 + 1)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
