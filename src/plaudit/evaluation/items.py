"""What measures are means of: a value for strictly ordered pairs, or for rankings.

Here is what several measures share; each measure's own is in its module of `measures`. Functions
take the layout and one score for each completion, rewards or what stands in for them (lengths,
say), and return `Items`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plaudit.evaluation.layout import Floats, Ints, Layout, midranks
from plaudit.evaluation.statistics import Statistic, ratios


class Items(NamedTuple):
    """Values [N], and the ranking [N] that each of them belongs to.

    Where `half` [N] is given, it divides them in two, and what is measured is no plain mean but the
    mean of the means of both halves, as if both were equally common.
    """

    values: Floats
    ranking: Ints
    half: NDArray[np.bool_] | None = None

    def halves(self) -> "tuple[Items, ...]":
        """Those whose `half` is true and those whose is not; all of them where there is none."""
        if self.half is None:
            return (self,)
        return tuple(Items(self.values[h], self.ranking[h]) for h in (self.half, ~self.half))

    def alike(self, other: "Items") -> bool:
        """Whether both are of the same rankings, in the same halves."""
        same_halves = (self.half is None) == (other.half is None)
        if self.half is not None and other.half is not None:
            same_halves = np.array_equal(self.half, other.half)
        return same_halves and np.array_equal(self.ranking, other.ranking)


def means(
    layout: Layout, items: Sequence[Items], *, shares: bool | Sequence[bool] = False
) -> Statistic:
    """The mean of each of these items, ready to be resampled; `shares` as in `ratios`."""
    sums = [layout.per_prompt(each.ranking, each.values) for each in items]
    counts = [layout.per_prompt(each.ranking) for each in items]
    return ratios(np.stack(sums, axis=1), np.stack(counts, axis=1), shares=shares)


def statistic(layout: Layout, items: Items, *, share: bool = False) -> Statistic:
    """What is measured of items with halves or without, ready to be resampled; `share` as above.

    Of two halves it is the balanced accuracy of Brodersen et al. 2010, ICPR, if values are shares;
    NaN where a half is empty. Its interval is as wide as the half of fewer prompts makes it.
    """
    halves = items.halves()
    each = means(layout, halves, shares=share)
    if len(halves) == 1:
        return each

    def of(weights: Floats) -> Floats:
        return each.of(weights).mean(axis=1, keepdims=True)

    trials = np.array([float(len(items.values)) if share else np.nan])
    return Statistic(each.values.mean(keepdims=True), of, each.prompts.min(keepdims=True), trials)


def contributions(layout: Layout, items: Items) -> Floats:
    """What each prompt adds to what is measured, [P]; their sum is its value."""
    halves = items.halves()
    each = [layout.per_prompt(h.ranking, h.values) / len(h.values) for h in halves]
    return np.sum(each, axis=0) / len(halves)


def margin(layout: Layout, reward: Floats) -> Items:
    """Reward of the better completion less that of the worse, for every strictly ordered pair."""
    return Items(reward[layout.better] - reward[layout.worse], layout.pair_ranking)


def pairwise_accuracy(layout: Layout, score: Floats) -> Items:
    """1 where the better completion of a pair scores higher, 1/2 where both score the same."""
    return Items((np.sign(margin(layout, score).values) + 1) / 2, layout.pair_ranking)


def accuracy_by_amount(layout: Layout, score: Floats, amount: Floats) -> Items:
    """`pairwise_accuracy` of the pairs whose completions differ in an amount, length for example.

    The first half are those whose better completion has more of it. So what is measured is
    accuracy with the amount taken out of play: a rule that looks at nothing but the amount is right
    in all of one half and in none of the other, and scores exactly 0.5, whatever the data prefer;
    so does a coin toss.
    """
    gap = amount[layout.better] - amount[layout.worse]
    differs = gap != 0
    right, ranking, _ = pairwise_accuracy(layout, score)
    return Items(right[differs], ranking[differs], gap[differs] > 0)


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
