"""Histograms of the rewards of chosen and of rejected completions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from plaudit.reporting.drawing import Data, Drawing, Theme, bin_edges, finite_row, percent_tick
from plaudit.reporting.plots import Plot


def reward_distributions(better: ArrayLike, worse: ArrayLike) -> Drawing:
    """Histograms of the rewards of chosen and of rejected completions, with their medians.

    `better` and `worse` are [N] and [M] rewards; a completion in several pairs may stand in them
    several times.

    >>> reward_distributions([1.2, 0.4], [0.1, -0.3]).heading
    'Median reward: chosen 0.90 above rejected'
    """
    sides = [("chosen", finite_row(better)), ("rejected", finite_row(worse))]
    medians = [float(np.median(values)) for _, values in sides if len(values)]
    if len(medians) < 2:
        heading = "No rewards of chosen and rejected completions to compare"
    elif medians[0] == medians[1]:
        heading = "Median reward: the same for chosen and rejected"
    else:
        word = "above" if medians[0] > medians[1] else "below"
        heading = f"Median reward: chosen {abs(medians[0] - medians[1]):.2f} {word} rejected"
    detail = "rewards of " + ", ".join(f"{len(values):,} {name}" for name, values in sides)
    edges = bin_edges(np.concatenate([values for _, values in sides]))

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        for (name, values), color in zip(sides, (theme.blue, theme.vermillion), strict=True):
            if not len(values):
                continue
            # Shares, so that sides of unequal number compare.
            heights = np.histogram(values, edges)[0] / len(values)
            median = float(np.median(values))
            axes.stairs(heights, edges, fill=True, color=color, alpha=0.3)
            axes.stairs(heights, edges, color=color, linewidth=1.5)
            label = f"{name}, median {median:.2f}".replace("-", "−")
            axes.axvline(median, color=color, linestyle="--", linewidth=1.5, label=label)
        axes.set(xlabel="reward", ylabel="share of its kind")
        axes.yaxis.set_major_formatter(FuncFormatter(percent_tick))
        axes.set_ylim(bottom=0)

    shares = [np.histogram(values, edges)[0] / max(len(values), 1) for _, values in sides]
    data = Data(
        ("from", "to", *(name for name, _ in sides)),
        np.column_stack([edges[:-1], edges[1:], *shares]).tolist(),
    )
    return Drawing(heading, detail, draw, 4.2, data=data)


PLOT = Plot(
    "evaluation",
    lambda evaluation: reward_distributions(*evaluation.pair_rewards()),
    section="Is it right?",
    file="rewards.png",
    position=20,
)
