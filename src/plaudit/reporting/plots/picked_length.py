"""How long the samples are that best-of-n by a reward picks."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from plaudit.console import counted
from plaudit.reporting.drawing import Data, Drawing, Theme
from plaudit.reporting.plots import Plot
from plaudit.reporting.plots.over_optimisation import MOST_PANELS, curve, same_height


def picked_length(summary: Mapping[str, Any]) -> Drawing:
    """A panel for each model: the mean length of what the reward, length and the gold pick of n.

    `summary` is what `plaudit policy-test` writes. The first has its interval.
    """
    models = summary["models"][:MOST_PANELS]
    first, last = (models[0]["figures"]["picks"]["reward"][place] for place in (0, -1))
    heading = (
        f"Best of {last['n']} has {last['length']['value']:,.0f} characters, a sample at random "
        f"{first['length']['value']:,.0f}"
    )
    detail = f"means over {counted(summary['prompts'], 'prompt')}; 95 % intervals"
    if len(summary["models"]) > 1:
        detail += f"; the heading is of {models[0]['model']}"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        lines = (
            ("length", "picked by length", theme.grey, "-"),
            ("gold", "picked by the gold", theme.ink, ":"),
            ("reward", "picked by the reward", theme.vermillion, "-"),
        )
        for axes, model in zip(columns, models, strict=True):
            picks = model["figures"]["picks"]
            n = [pick["n"] for pick in picks["reward"]]
            for by, name, colour, style in lines:
                if by in picks:
                    seen = [pick["length"] for pick in picks[by]]
                    curve(axes, n, seen, colour, style, name, band=by == "reward")
            axes.set_xscale("log", base=2)
            step = 2 if len(models) > 1 and len(n) > 5 else 1
            axes.set_xticks(n[::-step], [f"{each}" for each in n[::-step]])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set(xlabel="n", ylabel="characters")
            if len(models) > 1:
                axes.set_title(model["model"], fontsize=10)
        same_height(columns)

    data = Data(
        ("model", "picked_by", "n", "characters", "low", "high"),
        [
            (model["model"], by, pick["n"], *pick["length"].values())
            for model in summary["models"]
            for by, picks in model["figures"]["picks"].items()
            for pick in picks
        ],
    )
    return Drawing(heading, detail, draw, 3.6, columns=len(models), data=data)


PLOT = Plot(
    "policy-test",
    picked_length,
    section="Is what it picks better, or longer?",
    file="picked_length.png",
    position=20,
)
