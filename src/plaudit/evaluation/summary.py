"""Every measure of a model in one dict ready for JSON, as a table for people, and as a verdict.

`summarise` lays the rankings out once, gathers what is to be measured and resamples it together.
What each figure means stands with the measure of its name in `measures`; how amounts of style are
counted, in `style`.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import NotRequired, cast

import numpy as np
from numpy.typing import ArrayLike
from pydantic import with_config
from scipy.special import ndtr
from typing_extensions import TypedDict

from plaudit.console import counted
from plaudit.data.cells import excerpt
from plaudit.errors import PlauditError
from plaudit.evaluation import calibration, items, parts, rewrites
from plaudit.evaluation.abstention import variances
from plaudit.evaluation.agreement import AgreementRecord, agreement_sentence
from plaudit.evaluation.items import Items, means, statistic
from plaudit.evaluation.layout import Floats, Layout, flatten, lay_out
from plaudit.evaluation.measures import Measure, measures, shown_in
from plaudit.evaluation.measures.temperature import at_edge
from plaudit.evaluation.measures.temperature import shown as shown_temperature
from plaudit.evaluation.overlap import (
    OF_VERDICTS,
    OverlapRecord,
    any_seen,
    number_seen,
    overlap_sentence,
)
from plaudit.evaluation.parts import Category
from plaudit.evaluation.statistics import (
    Figure,
    FigureRecord,
    Pending,
    Statistic,
    holm,
    less,
    standard_error,
)
from plaudit.evaluation.stress import Again, StressRecord, spread_within, stress

LENGTH_RULE = "preferring the longer completion"
COIN_TOSS = "a coin toss"
STRENGTH = "--control-strength"
ALL_OF_LENGTH = 1.0  # the strength that takes out all that length explains
COSTS = "the more, the less accuracy where longer is better for good reasons"
TOO_OFTEN = 0.25  # of answers to which a version that is worse for certain is preferred
FEW_PROMPTS = 30
ROUNDING = 1e-12
MOST_CATEGORIES = 20  # in the table
LABEL = 26  # characters of the first column
HEADS = {"probabilities": "as probabilities", "rankings": "for each ranking"}
# What the style of length shares with measures, which have measured it already.
OF_LENGTH = {
    "accuracy_where_less": "accuracy_where_shorter",
    "baseline": "length_baseline",
    "controlled_accuracy": "length_controlled_accuracy",
}
MARGINS = {"p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95}


class PartRecord(TypedDict):
    """How right a model is on some of the pairs, and how right the longer completion is."""

    pairwise_accuracy: FigureRecord
    length_baseline: FigureRecord
    prompts: int
    pairs: int


class CategoryRecord(PartRecord):
    """The same of a category, and how it differs: its accuracy less that of all pairs, and how sure
    that is, corrected for being one of many categories. Earlier versions did not say."""

    difference: NotRequired[FigureRecord | None]
    p_holm: NotRequired[float | None]


class SourceRecord(PartRecord):
    """The same of a source of the data, or of a set to validate on, and what may hide there."""

    log_loss: FigureRecord
    length_controlled_accuracy: FigureRecord | None


class BinRecord(TypedDict):
    """The pairs of one bin of confidence: its ends, mean confidence, how often it came true."""

    low: float
    high: float
    predicted: float
    observed: FigureRecord
    pairs: int


class StyleRecord(TypedDict):
    """How rewards follow an amount, of characters say; see `style`."""

    correlation: FigureRecord | None
    correlation_in_data: FigureRecord | None  # with the ranks: what a perfect model would show
    accuracy_where_more: FigureRecord | None
    accuracy_where_less: FigureRecord | None
    baseline: FigureRecord | None  # always preferring more
    controlled_accuracy: FigureRecord | None
    pairs_that_differ: int


class WhitespaceRecord(TypedDict):
    """How steady rewards are when whitespace changes: the share of pairs that keep their order."""

    agreement: FigureRecord
    mean_change: float | None  # in standard deviations of the rewards
    completions: int


@with_config({"extra": "allow"})
class Summary(TypedDict):
    """What `summarise` returns, beside the figure of each measure (see `figures`)."""

    margins: dict[str, float]  # p5, p25, median, p75, p95 of r_better − r_worse over all pairs
    counts: dict[str, int]  # prompts, rankings, completions, pairs
    annotators: NotRequired[AgreementRecord | None]  # where pairs have several labels
    training_overlap: NotRequired[OverlapRecord]  # what of the rankings the model was trained on
    truncated: NotRequired[dict[str, int]]  # see `count_truncation` of `model.encoding`
    from_elsewhere: NotRequired[bool]  # that plaudit did not train the model, as far as it knows
    length_control: NotRequired[float]  # strength at which training took length out; 0: not
    by_category: dict[str, CategoryRecord]  # the surest difference from all pairs first
    by_source: NotRequired[dict[str, SourceRecord]]  # where the data are of several
    by_rank_distance: dict[str, PartRecord]
    by_length_difference: dict[str, PartRecord]
    reliability: list[BinRecord]  # those bins that have pairs
    style: dict[str, StyleRecord | None]  # None where the amount never differs
    whitespace: WhitespaceRecord | None
    stress: NotRequired[StressRecord | None]  # not in summaries of earlier versions
    baselines: dict[str, dict[str, FigureRecord | None]]  # with `above`: the model less it


def figures(record: Mapping[str, object]) -> Mapping[str, FigureRecord | None]:
    """A summary, or one of its baselines, as figures by measure; None: nothing to measure."""
    return cast(Mapping[str, FigureRecord | None], record)


def figure(record: Mapping[str, object], measure: str) -> Figure:
    """A figure of a summary that there is for all rankings, as pairwise accuracy is."""
    return Figure(**cast(FigureRecord, record[measure]))


def summarise(
    rewards: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable],
    lengths: Sequence[ArrayLike],
    categories: Sequence[Category] | None = None,
    sources: Sequence[str] | None = None,
    styles: Mapping[str, Sequence[ArrayLike]] | None = None,
    rewritten: Mapping[str, Sequence[Again]] | None = None,
    baselines: Mapping[str, Sequence[ArrayLike]] | None = None,
    covariances: Sequence[ArrayLike] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Summary:
    """Every measure with its interval, overall and in parts, beside baselines; ready for JSON.

    Args:
        rewards: one array [K_i] per ranking.
        ranks: likewise; lower is better.
        prompts: the prompt of each ranking.
        lengths: in characters, one array [K_i] per ranking.
        categories: for each ranking a name, None, or a sequence of K_i names; a pair belongs to the
            category of its worse completion if completions have one, else to that of its ranking.
        sources: the name of the source of each ranking, where there are several.
        styles: name → amounts that a model may lean on, beside length; one array [K_i] per ranking.
        rewritten: the rewards of a sample after rewriting, by the rewrite's name; see `stress`.
        baselines: name → rewards of another model, to stand beside these.
        covariances: of each ranking's rewards, [K_i, K_i], where the model says how uncertain they
            are; without them what is measured on them is left out.
        resamples: of the bootstrap; all figures share them.
        seed: of the bootstrap.

    Returns:
        A `Summary`, before whose keys stand the figures of all measures by name, as `{"value",
        "low", "high"}`. `low` and `high` are None where fewer than five prompts have a say, and the
        whole figure is None where there is nothing to measure. The `baselines`, "preferring the
        longer completion", "a coin toss" and each of those given, have figures of the same names,
        but not those in the model's own unit, nor probabilities for lengths; and `above`, the
        model's pairwise accuracy less that of the baseline, paired.

    Raises:
        PlauditError: when a reward is not finite, no two completions differ in rank, or a measure
            has a name that the summary uses.

    >>> summary = summarise([[2.0, 1.0]], [[0, 1]], prompts=["2+2?"], lengths=[[1, 9]])
    >>> figure(summary, "pairwise_accuracy").value, figure(summary, "length_baseline").value
    (1.0, 0.0)
    """
    layout = lay_out(ranks, prompts)
    reward, length = flatten(rewards, layout, "reward"), flatten(lengths, layout, "length")
    right, pair_ranking, _ = items.pairwise_accuracy(layout, reward)
    longer = items.pairwise_accuracy(layout, length).values
    pending = Pending()
    summary: dict[str, object] = {}

    every = measures()
    if clash := every.keys() & {*Summary.__annotations__, "above", "schema_version"}:
        raise PlauditError(f"measure {min(clash)}: a summary uses this name; the package that adds "
                           "it must rename it")  # fmt: skip
    variance = None if covariances is None else variances(layout, covariances)
    known = {
        name: measure
        for name, measure in every.items()
        if variance is not None or not measure.takes_variance
    }
    _measure(known, layout, reward, length, summary, pending, variance)
    quantiles = np.percentile(items.margin(layout, reward).values, list(MARGINS.values()))
    summary["margins"] = dict(zip(MARGINS, map(float, quantiles), strict=True))
    summary["counts"] = {
        "prompts": len(layout.prompts),
        "rankings": len(layout.sizes),
        "completions": int(layout.sizes.sum()),
        "pairs": len(layout.better),
    }

    divided = {
        "by_category": parts.by_category(layout, categories),
        "by_rank_distance": parts.by_rank_distance(layout),
        "by_length_difference": parts.by_length_difference(layout, length),
    }
    whole = _once(means(layout, [Items(right, pair_ranking)]))
    for part, groups in divided.items():
        entries: dict[str, object] = {}
        for name, pairs in groups.items():
            of = pair_ranking[pairs]
            entry: dict[str, object] = {}
            both = means(layout, [Items(right[pairs], of), Items(longer[pairs], of)], shares=True)
            pending.add(entry, ["pairwise_accuracy", "length_baseline"], both)
            if part == "by_category":
                own = means(layout, [Items(right[pairs], of)])
                pending.add(entry, ["difference"], less(own, whole))
            entries[name] = entry
            entry |= {"prompts": len(np.unique(layout.slot[of])), "pairs": len(pairs)}
        summary[part] = entries
    if sources is not None:
        summary["by_source"] = _by_source(layout, reward, length, sources, pending)

    bins: list[object] = []
    confidence = calibration.confidence(layout, reward)
    for index, pairs in parts.groups(confidence.bin):
        low, high = calibration.edges(index)
        predicted = float(confidence.sure[pairs].mean())
        row: dict[str, object] = {"low": low, "high": high, "predicted": predicted}
        observed = means(layout, [Items(right[pairs], pair_ranking[pairs])], shares=True)
        pending.add(row, ["observed"], observed)
        row["pairs"] = len(pairs)
        bins.append(row)
    summary["reliability"] = bins

    style = {
        "length": _style(layout, reward, length, pending, OF_LENGTH),
        **{
            name: _style(layout, reward, flatten(given, layout, name), pending)
            for name, given in (styles or {}).items()
        },
    }
    summary["style"] = style
    record = stress(rewards, ranks, prompts, rewritten or {}, resamples=resamples, seed=seed)
    summary["whitespace"] = _whitespace(rewards, record)
    summary["stress"] = record

    others = {LENGTH_RULE: length, COIN_TOSS: np.zeros(len(reward))}
    others |= {name: flatten(given, layout, "reward") for name, given in (baselines or {}).items()}
    beside: dict[str, object] = {}
    for name, scores in others.items():
        fitting = {
            key: measure
            for key, measure in every.items()
            if not measure.reward_units
            and not measure.takes_variance
            and (measure.compared or not measure.takes_length)
            and (measure.group != "probabilities" or name != LENGTH_RULE)
        }
        beside[name] = entry = {}
        _measure(fitting, layout, scores, length, entry, pending)
        above = right - items.pairwise_accuracy(layout, scores).values
        pending.add(entry, ["above"], means(layout, [Items(above, pair_ranking)]))
    summary["baselines"] = beside

    pending.fill(len(layout.asked), resamples, seed)
    if of_length := style["length"]:
        of_length |= {key: summary[name] for key, name in OF_LENGTH.items()}
    found = cast(Summary, summary)
    whole_accuracy = cast(FigureRecord, summary["pairwise_accuracy"])
    found["by_category"] = _surest_first(found["by_category"], whole_accuracy, len(layout.better))
    return found


def _once(statistic: Statistic) -> Statistic:
    """The same, computed once for weights that come several times in a row."""
    last: list[Floats] = []

    def of(weights: Floats) -> Floats:
        if not last or last[0] is not weights:
            last[:] = weights, statistic.of(weights)
        return last[1]

    return replace(statistic, of=of)


def _surest_first(
    categories: dict[str, CategoryRecord], whole: FigureRecord, pairs: int
) -> dict[str, CategoryRecord]:
    """The categories by how sure it is that they differ from all pairs, with p-values.

    By |z|, the difference over its standard error, and by Holm's method, as of many categories some
    differ by chance. The error is the larger of two: what the interval of the difference shows, and
    what it would be if the category were like all `pairs`, √(v (1/m − 1/M)) for m of M pairs and
    the variance v of one that the interval of the `whole` shows (Rao's score test). Where nearly
    all of a category is right, the first is too small. Those without an interval come last; where
    it is the same, most pairs first, as they come.
    """
    sure: dict[str, float] = {}
    of_whole = 0.0
    if whole["low"] is not None and whole["high"] is not None:
        of_whole = pairs * standard_error(whole["low"], whole["high"]) ** 2
    for name, entry in categories.items():
        difference = entry.get("difference")
        if difference is None or difference["low"] is None or difference["high"] is None:
            continue
        alike = float(np.sqrt(of_whole * max(1 / entry["pairs"] - 1 / pairs, 0.0)))
        error = max(standard_error(difference["low"], difference["high"]), alike)
        apart = abs(difference["value"])
        sure[name] = apart / error if error > 0 else (np.inf if apart > ROUNDING else 0.0)
    adjusted = holm([2 * float(ndtr(-z)) for z in sure.values()])
    p = dict(zip(sure, adjusted, strict=True))
    for name, entry in categories.items():
        entry["p_holm"] = p.get(name)
    return dict(sorted(categories.items(), key=lambda item: -sure.get(item[0], -1.0)))


def _by_source(
    layout: Layout, reward: Floats, length: Floats, sources: Sequence[str], pending: Pending
) -> dict[str, object]:
    """How right a model is on the pairs of each source, most pairs first."""
    right, pair_ranking, _ = items.pairwise_accuracy(layout, reward)
    longer = items.pairwise_accuracy(layout, length).values
    losses = np.logaddexp(0, -items.margin(layout, reward).values)
    controlled = items.accuracy_by_amount(layout, reward, length)
    entries: dict[str, object] = {}
    for name, pairs in parts.by_category(layout, [source or None for source in sources]).items():
        of = pair_ranking[pairs]
        entry: dict[str, object] = {}
        shares = means(layout, [Items(right[pairs], of), Items(longer[pairs], of)], shares=True)
        pending.add(entry, ["pairwise_accuracy", "length_baseline"], shares)
        pending.add(entry, ["log_loss"], means(layout, [Items(losses[pairs], of)]))
        here = np.isin(controlled.ranking, of)
        halves = controlled.half
        those = Items(
            controlled.values[here],
            controlled.ranking[here],
            None if halves is None else halves[here],
        )
        pending.add(entry, ["length_controlled_accuracy"], statistic(layout, those, share=True))
        entry |= {"prompts": len(np.unique(layout.slot[of])), "pairs": len(pairs)}
        entries[name] = entry
    return entries


def _measure(
    chosen: Mapping[str, Measure],
    layout: Layout,
    scores: Floats,
    length: Floats,
    entry: dict[str, object],
    pending: Pending,
    variance: Floats | None = None,
) -> None:
    """Keep a place in `entry` for each of these measures, in this order; the means go together."""
    entry |= dict.fromkeys(chosen)
    averaged: dict[str, Items] = {}
    for name, measure in chosen.items():
        result = measure.measure(layout, scores, length, variance)
        if isinstance(result, Items) and result.half is None:
            averaged[name] = result
            continue
        if isinstance(result, Items):
            result = statistic(layout, result, share=measure.form == "share")
        pending.add(entry, [name], result)
    shares = [chosen[name].form == "share" for name in averaged]
    pending.add(entry, list(averaged), means(layout, list(averaged.values()), shares=shares))


def _style(
    layout: Layout,
    reward: Floats,
    amount: Floats,
    pending: Pending,
    elsewhere: Collection[str] = (),
) -> dict[str, object] | None:
    """How rewards follow an amount; what is measured `elsewhere` only gets its place."""
    by_amount = items.accuracy_by_amount(layout, reward, amount)
    if not len(by_amount.values):
        return None
    more, less = by_amount.halves()
    columns = {
        "correlation": items.spearman(layout, reward, amount),
        "correlation_in_data": items.spearman(layout, -layout.rank.astype(np.float64), amount),
        "accuracy_where_more": more,
        "accuracy_where_less": less,
        "baseline": items.pairwise_accuracy(layout, amount),
    }
    entry: dict[str, object] = dict.fromkeys([*columns, "controlled_accuracy"])
    columns = {name: each for name, each in columns.items() if name not in elsewhere}
    shares = [not name.startswith("correlation") for name in columns]
    pending.add(entry, list(columns), means(layout, list(columns.values()), shares=shares))
    if "controlled_accuracy" not in elsewhere:
        pending.add(entry, ["controlled_accuracy"], statistic(layout, by_amount, share=True))
    entry["pairs_that_differ"] = len(by_amount.values)
    return entry


def _whitespace(
    rewards: Sequence[ArrayLike], record: StressRecord | None
) -> WhitespaceRecord | None:
    """What the record says of whitespace, in the terms that it always had."""
    white = record["rewrites"].get("whitespace") if record else None
    if white is None or white["flipped"] is None:
        return None
    flipped, moved = Figure(**white["flipped"]), white["moved"]
    low, high = (None if end is None else 1 - end for end in (flipped.high, flipped.low))
    sd = float(np.std(np.concatenate([np.asarray(each) for each in rewards])))
    return {
        "agreement": Figure(1 - flipped.value, low, high).as_dict(),
        "mean_change": moved["value"] * spread_within(rewards) / sd if moved else None,
        "completions": white["completions"],
    }


def format_summary(summary: Summary) -> str:
    """What `summarise` returned as tables for people; it ends with the verdict, on all pairs and
    where it matters.

    >>> summary = summarise([[2.0, 1.0]], [[0, 1]], prompts=["2+2?"], lengths=[[1, 9]])
    >>> format_summary(summary).splitlines()[0]
    '1 prompt, 1 ranking, 2 completions, 1 pair'
    """
    names = ("prompts", "rankings", "completions", "pairs")
    sections = [
        [", ".join(counted(summary["counts"][name], name[:-1]) for name in names)],
        _figure_lines(summary),
        _leaning_lines(summary),
        _stress_lines(summary),
        _part_lines("source", summary.get("by_source", {})),
        _part_lines("category", summary["by_category"]),
        [*sentences(summary)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _figure_lines(summary: Summary) -> list[str]:
    """The figures of the model, each beside those of the baselines."""
    short = {COIN_TOSS: "coin toss", LENGTH_RULE: "longer"}
    baselines = [
        (short.get(name, name.removeprefix("the ")), entry)
        for name, entry in summary["baselines"].items()
    ]
    widths = [max(len(head) + 3, 10) for head, _ in baselines]

    pairs_only = summary["counts"]["completions"] == 2 * summary["counts"]["rankings"]
    heads = [f"{head:>{width}}" for (head, _), width in zip(baselines, widths, strict=True)]
    lines = [f"{'':<{LABEL}}{'value':>8}   {'95 % interval':<16}{''.join(heads)}"]
    group = "pairs"
    for name, measure in shown_in("printed").items():
        record = figures(summary).get(name)  # an old summary has not all
        if record is None or (pairs_only and measure.group == "rankings"):
            continue  # of two completions, rankings would say the same again
        if measure.group != group:
            group = measure.group
            lines.append(HEADS[group])
        value, form = Figure(**record), "+.3f" if measure.form in ("points", "signed") else ".3f"
        label = ("" if group == "pairs" else "  ") + (measure.short or measure.label)

        def in_form(number: float, name: str = name, form: str = form) -> str:
            return shown_temperature(number) if name == "temperature" else format(number, form)

        line = f"{label:<{LABEL}}{in_form(value.value):>8}   {value.interval(form):<16}"
        for (_, entry), width in zip(baselines, widths, strict=True):
            beside = entry.get(name)
            line += f"{in_form(beside['value']) if beside else '':>{width}}"
        lines.append(line.rstrip())
    return lines


def _leaning_lines(summary: Summary) -> list[str]:
    """What the model leans on: a row for each amount that differs, and a line on whitespace."""
    rows = []
    for name, entry in summary["style"].items():
        if entry is None:
            continue
        cells = (
            (entry["correlation"], "+.3f", 8),
            (entry["correlation_in_data"], "+.3f", 9),
            (entry["accuracy_where_more"], ".3f", 12),
            (entry["accuracy_where_less"], ".3f", 11),
        )
        line = f"  {name:<{LABEL - 2}}"
        for record, form, width in cells:
            line += f"{format(record['value'], form) if record else '':>{width}}"
        if entry["controlled_accuracy"]:
            controlled = Figure(**entry["controlled_accuracy"])
            line += f"{controlled.value:>13.3f}   {controlled.interval()}"
        rows.append(line.rstrip())
    lines = []
    if rows:
        lines = [
            f"{'what it leans on':<{LABEL}}{'correlation of':>17}{'accuracy, chosen has':>23}",
            f"{'':<{LABEL}}{'reward':>8}{'ranks':>9}{'more':>12}{'less':>11}{'controlled':>13}"
            "   95 % interval",
            *rows,
        ]
    steady = summary["whitespace"]
    if steady and not summary.get("stress"):  # of an earlier version
        lines.append(
            f"  whitespace changed in {steady['completions']:,} completions: "
            f"{100 * steady['agreement']['value']:.1f} % of the pairs keep their order"
        )
    return lines


def _stress_lines(summary: Summary) -> list[str]:
    """What rewriting does: a row for each way, and the score."""
    record = summary.get("stress")
    if not record:
        return []
    lines = [f"{'answers rewritten':<{LABEL}}{'moves by':>8}{'flips':>9}{'preferred':>12}"]
    for name, entry in record["rewrites"].items():
        line = f"  {rewrites.label(name):<{LABEL - 2}}"
        for key, width in (("moved", 8), ("flipped", 9), ("preferred", 12)):
            figure = entry[key]  # type: ignore[literal-required]
            line += f"{figure['value'] if figure else '':>{width}{'.3f' if figure else ''}}"
        lines.append(line.rstrip())
    if record["score"]:
        lines.append(f"{'stress score':<{LABEL}}{Figure(**record['score'])}".rstrip())
    return lines


def _part_lines(what: str, entries: Mapping[str, PartRecord]) -> list[str]:
    """A row for each category or source; of sources with length controlled, too, of categories
    with how far they are from all pairs, surest first."""
    if not entries:
        return []
    shown = [(excerpt(name), entry) for name, entry in entries.items()][:MOST_CATEGORIES]
    width = max(len(what), *(len(name) for name, _ in shown))
    more = "  length-controlled" if what == "source" else ""
    apart = any("difference" in entry for _, entry in shown)
    more += "  from all   p (Holm)" if apart else ""
    lines = [f"{what:<{width}}   pairs  accuracy   95 % interval    longer{more}"]
    for name, entry in shown:
        accuracy = Figure(**entry["pairwise_accuracy"])
        line = (
            f"{name:<{width}}{entry['pairs']:>8,}  {accuracy.value:>8.3f}   "
            f"{accuracy.interval():<14}  {entry['length_baseline']['value']:>7.3f}"
        )
        if more and (controlled := figures(entry).get("length_controlled_accuracy")):
            line += f"{controlled['value']:>{len(more)}.3f}"
        if apart and (difference := figures(entry).get("difference")):
            p = entry.get("p_holm")
            line += f"{difference['value']:>+10.3f}" + ("" if p is None else f"{p:>11.3f}")
        lines.append(line)
    if len(entries) > MOST_CATEGORIES:
        rest = len(entries) - MOST_CATEGORIES
        of_rest = "other one" if apart else "smaller one"
        lines.append(f"and {counted(rest, of_rest)}")
    return lines


def not_trained_on(summary: Summary) -> Summary | None:
    """The summary with what verdicts are of measured without the rankings that the model was
    trained on; itself where there is none of these, None where there are no others.

    Summaries of earlier versions have no more than pairwise accuracy without them: they are given
    as they are, and `seen_in_training` says it.
    """
    overlap = summary.get("training_overlap")
    if overlap is None or not any_seen(overlap):
        return summary
    without, rest = overlap["without"], overlap.get("not_trained_on")
    if without is None:
        return None
    if rest is None:
        return summary
    found: dict[str, object] = {**summary, "pairwise_accuracy": without}
    found |= {name: rest[name] for name in OF_VERDICTS if name in rest}  # type: ignore[literal-required]
    found["counts"] = summary["counts"] | {name: rest[name] for name in ("prompts", "pairs")}
    if (length := summary["style"]["length"]) is not None:
        measured = {
            "accuracy_where_less": rest["accuracy_where_shorter"],
            "controlled_accuracy": rest["length_controlled_accuracy"],
        }
        found["style"] = summary["style"] | {"length": {**length, **measured}}
    return cast(Summary, found)


def seen_in_training(summary: Summary) -> str:
    """A clause where the model was trained on some of the rankings that figures are of: how many,
    and how right it is without them; else nothing."""
    overlap = summary.get("training_overlap")
    if overlap is None or not any_seen(overlap):
        return ""
    rankings = counted(overlap["rankings"], "ranking")
    said = f"it was trained on {number_seen(overlap):,} of the {rankings}"
    if (without := overlap["without"]) is None:
        return said
    accuracy = Figure(**without)
    those = "it" if number_seen(overlap) == 1 else "them"
    return (
        f"{said}, and without {those} {100 * accuracy.value:.1f} % of the pairs are right "
        f"({_between(without)})"
    )


def verdict(summary: Summary) -> str:
    """One sentence on a summary: is this better than chance and than length, how sure.

    Where the model was trained on some of the rankings, it is of the others.

    >>> rewards, lengths = [[1.0, 0.0]] * 40, [[5, 9]] * 40
    >>> verdict(summarise(rewards, [[0, 1]] * 40, prompts=range(40), lengths=lengths))
    'The model beats preferring the longer completion by 100.0 points (95 % interval +100.0 to \
+100.0).'
    """
    fair = not_trained_on(summary)
    if fair is None:
        return f"Nothing can be concluded of new prompts: {seen_in_training(summary)}."
    if fair is summary:
        also = seen_in_training(summary)
        return _verdict(summary) + (f" That is not of new prompts alone: {also}." if also else "")
    found, rest = _verdict(fair), summary["training_overlap"]["not_trained_on"]
    rankings = counted(rest["rankings"], "ranking")
    return f"On the {rankings} that it was not trained on, {found[0].lower()}{found[1:]}"


def _verdict(summary: Summary) -> str:
    """What `verdict` says of the figures of this summary."""
    accuracy = figure(summary, "pairwise_accuracy")
    above = figure(summary, "accuracy_above_length")
    prompts = summary["counts"]["prompts"]
    if accuracy.low is None or accuracy.high is None or above.low is None or above.high is None:
        return (
            f"Nothing can be concluded: {counted(prompts, 'prompt')} gave a pairwise accuracy of "
            f"{accuracy.value:.3f}, without an interval."
        )
    share = f"{100 * accuracy.value:.1f} % of the pairs right"
    between = f"95 % interval {100 * above.low:+.1f} to {100 * above.high:+.1f}"
    points = f"{100 * abs(above.value):.1f} points"
    if accuracy.high < 0.5:
        says = f"The model orders completions the wrong way round: {share} {accuracy.interval()}"
    elif accuracy.low <= 0.5:
        says = f"The model cannot be told from a coin toss: {share} {accuracy.interval()}"
        if above.high < 0:
            says += f", and is {points} worse than preferring the longer completion"
    elif above.low > 0:
        says = f"The model beats preferring the longer completion by {points} ({between})"
    elif above.high < 0:
        says = f"The model is worse than preferring the longer completion by {points} ({between})"
    else:
        says = (
            f"The model beats a coin toss but cannot be told from preferring the longer "
            f"completion: {100 * above.value:+.1f} points ({between})"
        )
    if prompts < FEW_PROMPTS:
        return f"{says}, but {counted(prompts, 'prompt')} are too few to rely on the interval."
    return says + "."


def sentences(summary: Summary) -> list[str]:
    """What a summary says: of accuracy, of length, of worse answers that it prefers, of a
    temperature that cannot be told, of rows that the model was trained on."""
    trained_on, sure = summary.get("training_overlap"), figures(summary).get("temperature")
    annotators = summary.get("annotators")
    says = (
        *(verdict(summary), where_it_matters(summary), prefers_worse(summary)),
        agreement_sentence(annotators) if annotators else "",
        at_edge(Figure(**sure)) if sure else "",
    )
    return list(filter(None, (*says, overlap_sentence(trained_on) if trained_on else "")))


def prefers_worse(summary: Summary) -> str:
    """One sentence where a version that is worse for certain, such as no answer, is preferred too
    often to train a policy; else nothing."""
    record = summary.get("stress")
    ways = record["rewrites"] if record else {}
    found = {
        name: entry["preferred"]["value"]
        for name, entry in ways.items()
        if entry["preferred"] and entry["preferred"]["value"] > TOO_OFTEN
    }
    if not found:
        return ""
    worst = max(found, key=lambda name: found[name])
    if summary.get("from_elsewhere"):  # nobody here can train it otherwise
        advice = "take another model, or train one of your own, on data that have such answers"
    else:
        advice = _of_length({rewrites.longer(name) for name in found}, summary)
    return (
        f"Do not train a policy against it yet: it prefers a worse version "
        f"({rewrites.label(worst)}) to the answer in {100 * found[worst]:.0f} % of the "
        f"{ways[worst]['completions']:,} cases tried; {advice}."
    )


def _of_length(longer: Collection[bool | None], summary: Summary) -> str:
    """What to change in training where worse versions are preferred that are all `longer`, all
    shorter, or both; nothing that is not possible, by how much of length was taken out before."""
    strength = summary.get("length_control")  # not known of a model that is only evaluated
    if {True, False} <= {*longer}:
        return (
            f"longer and shorter ones alike, so more or less of {STRENGTH} does not mend it: see "
            "what else drives it"
        )
    if True in longer:
        if strength is None:
            more = f"take more of length out of training (a higher {STRENGTH}, if below 1; {COSTS})"
        elif strength == 0:
            more = (
                f"take length out of training (--control length, with a {STRENGTH} above the 0 "
                "that it has here)"
            )
        elif strength < ALL_OF_LENGTH:
            more = (
                f"take more of length out of training ({STRENGTH}: {strength:g} here, 1 takes out "
                f"all that length explains; {COSTS})"
            )
        else:
            return (
                f"a {STRENGTH} of {strength:g} takes out all that length explains already: "
                "see what else drives it"
            )
        return f"it is longer: {more}, or see what else drives it"
    if False in longer:
        if strength == 0:
            return (
                "it is shorter, but nothing of length is taken out of training: see what else "
                "drives it"
            )
        here = "if above 0" if strength is None else f"{strength:g} here"
        return (
            f"it is shorter: take less of length out of training (a lower {STRENGTH}, {here}), or "
            "see what else drives it"
        )
    return "see what drives it"


def where_it_matters(summary: Summary) -> str:
    """One sentence: does the reward beat length where length misleads, and how sure is that.

    It does where length-controlled accuracy is surely above the 50 % that length alone gets. It may
    still be wrong in most of the pairs whose better completion is the shorter one; then the
    sentence says that, too. Both figures are taken from the style of length, which summaries of
    earlier versions have as well. Rankings that the model was trained on do not count.

    >>> rewards, lengths = [[1.0, 0.0]] * 40, [[5, 9], [9, 5]] * 20
    >>> where_it_matters(summarise(rewards, [[0, 1]] * 40, prompts=range(40), lengths=lengths))
    'The reward beats length where it matters: with length controlled, 100.0 % of the pairs are \
right (95 % interval 86.8 to 100.0; length alone gets 50 %), and 100.0 % (86.8 to 100.0) of those \
whose better completion is the shorter one.'
    """
    fair = not_trained_on(summary)
    if fair is None:
        return ""  # the verdict says why
    length = fair["style"]["length"]
    there = "" if fair is summary else " on these rankings"
    shorter, controlled = length and length["accuracy_where_less"], None
    if length is not None:
        controlled = length["controlled_accuracy"]
    if shorter is None or controlled is None:
        kind = "longer" if shorter else "shorter"
        lacking = f"no pair has a better completion that is the {kind} one"
        if length is None:
            lacking = "the two completions of a pair are always of one length"
        return (
            f"Whether the reward beats length where it matters cannot be measured{there}: "
            f"{lacking}."
        )
    low, high = controlled["low"], controlled["high"]
    if low is None or high is None:
        how = "may or may not beat length"
    elif low > 0.5:
        how = "beats length"
    elif high < 0.5:
        how = "is worse than length alone"
    else:
        how = "cannot be told from length alone"
    wrong = shorter["high"] is not None and shorter["high"] < 0.5
    return (
        f"The reward {how} where it matters{there}: with length controlled, "
        f"{100 * controlled['value']:.1f} % of the pairs are right "
        f"({_between(controlled, '95 % interval ')}; length alone gets 50 %), "
        f"{'but only' if wrong and low is not None and low > 0.5 else 'and'} "
        f"{100 * shorter['value']:.1f} % ({_between(shorter)}) of those whose better completion "
        f"is the shorter one{', where it prefers the longer' if wrong else ''}."
    )


def _between(record: FigureRecord, what: str = "") -> str:
    """The ends of an interval in per cent."""
    if record["low"] is None or record["high"] is None:
        return "without an interval"
    return f"{what}{100 * record['low']:.1f} to {100 * record['high']:.1f}"
