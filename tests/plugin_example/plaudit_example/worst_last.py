"""Share of the rankings whose completion with the lowest reward is of the worst rank."""

import numpy as np

from plaudit.evaluation.items import Items
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def worst_last(layout: Layout, reward: Floats) -> Items:
    """Share of each ranking's completions with the lowest reward that are of the worst rank."""
    lowest = reward == np.repeat(np.minimum.reduceat(reward, layout.starts), layout.sizes)
    worst = layout.rank == np.repeat(np.maximum.reduceat(layout.rank, layout.starts), layout.sizes)
    hits = np.add.reduceat((lowest & worst).astype(np.float64), layout.starts)
    share = hits / np.add.reduceat(lowest.astype(np.float64), layout.starts)
    return Items(share[layout.ordered], layout.ordered)


MEASURE = Measure(
    worst_last,
    "worst comes last",
    "share",
    group="rankings",
    compared=True,
    shown=("headline", "report", "printed", "card"),
)
