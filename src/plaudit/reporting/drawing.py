"""How a plot is drawn: one drawing, written as a PNG by itself or put into a report as an SVG.

A `Drawing` says in its heading what the data at hand show, and knows how to draw itself on axes in
the colours of a `Theme`. The style is set for the one figure that is drawn. Nothing global is left
changed (no pyplot either), so that a notebook's own plots stay as they were.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from plaudit.evaluation.layout import Floats
from plaudit.evaluation.measures import measure_named
from plaudit.files import writing


@dataclass(frozen=True)
class Theme:
    """The colours of a plot: two that carry meaning, and four for all around them."""

    blue: str
    vermillion: str
    ink: str
    grey: str
    pale: str  # what stands behind the data: the grid, a range
    paper: str


# Blue and vermillion of Okabe & Ito (2008): apart for every kind of colour vision, and in grey.
LIGHT = Theme("#0072B2", "#D55E00", "#22262B", "#8A9099", "#E8EAED", "#FFFFFF")
DARK = Theme("#5FB0E5", "#F2935A", "#E4E7EB", "#8B939D", "#333941", "#1B1F24")

# Prompts come in every script; matplotlib's own font has no Chinese, Japanese or Korean.
FONTS = ["Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "Arial Unicode MS"]
WIDTH = 8.0  # inches of a PNG; at 150 dots an inch sharp at the width of a README
HEADING = 0.75  # inches kept for a PNG's heading
REPORT_WIDTH = 5.2  # inches; its text stays legible where a phone shows it at two thirds


@dataclass(frozen=True)
class Data:
    """The figures that a plot shows, to be saved as CSV: the names of columns, and rows of them."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str | float | None]]


@dataclass(frozen=True)
class Drawing:
    """A plot that has not been drawn yet.

    `heading` says what it shows of the data at hand, `detail` of how much data. `draw` takes the
    axes, `columns` of them side by side, and the theme. `height` and `width` are inches, of the
    PNG; an SVG is narrower, with the same height. `data` are the figures that it shows.

    >>> plot = Drawing("A line", "2 points", lambda axes, theme: axes[0].plot([0, 1]), height=3)
    >>> plot.svg()[:4]
    '<svg'
    """

    heading: str
    detail: str
    draw: Callable[[Sequence[Axes], Theme], Any]
    height: float
    columns: int = 1
    width: float = WIDTH
    data: Data | None = None

    @property
    def alt(self) -> str:
        """What stands for the picture where nobody sees it."""
        return f"Plot. {self.heading}. {self.detail}."

    def write(self, path: str | Path) -> Path:
        """Write a PNG with its heading, on white; returns `path`.

        Raises `PlauditError` when it cannot be written.
        """
        height = self.height + HEADING
        with mpl.rc_context(), warnings.catch_warnings():
            _style(LIGHT)
            layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - HEADING / height), w_pad=0.08)
            figure = Figure(figsize=(self.width, height), layout=layout)
            canvas = FigureCanvasAgg(figure)
            left, line = 0.1 / self.width, 1 / height
            figure.text(left, 1 - 0.14 * line, self.heading, size=13, weight="bold", va="top")
            figure.text(left, 1 - 0.42 * line, self.detail, size=10, color="#5B626B", va="top")
            self._fill(figure, LIGHT, self.width)
            png = io.BytesIO()
            # For those who cannot see the picture.
            about = {"Title": self.heading, "Description": self.detail}
            canvas.print_figure(png, format="png", dpi=150, metadata=about)
        with writing(path) as file:
            file.buffer.write(png.getvalue())
        return Path(path)

    def svg(self, theme: Theme = LIGHT) -> str:
        """The drawing alone as an `<svg>` element on nothing, its words in the reader's font."""
        with mpl.rc_context(), warnings.catch_warnings():
            _style(theme)
            # Text stays text: small, and in whatever script the reader's machine can show.
            mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": self.heading})
            layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05)
            figure = Figure(figsize=(REPORT_WIDTH, self.height), layout=layout)
            FigureCanvasAgg(figure)
            self._fill(figure, theme, REPORT_WIDTH)
            svg = io.StringIO()
            figure.savefig(svg, format="svg", dpi=200, transparent=True, metadata={"Date": None})
        text = svg.getvalue()
        text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.S)
        return re.sub(r'font-family: [^;"]*', "font-family: system-ui, sans-serif", text)

    def svgs(self) -> tuple[str, str]:
        """The drawing as `svg` gives it in `LIGHT` and in `DARK`.

        The dark one is the light one in other colours, since to lay out a figure takes long; it is
        drawn anew where a part of it is pixels.
        """
        light = self.svg(LIGHT)
        if "<image" in light:
            return light, self.svg(DARK)
        pairs = zip(astuple(LIGHT), astuple(DARK), strict=True)
        colours = {light.lower(): dark.lower() for light, dark in pairs}

        def recoloured(tag: re.Match[str]) -> str:
            return re.sub("#[0-9a-f]{6}", lambda found: colours.get(found[0], found[0]), tag[0])

        # In tags alone: the words between them may name a colour too.
        return light, re.sub("<[^>]+>", recoloured, light)

    def _fill(self, figure: Figure, theme: Theme, width: float) -> None:
        axes = figure.subplots(1, self.columns, squeeze=False)[0]
        self.draw(axes, theme)
        entries = [zip(*each.get_legend_handles_labels(), strict=True) for each in axes]
        legend = {label: handle for pairs in entries for handle, label in pairs}
        if not legend:
            return
        longest = 0.5 + 0.085 * max(map(len, legend))  # inches at this size of type
        figure.legend(
            legend.values(),
            legend.keys(),
            loc="outside lower left",
            ncols=max(1, min(3, int(width / longest))),
            fontsize=10,
        )


def _style(theme: Theme) -> None:
    mpl.rcdefaults()  # the picture looks the same whatever style its caller works in
    installed = {font.name for font in font_manager.fontManager.ttflist}
    style: Any = {  # untyped: the type of its keys has changed between versions of matplotlib
        "font.family": ["DejaVu Sans", *(name for name in FONTS if name in installed)],
        "font.size": 11,
        "text.color": theme.ink,
        "text.parse_math": False,  # a prompt may hold dollar signs
        "axes.edgecolor": theme.grey,
        "axes.facecolor": theme.paper,
        "axes.labelcolor": theme.ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.pale,
        "xtick.color": theme.grey,
        "ytick.color": theme.grey,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "legend.frameon": False,
        "lines.linewidth": 2,
    }
    mpl.rcParams.update(style)
    # A character that no installed font has is drawn as a box; there is nothing to do about it.
    warnings.filterwarnings("ignore", message="Glyph .* missing from")


# ---- numbers and words that plots share ----


def finite_row(values: ArrayLike) -> Floats:
    """`values` as [N] floats; `ValueError` when they are no row, or one is not finite."""
    flat = np.asarray(values, dtype=np.float64)
    if flat.ndim != 1 or not np.isfinite(flat).all():
        raise ValueError("values must be one row of finite numbers")
    return flat


def percent(share: float) -> str:
    """A share as whole per cent; never 0 or 100 unless it is exactly that.

    >>> percent(0.421), percent(0.999)
    ('42 %', '> 99.5 %')
    """
    if 0 < share < 0.005:
        return "< 0.5 %"
    if 0.995 < share < 1:
        return "> 99.5 %"
    return f"{100 * share:.0f} %"


def written(measure: str, value: float) -> str:
    """A value of a measure, within a heading.

    >>> written("pairwise_accuracy", 0.7), written("log_loss", 0.6)
    ('70.0 %', '0.600')
    """
    return f"{100 * value:.1f} %" if measure_named(measure).form == "share" else f"{value:.3f}"


def share_ticks(axes: Axes, measure: str) -> None:
    """Write the y axis as per cent where the measure on it is a share."""
    if measure_named(measure).form == "share":
        axes.yaxis.set_major_formatter(FuncFormatter(percent_tick))


def percent_tick(value: float, _: int | None) -> str:
    """What stands at a tick of an axis of shares."""
    return f"{100 * value:.4g} %"


def thousands(value: float, _: int | None) -> str:
    """What stands at a tick of an axis of counts."""
    return f"{value:,.0f}"


def shortened(text: str, width: int, lines: int = 1) -> str:
    """`text` on so many lines, with a mark where it was cut."""
    wrapped = textwrap.wrap(" ".join(text.split()), width, max_lines=lines, placeholder=" …")
    return "\n".join(wrapped) or "(empty)"


def errors(value: float, low: float | None, high: float | None) -> list[list[float]]:
    """How far an interval reaches to both sides of its value, as `errorbar` takes it; [2, 1].

    An interval by the bootstrap may leave out its value; then that side is 0.
    """
    if low is None or high is None:
        return [[0.0], [0.0]]
    return [[max(value - low, 0.0)], [max(high - value, 0.0)]]


def bin_edges(values: Floats, through_zero: bool = False) -> Floats:
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
