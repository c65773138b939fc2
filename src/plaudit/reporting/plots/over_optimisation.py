"""What best-of-n by a reward gains, in its own eyes and by the gold judge, against KL."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from plaudit.console import counted
from plaudit.evaluation.statistics import FigureRecord
from plaudit.reporting.drawing import Data, Drawing, Theme
from plaudit.reporting.plots import Plot

MOST_PANELS = 3


def over_optimisation(summary: Mapping[str, Any]) -> Drawing:
    """A panel for each model: gains over a sample drawn at random, by the root of KL.

    `summary` is what `plaudit policy-test` writes. Over the root of KL the gold is nearly a
    parabola (Gao et al. 2022). The gold's gain is that of what the reward, length and the gold
    itself pick, the first with its interval.
    """
    models = summary["models"][:MOST_PANELS]
    several = len(models) > 1
    last = models[0]["figures"]["picks"]["reward"][-1]
    own_gain = f"{last['reward']['value']:.2f} by its own reward"
    heading = f"Best of {last['n']} gains {own_gain}; there is no gold judge"
    if summary["gold"]:
        heading = f"Best of {last['n']} gains {last['gold']['value']:.2f} by the gold, {own_gain}"
    detail = (
        f"standard deviations within prompts; {counted(summary['prompts'], 'prompt')}, "
        f"{counted(summary['samples'], 'sample')}; 95 % intervals"
    )
    if len(summary["models"]) > 1:
        detail += f"; the heading is of {models[0]['model']}"
    if len(summary["models"]) > MOST_PANELS:
        detail += f"; the first {MOST_PANELS} of {len(summary['models'])} models are drawn"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        lines = (
            ("reward", "reward", "its own reward", theme.blue, "--"),
            ("gold", "gold", "gold, picked by the gold", theme.ink, ":"),
            ("length", "gold", "gold, picked by length", theme.grey, "-"),
            ("reward", "gold", "gold, picked by the reward", theme.vermillion, "-"),
        )
        for axes, model in zip(columns, models, strict=True):
            figures = model["figures"]
            own = figures["picks"]["reward"]
            at = [pick["kl"] ** 0.5 for pick in own]
            for by, what, name, colour, style in lines:
                seen = [pick[what] for pick in figures["picks"].get(by, ())]
                if seen and seen[0] is not None:
                    curve(axes, at, seen, colour, style, name, band=by == "reward")
            # Side by side there is no room for more.
            named = [f"{pick['n']}" + f"\n{pick['kl'] ** 0.5:.2f}" * (not several) for pick in own]
            step = 2 if several and len(own) > 5 else 1
            axes.set_xticks(at[::-step], named[::-step])
            if (peak := figures["peak"]) is not None:
                top = next(pick for pick in own if pick["n"] == peak["n"])["gold"]["value"]
                axes.plot(peak["kl"] ** 0.5, top, "o", color=theme.vermillion, label="its peak")
            axes.set(xlabel="n, placed at √KL" if several else "n; below it √KL, at most")
            axes.set_ylabel("gain")
            if several:
                axes.set_title(model["model"], fontsize=10)
        same_height(columns)

    data = Data(
        ("model", "picked_by", "n", "kl", "measured_by", "gain", "low", "high"),
        [
            (model["model"], by, pick["n"], pick["kl"], what, *pick[what].values())
            for model in summary["models"]
            for by, picks in model["figures"]["picks"].items()
            for pick in picks
            for what in ("reward", "gold")
            if pick[what] is not None
        ],
    )
    return Drawing(heading, detail, draw, 4.2, columns=len(models), data=data)


def curve(
    axes: Axes,
    at: Sequence[float],
    seen: Sequence[FigureRecord],
    colour: str,
    style: str,
    name: str,
    *,
    band: bool,
) -> None:
    """A line through figures, with a band of their intervals where they have some."""
    axes.plot(at, [figure["value"] for figure in seen], color=colour, linestyle=style, label=name)
    ends = [(figure["low"], figure["high"]) for figure in seen]
    if band and ends[0][0] is not None:
        lows, highs = zip(*ends, strict=True)
        axes.fill_between(at, lows, highs, color=colour, alpha=0.15, linewidth=0)


def same_height(columns: Sequence[Axes]) -> None:
    """Give panels one scale, so that they can be compared."""
    ends = [axes.get_ylim() for axes in columns]
    for axes in columns:
        axes.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))


PLOT = Plot(
    "policy-test",
    over_optimisation,
    section="Is what it picks better, or longer?",
    file="over_optimisation.png",
    position=10,
)
