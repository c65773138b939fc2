"""How much a reward differs between a policy's samples of one prompt, from prompt to prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from plaudit.console import counted
from plaudit.reporting.drawing import Data, Drawing, Theme, percent, percent_tick
from plaudit.reporting.plots import Plot


def reward_deviation(summary: Mapping[str, Any]) -> Drawing | None:
    """The deviation within a prompt as a share of that over all samples, prompts in order of it.

    `summary` is what `plaudit policy-test` writes. A line for each of four models at most; None
    where all rewards of every prompt are equal.
    """
    varied = [model for model in summary["models"] if model["figures"]["deviations"]]
    if not varied:
        return None
    middle = varied[0]["figures"]["deviations"][5]
    heading = f"In the median prompt the reward deviates {percent(middle)} as much as over all"
    detail = f"standard deviations; {counted(summary['prompts'], 'prompt')}, flattest first"
    if len(summary["models"]) > 1:
        detail += f"; the heading is of {varied[0]['model']}"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        colours = (theme.vermillion, theme.blue, theme.ink, theme.grey)
        for model, colour in zip(varied, colours, strict=False):
            name = model["model"] if len(varied) > 1 else None
            deviations = model["figures"]["deviations"]
            axes.plot(np.linspace(0, 1, 11), deviations, color=colour, marker=".", label=name)
        axes.set(xlabel="prompts, flattest first", ylabel="deviation within the prompt")
        axes.set_ylim(bottom=0)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(percent_tick))

    data = Data(
        ("model", "share_of_prompts", "deviation"),
        [
            (model["model"], tenth / 10, deviation)
            for model in varied
            for tenth, deviation in enumerate(model["figures"]["deviations"])
        ],
    )
    return Drawing(heading, detail, draw, 3.4, data=data)


PLOT = Plot(
    "policy-test",
    reward_deviation,
    section="Is there something to learn from?",
    file="reward_deviation.png",
    position=10,
)
