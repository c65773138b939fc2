"""Plots of rewards: how they are spread, how often they are right, what they follow.

Each function takes plain numbers and returns a `Plot`, to be written as a PNG or put into a report.
Every heading says what the plot shows of the data at hand. Values must be finite; there may be
none, one, or all of them equal.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from plaudit.console import counted
from plaudit.reporting.drawing import (
    Floats,
    Plot,
    Theme,
    errors,
    finite_row,
    percent,
    percent_tick,
    shortened,
    thousands,
)

MANY_POINTS = 2000
RASTER_POINTS = 300  # above this many, an SVG holds the points as one small image
MOST_PROMPTS = 40
MOST_CATEGORIES = 24


def reward_distributions(better: ArrayLike, worse: ArrayLike) -> Plot:
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
    edges = _edges(np.concatenate([values for _, values in sides]))

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

    return Plot(heading, detail, draw, 4.2)


def margins(margins: ArrayLike) -> Plot:
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
    edges = _edges(values, through_zero=True)
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

    return Plot(heading, detail, draw, 4.2)


def reward_against_length(rewards: ArrayLike, lengths: ArrayLike) -> Plot:
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
            tenths = np.array_split(np.argsort(length, kind="stable"), 10)
            x = [np.median(length[tenth]) for tenth in tenths]
            y = [np.median(reward[tenth]) for tenth in tenths]
            label = "median of each tenth of lengths"
            axes.plot(x, y, "o-", color=theme.vermillion, markersize=4, label=label)
        if wide:
            decades = np.log10(length.max() / length.min())
            subs = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,)
            axes.xaxis.set_major_locator(LogLocator(subs=subs))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(thousands))
        axes.set(xlabel="length of the completion (characters)", ylabel="reward")

    return Plot(heading, detail, draw, 4.4)


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


def accuracy_by_category(by_category: Mapping[str, Mapping[str, Any]]) -> Plot:
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

    return Plot(heading, detail, draw, max(2.6, 1.4 + 0.32 * len(names)))


def reliability(bins: Sequence[Mapping[str, Any]]) -> Plot:
    """How often the model is right, over how sure it says it is.

    `bins` is the entry `reliability` of what `summarise` returns: for each bin of the predicted
    probability that the first of two completions is the better one, the mean prediction, the
    observed share with its interval, and the number of pairs. Points on the diagonal are well
    calibrated; below it, the model is surer than it is right. The heading says so only where the
    mean gap is beyond what noise alone makes in 95 of 100 cases.

    >>> observed = {"value": 0.6, "low": 0.5, "high": 0.7}
    >>> row = {"low": 0.8, "high": 0.9, "predicted": 0.85, "observed": observed, "pairs": 40}
    >>> reliability([row]).heading
    'Surer than it is right: by 25 points on average'
    """
    pairs = np.array([row["pairs"] for row in bins], dtype=np.float64)
    predicted = np.array([row["predicted"] for row in bins], dtype=np.float64)
    observed = np.array([row["observed"]["value"] for row in bins], dtype=np.float64)
    if not len(bins):
        heading = "No pairs to hold predictions against"
    else:
        # What a prediction below one half is sure of is the opposite.
        too_sure = np.where(predicted >= 0.5, predicted - observed, observed - predicted)
        weight = pairs / pairs.sum()
        gap, noise = float(weight @ too_sure), float(np.hypot.reduce(weight * _noise(bins)))
        if abs(gap) <= 1.96 * noise:
            heading = "As sure as it is right, as far as these pairs can tell"
        else:
            how = "Surer than it is right" if gap > 0 else "Less sure than it could be"
            heading = f"{how}: by {100 * abs(gap):.0f} points on average"
    detail = f"{counted(int(pairs.sum()), 'pair')} in {counted(len(bins), 'bin')}, 95 % intervals"
    start = 0.5 if all(row["low"] >= 0.5 for row in bins) else 0.0

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        axes.plot([start, 1], [start, 1], ":", color=theme.grey, label="as sure as it is right")
        for row in bins:
            figure = row["observed"]
            reach = errors(figure["value"], figure["low"], figure["high"])
            axes.errorbar(row["predicted"], figure["value"], reach, color=theme.blue, linewidth=1.5)
        if len(bins):
            # The area of a point is the share of the pairs behind it.
            area = 10 + 170 * pairs / pairs.max()
            axes.scatter(
                predicted, observed, area, color=theme.blue, zorder=3, label="larger: more pairs"
            )
        axes.set(
            xlim=(start - 0.02, 1.02),
            ylim=(-0.03, 1.03),
            xlabel="probability the model gives",
            ylabel="how often it comes true",
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(percent_tick))

    return Plot(heading, detail, draw, 4.2)


def _noise(bins: Sequence[Mapping[str, Any]]) -> Floats:
    """The standard error of the observed share of each bin.

    That of its interval, which knows that the pairs of a prompt go together, but no less than that
    of as many independent pairs: a bin with few of them may have no interval, or one of no width.
    """
    found = []
    for row in bins:
        low, high = row["observed"]["low"], row["observed"]["high"]
        of_interval = 0.0 if low is None else (high - low) / (2 * 1.96)
        independent = np.sqrt(row["predicted"] * (1 - row["predicted"]) / row["pairs"])
        found.append(max(of_interval, float(independent)))
    return np.array(found)


def comparison(
    prompts: Sequence[str],
    completions: Sequence[Sequence[str]],
    rewards: Sequence[ArrayLike],
) -> Plot:
    """The rewards of each prompt's completions as dots on a row, the best one marked and quoted.

    For P prompts, `completions` and `rewards` hold n_i texts and n_i rewards each. Texts are
    shortened; of more than 40 prompts the first 40 are drawn, and the plot says so.

    >>> comparison(["2+2?"], [["4", "5"]], [[1.3, -0.7]]).heading
    'Best-of-2 gains 1.00 reward over the mean completion'
    """
    rows = [finite_row(reward) for reward in rewards]
    if [len(row) for row in rows] != [len(texts) for texts in completions] or (
        len(rows) != len(prompts)
    ):
        raise ValueError("each prompt needs its completions and a reward for each of them")
    gains = [row.max() - row.mean() for row in rows if len(row)]
    if gains:
        most = max(map(len, rows))
        heading = f"Best-of-{most} gains {np.mean(gains):.2f} reward over the mean completion"
    else:
        heading = "No completions to compare"
    drawn = min(len(rows), MOST_PROMPTS)
    detail = f"{counted(len(rows), 'prompt')}, {counted(sum(map(len, rows)), 'completion')}"
    if drawn < len(rows):
        detail += f"; the first {drawn} prompts are drawn"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        for y, row in enumerate(rows[:drawn]):
            if not len(row):
                continue
            best = int(np.argmax(row))
            axes.plot([row.min(), row.max()], [y, y], color=theme.pale, linewidth=1.5, zorder=1)
            axes.scatter(row, np.full(len(row), y), s=28, color=theme.grey, alpha=0.6, linewidths=0)
            axes.scatter(row[best], y, s=64, color=theme.vermillion, zorder=3)
            axes.annotate(
                shortened(completions[y][best], 40, lines=2),
                xy=(1.02, y),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8.5,
                color=theme.vermillion,
            )
        labels = [shortened(prompt, 40, lines=2) for prompt in prompts[:drawn]]
        axes.set_yticks(np.arange(drawn), labels, fontsize=8.5)
        axes.set_ylim(max(drawn, 1) - 0.4, -0.6)  # the first prompt on top
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("reward")
        if drawn:
            note: dict[str, Any] = {
                "xycoords": "axes fraction",
                "textcoords": "offset points",
                "fontsize": 9,
            }
            axes.annotate("prompt", (0, 1), (-6, 4), ha="right", weight="bold", **note)
            axes.annotate(
                "best completion", (1.02, 1), (0, 4), weight="bold", color=theme.vermillion, **note
            )

    return Plot(heading, detail, draw, 0.9 + 0.46 * max(drawn, 2), width=10.5)


def _edges(values: Floats, through_zero: bool = False) -> Floats:
    """Edges of 10 to 60 equal bins over `values`, one of them at zero if asked."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    if through_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    spread = high - low
    if spread <= 1e-9 * max(abs(low), abs(high), 1e-300):
        if through_zero:
            return np.arange(-5, 6) / 10
        return low + np.arange(-5.5, 6) / 10 * max(1.0, abs(low) / 1000)
    # Freedman & Diaconis (1981), within what can be read.
    quartiles = np.subtract(*np.quantile(values, [0.75, 0.25])) if len(values) else 0.0
    wanted = 2 * float(quartiles) / max(len(values), 1) ** (1 / 3)
    width = float(np.clip(wanted, spread / 60, spread / 10))
    if through_zero:
        edges = width * np.arange(np.floor(low / width), np.floor(high / width) + 2)
        # A product may round to just inside the outermost values.
        edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
        return edges
    return np.linspace(low, high, int(np.ceil(spread / width)) + 1)


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if len(mask) else 0.0
