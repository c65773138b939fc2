"""Several models on several benchmarks and data sets: who is best, and who is not told from it.

Preference data are read as a benchmark of their own, whose score is pairwise accuracy, so that all
that follows is the same for both. Models are compared on the same items, two at a time: by the
difference of their scores, with its interval from resampling prompts, and by a permutation test
that exchanges their rewards prompt by prompt and computes the benchmark's own score anew. All
p-values that are shown are one family, adjusted together: of every two models on every column, and
so also of those two of which one turns out to be the best. Pure functions of rewards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import TypedDict

from plaudit.console import progress
from plaudit.data.rankings import Ranking, Rejected
from plaudit.errors import PlauditError
from plaudit.evaluation.comparison import (
    SIGNIFICANT,
    each_exchange,
    how_many_exchanges,
    p_of_exchanges,
)
from plaudit.evaluation.items import pairwise_accuracy
from plaudit.evaluation.layout import Floats, Ints, flatten, lay_out
from plaudit.evaluation.parts import NO_CATEGORY, by_category
from plaudit.evaluation.statistics import FigureRecord, Statistic, divide, holm, less, resample
from plaudit.evaluation.suite import Item, Means, Part, Suite, average
from plaudit.evaluation.suite_run import SuiteData

MEAN = "mean"  # the column of the mean over all data
EXCHANGES = 10_000
# A p-value is at least 1 / (exchanges + 1); times the number of comparisons it must stay small.
EXCHANGES_A_COMPARISON = 100
PREFERENCES = "the share of pairs in which the better completion has the higher reward; equal "
PREFERENCES += "rewards count half"

Rewards = Sequence[Sequence[float]]


class ComparedRecord(TypedDict):
    """Two models on one column: first − second, and the p-value as it is and adjusted (Holm)."""

    data: str
    first: str
    second: str
    difference: FigureRecord
    p: float
    p_holm: float
    exchanges: int
    exact: bool


@dataclass(frozen=True)
class Standing:
    """The model with the highest score of a column, and those that are not told from it."""

    best: str
    tied: list[str]


@dataclass(frozen=True)
class Compared:
    """What `compare` returns: the means over all data, every comparison, and each column's best."""

    means: dict[str, FigureRecord]
    comparisons: list[ComparedRecord]
    standings: dict[str, Standing]


# ---- preference data as a benchmark ----


def preference_data(
    rankings: Sequence[Ranking], name: str, rejected: Sequence[Rejected] = ()
) -> SuiteData:
    """Rankings as a benchmark whose score is pairwise accuracy, in parts by category if any.

    Rankings without an order ask nothing and are left out; raises `PlauditError` where none is
    left.

    >>> data = preference_data([Ranking("2 + 2?", ["4", "5"], [0, 1])], "sums")
    >>> data.suite.score(data.items, [[1.0, 0.0]], Means(["2 + 2?"])).score.values
    array([1.])
    """
    asking = [ranking for ranking in rankings if len(set(ranking.ranks)) > 1]
    if not asking:
        raise PlauditError(
            f"{name}: no ranking in it has two completions of different rank; give data in which "
            "at least one prompt prefers one completion to another"
        )
    suite = Suite(
        title=name, fields=(), read=_not_read, score=_pairwise, definition=PREFERENCES, source=""
    )
    items = [Item(ranking, ranking.origin, ranking.key) for ranking in asking]
    return SuiteData(suite, items, list(rejected))


def _not_read(row: Any) -> Item:
    raise NotImplementedError("preference data are read as rankings")


def _pairwise(items: Sequence[Item], rewards: Rewards, mean: Means) -> Part:
    """Pairwise accuracy, as `evaluate` has it; a category's is that of the worse completions."""
    rankings = [item.ranking for item in items]
    layout = lay_out([ranking.ranks for ranking in rankings], None)
    right = pairwise_accuracy(layout, flatten(rewards, layout, "reward")).values
    of = layout.pair_ranking

    def part(among: Ints) -> Part:
        sums, pairs = (np.bincount(of[among], x, len(items)) for x in (right[among], None))
        found = mean.part(sums, pairs > 0, times=pairs)
        return Part(found.score, int(pairs.sum()))

    whole = part(np.arange(len(right)))
    named = by_category(layout, [each.categories or each.category for each in rankings])
    if len(named) > 1:
        whole.parts = {name: part(named[name]) for name in sorted(named) if name != NO_CATEGORY}
    return whole


# ---- comparing ----


def compare(
    data: Mapping[str, SuiteData],
    rewards: Mapping[str, Mapping[str, Rewards]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Compared:
    """Compare models, two at a time, on every data set that both have rewards for.

    Args:
        data: the benchmarks and preference data, by the names of their columns.
        rewards: by model, then by data: K numbers for each item. A model may lack some of the data;
            then it has no part in their mean.
        resamples: of the bootstrap over prompts.
        seed: of both chances.

    Where there are several data, their plain mean is a column of its own, each of them resampled
    and exchanged by itself.

    >>> data = {"sums": preference_data([Ranking("2 + 2?", ["4", "5"], [0, 1])], "sums")}
    >>> given = {"counts": {"sums": [[1.0, 0.0]]}, "echoes": {"sums": [[0.0, 1.0]]}}
    >>> compare(data, given).standings["sums"]
    Standing(best='counts', tied=['echoes'])
    """
    units = {name: [item.unit for item in each.items] for name, each in data.items()}
    recorded = {name: {m: _Recording(units[name]) for m in rewards} for name in data}
    scores = {
        name: {
            m: each.suite.score(each.items, rewards[m][name], recorded[name][m]).score
            for m in rewards
            if name in rewards[m]
        }
        for name, each in data.items()
    }
    # Data that ask nothing, pairs that are all ties for example, give no score.
    scores = {
        name: {m: score for m, score in of.items() if not np.isnan(score.values[0])}
        for name, of in scores.items()
    }
    data = {name: each for name, each in data.items() if scores[name]}
    whole = [m for m in rewards if all(m in scores[name] for name in data)]
    sizes = [Means(units[name]).size for name in data]
    means = {}
    if len(data) > 1:
        ends = np.cumsum([0, *sizes])
        means = {
            m: average([_of_slice(scores[n][m], a, b) for n, a, b in
                        zip(data, ends[:-1], ends[1:], strict=True)])
            for m in whole
        }  # fmt: skip
    asked = [(name, a, b) for name in data for a, b in combinations(scores[name], 2)]
    asked += [(MEAN, a, b) for a, b in combinations(means, 2)]
    exchanges = max(EXCHANGES, EXCHANGES_A_COMPARISON * len(asked))

    differences: dict[tuple[str, str, str], FigureRecord] = {}
    for name, of in (*scores.items(), (MEAN, means)):
        pairs = [*combinations(of, 2)]
        size = sizes if name == MEAN else Means(units[name]).size
        found = resample([less(of[a], of[b]) for a, b in pairs], size,
                         resamples=resamples, seed=seed)  # fmt: skip
        for (a, b), [figure] in zip(pairs, found, strict=True):
            differences[name, a, b] = figure.as_dict()
    mean_figures = resample([*means.values()], sizes, resamples=resamples, seed=seed)

    tested = []
    for name, a, b in progress(asked, "comparing the models"):
        columns = data if name == MEAN else [name]
        exchanged = [
            _exchanged(data[n], units[n], recorded[n][a].calls, rewards[b][n],
                       [scores[n][m].values[0] for m in (a, b)])
            for n in columns
        ]  # fmt: skip
        tested.append(_exchange_test(exchanged, exchanges, seed))
    adjusted = holm([p for p, *_ in tested])
    comparisons: list[ComparedRecord] = [
        {
            "data": name,
            "first": a,
            "second": b,
            "difference": differences[name, a, b],
            "p": p,
            "p_holm": p_holm,
            "exchanges": taken,
            "exact": exact,
        }
        for (name, a, b), (p, taken, exact), p_holm in zip(asked, tested, adjusted, strict=True)
    ]
    columns_of = {**scores, **({MEAN: means} if means else {})}
    return Compared(
        {m: figure.as_dict() for m, [figure] in zip(means, mean_figures, strict=True)},
        comparisons,
        {name: _standing(name, of, comparisons) for name, of in columns_of.items() if of},
    )


def _standing(
    name: str, scores: Mapping[str, Statistic], comparisons: Sequence[ComparedRecord]
) -> Standing:
    best = max(scores, key=lambda model: scores[model].values[0])
    tied = []
    for each in comparisons:
        two = [each["first"], each["second"]]
        if each["data"] == name and best in two and each["p_holm"] >= SIGNIFICANT:
            two.remove(best)
            tied += two
    return Standing(best, tied)


def _of_slice(statistic: Statistic, start: int, stop: int) -> Statistic:
    """A statistic of some prompts as one of all of them, of which its own are [start, stop)."""
    values, of = statistic.values, statistic.of
    trials = statistic.trials
    return Statistic(values, lambda w: of(w[:, start:stop]), statistic.prompts, trials)


# ---- exchanging ----


class _Recording(Means):
    """Means that keep what they were asked for, in order."""

    def __init__(self, units: Sequence[Any]) -> None:
        super().__init__(units)
        self.calls: list[tuple[Floats, Floats]] = []

    def totals(self, *args: Any, **kwargs: Any) -> tuple[Floats, Floats]:
        found = super().totals(*args, **kwargs)
        self.calls.append(found)
        return found


class _Exchanging(Means):
    """Means of which those of another model, recorded before, are exchanged on some units.

    What they return takes exchanges [B, P] of those P units on which the two are `apart`: 0 for the
    recorded model's rewards, 1 for this one's.
    """

    def __init__(self, units: Sequence[Any], recorded: Sequence[tuple[Floats, Floats]]) -> None:
        super().__init__(units)
        self._recorded = list(recorded)
        self._asked = 0
        self.apart = np.zeros(self.size, dtype=bool)

    @property
    def as_recorded(self) -> bool:
        """Whether as many means were asked for as of the other model."""
        return self._asked == len(self._recorded)

    def __call__(
        self,
        values: ArrayLike,
        among: NDArray[np.bool_] | None = None,
        *,
        trials: int = 1,
        times: ArrayLike | None = None,
    ) -> Statistic:
        here = np.hstack(self.totals(values, among, times))
        self._asked += 1
        recorded = self._recorded[self._asked - 1 : self._asked]
        there = np.hstack(recorded[0]) if recorded else here
        rows = np.flatnonzero((here != there).any(axis=1))
        self.apart[rows] = True
        total, change = there.sum(axis=0), (here - there)[rows]

        def of(exchanges: Floats) -> Floats:
            place = (np.cumsum(self.apart) - 1)[rows]  # among those apart, which are known by now
            found = total + exchanges[:, place] @ change
            return divide(found[:, :1], found[:, 1:])

        own = here.sum(axis=0, keepdims=True)
        return Statistic(divide(own[:, 0], own[:, 1]), of, np.zeros(1))


@dataclass(frozen=True)
class _Exchanged:
    """The score of a data set as a function of exchanges [B, P] of P units."""

    of: Callable[[Floats], Floats]
    units: int


def _exchanged(
    data: SuiteData,
    units: Sequence[Any],
    recorded: Sequence[tuple[Floats, Floats]],
    rewards: Rewards,
    ends: Sequence[float],
) -> _Exchanged:
    """The score of two models whose rewards are exchanged: of the two `ends` the recorded one's,
    where nothing is exchanged, and the other's, where all is.

    Raises `PlauditError` for a benchmark whose score is not made of the same means whatever the
    rewards are: then they cannot be exchanged.
    """
    means = _Exchanging(units, recorded)
    score = data.suite.score(data.items, rewards, means).score
    size = int(means.apart.sum())
    if not means.as_recorded or not np.allclose(
        score.of(np.stack([np.zeros(size), np.ones(size)]))[:, 0], ends, equal_nan=True
    ):
        raise PlauditError(
            f"{data.suite.title}: its score averages over other items for other rewards, so models "
            "cannot be compared by it; leave it out"
        )
    return _Exchanged(lambda exchanges: score.of(exchanges)[:, 0], size)


def _exchange_test(
    each: Sequence[_Exchanged], exchanges: int, seed: int
) -> tuple[float, int, bool]:
    """The p-value of the difference of two models in the mean of these scores, how many exchanges
    that took, and whether those are all there are; see `comparison.exchange_test`."""
    ends = np.cumsum([0, *(one.units for one in each)])
    size = int(ends[-1])

    def scores(turned: Floats) -> Floats:
        parts = [
            one.of(turned[:, start:stop])
            for one, start, stop in zip(each, ends[:-1], ends[1:], strict=True)
        ]
        return np.mean(parts, axis=0)

    first, second = scores(np.stack([np.zeros(size), np.ones(size)]))
    # Sums of the same numbers in another order differ by rounding; those are equal all the same.
    least = abs(first - second) - 1e-12
    taken, exact = how_many_exchanges(size, exchanges)
    reached = 0
    for turned in each_exchange(size, exchanges, seed):
        reached += int((np.abs(scores(turned) - scores(1 - turned)) >= least).sum())
    return p_of_exchanges(reached, taken, exact), taken, exact
