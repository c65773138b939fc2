"""Histogram of the margins of ordered pairs: which are right, and by how much."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from plaudit.console import counted
from plaudit.reporting.drawing import Data, Drawing, Theme, bin_edges, finite_row, percent
from plaudit.reporting.plots import Plot

if TYPE_CHECKING:
    from plaudit.reporting.evaluation import Evaluation


def margins(margins: ArrayLike) -> Drawing:
    """Histogram of r_chosen − r_rejected, those below zero in the other colour and counted.

    `margins` is [N], in units of reward.

    >>> margins([1.1, 0.7, -0.2, -0.3]).heading
    '50 % of margins are above zero'
    """
    values = finite_row(margins)
    above, below = _share(values > 0), _share(values < 0)
    if len(values):
        heading = f"{percent(above)} of margins are above zero"
        detail = f"{counted(len(values), 'pair')}, mean margin {values.mean():+.2f}"
        if above + below < 1:
            detail += f", {percent(_share(values == 0))} exactly zero"
    else:
        heading, detail = "No margins to show", "0 pairs"
    edges = bin_edges(values, through_zero=True)
    counts = np.histogram(values, edges)[0]

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        for side, color, label in (
            (edges[:-1] >= 0, theme.blue, f"chosen has the higher reward: {percent(above)}"),
            (edges[:-1] < 0, theme.vermillion, f"rejected has the higher reward: {percent(below)}"),
        ):
            if len(values):
                axes.bar(
                    edges[:-1],
                    counts * side,  # a side without margins keeps its line in the legend
                    np.diff(edges),
                    align="edge",
                    color=color,
                    alpha=0.75,
                    edgecolor=theme.paper,
                    linewidth=0.5,
                    label=label,
                )
        axes.axvline(0, color=theme.ink, linewidth=1.2)
        axes.set(xlabel="margin: reward of chosen − reward of rejected", ylabel="pairs")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))

    data = Data(("from", "to", "pairs"), np.column_stack([edges[:-1], edges[1:], counts]).tolist())
    return Drawing(heading, detail, draw, 4.2, data=data)


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if len(mask) else 0.0


def _draw(evaluation: "Evaluation") -> Drawing:
    better, worse = evaluation.pair_rewards()
    return margins(better - worse)


PLOT = Plot("evaluation", _draw, section="Is it right?", file="margins.png", position=10)
