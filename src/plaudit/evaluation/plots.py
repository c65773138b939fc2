"""Pictures of training, rewards and comparisons: each function takes plain numbers, writes a PNG.

Every heading says what the picture shows of the data at hand. The style is set for the one figure
that is drawn and nothing global is left changed (no pyplot either), so that a notebook's own plots
stay as they were. Values must be finite; there may be none, one, or all of them equal. Importing
this module imports matplotlib, so callers import it when they draw.
"""

import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from plaudit.files import writing

Floats = NDArray[np.float64]

# Blue and vermillion of Okabe & Ito (2008): apart for every kind of colour vision, and in grey.
BLUE, VERMILLION, GREY, INK = "#0072B2", "#D55E00", "#8A9099", "#22262B"
STYLE: Any = {  # untyped: the type of its keys has changed between versions of matplotlib
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,  # a prompt may hold dollar signs
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8EAED",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 2,
}
# Prompts come in every script; matplotlib's own font has no Chinese, Japanese or Korean.
FONTS = ["Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "Arial Unicode MS"]
WIDTH = 8.0  # inches; at 150 dots an inch sharp at the width of a README
HEADING = 0.75  # inches kept for the heading
MANY_POINTS = 2000
MOST_PROMPTS = 40


def training_curves(
    log: Sequence[Mapping[str, Any]], path: str | Path, best_step: int | None = None
) -> Path:
    """Loss and pairwise accuracy over training steps, for training and for validation.

    `log` holds the rows of `log.jsonl`: {"step", "loss", "accuracy"} for training and {"step",
    "eval_log_loss", "eval_pairwise_accuracy"} for validation; other keys are ignored. Training is
    drawn light, with a moving average over it when there are many points. `best_step` marks the
    checkpoint that was kept. Returns `path`; raises `PlauditError` when it cannot be written.

    >>> training_curves([{"step": 10, "eval_log_loss": 0.69}], "training.png")  # doctest: +SKIP
    PosixPath('training.png')
    """
    heading, detail = _training_heading(log, best_step)
    with _picture(path, 3.6, heading, detail, columns=2) as (left, right):
        for axes, label, train, valid in (
            (left, "log loss (nats)", "loss", "eval_log_loss"),
            (right, "pairwise accuracy", "accuracy", "eval_pairwise_accuracy"),
        ):
            steps, values = _series(log, train)
            smooth = len(values) >= 50
            axes.plot(
                steps,
                values,
                color=GREY,
                alpha=0.4 if smooth else 1,
                linewidth=1 if smooth else 1.5,
                marker="o" if len(values) == 1 else None,
                label=None if smooth or not len(values) else "training",
            )
            if smooth:
                axes.plot(steps, _moving_mean(values), color=GREY, label="training (moving mean)")
            steps, values = _series(log, valid)
            if len(values):
                axes.plot(steps, values, color=BLUE, marker="o", markersize=4, label="validation")
            if best_step is not None and axes.get_legend_handles_labels()[0]:
                axes.axvline(best_step, color=VERMILLION, linestyle="--", linewidth=1.2)
                at = np.flatnonzero(steps == best_step)
                axes.plot(
                    steps[at], values[at], "o", color=VERMILLION, label=f"kept: step {best_step:,}"
                )
            axes.set(xlabel="step", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            if not axes.get_legend_handles_labels()[0]:
                axes.set(xlim=(0, 1), ylim=(0, 1))
        right.yaxis.set_major_formatter(FuncFormatter(_percent_tick))
    return Path(path)


def reward_distributions(better: ArrayLike, worse: ArrayLike, path: str | Path) -> Path:
    """Histograms of the rewards of chosen and of rejected completions, with their medians.

    `better` and `worse` are [N] and [M] rewards; a completion in several pairs may stand in them
    several times. Returns `path`; raises `PlauditError` when it
    cannot be written.

    >>> reward_distributions([1.2, 0.4], [0.1, -0.3], "rewards.png")  # doctest: +SKIP
    PosixPath('rewards.png')
    """
    sides = [("chosen", _values(better), BLUE), ("rejected", _values(worse), VERMILLION)]
    medians = [float(np.median(values)) for _, values, _ in sides if len(values)]
    if len(medians) < 2:
        heading = "No rewards of chosen and rejected completions to compare"
    elif medians[0] == medians[1]:
        heading = "Median reward: the same for chosen and rejected"
    else:
        word = "above" if medians[0] > medians[1] else "below"
        heading = f"Median reward: chosen {abs(medians[0] - medians[1]):.2f} {word} rejected"
    detail = "rewards of " + ", ".join(f"{len(values):,} {name}" for name, values, _ in sides)
    edges = _edges(np.concatenate([values for _, values, _ in sides]))
    with _picture(path, 4.2, heading, detail) as (axes,):
        for name, values, color in sides:
            if not len(values):
                continue
            # Shares, so that sides of unequal number compare.
            heights = np.histogram(values, edges)[0] / len(values)
            median = float(np.median(values))
            axes.stairs(heights, edges, fill=True, color=color, alpha=0.3)
            axes.stairs(heights, edges, color=color, linewidth=1.5)
            label = f"{name}, median {median:.2f}"
            axes.axvline(median, color=color, linestyle="--", linewidth=1.5, label=label)
        axes.set(xlabel="reward", ylabel="share of its kind")
        axes.yaxis.set_major_formatter(FuncFormatter(_percent_tick))
        axes.set_ylim(bottom=0)
    return Path(path)


def margins(margins: ArrayLike, path: str | Path) -> Path:
    """Histogram of r_chosen − r_rejected, those below zero shaded and counted.

    `margins` is [N], in units of reward. Returns `path`; raises `PlauditError` when it cannot be
    written.

    >>> margins([1.1, 0.7, -0.2], "margins.png")  # doctest: +SKIP
    PosixPath('margins.png')
    """
    values = _values(margins)
    above, below = _share(values > 0), _share(values < 0)
    if len(values):
        heading = f"{_percent(above)} of margins are above zero"
        detail = f"{len(values):,} pairs, mean margin {values.mean():+.2f}"
        if above + below < 1:
            detail += f", {_percent(_share(values == 0))} exactly zero"
    else:
        heading, detail = "No margins to show", "0 pairs"
    edges = _edges(values, through_zero=True)
    counts = np.histogram(values, edges)[0]
    with _picture(path, 4.2, heading, detail) as (axes,):
        for side, color, label in (
            (edges[:-1] >= 0, BLUE, f"chosen has the higher reward: {_percent(above)}"),
            (edges[:-1] < 0, VERMILLION, f"rejected has the higher reward: {_percent(below)}"),
        ):
            if len(values):
                axes.bar(
                    edges[:-1],
                    counts * side,  # a side without margins keeps its line in the legend
                    np.diff(edges),
                    align="edge",
                    color=color,
                    alpha=0.75,
                    edgecolor="white",
                    linewidth=0.5,
                    label=label,
                )
        axes.axvline(0, color=INK, linewidth=1.2)
        axes.set(xlabel="margin: reward of chosen − reward of rejected", ylabel="pairs")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return Path(path)


def reward_against_length(rewards: ArrayLike, lengths: ArrayLike, path: str | Path) -> Path:
    """Reward over length of each completion, with Spearman's rank correlation in the heading.

    `rewards` and `lengths` (characters) are [N]. Points, or hexagons of counts when there are more
    than 2,000, and the median reward of each tenth of the lengths. Returns `path`; raises
    `PlauditError` when it cannot be written.

    >>> reward_against_length([1.2, 0.1], [340, 80], "length.png")  # doctest: +SKIP
    PosixPath('length.png')
    """
    reward, length = _values(rewards), _values(lengths)
    if len(reward) != len(length):
        raise ValueError(f"{len(reward)} rewards for {len(length)} lengths")
    detail = _number(len(reward), "completion")
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
    with _picture(path, 4.4, heading, detail) as (axes,):
        if len(reward) > MANY_POINTS:
            shading = axes.hexbin(
                length,
                reward,
                gridsize=45,
                mincnt=1,
                bins="log",
                cmap=LinearSegmentedColormap.from_list("blue", ["#CBE1F0", "#5AA5D3", BLUE]),
                linewidths=0.1,
                xscale="log" if wide else "linear",
            )
            axes.figure.colorbar(
                shading,
                ax=axes,
                label="completions",
                pad=0.01,
                ticks=LogLocator(subs=(1, 2, 5)),
                format=FuncFormatter(_thousands),
            ).minorticks_off()
        else:
            alpha = 0.7 if len(reward) < 300 else 0.35
            axes.scatter(length, reward, s=16, color=BLUE, alpha=alpha, linewidths=0)
            if wide:
                axes.set_xscale("log")
        if len(reward) >= 100:
            tenths = np.array_split(np.argsort(length, kind="stable"), 10)
            x = [np.median(length[tenth]) for tenth in tenths]
            y = [np.median(reward[tenth]) for tenth in tenths]
            axes.plot(
                x, y, "o-", color=VERMILLION, markersize=4, label="median of each tenth of lengths"
            )
        if wide:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
        axes.set(xlabel="length of the completion (characters)", ylabel="reward")
    return Path(path)


def accuracy_by_category(by_category: Mapping[str, Mapping[str, Any]], path: str | Path) -> Path:
    """Pairwise accuracy of each category as a bar with its interval, the length baseline as a tick.

    `by_category` is that entry of what `metrics.summarise` returns. Best category first. Returns
    `path`; raises `PlauditError` when it cannot be written.

    >>> accuracy_by_category(summary["by_category"], "categories.png")  # doctest: +SKIP
    PosixPath('categories.png')
    """
    entries = sorted(
        by_category.items(), key=lambda item: (item[1]["pairwise_accuracy"]["value"], item[0])
    )
    names = [f"{_shortened(name, 40)}  ({entry['pairs']:,})" for name, entry in entries]
    figures = [entry["pairwise_accuracy"] for _, entry in entries]
    accuracy = np.array([figure["value"] for figure in figures])
    baseline = np.array([entry["length_baseline"]["value"] for _, entry in entries])
    beaten = int((accuracy > baseline).sum())
    if entries:
        heading = f"Above the length baseline in {beaten} of {_number(len(entries), 'category')}"
    else:
        heading = "The data name no categories"
    detail = "pairwise accuracy with 95 % interval; number of pairs in brackets"
    with _picture(path, 1.0 + 0.32 * max(len(entries), 2), heading, detail) as (axes,):
        y = np.arange(len(entries))
        axes.barh(y, accuracy, height=0.66, color=BLUE, alpha=0.35)
        for row, figure in enumerate(figures):
            if figure["low"] is not None:
                axes.plot([figure["low"], figure["high"]], [row, row], color=BLUE)
        axes.plot(accuracy, y, "o", color=BLUE, markersize=5, label="reward model")
        axes.plot(
            baseline,
            y,
            "|",
            color=VERMILLION,
            markersize=13,
            markeredgewidth=2.5,
            label="preferring the longer completion",
        )
        axes.axvline(0.5, color=INK, linewidth=1, linestyle=":", label="coin toss")
        axes.set_yticks(y, names)
        axes.set(xlim=(0, 1.005), ylim=(-0.6, max(len(entries), 1) - 0.4))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(_percent_tick))
        axes.set_xlabel("pairwise accuracy")
    return Path(path)


def comparison(
    prompts: Sequence[str],
    completions: Sequence[Sequence[str]],
    rewards: Sequence[ArrayLike],
    path: str | Path,
) -> Path:
    """The rewards of each prompt's completions as dots on a row, the best one marked and quoted.

    For P prompts, `completions` and `rewards` hold n_i texts and n_i rewards each. Texts are
    shortened; of more than 40 prompts the first 40 are drawn, and the picture says so. Returns
    `path`; raises `PlauditError` when it cannot be written.

    >>> comparison(["2+2?"], [["4", "5"]], [[1.3, -0.8]], "comparison.png")  # doctest: +SKIP
    PosixPath('comparison.png')
    """
    rows = [_values(reward) for reward in rewards]
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
    detail = f"{_number(len(rows), 'prompt')}, {_number(sum(map(len, rows)), 'completion')}"
    if drawn < len(rows):
        detail += f"; the first {drawn} prompts are drawn"
    with _picture(path, 0.9 + 0.46 * max(drawn, 2), heading, detail, width=10.5) as (axes,):
        for y, row in enumerate(rows[:drawn]):
            if not len(row):
                continue
            best = int(np.argmax(row))
            axes.plot([row.min(), row.max()], [y, y], color="#D5D9DE", linewidth=1.2, zorder=1)
            axes.scatter(row, np.full(len(row), y), s=28, color=GREY, alpha=0.6, linewidths=0)
            axes.scatter(row[best], y, s=64, color=VERMILLION, zorder=3)
            axes.annotate(
                _shortened(completions[y][best], 40, lines=2),
                xy=(1.02, y),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8.5,
                color=VERMILLION,
            )
        labels = [_shortened(prompt, 40, lines=2) for prompt in prompts[:drawn]]
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
                "best completion", (1.02, 1), (0, 4), weight="bold", color=VERMILLION, **note
            )
    return Path(path)


@contextmanager
def _picture(
    path: str | Path,
    height: float,
    heading: str,
    detail: str,
    columns: int = 1,
    width: float = WIDTH,
) -> Iterator[Sequence[Axes]]:
    """Axes to draw on, under a heading; the PNG appears at `path` when the block ends."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # the picture looks the same whatever style its caller works in
        installed = {font.name for font in font_manager.fontManager.ttflist}
        families = ["DejaVu Sans", *(name for name in FONTS if name in installed)]
        mpl.rcParams.update(STYLE)
        mpl.rcParams["font.family"] = families
        # A character that no installed font has is drawn as a box; there is nothing to do about it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        height += HEADING
        layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - HEADING / height), w_pad=0.08)
        figure = Figure(figsize=(width, height), layout=layout)
        canvas = FigureCanvasAgg(figure)
        line = 1 / height
        figure.text(0.1 / width, 1 - 0.14 * line, heading, size=13, weight="bold", va="top")
        figure.text(0.1 / width, 1 - 0.42 * line, detail, size=10, color="#5B626B", va="top")
        axes = figure.subplots(1, columns, squeeze=False)[0]
        yield axes
        lines = [zip(*one.get_legend_handles_labels(), strict=True) for one in axes]
        legend = {label: handle for pairs in lines for handle, label in pairs}
        if legend:
            figure.legend(
                legend.values(), legend.keys(), loc="outside lower left", ncols=3, fontsize=10
            )
        png = io.BytesIO()
        about = {"Title": heading, "Description": detail}  # for those who cannot see the picture
        canvas.print_figure(png, format="png", dpi=150, metadata=about)
    with writing(path) as file:
        file.buffer.write(png.getvalue())


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
    detail = f"{_number(len(_series(log, 'loss')[0]), 'training row')}, " + _number(
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


def _values(values: ArrayLike) -> Floats:
    flat = np.asarray(values, dtype=np.float64)
    if flat.ndim != 1 or not np.isfinite(flat).all():
        raise ValueError("values must be one row of finite numbers")
    return flat


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


def _percent(share: float) -> str:
    """A share as whole per cent; never 0 or 100 unless it is exactly that."""
    if 0 < share < 0.005:
        return "< 0.5 %"
    if 0.995 < share < 1:
        return "> 99.5 %"
    return f"{100 * share:.0f} %"


def _percent_tick(value: float, _: int | None) -> str:
    return f"{100 * value:g} %"


def _thousands(value: float, _: int | None) -> str:
    return f"{value:,.0f}"


def _shortened(text: str, width: int, lines: int = 1) -> str:
    wrapped = textwrap.wrap(" ".join(text.split()), width, max_lines=lines, placeholder=" …")
    return "\n".join(wrapped) or "(empty)"


def _number(count: int, what: str) -> str:
    plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{count:,} {what if count == 1 else plural}"
