"""Share of the rankings whose completion with the highest reward is of the best rank.

This is what best-of-n relies on. Where several completions tie for the highest reward, the ranking
counts the share of them that are best: what picking one of them at random gets.

>>> MEASURE([[5.0, 1.0, 0.0], [1.0, 1.0]], [[0, 0, 1], [0, 1]], resamples=0).value
0.75
"""

import numpy as np

from plaudit.evaluation.items import Items
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def top1_accuracy(layout: Layout, reward: Floats) -> Items:
    """Share of each ranking's completions with the highest reward that are of the best rank."""
    top = reward == np.repeat(np.maximum.reduceat(reward, layout.starts), layout.sizes)
    hits = np.add.reduceat((top & (layout.rank == 0)).astype(np.float64), layout.starts)
    share = hits / np.add.reduceat(top.astype(np.float64), layout.starts)
    return Items(share[layout.ordered], layout.ordered)


MEASURE = Measure(
    top1_accuracy,
    "top-1 accuracy",
    "share",
    group="rankings",
    compared=True,
    position=40,
    row=10,
    hint="how often best-of-n picks one of the best",
    shown=("headline", "report", "printed", "card"),
)
