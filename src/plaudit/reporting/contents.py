"""The reports of evaluate, train, cv and tune: their verdicts, and the sections they are made of.

Each builder takes what a command has found, as plain numbers, and returns a `Report`.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from typing import Any

from plaudit.console import counted
from plaudit.data.rankings import Ranking
from plaudit.evaluation.comparison import comparison_verdict
from plaudit.evaluation.metrics import label
from plaudit.evaluation.summary import verdict
from plaudit.reporting import run_plots
from plaudit.reporting.page import Report, Row, Section, Table, worst_mistakes
from plaudit.reporting.tables import (
    INTERVAL,
    NBSP,
    UNDEFINED,
    Summary,
    differences,
    form_of,
    highlights,
    interval,
    measured,
    name_of,
    percent,
    setting,
    spread,
    words,
)


def evaluation_report(
    summary: Summary,
    rankings: Sequence[Ranking],
    rewards: Sequence[Sequence[float]],
    *,
    title: str,
    facts: Mapping[str, str],
    log: Sequence[Mapping[str, Any]] | None = None,
    best_step: int | None = None,
    notes: Sequence[str] = (),
    against: Summary | None = None,
) -> Report:
    """The report of a model measured on rankings, and with `log` of how it was trained.

    `rewards` hold K numbers for each ranking; `facts` name the model, the data and what else should
    stand at the top; `log` holds the rows of `log.jsonl`, of which `best_step` was kept; `notes`
    are sentences under the figures, as that validation prompts chose the checkpoint; `against` is
    the summary of its comparison with another model.

    >>> from plaudit import evaluate
    >>> e = evaluate("runs/first", "pairs.jsonl")
    >>> report = evaluation_report(e.summary, e.rankings, e.rewards, title="First", facts={})
    >>> report.title
    'First'
    """
    return _report(
        "How good is this reward model?",
        title,
        (verdict(dict(summary)), leaning(summary)),
        facts,
        summary,
        (
            *([] if against is None else [_against(against)]),
            *measured(summary, rankings, rewards, notes),
            *([] if not log else [_training(log, best_step)]),
        ),
        rankings,
        rewards,
    )


def cross_validation_report(
    cv: Mapping[str, Any],
    rankings: Sequence[Ranking],
    rewards: Sequence[Sequence[float]],
    *,
    title: str,
    facts: Mapping[str, str],
) -> Report:
    """The report of a cross-validation.

    `cv` holds {"k", "repeats", "metrics": {name: {"mean", "sd", "low", "high", "folds"}},
    "out_of_fold": the summary of all out-of-fold rewards, "learning_curve": {"points", "fit",
    "answer"} or None, "against": {"name", "folds", "out_of_fold"} or None}; `rewards` are the
    out-of-fold ones of `rankings`.
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
        (run_plots.fold_values(metrics),),
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
        plots = (run_plots.learning_curve(curve),)
        sections.append(Section("Would more data help?", (curve["answer"],), (sizes,), plots))
    if cv["against"] is not None:
        sections.insert(0, _against(cv["against"]["out_of_fold"], cv["against"]["folds"]))
    return _report(
        "Cross-validation",
        title,
        (verdict(dict(summary)), second + "."),
        facts,
        summary,
        (*sections, *measured(summary, rankings, rewards)),
        rankings,
        rewards,
    )


def search_report(
    search: Mapping[str, Any],
    rankings: Sequence[Ranking],
    rewards: Sequence[Sequence[float]],
    *,
    title: str,
    facts: Mapping[str, str],
    log: Sequence[Mapping[str, Any]] | None = None,
    best_step: int | None = None,
) -> Report:
    """The report of a search for settings.

    `search` holds {"trials": [{"number", "state": "complete" | "pruned" | "failed", "value",
    "seconds", "settings"}], "best": one of them, "metric", "test": the summary of the best one,
    retrained, on the test rankings}; `rankings` and `rewards` are those of the test, `log` and
    `best_step` those of the retraining.
    """
    trials, best, metric, summary = (search[key] for key in ("trials", "best", "metric", "test"))
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
    settings = run_plots.search_settings(trials, metric)
    searched = Section(
        "The search",
        ("The value of a trial is measured on validation prompts, which it was chosen by: expect "
         "less on prompts that nobody has looked at.",),
        (
            Table("The best settings", ("setting", "value"), tuple(chosen)),
            Table("Every trial", columns, tuple(rows), wide=True),
        ),
        (run_plots.search_history(trials, metric), *([] if settings is None else [settings])),
    )  # fmt: skip
    return _report(
        "Search for settings",
        title,
        (verdict(dict(summary)), second),
        facts,
        summary,
        (
            *measured(summary, rankings, rewards),
            searched,
            *([] if not log else [_training(log, best_step)]),
        ),
        rankings,
        rewards,
    )


def _against(comparison: Summary, folds: Summary | None = None) -> Section:
    """One model against another: on the same prompts, and over folds where there are any."""
    first, second = comparison["models"]
    names = (first, second)
    tables = [differences("On the same prompts", names, comparison["metrics"])]
    if folds is not None:
        caption = "Fold by fold, corrected resampled t-test"
        tables.insert(0, differences(caption, names, folds))
    return Section("Which is better?", (comparison_verdict(dict(comparison)),), tuple(tables))


def leaning(summary: Summary) -> str:
    """How much the verdict rests on, and whether the model leans on length.

    It does where its accuracy is surely lower on pairs whose chosen completion is the shorter one:
    where the two 95 % intervals do not meet.
    """
    counts = summary["counts"]
    rests = f"That rests on {counted(counts['prompts'], 'prompt')} and " + (
        counted(counts["pairs"], "pair")
    )
    length = summary["style"]["length"]
    if length is None or None in (length["accuracy_where_more"], length["accuracy_where_less"]):
        return f"{rests}; whether it leans on length cannot be told from them."
    more, less = length["accuracy_where_more"], length["accuracy_where_less"]
    where = (
        f"{percent(more['value'])} are right where the chosen completion is the longer one and "
        f"{percent(less['value'])} where it is the shorter one"
    )
    if None in (more["low"], less["low"]):
        return f"{rests}; {where}, without an interval."
    if less["high"] < more["low"]:
        return f"{rests}; {where}, so it leans on length."
    if more["high"] < less["low"]:
        return f"{rests}; {where}, so it leans towards the shorter completion."
    return f"{rests}; {where}, which is no sure sign that it leans on length."


def _report(
    kind: str,
    title: str,
    lead: tuple[str, ...],
    facts: Mapping[str, str],
    summary: Summary,
    sections: tuple[Section, ...],
    rankings: Sequence[Ranking],
    rewards: Sequence[Sequence[float]],
) -> Report:
    mistakes, wrong = worst_mistakes(rankings, rewards)
    when = {"date": date.today().isoformat(), "plaudit": version("plaudit")}
    lead = tuple(sentence.replace(" %", f"{NBSP}%") for sentence in lead)
    facts = dict(facts) | when
    return Report(title, lead, facts, highlights(summary), sections, mistakes, wrong, kind)


def _training(log: Sequence[Mapping[str, Any]], best_step: int | None) -> Section:
    return Section("How it was trained", (), (), (run_plots.training_curves(log, best_step),))
