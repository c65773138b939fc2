"""The report of several models side by side, on the rankings that all of them were measured on.

Each is compared with the first, pair by pair of the same prompts. Where a model was measured on
other rankings, too, its figures are measured anew on the common ones, so that no column stands on
other prompts than its neighbour; what rewriting answers did to it is kept as it was measured.
"""

from collections.abc import Mapping
from datetime import date
from importlib.metadata import version

from plaudit.console import counted
from plaudit.evaluation.comparison import (
    MAIN_METRIC,
    ComparisonRecord,
    compare_rewards,
    comparison_verdict,
    shown_metrics,
)
from plaudit.evaluation.measures import measure_named, shown_in
from plaudit.evaluation.overlap import any_seen, number_seen
from plaudit.evaluation.statistics import FigureRecord, holm
from plaudit.evaluation.summary import Summary, figures, seen_in_training
from plaudit.reporting import front
from plaudit.reporting.evaluation import Evaluation, measure
from plaudit.reporting.page import Highlight, Report, Row, Section, Table
from plaudit.reporting.pairs import in_all, partings
from plaudit.reporting.tables import (
    UNDEFINED,
    differences,
    form_of,
    in_print,
    interval,
    percent,
)

FEWEST_PAIRS = 10  # of a category, to stand in the table


def side_by_side(evaluations: Mapping[str, Evaluation], *, seed: int = 0) -> Report:
    """The report of two or more evaluations by the names of their models.

    Raises:
        PlauditError: where no ranking was measured by all.

    >>> from plaudit import evaluate
    >>> found = {name: evaluate(f"runs/{name}", "pairs.jsonl") for name in ("first", "second")}
    >>> side_by_side(found).title
    'first and second'
    """
    names = list(evaluations)
    rankings, rewards = in_all(
        {name: (each.rankings, each.rewards) for name, each in evaluations.items()}
    )
    summaries = {}
    for name, each in evaluations.items():
        summary = each.summary
        if len(each.rankings) != len(rankings):
            summary = measure(rankings, [list(given) for given in rewards[name]], seed=seed).summary
            summary["stress"] = each.summary.get("stress")
            if overlap := each.summary.get("training_overlap"):
                # Of all that it was measured on, which is not what stands on this page.
                summary["training_overlap"] = overlap.copy()
                summary["training_overlap"].pop("not_trained_on", None)
        summaries[name] = summary
    compared = [
        compare_rewards(
            rankings, rewards[names[0]], rewards[name], names=(names[0], name), seed=seed
        ).summary
        for name in names[1:]
    ]
    _adjust(compared)
    pairs = partings(rankings, rewards)
    left_out = {
        name: len(each.rankings) - len(rankings)
        for name, each in evaluations.items()
        if len(each.rankings) > len(rankings)
    }
    facts = {"measured by all": counted(len(rankings), "ranking")}
    facts |= {f"left out of {name}": counted(each, "ranking") for name, each in left_out.items()}
    facts |= {"date": date.today().isoformat(), "plaudit": version("plaudit")}
    return Report(
        " and ".join(names) if len(names) == 2 else ", ".join(names),
        tuple(in_print(_verdict(record, summaries)) for record in compared),
        facts,
        tuple(
            Highlight(
                f"{name}: pairwise accuracy",
                percent(accuracy["value"]),
                interval(accuracy, percent)
                + (", with rankings trained on" if seen_in_training(summary) else ""),
            )
            for name, summary in summaries.items()
            if (accuracy := figures(summary)["pairwise_accuracy"])
        ),
        (
            _which(compared),
            Section("What does each reach?", (), (_measures(summaries),)),
            *_where(summaries),
        ),
        "Which of these reward models is better?",
        front.uses(summaries),
        {name: front.weaknesses(summary) for name, summary in summaries.items()},
        pairs,
    )


def _verdict(record: ComparisonRecord, summaries: Mapping[str, Summary]) -> str:
    """The verdict of a comparison; none of new prompts where a model was trained on some of these.

    Folders do not say on which, so that they cannot be left out here.
    """
    said = comparison_verdict(record)
    by_heart = [
        f"{name} was trained on {number_seen(overlap):,} of the "
        f"{counted(overlap['rankings'], 'ranking')} that it was measured on"
        for name in record["models"]
        if (overlap := summaries[name].get("training_overlap")) and any_seen(overlap)
    ]
    if not by_heart:
        return said
    return (
        f"Nothing can be concluded of new prompts here: {', '.join(by_heart)}. plaudit evaluate "
        f"with --against compares without these. With them: {said}"
    )


def _adjust(compared: list[ComparisonRecord]) -> None:
    """Adjust the p-values of the main measure for several models, by Holm's method."""
    if len(compared) < 2:
        return
    entries = [record["metrics"][MAIN_METRIC] for record in compared]
    for entry, p in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
        entry["p"] = p


def _which(compared: list[ComparisonRecord]) -> Section:
    tables = tuple(
        differences(
            f"{' and '.join(record['models'])}, on the same prompts",
            record["models"],
            shown_metrics(record),
        )
        for record in compared
    )
    note = (
        "P-values are of a permutation test that exchanges the models prompt by prompt; those of "
        "all but pairwise accuracy are adjusted for being several, by Holm's method."
    )
    if len(compared) > 1:
        note += f" Those of pairwise accuracy are adjusted for {len(compared)} models."
    return Section("Which is better?", (note,), tables)


def _measures(summaries: Mapping[str, Summary]) -> Table:
    """Every measure that one of the models has, a column for each model."""
    rows = []
    for name in shown_in("report"):
        records = [figures(summary).get(name) for summary in summaries.values()]
        if any(records):
            measure = measure_named(name)
            cells = tuple(_cell(record, name) for record in records)
            rows.append(Row(measure.title, cells, measure.hint))
    return Table("All measures", ("", *summaries), tuple(rows), wide=True)


def _cell(record: FigureRecord | None, name: str) -> str:
    if record is None:
        return UNDEFINED
    form = form_of(name)
    ends = interval(record, form)
    return form(record["value"]) + (f" ({ends})" if ends else "")


def _where(summaries: Mapping[str, Summary]) -> tuple[Section, ...]:
    """Accuracy by category, those categories first where the models are furthest apart."""
    first = next(iter(summaries.values()))
    rows = []
    for name, entry in first["by_category"].items():
        parts = [summary["by_category"].get(name) for summary in summaries.values()]
        if entry["pairs"] < FEWEST_PAIRS or None in parts:
            continue
        records = [part["pairwise_accuracy"] for part in parts if part is not None]
        values = [record["value"] for record in records]
        cells = (*(_cell(record, "pairwise_accuracy") for record in records), f"{entry['pairs']:,}")
        rows.append((max(values) - min(values), Row(name, cells)))
    if not rows:
        return ()
    rows.sort(key=lambda row: -row[0])
    note = (
        f"Categories of {FEWEST_PAIRS} pairs or more, those first where the models are furthest "
        "apart. Of many categories, a few are far apart by chance."
    )
    table = Table(
        "Pairwise accuracy by category",
        ("category", *summaries, "pairs"),
        tuple(row for _, row in rows),
        wide=True,
    )
    return (Section("Where is each right?", (note,), (table,)),)
