"""How steady rewards are when answers are rewritten, and whether worse versions are preferred.

A sample of rankings was scored again, answers rewritten in every way of `rewrites`. Of each way:
how far rewards move, in units of how much they differ within rankings; how often the order of a
pair is another one; and, of those that make an answer worse, how often the worse version is
preferred to the original. One score sums that up. The definitions are plaudit's own.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import TypedDict

from plaudit.evaluation.items import Items, means, order_kept
from plaudit.evaluation.layout import Floats, Layout, flatten, lay_out
from plaudit.evaluation.rewrites import REWRITES
from plaudit.evaluation.statistics import FigureRecord, Pending, Statistic


class Again(NamedTuple):
    """Some completions of a ranking and their rewards when rewritten; None where that cannot be."""

    ranking: int
    completions: Sequence[int]
    rewards: Sequence[float | None]


class RewriteRecord(TypedDict):
    """What one way of rewriting does.

    `moved`: mean |change| of a reward, in standard deviations within rankings. `flipped`: share of
    the pairs whose order is another one, a tie that comes or goes counting half; None where all
    answers become one text. `preferred`: share of the answers whose worse version has the higher
    reward; None where it is not worse.
    """

    moved: FigureRecord | None
    flipped: FigureRecord | None
    preferred: FigureRecord | None
    completions: int


class StressRecord(TypedDict):
    """All ways, and the score: the mean over ways of what each should keep.

    That is the share of pairs that keep their order, or, of those that make an answer worse, the
    share of answers that are preferred to their worse version. 1 is best.
    """

    score: FigureRecord | None
    rankings: int
    rewrites: dict[str, RewriteRecord]


def spread_within(rewards: Sequence[ArrayLike]) -> float:
    """The standard deviation of rewards about the mean of their ranking, √(Σ (r − r̄)² / Σ (K − 1)).

    >>> spread_within([[1.0, 3.0], [11.0, 13.0], [5.0]])
    1.4142135623730951
    """
    arrays = [np.asarray(each, dtype=np.float64) for each in rewards]
    freedom = sum(len(each) - 1 for each in arrays)
    return float(np.sqrt(sum(((each - each.mean()) ** 2).sum() for each in arrays) / freedom))


def stress(
    rewards: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    prompts: Sequence[Hashable],
    rewritten: Mapping[str, Sequence[Again]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> StressRecord | None:
    """What rewriting does to rewards, with 95 % intervals by bootstrap over the prompts drawn.

    Args:
        rewards: one array [K_i] per ranking.
        ranks: likewise; lower is better.
        prompts: the prompt of each ranking.
        rewritten: by the name of a rewrite, the rankings scored again; each has an ordered pair.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns None where nothing was scored again. Raises `PlauditError` when a reward is not finite.

    >>> again = {"empty": [Again(0, [0, 1], [2.5, 2.5])]}
    >>> record = stress([[3.0, 1.0]], [[0, 1]], ["2+2?"], again)
    >>> record["rewrites"]["empty"]["preferred"]["value"], record["score"]["value"]
    (0.5, 0.5)
    """
    drawn = sorted({again.ranking for each in rewritten.values() for again in each})
    if not drawn:
        return None
    layout = lay_out([ranks[i] for i in drawn], [prompts[i] for i in drawn])
    before = flatten([rewards[i] for i in drawn], layout, "reward")
    start_of = dict(zip(drawn, layout.starts.tolist(), strict=True))
    spread = spread_within(rewards)
    pending = Pending()
    records: dict[str, object] = {}
    kept: list[Items] = []
    for name, each in rewritten.items():
        rewrite = REWRITES.get(name)
        after = before.copy()
        asked, changed = np.zeros((2, len(before)), dtype=bool)
        for again in each:
            for k, reward in zip(again.completions, again.rewards, strict=True):
                place = start_of[again.ranking] + k
                asked[place] = True
                if reward is not None:
                    after[place], changed[place] = reward, True
        flatten(np.split(after, layout.starts[1:]), layout, "changed reward")  # all are finite

        of_changed = layout.ranking[changed]
        items: dict[str, Items] = {}
        if spread:
            items["moved"] = Items(np.abs(after - before)[changed] / spread, of_changed)
        if not rewrite.one_text:  # of pairs that are rewritten on one side at least
            pairs = asked[layout.better] & asked[layout.worse]
            pairs &= changed[layout.better] | changed[layout.worse]
            flipped = 1 - order_kept(layout, before, after).values
            items["flipped"] = Items(flipped[pairs], layout.pair_ranking[pairs])
        if rewrite.worse:
            items["preferred"] = Items((np.sign(after - before)[changed] + 1) / 2, of_changed)
        record: dict[str, object] = dict.fromkeys(("moved", "flipped", "preferred"))
        shares = [key != "moved" for key in items]
        pending.add(record, list(items), means(layout, list(items.values()), shares=shares))
        record["completions"], records[name] = int(changed.sum()), record
        wrong = items["preferred" if rewrite.worse else "flipped"]
        if len(wrong.values):
            kept.append(Items(1 - wrong.values, wrong.ranking))
    summary: dict[str, object] = {"score": None, "rankings": len(drawn), "rewrites": records}
    if kept:
        pending.add(summary, ["score"], _mean_of_means(layout, kept))
    pending.fill(len(layout.asked), resamples, seed)
    return cast(StressRecord, summary)


def _mean_of_means(layout: Layout, items: Sequence[Items]) -> Statistic:
    """The mean of the means of these items, of which a resample may lack some."""
    each = means(layout, items, shares=True)

    def of(weights: Floats) -> Floats:
        return np.nanmean(each.of(weights), axis=1, keepdims=True)

    trials = np.array([float(sum(len(one.values) for one in items))])
    prompts = each.prompts[each.prompts > 0].min(initial=np.inf, keepdims=True)
    prompts = np.where(np.isfinite(prompts), prompts, 0.0)
    return Statistic(each.values.mean(keepdims=True), of, prompts, trials)
