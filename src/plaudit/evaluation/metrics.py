"""How well rewards agree with ranks: numbers with 95 % intervals, beside the length baseline.

Every metric here is a mean over items, strictly ordered pairs or whole rankings, and every item
belongs to a prompt. So a metric is a sum and a count per prompt, and resampling prompts (not pairs,
which are not independent within a prompt) is one product of weights and sums. Tied ranks make no
pair; a ranking in which everything is tied asks no question and is left out of every metric.

All functions take ragged input, one array per ranking: rewards, ranks and lengths are sequences of
arrays [K_i]; `prompts` names the prompt of each ranking, for data that have several rankings of one
prompt. Numpy only, so that it imports without torch.
"""

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plaudit.console import progress
from plaudit.errors import PlauditError

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
# A category per ranking, or per completion of a ranking; None where there is none.
Category = str | None | Sequence[str | None]

NO_CATEGORY = "(no category)"
FEW_PROMPTS = 30
DRAWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Figure:
    """A number and its 95 % interval; `low` and `high` are None where there can be no interval.

    >>> print(Figure(0.73, 0.712, 0.748))
    0.730 [0.712, 0.748]
    >>> print(Figure(0.73))
    0.730
    """

    value: float
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """The figure as JSON takes it."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        interval = self.interval()
        return f"{self.value:.3f} {interval}" if interval else f"{self.value:.3f}"

    def interval(self, form: str = ".3f") -> str:
        """The interval in brackets, or nothing when there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"[{self.low:{form}}, {self.high:{form}}]"


def pairwise_accuracy(
    rewards: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Share of the strictly ordered pairs in which the better completion has the higher reward.

    Every pair of every ranking counts the same. Equal rewards count half, so that constant rewards
    score what a coin toss scores. `rewards` and `ranks` hold one array [K_i] per ranking; `prompts`
    defaults to a prompt of its own for each ranking. With `resamples=0` there is no interval.

    Raises `PlauditError` when a reward is not finite or no two completions differ in rank.

    >>> pairwise_accuracy([[2.0, 1.0, 0.0]], [[0, 2, 1]], resamples=0).value  # 2 of 3 pairs
    0.6666666666666666
    """
    return _measure(_right, rewards, ranks, prompts, resamples, seed)


def log_loss(
    rewards: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Mean of −log σ(r_better − r_worse) over the strictly ordered pairs, in nats.

    The negative log likelihood of the pairs under Bradley–Terry (Bradley & Terry 1952, Biometrika
    39). A coin toss scores log 2 = 0.693; above that, the model is surer than it is right.
    Arguments and errors as in `pairwise_accuracy`.

    >>> print(log_loss([[0.0, 0.0]], [[0, 1]], resamples=0))
    0.693
    """
    return _measure(_loss, rewards, ranks, prompts, resamples, seed)


def mean_margin(
    rewards: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Mean of r_better − r_worse over the strictly ordered pairs, in units of reward.

    Arguments and errors as in `pairwise_accuracy`.

    >>> mean_margin([[3.0, 1.0], [0.0, 1.0]], [[0, 1], [0, 1]], resamples=0).value
    0.5
    """
    return _measure(_margin, rewards, ranks, prompts, resamples, seed)


def top1_accuracy(
    rewards: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Share of the rankings whose completion with the highest reward is one of the best rank.

    This is what best-of-n relies on. Where several completions tie for the highest reward, the
    ranking counts the fraction of them that are best: what picking one of them at random gets.
    Arguments and errors as in `pairwise_accuracy`.

    >>> top1_accuracy([[5.0, 1.0, 0.0], [1.0, 1.0]], [[0, 0, 1], [0, 1]], resamples=0).value
    0.75
    """
    return _measure(_top1, rewards, ranks, prompts, resamples, seed)


def kendall_tau_b(
    rewards: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Mean over rankings of Kendall's τ-b between rewards and ranks; 1 is full agreement.

    τ-b = (C − D) / √(pairs untied in rank × pairs untied in reward), with C concordant and D
    discordant pairs (Kendall 1945, Biometrika 33). A ranking with constant rewards makes that 0/0
    and counts 0, what a random order gets on average: leaving it out would let a model raise its
    score by declining to order the hard prompts. Arguments and errors as in `pairwise_accuracy`.

    >>> kendall_tau_b([[2.0, 1.0, 0.0], [1.0, 1.0]], [[0, 1, 2], [0, 1]], resamples=0).value
    0.5
    """
    return _measure(_tau, rewards, ranks, prompts, resamples, seed)


def length_baseline(
    lengths: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Pairwise accuracy of always preferring the longer completion; equal lengths count half.

    `lengths` holds one array [K_i] per ranking, in characters. Other arguments and errors as in
    `pairwise_accuracy`.

    >>> length_baseline([[120, 80], [10, 10]], [[0, 1], [0, 1]], resamples=0).value
    0.75
    """
    return _measure(_right, lengths, ranks, prompts, resamples, seed, what="length")


def accuracy_above_length(
    rewards: Sequence[ArrayLike],
    lengths: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Pairwise accuracy of the rewards minus that of the length baseline, with a paired interval.

    Both are measured on the same pairs in the same resamples, so what makes a resample easy for
    both cancels and the interval is about the difference alone. Arguments and errors as in
    `pairwise_accuracy` and `length_baseline`.

    >>> accuracy_above_length([[1.0, 0.0]], [[50, 90]], [[0, 1]], resamples=0).value
    1.0
    """
    layout = _layout(ranks, prompts)
    above = (
        _right(layout, _flat(rewards, layout, "reward"))[0]
        - (_right(layout, _flat(lengths, layout, "length"))[0])
    )
    return _figures(layout, [(above, layout.pair_ranking)], resamples, seed)[0]


def bootstrap(
    sums: ArrayLike, counts: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> list[Figure]:
    """Ratios of column totals, with 95 % percentile intervals from resampling the rows.

    `sums` and `counts` are [P, M]: for each of P prompts and M metrics the sum over its items and
    how many there are, all counts above zero. Each resample draws P rows with replacement, the same
    rows for all M columns, so that differences of columns are paired. Percentile bootstrap: Efron &
    Tibshirani 1993, ch. 13. With fewer than two prompts, or `resamples=0`, there is no interval:
    resampling a single prompt would say, wrongly, that nothing varies.

    >>> print(bootstrap([[1.0], [0.0], [2.0], [1.0]], [[1], [1], [2], [1]])[0])
    0.800 [0.250, 1.000]
    """
    sums, counts = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if sums.ndim != 2 or sums.shape != counts.shape:
        raise ValueError(f"sums {sums.shape} and counts {counts.shape} must be one shape [P, M]")
    if len(sums) == 0 or not (counts > 0).all():
        raise ValueError("every prompt needs a count above zero")
    size, columns = sums.shape
    values = sums.sum(axis=0) / counts.sum(axis=0)
    if size < 2 or resamples < 1:
        return [Figure(float(value)) for value in values]

    both = np.hstack([sums, counts])
    ratios = np.empty((resamples, columns))
    rng = np.random.default_rng(seed)
    # A block of resamples at a time, so that memory does not grow with resamples × prompts.
    block = max(1, DRAWS_AT_ONCE // size)
    for start in progress(range(0, resamples, block), "resampling prompts"):
        rows = min(block, resamples - start)
        draws = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
        weights = np.bincount(draws.ravel(), minlength=rows * size).reshape(rows, size)
        totals = weights.astype(np.float64) @ both
        ratios[start : start + rows] = totals[:, :columns] / totals[:, columns:]
    lows, highs = np.quantile(ratios, [0.025, 0.975], axis=0)
    return [
        Figure(float(value), float(low), float(high))
        for value, low, high in zip(values, lows, highs, strict=True)
    ]


def summarise(
    rewards: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable],
    lengths: Sequence[ArrayLike],
    categories: Sequence[Category] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every metric of this module with its interval, overall and by category, ready for JSON.

    `rewards`, `ranks` and `lengths` (characters) hold one array [K_i] per ranking, `prompts` the
    prompt of each. `categories` holds for each ranking a name, None, or a sequence of K_i names; a
    pair belongs to the category of its worse completion if completions have one, else to that of
    its ranking. All metrics share their resamples.

    Returns `{"pairwise_accuracy": {"value", "low", "high"}, "log_loss": …, "mean_margin": …,
    "top1_accuracy": …, "kendall_tau_b": …, "length_baseline": …, "accuracy_above_length": …,
    "counts": {"prompts", "rankings", "completions", "pairs"}, "by_category": {name:
    {"pairwise_accuracy": …, "length_baseline": …, "prompts", "pairs"}}}`, categories with the most
    pairs first. `low` and `high` are None where a single prompt leaves nothing to resample.

    Raises `PlauditError` when a reward is not finite or no two completions differ in rank.

    >>> summary = summarise([[2.0, 1.0]], [[0, 1]], prompts=["2+2?"], lengths=[[1, 9]])
    >>> summary["pairwise_accuracy"]["value"], summary["length_baseline"]["value"]
    (1.0, 0.0)
    """
    layout = _layout(ranks, prompts)
    reward, length = _flat(rewards, layout, "reward"), _flat(lengths, layout, "length")
    right, pair_ranking = _right(layout, reward)
    longer, _ = _right(layout, length)
    items = {
        "pairwise_accuracy": (right, pair_ranking),
        "log_loss": _loss(layout, reward),
        "mean_margin": _margin(layout, reward),
        "top1_accuracy": _top1(layout, reward),
        "kendall_tau_b": _tau(layout, reward),
        "length_baseline": (longer, pair_ranking),
        "accuracy_above_length": (right - longer, pair_ranking),
    }
    figures = _figures(layout, list(items.values()), resamples, seed)
    summary: dict[str, Any] = {
        name: figure.as_dict() for name, figure in zip(items, figures, strict=True)
    }
    summary["counts"] = {
        "prompts": len(layout.prompts),
        "rankings": len(layout.sizes),
        "completions": int(layout.sizes.sum()),
        "pairs": len(layout.better),
    }
    summary["by_category"] = {}
    for name, pairs in _pairs_by_category(layout, categories).items():
        of_ranking = pair_ranking[pairs]
        accuracy, baseline = _figures(
            layout, [(right[pairs], of_ranking), (longer[pairs], of_ranking)], resamples, seed
        )
        summary["by_category"][name] = {
            "pairwise_accuracy": accuracy.as_dict(),
            "length_baseline": baseline.as_dict(),
            "prompts": len(np.unique(layout.prompt[of_ranking])),
            "pairs": len(pairs),
        }
    return summary


def format_summary(summary: dict[str, Any]) -> str:
    """What `summarise` returned as a table for people, with the verdict as its last sentence.

    >>> summary = summarise([[2.0, 1.0]], [[0, 1]], prompts=["2+2?"], lengths=[[1, 9]])
    >>> format_summary(summary).splitlines()[0]
    '1 prompt, 1 ranking, 2 completions, 1 pair'
    """

    def row(label: str, key: str, form: str = ".3f", note: str = "") -> str:
        figure = Figure(**summary[key])
        value = f"{figure.value:{form}}"
        return f"{label:<28}{value:>8}   {figure.interval(form):<18} {note}".rstrip()

    counts = summary["counts"]
    lines = [
        ", ".join(
            _count(counts[what], what[:-1])
            for what in ("prompts", "rankings", "completions", "pairs")
        ),
        "",
        f"{'':<28}{'value':>8}   95 % interval",
        row("pairwise accuracy", "pairwise_accuracy", note="coin toss 0.500"),
        row("  of preferring the longer", "length_baseline"),
        row("  above that", "accuracy_above_length", "+.3f"),
        row("log loss", "log_loss", note="coin toss 0.693"),
        row("mean margin", "mean_margin"),
        row("top-1 accuracy", "top1_accuracy"),
        row("Kendall tau-b", "kendall_tau_b", "+.3f"),
    ]
    if summary["by_category"]:
        width = max(len("category"), *map(len, summary["by_category"]))
        lines += ["", f"{'category':<{width}}   pairs  accuracy   95 % interval    longer"]
        for name, entry in summary["by_category"].items():
            accuracy = Figure(**entry["pairwise_accuracy"])
            lines.append(
                f"{name:<{width}}{entry['pairs']:>8,}  {accuracy.value:>8.3f}   "
                f"{accuracy.interval():<14}  {entry['length_baseline']['value']:>7.3f}"
            )
    return "\n".join([*lines, "", verdict(summary)])


def verdict(summary: dict[str, Any]) -> str:
    """One sentence on what `summarise` found: is this better than chance and than length, how sure.

    >>> rewards, lengths = [[1.0, 0.0]] * 40, [[5, 9]] * 40
    >>> verdict(summarise(rewards, [[0, 1]] * 40, prompts=range(40), lengths=lengths))
    'The model beats preferring the longer completion by 100.0 points (95 % interval +100.0 to \
+100.0).'
    """
    accuracy = Figure(**summary["pairwise_accuracy"])
    above = Figure(**summary["accuracy_above_length"])
    prompts = summary["counts"]["prompts"]
    if accuracy.low is None or accuracy.high is None or above.low is None or above.high is None:
        return (
            f"Nothing can be concluded: {_count(prompts, 'prompt')} gave a pairwise accuracy of "
            f"{accuracy.value:.3f}, without an interval."
        )
    share = f"{100 * accuracy.value:.1f} % of the pairs right"
    between = f"95 % interval {100 * above.low:+.1f} to {100 * above.high:+.1f}"
    points = f"{100 * abs(above.value):.1f} points"
    if accuracy.high < 0.5:
        found = f"The model orders completions the wrong way round: {share} {accuracy.interval()}"
    elif accuracy.low <= 0.5:
        found = f"The model cannot be told from a coin toss: {share} {accuracy.interval()}"
        if above.high < 0:
            found += f", and is {points} worse than preferring the longer completion"
    elif above.low > 0:
        found = f"The model beats preferring the longer completion by {points} ({between})"
    elif above.high < 0:
        found = f"The model is worse than preferring the longer completion by {points} ({between})"
    else:
        found = (
            f"The model beats a coin toss but cannot be told from preferring the longer "
            f"completion: {100 * above.value:+.1f} points ({between})"
        )
    if prompts < FEW_PROMPTS:
        return f"{found}, but {_count(prompts, 'prompt')} are too few to rely on the interval."
    return found + "."


# What each metric averages: values [N] and the ranking [N] that each of them belongs to.
Items = tuple[Floats, Ints]


@dataclass(frozen=True)
class _Layout:
    """All completions in one flat row, and the pairs among them.

    `first`, `second` index every pair of a ranking, [A]; `better`, `worse` the strictly ordered
    ones, [N], of ranking `pair_ranking`; `ordered` the rankings that have such a pair.
    """

    sizes: Ints  # [R] completions per ranking
    starts: Ints  # [R] index of each ranking's first completion
    prompt: Ints  # [R] index into prompts
    prompts: list[Hashable]
    rank: Floats  # [C]
    first: Ints
    second: Ints
    any_ranking: Ints  # [A] ranking of each (first, second)
    better: Ints
    worse: Ints
    pair_ranking: Ints
    ordered: Ints


def _layout(ranks: Sequence[ArrayLike], prompts: Sequence[Hashable] | None) -> _Layout:
    arrays = [np.asarray(rank, dtype=np.float64) for rank in ranks]
    if not all(array.ndim == 1 and len(array) for array in arrays):
        raise ValueError("the ranks of every ranking must be one array of one number or more")
    if prompts is None:
        prompts = range(len(arrays))
    if len(prompts) != len(arrays):
        raise ValueError(f"{len(prompts)} prompts for {len(arrays)} rankings")
    index: dict[Hashable, int] = {}
    prompt = np.array([index.setdefault(name, len(index)) for name in prompts], dtype=np.intp)
    rank = np.concatenate(arrays) if arrays else np.empty(0)
    sizes = np.array([len(array) for array in arrays], dtype=np.intp)
    starts = np.cumsum(sizes) - sizes

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
    strict = rank[first] != rank[second]
    if not strict.any():
        raise PlauditError(
            "nothing to measure: no ranking has two completions of different rank; evaluate on "
            "data in which at least one prompt prefers one completion to another"
        )
    forward = rank[first] < rank[second]
    return _Layout(
        sizes=sizes,
        starts=starts,
        prompt=prompt,
        prompts=list(index),
        rank=rank,
        first=first,
        second=second,
        any_ranking=any_ranking,
        better=np.where(forward, first, second)[strict],
        worse=np.where(forward, second, first)[strict],
        pair_ranking=any_ranking[strict],
        ordered=np.unique(any_ranking[strict]),
    )


def _flat(values: Sequence[ArrayLike], layout: _Layout, what: str) -> Floats:
    """The values of all completions in one row [C], all finite."""
    arrays = [np.asarray(value, dtype=np.float64) for value in values]
    if [array.shape for array in arrays] != [(size,) for size in layout.sizes]:
        raise ValueError(f"{what}s and ranks must have one number for each completion")
    flat = np.concatenate(arrays)
    wrong = np.flatnonzero(~np.isfinite(flat))
    if len(wrong):
        ranking = int(np.searchsorted(layout.starts, wrong[0], side="right")) - 1
        prompt = layout.prompts[layout.prompt[ranking]]
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


def _right(layout: _Layout, score: Floats) -> Items:
    gap = score[layout.better] - score[layout.worse]
    return (np.sign(gap) + 1) / 2, layout.pair_ranking


def _loss(layout: _Layout, reward: Floats) -> Items:
    gap = reward[layout.better] - reward[layout.worse]
    return np.logaddexp(0, -gap), layout.pair_ranking


def _margin(layout: _Layout, reward: Floats) -> Items:
    return reward[layout.better] - reward[layout.worse], layout.pair_ranking


def _top1(layout: _Layout, reward: Floats) -> Items:
    top = reward == np.repeat(np.maximum.reduceat(reward, layout.starts), layout.sizes)
    best = layout.rank == np.repeat(np.minimum.reduceat(layout.rank, layout.starts), layout.sizes)
    hits = np.add.reduceat((top & best).astype(np.float64), layout.starts)
    share = hits / np.add.reduceat(top.astype(np.float64), layout.starts)
    return share[layout.ordered], layout.ordered


def _tau(layout: _Layout, reward: Floats) -> Items:
    def per_ranking(ranking: Ints, values: NDArray[Any]) -> Floats:
        return np.bincount(ranking, values, len(layout.sizes))[layout.ordered].astype(np.float64)

    gap = np.sign(reward[layout.better] - reward[layout.worse])
    agreement = per_ranking(layout.pair_ranking, gap)
    by_rank = per_ranking(layout.pair_ranking, np.ones(len(gap)))
    by_reward = per_ranking(layout.any_ranking, reward[layout.first] != reward[layout.second])
    # Constant rewards: 0 / 0, which counts 0 (why: see kendall_tau_b).
    return agreement / np.sqrt(np.maximum(by_rank * by_reward, 1)), layout.ordered


def _measure(
    metric: Callable[[_Layout, Floats], Items],
    scores: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    prompts: Sequence[Hashable] | None,
    resamples: int,
    seed: int,
    what: str = "reward",
) -> Figure:
    layout = _layout(ranks, prompts)
    return _figures(layout, [metric(layout, _flat(scores, layout, what))], resamples, seed)[0]


def _figures(layout: _Layout, metrics: list[Items], resamples: int, seed: int) -> list[Figure]:
    """The mean of each metric's items with its interval, over the prompts that have items."""
    size = len(layout.prompts)
    owners = [layout.prompt[ranking] for _, ranking in metrics]
    counts = np.stack([np.bincount(owner, minlength=size) for owner in owners], axis=1)
    sums = np.stack(
        [
            np.bincount(owner, values, minlength=size)
            for owner, (values, _) in zip(owners, metrics, strict=True)
        ],
        axis=1,
    )
    # The metrics measured together have the same prompts: those with a strictly ordered pair.
    kept = counts[:, 0] > 0
    return bootstrap(sums[kept], counts[kept], resamples=resamples, seed=seed)


def _pairs_by_category(layout: _Layout, categories: Sequence[Category] | None) -> dict[str, Ints]:
    """The pairs of each category, most pairs first; nothing when no pair has one."""
    if categories is None:
        return {}
    if len(categories) != len(layout.sizes):
        raise ValueError(f"{len(categories)} categories for {len(layout.sizes)} rankings")
    code: dict[str, int] = {}
    of_completion: list[int] = []
    for ranking, (category, size) in enumerate(zip(categories, layout.sizes, strict=True)):
        names = (
            [category] * int(size) if category is None or isinstance(category, str) else category
        )
        if len(names) != size:
            raise ValueError(f"ranking {ranking}: {len(names)} categories, {size} completions")
        of_completion += [code.setdefault(name or NO_CATEGORY, len(code)) for name in names]
    of_pair = np.array(of_completion, dtype=np.intp)[layout.worse]
    order = np.argsort(of_pair, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(of_pair, minlength=len(code)))[:-1])
    found = {name: pairs for name, pairs in zip(code, groups, strict=True) if len(pairs)}
    if set(found) <= {NO_CATEGORY}:
        return {}
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
