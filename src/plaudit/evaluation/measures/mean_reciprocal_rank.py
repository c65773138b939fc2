"""Mean over rankings of 1 / place, by falling reward, of the first completion of the best rank.

How far down one has to look for a best completion (Voorhees 1999, TREC-8). Where rewards tie, the
mean over all orders of the tied.

>>> MEASURE([[2.0, 3.0, 1.0]], [[0, 1, 2]], resamples=0).value
0.5
"""

import numpy as np

from plaudit.evaluation.items import Items
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def mean_reciprocal_rank(layout: Layout, reward: Floats) -> Items:
    """1 / place of each ranking's first best completion, expected over orders of equal rewards."""
    best = layout.rank == 0
    highest = np.maximum.reduceat(np.where(best, reward, -np.inf), layout.starts)
    highest = np.repeat(highest, layout.sizes)
    above, level, level_best = (
        np.add.reduceat(which.astype(np.float64), layout.starts)[layout.ordered]
        for which in (reward > highest, reward == highest, (reward == highest) & best)
    )
    # Of `level` equal ones in random order, the chance that the first best is the i-th: that none
    # came so far, times the share of best ones among those left.
    expected, none_yet = np.zeros(len(above)), np.ones(len(above))
    for i in range(int((level - level_best).max()) + 1):
        hit = np.minimum(level_best / np.maximum(level - i, 1), 1)
        expected += none_yet * hit / (above + i + 1)
        none_yet *= 1 - hit
    return Items(expected, layout.ordered)


MEASURE = Measure(
    mean_reciprocal_rank,
    "mean reciprocal rank",
    group="rankings",
    compared=True,
    ends=(0.0, 1.0),
    position=80,
    row=20,
    hint="1 where the best always comes first",
)
