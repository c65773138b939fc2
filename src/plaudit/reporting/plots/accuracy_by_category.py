"""In which categories the model is right more often than the longer completion is."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from plaudit.console import counted
from plaudit.reporting.drawing import Data, Drawing, Theme, percent_tick, shortened
from plaudit.reporting.plots import Plot

if TYPE_CHECKING:
    from plaudit.reporting.evaluation import Evaluation

MOST_CATEGORIES = 24


def accuracy_by_category(by_category: Mapping[str, Mapping[str, Any]]) -> Drawing:
    """Pairwise accuracy of each category as a bar with its interval, the length baseline as a tick.

    `by_category` is that entry of what `summarise` returns. Best category first; of more than 24,
    those with the most pairs are drawn, and the plot says so.

    >>> from plaudit import evaluate
    >>> summary = evaluate("runs/first", "pairs.jsonl").summary
    >>> accuracy_by_category(summary["by_category"]).write("categories.png")
    PosixPath('categories.png')
    """
    accuracy = {n: entry["pairwise_accuracy"]["value"] for n, entry in by_category.items()}
    baseline = {n: entry["length_baseline"]["value"] for n, entry in by_category.items()}
    beaten = sum(accuracy[name] > baseline[name] for name in by_category)
    if by_category:
        heading = f"Above the length baseline in {beaten} of {counted(len(accuracy), 'category')}"
    else:
        heading = "The data name no categories"
    names = sorted(by_category, key=lambda name: (-by_category[name]["pairs"], name))
    names = sorted(names[:MOST_CATEGORIES], key=lambda name: (accuracy[name], name))
    detail = "pairwise accuracy with 95 % interval; number of pairs in brackets"
    if len(names) < len(by_category):
        detail += f"; the {len(names)} with the most pairs"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        rows = np.arange(len(names))
        axes.barh(rows, [accuracy[n] for n in names], height=0.66, color=theme.blue, alpha=0.35)
        for row, name in enumerate(names):
            figure = by_category[name]["pairwise_accuracy"]
            if figure["low"] is not None:
                axes.plot([figure["low"], figure["high"]], [row, row], color=theme.blue)
        axes.plot(
            [accuracy[name] for name in names],
            rows,
            "o",
            color=theme.blue,
            markersize=5,
            clip_on=False,
            label="reward model",
        )
        axes.plot(
            [baseline[name] for name in names],
            rows,
            "|",
            color=theme.vermillion,
            markersize=13,
            markeredgewidth=2.5,
            clip_on=False,
            label="preferring the longer completion",
        )
        axes.axvline(0.5, color=theme.ink, linewidth=1, linestyle=":", label="coin toss")
        labels = [f"{shortened(name, 32)}  ({by_category[name]['pairs']:,})" for name in names]
        axes.set_yticks(rows, labels)
        axes.set(xlim=(0, 1.005), ylim=(-0.6, max(len(names), 1) - 0.4))
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(percent_tick))
        axes.set_xlabel("pairwise accuracy")

    data = Data(
        ("category", "pairwise_accuracy", "low", "high", "length_baseline", "pairs"),
        [
            (name, *entry["pairwise_accuracy"].values(), baseline[name], entry["pairs"])
            for name, entry in by_category.items()
        ],
    )
    return Drawing(heading, detail, draw, max(2.6, 1.4 + 0.32 * len(names)), data=data)


def _draw(evaluation: "Evaluation") -> Drawing | None:
    by_category = evaluation.summary["by_category"]
    return accuracy_by_category(by_category) if by_category else None


PLOT = Plot(
    "evaluation",
    _draw,
    section="Where is it right?",
    file="accuracy_by_category.png",
    position=50,
)
