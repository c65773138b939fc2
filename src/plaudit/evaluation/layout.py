"""All completions of all rankings in one flat row, and the pairs among them.

What the metrics compute on: ragged input, one array per ranking, becomes a few index arrays, so
that each metric is a handful of numpy calls however many rankings there are. Tied ranks make no
pair; a ranking in which everything is tied asks no question and is left out of every metric, and
with it a prompt that has no other.
"""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plaudit.errors import PlauditError

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Layout:
    """C completions of R rankings, and the N strictly ordered ones among their A pairs.

    `first`, `second` index every pair of a ranking; `better`, `worse` the strictly ordered ones;
    `ordered` are the rankings that have such a pair and `asked` the prompts of those. Values per
    prompt are arrays over `asked`.
    """

    sizes: Ints  # [R] completions per ranking
    starts: Ints  # [R] index of each ranking's first completion
    prompts: list[Hashable]  # of all rankings, each once
    of_ranking: Ints  # [R] index into `prompts`
    ranking: Ints  # [C] ranking of each completion
    rank: Ints  # [C] 0, 1, 2 … without a gap
    first: Ints  # [A]
    second: Ints  # [A]
    any_ranking: Ints  # [A] ranking of each (first, second)
    better: Ints  # [N]
    worse: Ints  # [N]
    pair_ranking: Ints  # [N] ranking of each (better, worse)
    ordered: Ints  # rankings
    asked: Ints  # [P] index into `prompts`
    slot: Ints  # [R] index of the ranking's prompt in `asked`; −1 where it is not there

    def per_prompt(self, ranking: Ints, values: Floats | None = None) -> Floats:
        """The sum of values, or how many there are, over the prompts of their rankings, [P]."""
        sums = np.bincount(self.slot[ranking], values, minlength=len(self.asked))
        return sums.astype(np.float64)


def lay_out(ranks: Sequence[ArrayLike], prompts: Sequence[Hashable] | None) -> Layout:
    """The layout of rankings with these ranks, one array [K_i] each, of these prompts.

    Without `prompts` each ranking is a prompt of its own. Raises `PlauditError` when no two
    completions of a ranking differ in rank.

    >>> layout = lay_out([[0, 5, 5]], None)
    >>> layout.better.tolist(), layout.worse.tolist(), layout.rank.tolist()
    ([0, 0], [1, 2], [0, 1, 1])
    """
    arrays = [np.asarray(rank, dtype=np.float64) for rank in ranks]
    if not all(array.ndim == 1 and len(array) for array in arrays):
        raise ValueError("the ranks of every ranking must be one array of one number or more")
    if prompts is None:
        prompts = range(len(arrays))
    if len(prompts) != len(arrays):
        raise ValueError(f"{len(prompts)} prompts for {len(arrays)} rankings")
    index: dict[Hashable, int] = {}
    of_ranking = np.array([index.setdefault(name, len(index)) for name in prompts], dtype=np.intp)
    given = np.concatenate(arrays) if arrays else np.empty(0)
    sizes = np.array([len(array) for array in arrays], dtype=np.intp)
    starts = np.cumsum(sizes) - sizes
    ranking = np.repeat(np.arange(len(sizes)), sizes)

    none = np.empty(0, dtype=np.intp)
    firsts, seconds, rankings = [none], [none], [none]
    for k in np.unique(sizes):  # rankings of one size share their pattern of pairs
        of_size = np.flatnonzero(sizes == k)
        i, j = np.triu_indices(k, 1)
        firsts.append((starts[of_size, None] + i).ravel())
        seconds.append((starts[of_size, None] + j).ravel())
        rankings.append(np.repeat(of_size, len(i)))
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    any_ranking = np.concatenate(rankings)
    strict = given[first] != given[second]
    if not strict.any():
        raise PlauditError(
            "nothing to measure: no ranking has two completions of different rank; evaluate on "
            "data in which at least one prompt prefers one completion to another"
        )
    forward = given[first] < given[second]
    ordered = np.unique(any_ranking[strict])
    asked = np.unique(of_ranking[ordered])
    slots = np.full(len(index), -1, dtype=np.intp)
    slots[asked] = np.arange(len(asked))
    by_rank = sort_within(ranking, given)
    return Layout(
        sizes=sizes,
        starts=starts,
        prompts=list(index),
        of_ranking=of_ranking,
        ranking=ranking,
        rank=by_rank.back(by_rank.run - by_rank.run[by_rank.start]),
        first=first,
        second=second,
        any_ranking=any_ranking,
        better=np.where(forward, first, second)[strict],
        worse=np.where(forward, second, first)[strict],
        pair_ranking=any_ranking[strict],
        ordered=ordered,
        asked=asked,
        slot=slots[of_ranking],
    )


def flatten(values: Sequence[ArrayLike], layout: Layout, what: str) -> Floats:
    """The values of all completions in one row [C]; `what` names them where one is not finite.

    Raises `PlauditError` naming the first value that is NaN or infinite.

    >>> flatten([[1, 2], [3, 4]], lay_out([[0, 1], [1, 0]], None), "reward").tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    arrays = [np.asarray(value, dtype=np.float64) for value in values]
    if [array.shape for array in arrays] != [(size,) for size in layout.sizes]:
        raise ValueError(f"{what}s and ranks must have one number for each completion")
    flat = np.concatenate(arrays)
    wrong = np.flatnonzero(~np.isfinite(flat))
    if len(wrong):
        ranking = int(layout.ranking[wrong[0]])
        prompt = layout.prompts[layout.of_ranking[ranking]]
        if isinstance(prompt, str):
            short = prompt if len(prompt) <= 60 else prompt[:59] + "…"
            prompt = json.dumps(short, ensure_ascii=False)
        raise PlauditError(
            f"the {what} of completion {wrong[0] - layout.starts[ranking]} in ranking {ranking} "
            f"(both counted from 0; prompt {prompt}) is {flat[wrong[0]]}, and {len(wrong):,} of "
            f"{len(flat):,} {what}s are not finite numbers: the model has diverged or its numbers "
            "overflow; train with a lower learning rate, or evaluate in float32"
        )
    return flat


@dataclass(frozen=True)
class Sorted:
    """Entries sorted by owner and then by value, as `sort_within` leaves them; all arrays [n].

    `run` counts the runs of equal value and owner, over all owners; `start` is the index at which
    the entry's owner begins; `low` and `high` are the first and last index of its run.
    """

    order: Ints
    run: Ints
    start: Ints
    low: Ints
    high: Ints

    def back(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of the sorted entries in the order in which the entries were given."""
        unsorted = np.empty_like(values)
        unsorted[self.order] = values
        return unsorted


def sort_within(owner: Ints, values: NDArray[Any]) -> Sorted:
    """Sort values within each owner, ascending.

    >>> sort_within(np.array([1, 0, 1]), np.array([5.0, 7.0, 3.0])).order.tolist()
    [1, 2, 0]
    """
    order = np.lexsort((values, owner))
    new_owner, new_run = np.ones(len(order), dtype=bool), np.ones(len(order), dtype=bool)
    new_owner[1:] = np.diff(owner[order]) != 0
    new_run[1:] = new_owner[1:] | (values[order[1:]] != values[order[:-1]])
    run = np.cumsum(new_run) - 1
    lows = np.flatnonzero(new_run)
    highs = np.append(lows[1:], len(order)) - 1
    start = np.flatnonzero(new_owner)[np.cumsum(new_owner) - 1]
    return Sorted(order, run, start, lows[run], highs[run])


def midranks(owner: Ints, values: NDArray[Any]) -> Floats:
    """Places 1, 2 … of values within their owner, ascending; equal values share their mean place.

    >>> midranks(np.array([0, 0, 0, 1]), np.array([5.0, 2.0, 5.0, 9.0])).tolist()
    [2.5, 1.0, 2.5, 1.0]
    """
    by_value = sort_within(owner, values)
    return by_value.back((by_value.low + by_value.high) / 2 - by_value.start + 1)
