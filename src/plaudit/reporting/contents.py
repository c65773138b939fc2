"""The reports of evaluate, train, cv and tune: their verdicts, and the sections they are made of.

Each builder takes the results of a command and returns a `Report`, which has every plot that is
registered for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from plaudit.console import counted
from plaudit.evaluation.comparison import (
    ComparisonRecord,
    FoldsRecord,
    comparison_verdict,
    shown_metrics,
)
from plaudit.evaluation.measures import label
from plaudit.evaluation.overlap import overlap_sentence
from plaudit.evaluation.summary import Summary, not_trained_on, seen_in_training, verdict
from plaudit.reporting import front
from plaudit.reporting.drawing import Drawing
from plaudit.reporting.page import Report, Row, Section, Table
from plaudit.reporting.pairs import mistakes
from plaudit.reporting.plots import Log, Subject, drawings
from plaudit.reporting.tables import (
    INTERVAL,
    UNDEFINED,
    differences,
    form_of,
    highlights,
    in_print,
    interval,
    measured,
    name_of,
    percent,
    setting,
    spread,
    words,
)
from plaudit.results import SourceOfRun

if TYPE_CHECKING:
    from plaudit.reporting.evaluation import Evaluation


def evaluation_report(
    evaluation: "Evaluation",
    *,
    title: str,
    facts: Mapping[str, str],
    log: Log | None = None,
    notes: Sequence[str] = (),
    diagnosis: Sequence[str] = (),
    against: ComparisonRecord | None = None,
    sources: Mapping[str, SourceOfRun] | None = None,
) -> Report:
    """The report of a model measured on rankings, and with `log` of how it was trained.

    `facts` name the model, the data and what else should stand at the top; `notes` are sentences
    under the figures, as that validation prompts chose the checkpoint; `diagnosis` says what went
    wrong in training, a sentence for each finding; `against` is the summary of
    its comparison with another model; `sources` are those of the mixture it was trained on.

    >>> from plaudit import evaluate
    >>> evaluation = evaluate("runs/first", "pairs.jsonl")
    >>> evaluation_report(evaluation, title="First", facts={}).title
    'First'
    """
    sections = measured(evaluation.summary, notes)
    if sources:
        sections = (*sections, _mixture(sources))
    if against is not None:
        section = _against(against)
        if "training_overlap" not in against and (also := seen_in_training(evaluation.summary)):
            # An earlier version compared on all rankings, whatever was trained on.
            note = f"That is not of new prompts alone: {also}. Compare anew to leave these out."
            section = replace(section, notes=(*section.notes, in_print(note)))
        sections = (section, *sections)
    if diagnosis:
        sections = (Section("What went wrong in training", tuple(diagnosis)), *sections)
    return _report(
        "How good is this reward model?",
        title,
        (verdict(evaluation.summary), _rests_on(evaluation.summary)),
        facts,
        evaluation,
        sections,
        _logged(log),
    )


def _mixture(sources: Mapping[str, SourceOfRun]) -> Section:
    """What was read of each source of a mixture, and what of it was trained on and held out."""
    columns = ("train", "validation", "test", "rankings", "rows")
    rows = [
        Row(
            name,
            (
                percent(source["share"]),
                *(
                    UNDEFINED if count is None else f"{count:,}"
                    for count in (
                        *(source["train"], source["validation"], source["test"]),
                        *(source["rankings"], source["rows"], sum(source["rejected"].values())),
                    )
                ),
            ),
        )
        for name, source in sources.items()
    ]
    heads = ("source", "share", *columns, "rejected")
    return Section(
        "What was it trained on?",
        ("The share is that of the rankings of an epoch.",),
        (Table("The mixture", heads, tuple(rows), wide=True),),
    )


def cross_validation_report(
    cv: Mapping[str, Any],
    evaluation: "Evaluation",
    *,
    title: str,
    facts: Mapping[str, str],
) -> Report:
    """The report of a cross-validation.

    `cv` holds {"k", "repeats", "metrics": {name: {"mean", "sd", "low", "high", "folds"}},
    "out_of_fold": the summary of all out-of-fold rewards, "learning_curve": {"points", "fit",
    "answer"} or None, "against": {"name", "folds", "out_of_fold"} or None}; `evaluation` is that of
    the out-of-fold rewards.
    """
    summary, metrics, curve = cv["out_of_fold"], cv["metrics"], cv["learning_curve"]
    accuracy = metrics["pairwise_accuracy"]
    folds = counted(cv["k"], "fold")
    if cv["repeats"] > 1:
        folds += f", {cv['repeats']} times over"
    second = (
        f"Trained anew for each of {folds}, it gets {percent(accuracy['mean'])} of the pairs right"
    )
    if accuracy["low"] is not None:
        low, high = min(accuracy["folds"]), max(accuracy["folds"])
        second += (
            f" on average ({INTERVAL} {interval(accuracy, percent)}), between {percent(low)} "
            f"and {percent(high)} in a fold"
        )
    rows = [
        Row(
            name_of(name),
            (
                form_of(name)(entry["mean"]),
                interval(entry, form_of(name)),
                spread(name, entry["sd"]),
            ),
        )
        for name, entry in metrics.items()
    ]
    columns = ("metric", "mean", INTERVAL, "standard deviation")
    of_folds = Section(
        "From fold to fold",
        ("Each fold is measured by a model that has not seen its prompts.",),
        (Table(f"Over {folds}", columns, tuple(rows)),),
    )
    sections = [of_folds]
    if curve is not None:
        points = [
            Row(
                f"{point['rankings']:,}",
                (percent(point["value"]), interval(point, percent)),
            )
            for point in curve["points"]
        ]
        sizes = Table(
            "Trained on fewer", ("rankings", "pairwise accuracy", INTERVAL), tuple(points)
        )
        sections.append(Section("Would more data help?", (curve["answer"],), (sizes,)))
    if cv["against"] is not None:
        sections.insert(0, _against(cv["against"]["out_of_fold"], cv["against"]["folds"]))
    return _report(
        "Cross-validation",
        title,
        (verdict(summary), second + "."),
        facts,
        evaluation,
        (*sections, *measured(summary)),
        {"cross-validation": cv},
    )


def search_report(
    search: Mapping[str, Any],
    evaluation: "Evaluation",
    *,
    title: str,
    facts: Mapping[str, str],
    log: Log | None = None,
) -> Report:
    """The report of a search for settings.

    `search` holds {"trials": [{"number", "state": "complete" | "pruned" | "failed", "value",
    "seconds", "settings"}], "best": one of them, "metric"}; `evaluation` is that of the best one,
    retrained, on the test rankings, and `log` that of the retraining.
    """
    trials, best, metric = (search[key] for key in ("trials", "best", "metric"))
    form = form_of(metric)
    second = (
        f"Of {counted(len(trials), 'trial')} number {best['number']} was best, with a "
        f"{label(metric)} of {form(best['value'])} on validation prompts; the test "
        "prompts were not looked at before that was settled."
    )
    chosen = [Row(words(name), (setting(value),)) for name, value in best["settings"].items()]
    names = list(dict.fromkeys(name for trial in trials for name in trial["settings"]))
    rows = [
        Row(
            f"{trial['number']}",
            (
                UNDEFINED if trial["value"] is None else form(trial["value"]),
                trial["state"],
                UNDEFINED if trial["seconds"] is None else f"{trial['seconds']:,.0f} s",
                *(setting(trial["settings"].get(name)) for name in names),
            ),
        )
        for trial in sorted(trials, key=lambda trial: trial["number"])
    ]
    columns = ("trial", label(metric), "state", "time", *map(words, names))
    searched = Section(
        "The search",
        ("The value of a trial is measured on validation prompts, which it was chosen by: expect "
         "less on prompts that nobody has looked at.",),
        (
            Table("The best settings", ("setting", "value"), tuple(chosen)),
            Table("Every trial", columns, tuple(rows), wide=True),
        ),
    )  # fmt: skip
    return _report(
        "Search for settings",
        title,
        (verdict(evaluation.summary), second),
        facts,
        evaluation,
        (*measured(evaluation.summary), searched),
        {"search": search, **_logged(log)},
    )


def _against(
    comparison: ComparisonRecord, folds: Mapping[str, FoldsRecord] | None = None
) -> Section:
    """One model against another: on the same prompts, and over folds where there are any."""
    first, second = comparison["models"]
    names = (first, second)
    tables = [differences("On the same prompts", names, shown_metrics(comparison))]
    if folds is not None:
        caption = "Fold by fold, corrected resampled t-test"
        tables.insert(0, differences(caption, names, folds))
    overlap = comparison.get("training_overlap")
    of_second = [overlap_sentence(overlap["second"], second)] if overlap else []
    notes = (comparison_verdict(comparison), *of_second)
    return Section("Which is better?", notes, tuple(tables))


def _rests_on(summary: Summary) -> str:
    """How much the verdict rests on."""
    counts = (not_trained_on(summary) or summary)["counts"]
    return (
        f"That rests on {counted(counts['prompts'], 'prompt')} and "
        f"{counted(counts['pairs'], 'pair')}."
    )


def _report(
    kind: str,
    title: str,
    lead: tuple[str, ...],
    facts: Mapping[str, str],
    evaluation: "Evaluation",
    sections: Sequence[Section],
    others: Mapping[Subject, Any],
) -> Report:
    """The report of these sections, with the plots of the evaluation and of `others` in them."""
    under: dict[str, list[Drawing]] = {}
    subjects: dict[Subject, Any] = {"evaluation": evaluation, **others}
    for subject, data in subjects.items():
        for heading, plots in drawings(subject, data).items():
            under.setdefault(heading, []).extend(plots)
    placed = [replace(each, plots=tuple(under.pop(each.title, ()))) for each in sections]
    placed += [Section(heading, plots=tuple(plots)) for heading, plots in under.items()]
    summary = evaluation.summary
    when = {"date": date.today().isoformat(), "plaudit": version("plaudit")}
    return Report(
        title,
        tuple(map(in_print, lead)),
        {**facts, **when},
        highlights(summary),
        tuple(placed),
        kind,
        front.uses({"": summary}),
        {"": front.weaknesses(summary)},
        mistakes(evaluation.rankings, evaluation.rewards),
    )


def _logged(log: Log | None) -> dict[Subject, Any]:
    return {"run": log} if log is not None and log.rows else {}
