"""Which of two reward models is better, and how sure is that.

Two questions, two tests. `compare_rewards` asks about two models as they are, on the same held-out
rankings: what varies is the prompts, so intervals resample prompts and p-values exchange the two
models' rewards prompt by prompt. `compare_folds` asks about two ways of training, over the folds of
a cross-validation: what varies is also the training data, and folds share most of them, so its
t-test corrects for that.

Both assume that nothing but the model differs: the same rankings, the same folds. Pairwise accuracy
is the main metric, named beforehand, and its p-value stands as it is; those of the other metrics
are adjusted for being several.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import ndtri
from typing_extensions import TypedDict

from plaudit.console import counted, progress
from plaudit.data.cells import characters
from plaudit.data.rankings import Ranking, text_key
from plaudit.errors import PlauditError
from plaudit.evaluation.items import Items, contributions, pairwise_accuracy, statistic
from plaudit.evaluation.layout import Floats, Layout, flatten, lay_out
from plaudit.evaluation.measures import MEASURES, label, measure_named, measures
from plaudit.evaluation.overlap import OverlapRecord, any_seen, measure_overlap, overlap_sentence
from plaudit.evaluation.power import POWER
from plaudit.evaluation.statistics import Figure, FigureRecord, holm, resample, standard_error
from plaudit.evaluation.summary import FEW_PROMPTS
from plaudit.files import write_jsonl, write_results
from plaudit.model.trained_on import Overlap

MAIN_METRIC = "pairwise_accuracy"
SIGNIFICANT = 0.05
NUMBERS_AT_ONCE = 1 << 24
WIDEST_NAME = 28
ROUNDING = 1e-9  # differences that vary by no more than this share of them are the same


class MeasureRecord(TypedDict):
    """A measure of both models, first − second, and the p-values of the difference."""

    first: FigureRecord
    second: FigureRecord
    difference: FigureRecord
    p: float
    p_holm: float | None  # None for the main measure, which needs no adjusting


class FoldsRecord(TypedDict):
    """Likewise of two ways of training, over folds: `first` and `second` are means."""

    first: float
    second: float
    difference: FigureRecord
    p: float
    p_holm: float | None


class ExchangesRecord(TypedDict):
    """How many exchanges the permutation test took, and whether those are all there are."""

    exchanges: int
    exact: bool


class UntrainedRecord(TypedDict):
    """The main measure on the rankings that neither model was trained on, and where they part."""

    counts: dict[str, int]  # prompts, rankings
    metric: MeasureRecord
    parting: dict[str, int]  # rankings, first_right, second_right
    tells_apart: float | None


class TrainedOnRecord(TypedDict):
    """What of the rankings each model was trained on, and how many any of the two.

    `without` is None where nothing was trained on, and where nothing is left without it.
    """

    first: OverlapRecord
    second: OverlapRecord
    rankings: int
    without: UntrainedRecord | None


class ComparisonRecord(TypedDict):
    """What `comparison.json` holds."""

    models: list[str]  # first, second
    main_metric: str
    counts: dict[str, int]  # prompts, rankings, completions
    metrics: dict[str, MeasureRecord]
    parting: dict[str, int]  # rankings, first_right, second_right
    test: ExchangesRecord
    tells_apart: NotRequired[float | None]  # accuracy that such a comparison finds in 4 of 5 cases
    training_overlap: NotRequired[TrainedOnRecord]


@dataclass(frozen=True)
class ModelComparison:
    """What `compare_rewards` returns.

    `rankings` and both models' rewards, one array [K] a ranking, are what `summary` was made from.
    """

    summary: ComparisonRecord
    rankings: Sequence[Ranking]
    first_rewards: Sequence[Floats]
    second_rewards: Sequence[Floats]

    def __str__(self) -> str:
        return format_comparison(self.summary)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rankings on which the models part: one orders more of the pairs right than the other.

        Furthest apart in accuracy first; where that is equal, in margin. The margin is the mean
        reward of better completions above worse ones, in standard deviations of that model's
        rewards, because the scale of rewards is each model's own.
        """
        names = self.summary["models"]
        both = self.first_rewards, self.second_rewards
        spreads = [float(np.concatenate(rewards).std()) or 1.0 for rewards in both]
        accuracies = [_accuracy_of_rankings(self.rankings, rewards) for rewards in both]
        rows = []
        for number, accuracy in enumerate(zip(*accuracies, strict=True)):
            if accuracy[0] == accuracy[1] or math.isnan(accuracy[0]):
                continue
            better, worse = np.array(self.rankings[number].pairs()).T
            margins = [
                float((rewards[number][better] - rewards[number][worse]).mean() / spread)
                for rewards, spread in zip(both, spreads, strict=True)
            ]
            apart = abs(accuracy[0] - accuracy[1]), abs(margins[0] - margins[1])
            rows.append((apart, number, accuracy, margins))
        for _, number, accuracy, margins in sorted(rows, key=lambda row: row[0], reverse=True):
            ranking = self.rankings[number]
            rewards = [[float(reward) for reward in each[number]] for each in both]
            row = {
                "ranking": number,
                "prompt": ranking.prompt,
                "completions": list(ranking.completions),
                "ranks": list(ranking.ranks),
                "rewards": dict(zip(names, rewards, strict=True)),
                "accuracy": dict(zip(names, map(float, accuracy), strict=True)),
                "margin": dict(zip(names, margins, strict=True)),
                "right": names[int(accuracy[1] > accuracy[0])],
            }
            if ranking.category is not None:
                row["category"] = ranking.category
            yield row | ({"origin": ranking.origin} if ranking.origin else {})

    def write(self, folder: str | Path) -> None:
        """Write `comparison.json`, the summary, and `parting.jsonl`, the `rows`, into a folder."""
        write_jsonl(Path(folder) / "parting.jsonl", self.rows())
        write_results(Path(folder) / "comparison.json", self.summary)


def compare_rewards(
    rankings: Sequence[Ranking],
    first_rewards: Sequence[ArrayLike],
    second_rewards: Sequence[ArrayLike],
    *,
    names: tuple[str, str] = ("first", "second"),
    resamples: int = 1000,
    exchanges: int = 10_000,
    seed: int = 0,
    trained_on: tuple[Overlap, Overlap] | None = None,
) -> ModelComparison:
    """Compare two models by the rewards they gave to the same rankings.

    For every measure that models are compared by and these rankings have something to measure of:
    both values and their difference, first − second, with 95 % intervals by bootstrap over prompts,
    the same resamples for all three; and the two-sided p-value
    of a permutation test, which asks how often a difference as large arises when it is a coin toss,
    prompt by prompt, which rewards are whose (Fisher 1935, The Design of Experiments, ch. 3; see
    `exchange_test`). P-values of all metrics but the main one, pairwise accuracy, are also given
    adjusted by Holm's method (see `holm`).

    Args:
        rankings: what both models scored; several may share a prompt and are then kept together.
        first_rewards: of the first model, one array [K] a ranking.
        second_rewards: of the second model, likewise.
        names: of the models; they are keys in `ModelComparison.rows`, so they must differ.
        resamples: of the bootstrap.
        exchanges: of the permutation test, where there are too many prompts to take all.
        seed: of both.
        trained_on: what of the rankings each model was trained on. The models are then compared
            without that, too, by the main metric.

    Raises:
        PlauditError: when a reward is missing or not a finite number (naming model and ranking), no
            two completions differ in rank, or both models have one name.

    >>> rankings = [Ranking(f"{n} + 1?", [f"{n + 1}", f"{n}"], [0, 1]) for n in range(8)]
    >>> right, wrong = [[1.0, 0.0]] * 8, [[0.0, 1.0]] * 8
    >>> comparison = compare_rewards(rankings, right, wrong, names=("counts", "echoes"))
    >>> comparison.summary["metrics"]["pairwise_accuracy"]["p"]  # 2 of the 256 ways to exchange
    0.0078125
    """
    if names[0] == names[1]:
        raise PlauditError(
            f"both models are called {names[0]!r}, so results could not tell them apart; give them "
            "different names"
        )
    first = _checked(rankings, first_rewards, names[0])
    second = _checked(rankings, second_rewards, names[1])
    layout = lay_out([r.ranks for r in rankings], [r.key for r in rankings])
    pairs = _measured(layout, rankings, first, second)
    figures = resample(
        [
            statistic(layout, items, share=share)
            for name, (a, b) in pairs.items()
            for items, share in (
                *((each, MEASURES.get(name).form == "share") for each in (a, b)),
                (_less(a, b), False),
            )
        ],
        len(layout.asked),
        resamples=resamples,
        seed=seed,
    )
    differences = [contributions(layout, _less(a, b)) for a, b in pairs.values()]
    p, taken, exact = exchange_test(np.stack(differences, axis=1), exchanges=exchanges, seed=seed)
    adjusted = _holm_but_main(dict(zip(pairs, map(float, p), strict=True)))
    ordered = [_accuracy_of_rankings(rankings, rewards) for rewards in (first, second)]
    comparison = ModelComparison(
        {
            "models": list(names),
            "main_metric": MAIN_METRIC,
            "counts": {
                "prompts": len(layout.asked),
                "rankings": len(rankings),
                "completions": int(layout.sizes.sum()),
            },
            "metrics": {
                name: {
                    "first": figures[3 * m][0].as_dict(),
                    "second": figures[3 * m + 1][0].as_dict(),
                    "difference": figures[3 * m + 2][0].as_dict(),
                    "p": float(p[m]),
                    "p_holm": adjusted[name],
                }
                for m, name in enumerate(pairs)
            },
            # NaN, for a ranking without ordered pairs, is neither more nor less than itself.
            "parting": {
                "rankings": int((ordered[0] > ordered[1]).sum() + (ordered[0] < ordered[1]).sum()),
                "first_right": int((ordered[0] > ordered[1]).sum()),
                "second_right": int((ordered[0] < ordered[1]).sum()),
            },
            "test": {"exchanges": taken, "exact": exact},
            "tells_apart": _tells_apart(figures[3 * [*pairs].index(MAIN_METRIC) + 2][0]),
        },
        rankings,
        first,
        second,
    )
    if trained_on is not None:
        comparison.summary["training_overlap"] = _trained_on(
            comparison, trained_on, resamples=resamples, exchanges=exchanges, seed=seed
        )
    return comparison


def _trained_on(
    comparison: ModelComparison,
    found: tuple[Overlap, Overlap],
    *,
    resamples: int,
    exchanges: int,
    seed: int,
) -> TrainedOnRecord:
    """What each model was trained on, and the comparison without what any of them was."""
    rankings, names = comparison.rankings, comparison.summary["models"]
    both = comparison.first_rewards, comparison.second_rewards
    first, second = (
        measure_overlap(
            each, rankings, [row.tolist() for row in rewards], resamples=resamples, seed=seed
        )
        for each, rewards in zip(found, both, strict=True)
    )
    seen = found[0].seen | found[1].seen
    left = np.flatnonzero(~seen).tolist()
    record: TrainedOnRecord = {
        "first": first,
        "second": second,
        "rankings": int(seen.sum()),
        "without": None,
    }
    if seen.any() and any(rankings[i].pairs() for i in left):
        rest = compare_rewards(
            [rankings[i] for i in left],
            [both[0][i] for i in left],
            [both[1][i] for i in left],
            names=(names[0], names[1]),
            resamples=resamples,
            exchanges=exchanges,
            seed=seed,
        ).summary
        record["without"] = {
            "counts": rest["counts"],
            "metric": rest["metrics"][MAIN_METRIC],
            "parting": rest["parting"],
            "tells_apart": rest.get("tells_apart"),
        }
    return record


def _tells_apart(difference: Figure) -> float | None:
    """The difference that is found in four of five such comparisons: (z_{0.975} + z_{0.8}) times
    the standard error that the interval shows, which depends on how much the models part and not
    on what was found (Cohen 1988, Statistical Power Analysis, ch. 2)."""
    if difference.low is None or difference.high is None:
        return None
    return standard_error(difference.low, difference.high) * float(
        ndtri(1 - SIGNIFICANT / 2) + ndtri(POWER)
    )


def exchange_test(
    differences: ArrayLike, *, exchanges: int = 10_000, seed: int = 0
) -> tuple[Floats, int, bool]:
    """Two-sided p-values of a permutation test that exchanges two models prompt by prompt.

    `differences` is [P, M]: what each of P prompts adds to the difference of M metrics. Exchanging
    the models on a prompt turns the sign of its row, for all metrics at once. The p-value of a
    metric is the share of exchanges with |Σ ± d| ≥ |Σ d|: of all 2^P of them when that is no more
    than `exchanges`, else of as many random ones, counting what was observed as one of them, (b +
    1) / (n + 1), so that no p-value is zero (Phipson & Smyth 2010, Statistical Applications in
    Genetics and Molecular Biology 9). Prompts without a difference do not matter and are left out.

    Returns the p-values [M], the number of exchanges taken, and whether those are all there are.

    >>> p, taken, exact = exchange_test([[1.0], [1.0], [1.0], [-1.0]])
    >>> float(p[0]), taken, exact  # the sum is 2; it is at least that in 5 ways, at most −2 in 5
    (0.625, 16, True)
    """
    rows = np.asarray(differences, dtype=np.float64)
    rows = rows[(rows != 0).any(axis=1)]
    size = len(rows)
    observed = np.abs(rows.sum(axis=0))
    # Sums of the same numbers in another order differ by rounding; those are equal all the same.
    threshold = observed - 1e-12 * np.abs(rows).sum(axis=0)
    reached = np.zeros(rows.shape[1])
    taken, exact = how_many_exchanges(size, exchanges)
    for turned in progress(each_exchange(size, exchanges, seed), "exchanging the models"):
        sums = rows.sum(axis=0) - 2 * (turned @ rows)
        reached += (np.abs(sums) >= threshold).sum(axis=0)
    return p_of_exchanges(reached, taken, exact), taken, exact


def p_of_exchanges(reached: Any, taken: int, exact: bool) -> Any:
    """The p-value where so many of the exchanges taken are as far apart as what was observed.

    What was observed is one of them where they are random (Phipson & Smyth 2010).
    """
    return reached / taken if exact else (reached + 1) / (taken + 1)


def how_many_exchanges(size: int, exchanges: int) -> tuple[int, bool]:
    """How many exchanges of `size` prompts are taken, and whether those are all there are.

    >>> how_many_exchanges(3, 10), how_many_exchanges(4, 10)
    ((8, True), (10, False))
    """
    exact = size < exchanges.bit_length()  # 2^size ≤ exchanges
    return (2**size if exact else exchanges), exact


def each_exchange(size: int, exchanges: int, seed: int = 0) -> Iterator[Floats]:
    """All exchanges of `size` prompts, or so many random ones, some at a time: [B, size], 1 where
    the models are exchanged.

    >>> [block.tolist() for block in each_exchange(2, 4)]
    [[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]]
    """
    taken, exact = how_many_exchanges(size, exchanges)
    rng = np.random.default_rng(seed)
    block = max(1, NUMBERS_AT_ONCE // max(size, 1))
    for start in range(0, taken, block):
        stop = min(start + block, taken)
        turned: NDArray[np.integer[Any]]
        if exact:
            turned = np.arange(start, stop)[:, None] >> np.arange(size) & 1
        else:
            drawn = rng.integers(256, size=(stop - start, (size + 7) // 8), dtype=np.uint8)
            turned = np.unpackbits(drawn, axis=1, count=size)
        yield turned.astype(np.float64)


def compare_folds(
    first: Mapping[str, Sequence[float]],
    second: Mapping[str, Sequence[float]],
    *,
    train_size: float,
    test_size: float,
) -> dict[str, FoldsRecord]:
    """Compare two ways of training by what they reached in the same folds of a cross-validation.

    `first` and `second` give for each metric its J values, one a fold (of every repeat), in the
    same order; `train_size` and `test_size` are the numbers of prompts in a fold's training and
    test part (the mean, where they vary).

    Returns for each metric `{"first", "second": means, "difference": {"value", "low", "high"},
    "p", "p_holm"}`: first − second, with the interval, if there is one, and the p-value of
    `corrected_resampled_t`; `p_holm` as in `compare_rewards`. Raises `PlauditError` when the two
    differ in metrics or in the number of folds, have fewer than two folds, or a value that is not a
    finite number.

    >>> small, large = {"pairwise_accuracy": [0.70, 0.72]}, {"pairwise_accuracy": [0.71, 0.74]}
    >>> entry = compare_folds(large, small, train_size=400, test_size=100)["pairwise_accuracy"]
    >>> round(entry["difference"]["value"], 3), round(entry["p"], 2)
    (0.015, 0.25)
    """
    if set(first) != set(second):
        odd = ", ".join(sorted(set(first) ^ set(second)))
        raise PlauditError(
            f"only one of the two cross-validations has {odd}; give two with the same metrics"
        )
    differences: dict[str, tuple[float, float, Figure, float]] = {}
    for name in first:
        a, b = (np.asarray(each[name], dtype=np.float64) for each in (first, second))
        if a.shape != b.shape:
            raise PlauditError(
                f"{name}: {len(a)} folds against {len(b)}; both must have used the same folds"
            )
        wrong = np.flatnonzero(~np.isfinite(a - b))
        if len(wrong):
            raise PlauditError(
                f"{name}: fold {wrong[0]} (counted from 0) has {a[wrong[0]]} and {b[wrong[0]]}; "
                "both must be finite numbers"
            )
        _, p, (low, high) = corrected_resampled_t(a - b, train_size=train_size, test_size=test_size)
        if low is not None and high is not None:
            low, high = measure_named(name).difference_within(low, high)
        difference = Figure(float((a - b).mean()), low, high)
        differences[name] = float(a.mean()), float(b.mean()), difference, p
    adjusted = _holm_but_main({name: entry[-1] for name, entry in differences.items()})
    return {
        name: {
            "first": mean,
            "second": other_mean,
            "difference": difference.as_dict(),
            "p": p,
            "p_holm": adjusted[name],
        }
        for name, (mean, other_mean, difference, p) in differences.items()
    }


def corrected_resampled_t(
    differences: ArrayLike, train_size: float, test_size: float
) -> tuple[float, float, tuple[float, float] | tuple[None, None]]:
    """The t-test for differences over folds that share training data: t, p and 95 % interval.

    t = mean / √((1/J + test_size/train_size) s²), with J differences of variance s² and J − 1
    degrees of freedom. The usual 1/J alone takes the folds for independent, which they are not, and
    finds differences where there are none (Nadeau & Bengio 2003, Machine Learning 52; for the folds
    of repeated k-fold cross-validation, J = k × repeats, Bouckaert & Frank 2004, PAKDD).

    Differences that are all the same, but for rounding, say nothing of how they vary, so there is
    no interval: (None, None). Where they are zero, p is 1; else t is infinite, and p that of the
    exact sign test, 2^(1 − J), the chance that J coins all fall alike. Raises `PlauditError` for
    fewer than two differences.

    >>> t, p, interval = corrected_resampled_t([0.03, 0.01, 0.02, 0.02, 0.02], 400, 100)
    >>> round(t, 2), round(p, 3)  # without the correction: 6.32 and 0.003
    (4.22, 0.014)
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or len(d) < 2:
        raise PlauditError(
            "two folds or more are needed to tell a difference from chance; cross-validate with "
            "more"
        )
    mean, variance = float(d.mean()), float(d.var(ddof=1))
    if np.ptp(d) <= ROUNDING * np.abs(d).max():
        if not d.any():
            return 0.0, 1.0, (None, None)
        return math.copysign(math.inf, mean), 2.0 ** (1 - len(d)), (None, None)
    error = math.sqrt((1 / len(d) + test_size / train_size) * variance)
    t = mean / error
    reach = float(stats.t.ppf(0.975, len(d) - 1)) * error
    return t, float(2 * stats.t.sf(abs(t), len(d) - 1)), (mean - reach, mean + reach)


def format_comparison(summary: ComparisonRecord) -> str:
    """The summary of a `ModelComparison` as a table for people; its last paragraph is the verdict.

    >>> rankings = [Ranking(f"{i} + 1?", [f"{i + 1}", "no"], [0, 1]) for i in range(8)]
    >>> comparison = compare_rewards(rankings, [[1.0, 0.0]] * 8, [[0.0, 1.0]] * 8)
    >>> print(format_comparison(comparison.summary))
    8 prompts, 8 rankings
    ...
    pairwise accuracy               1.000     0.000      +1.000  [+1.000, +1.000]    0.008 ...
    """
    names = [
        name if len(name) <= WIDEST_NAME else "…" + name[1 - WIDEST_NAME :]
        for name in summary["models"]
    ]
    counts, test, metrics = summary["counts"], summary["test"], summary["metrics"]
    overlap = summary.get("training_overlap")
    widths = [max(8, len(name)) for name in names]
    shown = shown_metrics(summary)
    again = [name for name in metrics if name not in shown]
    labels = {
        name: label(name) + (" (lower is better)" if measure_named(name).lower_is_better else "")
        for name in shown
    }
    first_column = max(28, *map(len, labels.values()))

    def line(label: str, entry: MeasureRecord, last: str) -> str:
        difference = Figure(**entry["difference"])
        return (
            f"{label:<{first_column}}{entry['first']['value']:>{widths[0]}.3f}  "
            f"{entry['second']['value']:>{widths[1]}.3f}  {difference.value:>+10.3f}  "
            f"{difference.interval('+.3f'):<18}{p_text(entry['p']):>7}  {last:>9}"
        ).rstrip()

    lines = [
        f"{counted(counts['prompts'], 'prompt')}, {counted(counts['rankings'], 'ranking')}",
        "",
        f"{'':<{first_column}}{names[0]:>{widths[0]}}  {names[1]:>{widths[1]}}  difference  "
        "95 % interval            p   p (Holm)",
    ]
    for name, called in labels.items():
        p_holm = metrics[name]["p_holm"]
        lines.append(line(called, metrics[name], "main" if p_holm is None else p_text(p_holm)))
        if name == MAIN_METRIC and overlap and overlap["without"]:
            rest = overlap["without"]
            lines.append(
                line(f"  of {rest['counts']['rankings']:,} not trained on", rest["metric"], "")
            )
    how = f"all {test['exchanges']:,}" if test["exact"] else f"{test['exchanges']:,} random"
    lines += [
        "",
        "p: how often a difference as large arises when the models are exchanged prompt by prompt "
        f"({how} exchanges).",
        f"p (Holm): adjusted for being {len(metrics) - 1} metrics beside the main one.",
    ]
    if again:
        lines.append(
            f"Of two completions each, {', '.join(map(label, again))} say the same as pairwise "
            "accuracy, so they are left out here."
        )
    lines.append("")
    if overlap:
        lines.append(overlap_sentence(overlap["second"], summary["models"][1]))
    return "\n".join([*lines, comparison_verdict(summary)])


def shown_metrics(summary: ComparisonRecord) -> dict[str, MeasureRecord]:
    """The metrics that tables have: of two completions each, those of whole rankings would say the
    same as pairwise accuracy. Comparisons of earlier versions do not count completions."""
    counts = summary["counts"]
    pairs_only = counts.get("completions") == 2 * counts["rankings"]
    return {
        name: entry
        for name, entry in summary["metrics"].items()
        if not (pairs_only and measure_named(name).group == "rankings")
    }


def comparison_verdict(summary: ComparisonRecord, p_holm: float | None = None) -> str:
    """Sentences on what `compare_rewards` found: which is better, how sure; where they part.

    Where a model was trained on some of the rankings, that is said of the others, on which neither
    was, since nothing is known of new prompts from what a model may know by heart.

    `p_holm` is the p-value of the main measure where it is one of several comparisons, corrected.

    >>> rankings = [Ranking(f"{n} + 1?", [f"{n + 1}", f"{n}"], [0, 1]) for n in range(40)]
    >>> same = [[1.0, 0.0]] * 40
    >>> comparison_verdict(compare_rewards(rankings, same, same).summary)
    'first and second have the same pairwise accuracy on every ranking: there is nothing by which \
to prefer one.'
    """
    first, second = summary["models"]
    overlap, everything = summary.get("training_overlap"), summary["metrics"][MAIN_METRIC]
    if overlap is None or not overlap["rankings"]:
        return _verdict(
            (first, second),
            everything,
            summary["counts"],
            summary["parting"],
            summary.get("tells_apart"),
            p_holm,
        )
    of = [name for name, key in ((first, "first"), (second, "second")) if any_seen(overlap[key])]  # type: ignore[literal-required]
    who, whole = " or ".join(of), summary["counts"]["rankings"]
    rest, difference = overlap["without"], everything["difference"]["value"]
    if rest is None:
        return (
            f"Nothing can be concluded: {who} was trained on {overlap['rankings']:,} of the "
            f"{counted(whole, 'ranking')}, and no other has an ordered pair. Compare on data that "
            "neither has seen."
        )
    found = _verdict(
        (first, second), rest["metric"], rest["counts"], rest["parting"], rest["tells_apart"]
    )
    found = found.replace("Nothing can", "nothing can", 1)
    ahead = f"{first if difference > 0 else second} is {100 * abs(difference):.1f} points ahead"
    if not difference:
        ahead = "they are level"
    return (
        f"On the {counted(rest['counts']['rankings'], 'ranking')} that neither was trained on, "
        f"{found} On all {whole:,}, of which {who} was trained on {overlap['rankings']:,}, {ahead}"
        ": that says nothing of new prompts."
    )


def _verdict(
    names: tuple[str, str],
    entry: MeasureRecord,
    counts: Mapping[str, int],
    parting: Mapping[str, int],
    apart: float | None,
    p_holm: float | None = None,
) -> str:
    """What `comparison_verdict` says of these rankings."""
    first, second = names
    difference, p = Figure(**entry["difference"]), entry["p"] if p_holm is None else p_holm
    prompts = counts["prompts"]
    if not parting["rankings"]:
        return (
            f"{first} and {second} have the same pairwise accuracy on every ranking: there is "
            "nothing by which to prefer one."
        )
    points = f"{100 * abs(difference.value):.1f} points"
    if difference.low is None or difference.high is None:
        found = (
            f"Nothing can be concluded from {counted(prompts, 'prompt')}: {first} and {second} are "
            f"{points} of pairwise accuracy apart, without an interval"
        )
    else:
        low, high, better, worse = difference.low, difference.high, first, second
        if difference.value < 0:
            low, high, better, worse = -high, -low, second, first
        corrected = "" if p_holm is None else " after Holm"
        between = f"{100 * low:+.1f} to {100 * high:+.1f}"
        sure = f"(95 % interval {between}, p {p_text(p, '= ')}{corrected})"
        if p < SIGNIFICANT and low > 0:
            found = f"{better} is better than {worse} by {points} of pairwise accuracy {sure}"
        elif p < SIGNIFICANT or low > 0:
            found = f"{better} may be better than {worse}, but only just: {points} {sure}"
        else:
            found = f"{first} cannot be told from {second}: {points} apart {sure}"
            if apart:
                found += f"; less than {100 * apart:.1f} points would mostly not be found here"
        if prompts < FEW_PROMPTS:
            found += f", but {counted(prompts, 'prompt')} are too few to rely on the interval"
    return (
        f"{found}. They part on {parting['rankings']:,} of "
        f"{counted(counts['rankings'], 'ranking')}: {first} orders more pairs right on "
        f"{parting['first_right']:,}, {second} on {parting['second_right']:,}."
    )


def _checked(rankings: Sequence[Ranking], rewards: Sequence[ArrayLike], name: str) -> list[Floats]:
    """A model's rewards, finite and one for each completion."""
    if len(rewards) != len(rankings):
        raise PlauditError(
            f"{name}: rewards of {len(rewards):,} rankings, but there are {len(rankings):,}; both "
            "models must score the same rankings"
        )
    arrays = [np.asarray(each, dtype=np.float64) for each in rewards]
    for number, (ranking, array) in enumerate(zip(rankings, arrays, strict=True)):
        source = ranking.origin or f"prompt {text_key(ranking.prompt)[:60]!r}"
        where = f"ranking {number} (counted from 0; {source})"
        if array.shape != (len(ranking.ranks),):
            raise PlauditError(
                f"{name}: {array.size} rewards for the {len(ranking.ranks)} completions of "
                f"{where}; both models must score the same rankings"
            )
        wrong = np.flatnonzero(~np.isfinite(array))
        if len(wrong):
            raise PlauditError(
                f"{name}: the reward of completion {wrong[0]} in {where} is {array[wrong[0]]}: the "
                "model has diverged or its numbers overflow; train with a lower learning rate, or "
                "evaluate in float32"
            )
    return arrays


def _measured(
    layout: Layout,
    rankings: Sequence[Ranking],
    first: Sequence[Floats],
    second: Sequence[Floats],
) -> dict[str, tuple[Items, Items]]:
    """The items of both models, by measure; without those that these rankings have none of."""
    length = flatten([[*map(characters, r.completions)] for r in rankings], layout, "length")
    rewards = [flatten(each, layout, "reward") for each in (first, second)]
    pairs = {}
    for name, measure in measures().items():
        if not measure.compared:
            continue
        a, b = (measure.measure(layout, reward, length) for reward in rewards)
        if not isinstance(a, Items) or not isinstance(b, Items) or not a.alike(b):
            raise PlauditError(
                f"measure {name}: models cannot be compared by it, as what it is a mean over "
                "depends on the rewards; its MEASURE must not say compared=True"
            )
        if all(len(half.values) for half in a.halves()):
            pairs[name] = a, b
    return pairs


def _less(a: Items, b: Items) -> Items:
    """Items of the difference of two models, a − b."""
    return a._replace(values=a.values - b.values)


def _accuracy_of_rankings(rankings: Sequence[Ranking], rewards: Sequence[Floats]) -> Floats:
    """Pairwise accuracy of each ranking [R]; NaN for those without ordered pairs."""
    layout = lay_out([ranking.ranks for ranking in rankings], None)
    right = pairwise_accuracy(layout, flatten(rewards, layout, "reward"))
    accuracy = np.full(len(rankings), math.nan)
    sums, counts = layout.per_prompt(right.ranking, right.values), layout.per_prompt(right.ranking)
    accuracy[layout.asked] = sums / counts
    return accuracy


def _holm_but_main(p: Mapping[str, float]) -> dict[str, float | None]:
    others = [name for name in p if name != MAIN_METRIC]
    return {MAIN_METRIC: None, **dict(zip(others, holm([p[name] for name in others]), strict=True))}


def p_text(p: float, equals: str = "") -> str:
    """A p-value to three places; `equals` stands before it where it is given.

    >>> p_text(0.0123, "= "), p_text(0.0001, "= ")
    ('= 0.012', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{equals}{p:.3f}"
