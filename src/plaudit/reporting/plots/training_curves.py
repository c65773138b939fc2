"""Loss and accuracy over the steps of a training run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from plaudit.console import counted
from plaudit.evaluation.layout import Floats
from plaudit.reporting.drawing import Data, Drawing, Theme, percent_tick
from plaudit.reporting.plots import Plot


def training_curves(log: Sequence[Mapping[str, Any]], best_step: int | None = None) -> Drawing:
    """Loss and pairwise accuracy over training steps, for training and for validation.

    `log` holds the rows of `log.jsonl`: {"step", "loss", "accuracy"} for training and {"step",
    "eval_log_loss" or "eval_controlled_log_loss", "eval_pairwise_accuracy"} for validation; other
    keys are ignored. Training is drawn light, with a moving average over it when there are many
    points. `best_step` marks the checkpoint that was kept.

    >>> training_curves([{"step": 10, "eval_log_loss": 0.69}]).heading
    'Validation loss is lowest, 0.690, at step 10'
    """
    # With a control, what is trained on is the loss of the reward and what the control adds.
    controlled = any("eval_controlled_log_loss" in row for row in log)
    validated = "eval_controlled_log_loss" if controlled else "eval_log_loss"
    measured = "loss, with what the control adds" if controlled else "log loss (nats)"
    heading, detail = _training_heading(log, best_step, validated)

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        for axes, measure, train, valid in (
            (columns[0], measured, "loss", validated),
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

    logged = ("loss", "accuracy", validated, "eval_pairwise_accuracy")
    data = Data(
        ("logged", "step", "value"),
        [(key, *row) for key in logged for row in np.column_stack(_series(log, key)).tolist()],
    )
    return Drawing(heading, detail, draw, 3.6, columns=2, data=data)


def _training_heading(
    log: Sequence[Mapping[str, Any]], best: int | None, validated: str
) -> tuple[str, str]:
    steps, losses = _series(log, validated)
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
        len(_series(log, validated)[0]), "evaluation"
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


PLOT = Plot(
    "run",
    lambda log: training_curves(log.rows, log.best_step),
    section="How it was trained",
    file="training.png",
    position=10,
)
