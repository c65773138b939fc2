"""The mean reward of each rank: it should fall from the best rank to the worst."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from plaudit.reporting.drawing import Drawing, Theme
from plaudit.reporting.plots import Plot


def reward_by_rank(evaluation: Any) -> Drawing:
    """A dot for each rank that some completion has."""
    ranks = np.concatenate([ranking.ranks for ranking in evaluation.rankings])
    rewards = np.concatenate(evaluation.rewards)
    every = np.unique(ranks)
    means = [rewards[ranks == rank].mean() for rank in every]

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        columns[0].plot(every, means, "o", color=theme.blue, label="mean reward")
        columns[0].set(xlabel="rank, best first", ylabel="reward")

    heading = (
        f"From the best rank to the worst the mean reward changes by {means[-1] - means[0]:+.2f}"
    )
    return Drawing(heading, f"{len(rewards):,} completions", draw, height=3)


PLOT = Plot(
    "evaluation", reward_by_rank, section="Does reward follow rank?", file="reward_by_rank.png"
)
