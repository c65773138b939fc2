"""What measures are means of: a value for every strictly ordered pair, or for every ranking.

Here is what several measures share; each measure's own is in its module of `measures`. Functions
take the layout and one score for each completion, rewards or what stands in for them (lengths,
say), and return `Items`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from plaudit.evaluation.layout import Floats, Ints, Layout, midranks
from plaudit.evaluation.statistics import Statistic, ratios


class Items(NamedTuple):
    """Values [N], and the ranking [N] that each of them belongs to."""

    values: Floats
    ranking: Ints


def means(
    layout: Layout, items: Sequence[Items], *, shares: bool | Sequence[bool] = False
) -> Statistic:
    """The mean of each of these items, ready to be resampled; `shares` as in `ratios`."""
    sums = [layout.per_prompt(ranking, values) for values, ranking in items]
    counts = [layout.per_prompt(ranking) for _, ranking in items]
    return ratios(np.stack(sums, axis=1), np.stack(counts, axis=1), shares=shares)


def margin(layout: Layout, reward: Floats) -> Items:
    """Reward of the better completion less that of the worse, for every strictly ordered pair."""
    return Items(reward[layout.better] - reward[layout.worse], layout.pair_ranking)


def pairwise_accuracy(layout: Layout, score: Floats) -> Items:
    """1 where the better completion of a pair scores higher, 1/2 where both score the same."""
    return Items((np.sign(margin(layout, score).values) + 1) / 2, layout.pair_ranking)


def order_kept(layout: Layout, before: Floats, after: Floats) -> Items:
    """1 where a pair's order is the same, 1/2 where a tie came or went, 0 where it is reversed."""
    signs = [np.sign(margin(layout, scores).values) for scores in (before, after)]
    return Items(1 - np.abs(signs[0] - signs[1]) / 2, layout.pair_ranking)


def spearman(layout: Layout, score: Floats, other: Floats) -> Items:
    """Spearman's ρ of two quantities within each ranking that has an ordered pair.

    A ranking in which `other` is constant has no item; one with constant scores counts 0.
    """
    middle = np.repeat((layout.sizes + 1) / 2, layout.sizes)
    x = midranks(layout.ranking, score) - middle
    y = midranks(layout.ranking, other) - middle
    xy, xx, yy = (
        np.add.reduceat(product, layout.starts)[layout.ordered] for product in (x * y, x * x, y * y)
    )
    varies = yy > 0
    rho = xy[varies] / np.sqrt(np.where(xx > 0, xx, 1)[varies] * yy[varies])
    return Items(rho, layout.ordered[varies])
