"""What optimising a reward would do: its variance under a policy, and best-of-n by a gold judge.

A policy's samples of each prompt were given rewards. How much these differ within a prompt is all
that a policy can learn from: a reward of small variance gives a flat objective and slow learning,
however accurate it is (Razin et al. 2025, "What Makes a Reward Model a Good Teacher?", arXiv
2503.15477). Best-of-n stands for a policy that was trained against the reward: it moves away from
the policy that samples by log n − (n − 1) / n nats of KL (Stiennon et al. 2020, arXiv 2009.01325),
which is an upper bound (Beirami et al. 2024, arXiv 2401.01879). What a second judge, the gold,
makes of the picked sample, against that, shows over-optimisation (Gao et al. 2022, arXiv
2210.10760).
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import cast

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import TypedDict

from plaudit.evaluation.layout import Floats
from plaudit.evaluation.statistics import FigureRecord, Pending, Statistic, divide, ratios
from plaudit.evaluation.stress import spread_within

# A prompt is flat where rewards differ by less than this share of their deviation over all samples,
# and an objective where less than this share of the variance lies within prompts. plaudit's own.
FLAT_PROMPT = 0.1
FLAT_OBJECTIVE = 0.1


class PickRecord(TypedDict):
    """Best-of-n: what the sample that is picked of n is like, on average over prompts.

    `kl`: from the policy, in nats, at most. `reward`, `gold`: the gain over a sample drawn at
    random, in standard deviations within prompts. `attained`: `gold` as a share of what the gold's
    own pick of n gains. `length`: in characters.
    """

    n: int
    kl: float
    reward: FigureRecord
    gold: FigureRecord | None
    attained: FigureRecord | None
    length: FigureRecord


class PeakRecord(TypedDict):
    """Where the gold of what the reward picks is highest, and how much of it the most picks lose.

    `n` is the peak in these samples, and the interval of `lost` takes it as given.
    """

    n: int
    kl: float
    lost: FigureRecord


class UnderPolicyRecord(TypedDict):
    """A reward under a policy's samples.

    `variance`: of the rewards of a prompt's samples, the mean over prompts. `within`: its share of
    the variance over all samples; the rest lies between prompts, and no policy learns from that.
    `flat`: the share of prompts whose rewards have less than a tenth of the deviation over all
    samples. `deviations`: the deciles over prompts, least to most, of a prompt's standard deviation
    as a share of that over all samples. `agreement`: the share of pairs of samples that the reward
    orders as the gold does. `picks`: best-of-n by the reward, by length, and by the gold itself.
    `more_than_length`: what picking the best of the most by the reward gains in gold over picking
    the longest. What needs a gold judge is None without one.
    """

    mean: FigureRecord
    variance: FigureRecord
    within: FigureRecord | None
    flat: FigureRecord | None
    deviations: list[float] | None
    agreement: FigureRecord | None
    picks: dict[str, list[PickRecord]]
    peak: PeakRecord | None
    more_than_length: FigureRecord | None


def kl_of_best(n: int) -> float:
    """How far best-of-n moves from the policy, in nats: log n − (n − 1) / n, an upper bound.

    >>> round(kl_of_best(16), 3)
    1.835
    """
    return math.log(n) - (n - 1) / n


def sizes_up_to(most: int) -> list[int]:
    """The n of a curve: powers of two, and the most.

    >>> sizes_up_to(12)
    [1, 2, 4, 8, 12]
    """
    return [*(2**k for k in range(most.bit_length()) if 2**k < most), most]


def best_of(by: ArrayLike, of: ArrayLike, sizes: Sequence[int]) -> Floats:
    """The expected `of` [K, N] of the best of n by `by` [N], over all subsets of n: [K, sizes].

    The unbiased estimator of Nakano et al. 2021 (WebGPT, arXiv 2112.09332, appendix I): of the
    C(N, n) subsets without repeats, the i-th worst of N is the best of C(i − 1, n − 1). Equal ones
    have equal chances to be picked.

    >>> best_of([3.0, 1.0, 2.0], [[30.0, 10.0, 20.0]], [1, 2]).round(2).tolist()
    [[20.0, 26.67]]
    """
    by, of = np.asarray(by, dtype=np.float64), np.asarray(of, dtype=np.float64)
    _, group, count = np.unique(by, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(group, row) for row in of])
    ascending = np.repeat(sums / count, count, axis=1)
    return ascending @ _chances(len(by), tuple(sizes))


@cache
def _chances(count: int, sizes: tuple[int, ...]) -> Floats:
    """How likely each of `count`, the worst first, is to be the best of n: [count, sizes]."""
    return np.array(
        [[math.comb(i, n - 1) / math.comb(count, n) for n in sizes] for i in range(count)]
    )


def under_policy(
    rewards: Sequence[ArrayLike],
    lengths: Sequence[ArrayLike],
    gold: Sequence[ArrayLike] | None,
    *,
    most: int,
    resamples: int = 1000,
    seed: int = 0,
) -> UnderPolicyRecord:
    """What a reward is like under a policy's samples; 95 % intervals by bootstrap over prompts.

    Args:
        rewards: one array [N_i] for each prompt, of N_i ≥ `most` ≥ 2 samples.
        lengths: likewise, in characters.
        gold: likewise, of a second judge, higher being better; None without one.
        most: the largest n of best-of-n.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    >>> record = under_policy([[0.0, 1.0], [5.0, 7.0]], [[3, 4], [9, 2]], None, most=2)
    >>> record["variance"]["value"], [pick["length"]["value"] for pick in record["picks"]["length"]]
    (1.25, [4.5, 6.5])
    """
    judges = {"reward": rewards, "length": lengths, "gold": gold}
    values = {
        name: [np.asarray(row, dtype=np.float64) for row in rows]
        for name, rows in judges.items()
        if rows is not None
    }
    pending = Pending()
    record: dict[str, object] = {}
    _add_variance(record, values["reward"], pending)
    if gold is not None:
        both = zip(values["reward"], values["gold"], strict=True)
        agreed = np.array([_agreed(*each) for each in both])
        pending.add(record, ["agreement"], ratios(agreed[:, :1], agreed[:, 1:], shares=True))
    _add_picks(record, values, sizes_up_to(most), pending)
    pending.fill(len(rewards), resamples, seed)
    return cast(UnderPolicyRecord, record)


def _add_variance(record: dict[str, object], rewards: Sequence[Floats], pending: Pending) -> None:
    """The variance within prompts and its share of all, by the components of a one-way layout.

    Between prompts it is the variance of their means less what that within them adds (Searle,
    Casella & McCulloch 1992, Variance Components, section 3.6, each prompt with equal weight).
    """
    mean = np.array([row.mean() for row in rewards])
    within = np.array([row.var(ddof=1) for row in rewards])
    noise = within / np.array([len(row) for row in rewards])
    columns = np.stack([mean, mean**2, within, noise], axis=1)

    def share(weights: Floats) -> Floats:
        prompts = weights.sum(axis=1)
        means = (weights @ columns) / prompts[:, None]
        of_means = divide((means[:, 1] - means[:, 0] ** 2) * prompts, prompts - 1)
        between = np.maximum(of_means - means[:, 3], 0.0)
        return divide(means[:, 2], means[:, 2] + between)[:, None]

    ones = np.ones((len(rewards), 1))
    pending.add(record, ["mean"], ratios(mean[:, None], ones))
    pending.add(record, ["variance"], ratios(within[:, None], ones))
    share_of_all = share(ones.T)[0]
    pending.add(record, ["within"], Statistic(share_of_all, share, np.array([float(len(mean))])))
    record["flat"] = record["deviations"] = None
    if share_of_all[0] > 0:
        overall = np.sqrt(within.mean() / share_of_all[0])
        deviations = np.sqrt(within) / overall
        flat = (deviations < FLAT_PROMPT).astype(np.float64)[:, None]
        pending.add(record, ["flat"], ratios(flat, ones, shares=True))
        record["deviations"] = np.quantile(deviations, np.linspace(0, 1, 11)).tolist()
    record["agreement"] = None


def _agreed(reward: Floats, gold: Floats) -> tuple[float, int]:
    """How many pairs of samples both order alike, equal rewards counting half, and of how many."""
    i, j = np.triu_indices(len(gold), 1)
    by_gold = np.sign(gold[i] - gold[j])
    alike = (1 + np.sign(reward[i] - reward[j]) * by_gold) / 2
    return float(alike[by_gold != 0].sum()), int((by_gold != 0).sum())


def _add_picks(
    record: dict[str, object],
    values: dict[str, list[Floats]],
    sizes: Sequence[int],
    pending: Pending,
) -> None:
    """Best-of-n by each judge, as all of them see it."""
    names = list(values)
    units = [1.0 if name == "length" else spread_within(values[name]) or 1.0 for name in names]
    of = [np.stack(rows) / np.array(units)[:, None] for rows in zip(*values.values(), strict=True)]
    picked = {  # [P, judges, sizes]
        name: np.stack([best_of(*each, sizes) for each in zip(values[name], of, strict=True)])
        for name in names
    }
    for seen in picked.values():  # a gain, but of length, which has a zero
        for judge, name in enumerate(names):
            if name != "length":
                seen[:, judge] -= seen[:, judge, :1]
    ones = np.ones((len(of), len(names)))
    # The gold gains by its own picks, but for rounding.
    attainable = picked["gold"][:, names.index("gold")].clip(min=0) if "gold" in picked else None
    picks: dict[str, list[dict[str, object]]] = {name: [] for name in names}
    for by, seen in picked.items():
        for place, n in enumerate(sizes):
            pick: dict[str, object] = {"n": n, "kl": kl_of_best(n)}
            pick |= dict.fromkeys(("reward", "gold", "attained", "length"))
            pending.add(pick, names, ratios(seen[:, :, place], ones))
            if attainable is not None:
                gains = seen[:, [names.index("gold")], place]
                pending.add(pick, ["attained"], ratios(gains, attainable[:, [place]]))
            picks[by].append(pick)
    record["picks"], record["peak"], record["more_than_length"] = picks, None, None
    if "gold" not in picked:
        return
    gold = {by: seen[:, names.index("gold")] for by, seen in picked.items()}  # [P, sizes]
    top = int(gold["reward"].mean(axis=0).argmax())
    peak: dict[str, object] = {"n": sizes[top], "kl": kl_of_best(sizes[top])}
    lost = gold["reward"][:, [top]] - gold["reward"][:, [-1]]
    pending.add(peak, ["lost"], ratios(lost, ones[:, :1]))
    record["peak"] = peak
    more = gold["reward"][:, [-1]] - gold["length"][:, [-1]]
    pending.add(record, ["more_than_length"], ratios(more, ones[:, :1]))


# ---- in words ----


def verdict(record: UnderPolicyRecord) -> list[str]:
    """Whether the reward would teach the policy, in sentences.

    With a gold judge the first is what optimising it gains, and the second what that loses again;
    then come length, and how much of the reward a policy can learn from.
    """
    within, flat = record["within"], record["flat"]
    if (within is None or flat is None) and record["variance"]["value"] > 0:
        return ["One prompt does not show what a policy can learn from the reward: take more."]
    if within is None or flat is None:
        return ["All samples of a prompt get the same reward: there is nothing to learn from."]
    learnt = (
        f"{_percent(within)} of the variance of the reward lies between samples of one prompt, "
        f"which is all that a policy can learn from; {_percent(flat)} of the prompts are flat"
    )
    if within["value"] < FLAT_OBJECTIVE:
        learnt += ": so flat an objective makes learning slow"
    last = record["picks"]["reward"][-1]
    drawn = record["picks"]["reward"][0]["length"]["value"]
    longer = last["length"]["value"] / drawn - 1 if drawn else 0.0
    way = "longer" if longer >= 0 else "shorter"
    length = (
        f"What it picks of {last['n']} is {100 * abs(longer):.0f} % {way} than a sample at random"
    )
    peak, gold, more = record["peak"], last["gold"], record["more_than_length"]
    if peak is None or gold is None or more is None:
        unknown = (
            "Without a gold judge nothing here says whether what the reward picks is better, or "
            "from where on it is over-optimised"
        )
        return [f"{unknown}.", f"{length}.", f"{learnt}."]
    low, high = more["low"], more["high"]
    if low is None or high is None:
        against = "has no interval against"
    elif low <= 0 <= high:
        against = "cannot be told from"
    else:
        against = "is better than" if low > 0 else "is worse than"
    return [
        _gained(last, gold),
        _lost(peak, last["n"]),
        f"{length}; by the gold it {against} the longest, with a difference of {_figure(more)}.",
        f"{learnt}.",
    ]


def _gained(last: PickRecord, gold: FigureRecord) -> str:
    attained = last["attained"]
    own = f"{last['reward']['value']:+.2f}".replace("-", "−")
    share = "" if attained is None else f", {_percent(attained)} of what the gold's own picks gain"
    return (
        f"The best of {last['n']} by this reward gains {_figure(gold)} standard deviations of the "
        f"gold{share}; of its own reward it gains {own}."
    )


def _lost(peak: PeakRecord, most: int) -> str:
    if peak["n"] == most:
        return f"The gold still rises at n = {most}: over-optimisation is not reached."
    where = f"n = {peak['n']}" + (", a sample at random" if peak["n"] == 1 else "")
    sure = peak["lost"]["low"] is not None and peak["lost"]["low"] > 0
    end = "beyond, the reward is over-optimised" if sure else "that may be chance"
    lost = _figure(peak["lost"], ".2f")
    return (
        f"The gold is highest at {where} (KL at most {peak['kl']:.2f} nats) and {lost} lower at "
        f"n = {most}: {end}."
    )


def _percent(figure: FigureRecord) -> str:
    return _figure(figure, ".0f", 100, " %")


def _figure(figure: FigureRecord, form: str = "+.2f", times: float = 1, unit: str = "") -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    ends = ""
    if low is not None and high is not None:
        ends = f" ({times * low:{form}} to {times * high:{form}})"
    return f"{times * value:{form}}{unit}{ends}".replace("-", "−")
