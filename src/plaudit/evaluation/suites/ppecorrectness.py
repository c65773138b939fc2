"""PPE Correctness (2024), by LMArena: 32 samples of a prompt, of which some are verifiably right.

Five benchmarks, each a data set of its own. Beside the accuracy over pairs: how well one threshold
separates right from wrong, and how right the best of k samples by the reward is, for k from 1 to
32, beside the best of k by correctness itself.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plaudit.data.cells import read_label, read_list
from plaudit.data.rankings import BadRowError, Fault
from plaudit.data.rows import Row
from plaudit.evaluation.layout import Floats
from plaudit.evaluation.optimisation import best_of
from plaudit.evaluation.statistics import Statistic, divide, effective
from plaudit.evaluation.suite import (
    Item,
    Means,
    Part,
    Suite,
    average,
    categories_of,
    combined,
    is_true,
    make_item,
    together,
)

SAMPLES = 32
PPE_BENCHMARKS = {"MMLU-Pro": 512, "MATH": 512, "GPQA": 512, "MBPP-Plus": 507, "IFEval": 512}
NAMED = {  # a word in the name of the file, folder or data set
    "mmlu": "MMLU-Pro",
    "math": "MATH",
    "gpqa": "GPQA",
    "mbpp": "MBPP-Plus",
    "mbppplus": "MBPP-Plus",
    "ifeval": "IFEval",
}
SHOWN = (2, 4, 8, 16, 32)  # of the curve


def read_ppecorrectness(row: Row) -> Item:
    """`prompt`, `response_1` to `response_32`, their `scores` and `sampled_conflict_pairs`.

    The benchmark is named by the file, its folder or the data set on the hub, or by a column
    `subset`. A score says whether a response is right; a pair is of a right and a wrong one,
    counted from 0.
    """
    cell = row.values or {}
    right = [is_true(score) for score in read_list(cell.get("scores"), "scores")]
    if len(right) != SAMPLES:
        raise BadRowError(Fault.LENGTHS, f"wrong number of scores: {len(right)}, not {SAMPLES}")
    pairs = []
    for pair in read_list(cell.get("sampled_conflict_pairs"), "sampled_conflict_pairs"):
        known = isinstance(pair, list) and len(pair) == 2
        if not known or not all(isinstance(k, int) and 0 <= k < SAMPLES for k in pair):
            raise BadRowError(Fault.UNKNOWN, f"unknown pair of responses: {pair!r}")
        pairs.append(sorted(pair, key=lambda k: not right[k]))
        if right[pair[0]] == right[pair[1]]:
            raise BadRowError(Fault.UNKNOWN, f"a pair of responses that do not differ: {pair}")
    numbers = range(1, SAMPLES + 1)
    return make_item(
        row,
        _benchmark(row),
        cell.get("prompt"),
        [cell.get(f"response_{k}") or "" for k in numbers],
        [int(not one) for one in right],
        names=[f"response {k}" for k in numbers],
        id=cell.get("question_id"),
        about=pairs,
    )


def _benchmark(row: Row) -> str:
    """Which of the five a row is of; the last word of the path that says so."""
    named = read_label((row.values or {}).get("subset"), "subset") or row.file
    for word in reversed(re.findall(r"[a-z]+", named.lower())):
        if word in NAMED:
            return NAMED[word]
    raise BadRowError(Fault.UNKNOWN, f"the file is named after none of {', '.join(PPE_BENCHMARKS)}")


def score_ppecorrectness(
    items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means
) -> Part:
    """Of each benchmark accuracy over the sampled pairs, AUC and best-of-k; their plain averages.

    Frick et al. 2024, arXiv:2410.14872. The accuracy is a mean over prompts of the share of right
    pairs. For the AUC the rewards of a prompt are put between 0 and 1. The curve is the
    mean over prompts of how right the best of k is, in expectation over all choices of k samples;
    `highest` is its highest point, `loss` the mean over k of the squared gap to the best possible.
    """
    reward = np.array(rewards, dtype=np.float64)
    right = np.array([[rank == 0 for rank in item.ranking.ranks] for item in items])
    accuracy = np.array(
        [
            np.mean([row[u] > row[v] for u, v in item.about]) if item.about else np.nan
            for item, row in zip(items, reward, strict=True)
        ]
    )
    sizes = range(1, SAMPLES + 1)
    pairs = list(zip(reward, right.astype(np.float64), strict=True))
    curve = np.array([best_of(by, [of], sizes)[0] for by, of in pairs])
    ideal = np.array([best_of(of, [of], sizes)[0] for _, of in pairs])
    low, high = reward.min(axis=1, keepdims=True), reward.max(axis=1, keepdims=True)
    scaled = np.where(high > low, divide(reward - low, high - low), 0.5)
    categories = categories_of(items)
    parts: dict[str, Part] = {}
    for benchmark in PPE_BENCHMARKS:
        among = categories == benchmark
        if not among.any():
            continue
        parts[benchmark] = part = mean.part(
            np.nan_to_num(accuracy), among & ~np.isnan(accuracy), trials=0
        )
        part.n = int(among.sum())
        of = [mean(curve[:, k], among, trials=0) for k in range(SAMPLES)]
        best = [mean(ideal[:, k], among, trials=0) for k in range(SAMPLES)]
        part.figures = {
            "AUC": separation(scaled[among], right[among], mean.unit[among], mean.size),
            "one sample": of[0],
            **{f"best of {k}": of[k - 1] for k in SHOWN},
            "highest": combined(lambda table: table.max(axis=1), of),
            "loss": combined(_squared_gap, [*of, *best]),
        }
    total = together(parts)
    for name in next(iter(parts.values())).figures:
        total.figures[name] = average([part.figures[name] for part in parts.values()])
    return total


def _squared_gap(table: Floats) -> Floats:
    reached, possible = np.split(table, 2, axis=1)
    return ((possible - reached) ** 2).mean(axis=1)


def separation(
    values: Floats, right: NDArray[np.bool_], unit: NDArray[np.int_], size: int
) -> Statistic:
    """The area under the ROC curve of all samples [N, K], of which units are resampled.

    How often a right sample of one unit beats a wrong one of another is counted once for any two
    units, equal values counting half, so that each resample is a product of matrices.
    """
    here, place = np.unique(unit, return_inverse=True)
    of = np.repeat(place, values.shape[1])
    flat, is_right = values.ravel(), right.ravel()
    wins = np.zeros((len(here), len(here)))
    for q in range(len(here)):
        wrong = np.sort(flat[(of == q) & ~is_right])
        below, upto = (
            np.searchsorted(wrong, flat[is_right], side=side) for side in ("left", "right")
        )
        wins[:, q] = np.bincount(of[is_right], (below + upto) / 2, len(here))
    positives, negatives = (
        np.bincount(of[side], minlength=len(here)) for side in (is_right, ~is_right)
    )

    def area(weights: Floats) -> Floats:
        drawn = weights[:, here]
        won = ((drawn @ wins) * drawn).sum(axis=1)
        return divide(won, (drawn @ positives) * (drawn @ negatives))[:, None]

    counts = np.zeros((size, 1))
    counts[here, 0] = np.bincount(place)
    return Statistic(area(np.ones((1, size)))[0], area, effective(counts))


SUITE = Suite(
    title="PPE Correctness",
    fields=("prompt", "scores", "sampled_conflict_pairs", "response_1", "response_32"),
    read=read_ppecorrectness,
    score=score_ppecorrectness,
    counts=PPE_BENCHMARKS,
    definition="the average of the five benchmarks, each the accuracy over its sampled pairs of a "
    "right and a wrong response; equal rewards count as wrong",
    source="Frick et al. 2024, arXiv:2410.14872, and the post Preference Proxy Evaluations of "
    "lmarena/lmarena.github.io; the cards of lmarena-ai/PPE-MMLU-Pro-Best-of-K and its like",
    hub="lmarena-ai/PPE-MMLU-Pro-Best-of-K",
)
