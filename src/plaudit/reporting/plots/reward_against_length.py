"""Whether longer completions have higher rewards."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from plaudit.console import counted
from plaudit.data.cells import characters
from plaudit.evaluation.layout import Floats
from plaudit.reporting.drawing import Data, Drawing, Theme, finite_row, thousands
from plaudit.reporting.plots import Plot

if TYPE_CHECKING:
    from plaudit.reporting.evaluation import Evaluation

MANY_POINTS = 2000
RASTER_POINTS = 300  # above this many, an SVG holds the points as one small image


def reward_against_length(rewards: ArrayLike, lengths: ArrayLike) -> Drawing:
    """Reward over length of each completion, with Spearman's rank correlation in the heading.

    `rewards` and `lengths` (characters) are [N]. Points, or hexagons of counts when there are more
    than 2,000, and the median reward of each tenth of the lengths.

    >>> reward_against_length([1.2, 0.4, 0.1], [340, 200, 80]).heading
    "Reward rises with length: Spearman's ρ = +1.00"
    """
    reward, length = finite_row(rewards), finite_row(lengths)
    if len(reward) != len(length):
        raise ValueError(f"{len(reward)} rewards for {len(length)} lengths")
    detail = counted(len(reward), "completion")
    if len(reward) < 2 or np.ptp(reward) == 0 or np.ptp(length) == 0:
        heading = "Too little varies to relate reward to length"
    else:
        rho = float(spearmanr(reward, length).statistic)
        if abs(rho) < 0.1:
            heading = f"Reward hardly depends on length: Spearman's ρ = {rho:+.2f}"
        else:
            how = "rises" if rho > 0 else "falls"
            heading = f"Reward {how} with length: Spearman's ρ = {rho:+.2f}"
    # Lengths spread over orders of magnitude; a linear axis would press most of them to one side.
    wide = len(length) > 0 and length.min() > 0 and length.max() > 10 * length.min()

    tenths = np.array_split(np.argsort(length, kind="stable"), 10) if len(reward) >= 100 else []
    medians = np.array([(np.median(length[each]), np.median(reward[each])) for each in tenths])
    # Where the picture has no points, its data have none either.
    data = Data(("length", "reward"), np.column_stack([length, reward]).tolist())
    if len(reward) > MANY_POINTS:
        data = Data(("median_length", "median_reward"), medians.tolist())

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        if len(reward) > MANY_POINTS:
            _hexagons(axes, length, reward, "log" if wide else "linear", theme)
        else:
            alpha = 0.7 if len(reward) < 300 else 0.35
            raster = len(reward) > RASTER_POINTS
            axes.scatter(
                length, reward, s=16, color=theme.blue, alpha=alpha, linewidths=0, rasterized=raster
            )
            if wide:
                axes.set_xscale("log")
        if len(reward) >= 100:
            label = "median of each tenth of lengths"
            axes.plot(*medians.T, "o-", color=theme.vermillion, markersize=4, label=label)
        if wide:
            decades = np.log10(length.max() / length.min())
            subs = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,)
            axes.xaxis.set_major_locator(LogLocator(subs=subs))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(thousands))
        axes.set(xlabel="length of the completion (characters)", ylabel="reward")

    return Drawing(heading, detail, draw, 4.4, data=data)


def _hexagons(axes: Axes, x: Floats, y: Floats, xscale: Any, theme: Theme) -> None:
    shades = ["#CBE1F0", "#5AA5D3", theme.blue] if theme.paper == "#FFFFFF" else [
        theme.pale, "#3C7299", theme.blue,
    ]  # fmt: skip
    shading = axes.hexbin(
        x,
        y,
        gridsize=45,
        mincnt=1,
        bins="log",
        cmap=LinearSegmentedColormap.from_list("blue", shades),
        linewidths=0.1,
        xscale=xscale,
        rasterized=True,
    )
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.colorbar(
        shading,
        ax=axes,
        label="completions",
        pad=0.01,
        ticks=LogLocator(subs=(1, 2, 5)),
        format=FuncFormatter(thousands),
    ).minorticks_off()


def _draw(evaluation: "Evaluation") -> Drawing:
    lengths = [characters(text) for each in evaluation.rankings for text in each.completions]
    return reward_against_length(np.concatenate(evaluation.rewards), lengths)


PLOT = Plot(
    "evaluation",
    _draw,
    section="What does it lean on?",
    file="reward_against_length.png",
    position=40,
)
