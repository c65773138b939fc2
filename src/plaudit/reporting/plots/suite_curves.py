"""Scores of benchmarks over the steps of a training run."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from plaudit.console import counted
from plaudit.reporting.drawing import Drawing, Theme
from plaudit.reporting.plots import Log, Plot

DASHES = ("-", "--", ":", "-.")


def suite_curves(
    log: Sequence[Mapping[str, Any]], suites: Sequence[str], best_step: int | None = None
) -> Drawing | None:
    """The score of each benchmark that a run watched, at every validation; None where none was.

    `log` holds the rows of `log.jsonl`, in which the score of a suite is `eval_NAME`. `best_step`
    marks the checkpoint that was kept.

    >>> rows = [{"step": 0, "eval_llmbar": 0.5}, {"step": 50, "eval_llmbar": 0.625}]
    >>> suite_curves(rows, ["llmbar"]).heading
    'llmbar went from 0.500 to 0.625'
    """
    series = {}
    for name in suites:
        key = f"eval_{name}"
        points = [(row["step"], row[key]) for row in log if row.get(key) is not None]
        if points:
            series[name] = points
    if not series:
        return None
    changes = [f"{name} went from {p[0][1]:.3f} to {p[-1][1]:.3f}" for name, p in series.items()]
    validations = max(map(len, series.values()))
    detail = f"{counted(validations, 'validation')}; on some items of each, the same every time"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        colours = (theme.blue, theme.vermillion, theme.grey)
        for place, (name, points) in enumerate(series.items()):
            steps, scores = zip(*points, strict=True)
            colour = colours[place % len(colours)]
            dash = DASHES[place // len(colours) % len(DASHES)]
            axes.plot(steps, scores, dash, color=colour, marker="o", markersize=4, label=name)
        if best_step is not None:
            axes.axvline(best_step, color=theme.grey, linestyle=":", linewidth=1.2)
        axes.set(xlabel="step", ylabel="score")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))

    return Drawing("; ".join(changes), detail, draw, 3.2)


def _of_run(log: Log) -> Drawing | None:
    return suite_curves(log.rows, log.suites, log.best_step)


PLOT = Plot("run", _of_run, section="How it was trained", file="suites.png", position=20)
