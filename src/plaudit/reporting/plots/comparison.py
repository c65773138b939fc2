"""What a policy's completions of each prompt get, and which is the best."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from plaudit.console import counted
from plaudit.reporting.drawing import Drawing, Theme, finite_row, shortened
from plaudit.reporting.plots import Plot

MOST_PROMPTS = 40


def comparison(
    prompts: Sequence[str],
    completions: Sequence[Sequence[str]],
    rewards: Sequence[ArrayLike],
) -> Drawing:
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

    return Drawing(heading, detail, draw, 0.9 + 0.46 * max(drawn, 2), width=10.5)


PLOT = Plot(
    "comparison",
    lambda sampled: comparison(*sampled),
    section="Which is the best?",
    file="comparison.png",
    position=10,
)
