"""Cross-validation: every prompt is tested once, by a model that has not seen it.

`cross_validate` reads top to bottom: folds by prompt, a training run for each, the figures of all
folds together, and the reward that every completion got from the model that did not know its
prompt. A fold is a run folder of its own under `folds/`, so that a killed cross-validation goes on
where it was. Assumes data that fit into memory and one process.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from plaudit import console
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings
from plaudit.data.splits import folds_by_prompt, prompt_hash, split_by_prompt, without_prompts_of
from plaudit.errors import PlauditError
from plaudit.evaluation.comparison import (
    MAIN_METRIC,
    ModelComparison,
    compare_folds,
    compare_rewards,
    comparison_verdict,
    corrected_resampled_t,
)
from plaudit.evaluation.learning_curve import CurveRecord
from plaudit.evaluation.learning_curve import learning_curve as fit_learning_curve
from plaudit.evaluation.measures import label, measure_named
from plaudit.evaluation.metrics import per_prompt
from plaudit.evaluation.power import before_comparing_folds, independent_pairs
from plaudit.evaluation.rewards import prediction_rows
from plaudit.evaluation.statistics import Figure, holm
from plaudit.evaluation.summary import figure, format_summary
from plaudit.files import SCHEMA_VERSION, read_json, write_jsonl, write_results
from plaudit.inspection.labels import read_predictions
from plaudit.model.devices import dtype_name
from plaudit.model.seen import taken
from plaudit.reporting.contents import cross_validation_report
from plaudit.reporting.evaluation import Evaluation, measure
from plaudit.reporting.page import write_report
from plaudit.reporting.plots import write_plots
from plaudit.results import Against, CrossValidationMetrics, EvaluationSummary, OverFolds
from plaudit.settings import Settings
from plaudit.training.duration import SAMPLE, SLACK, forward_seconds, keeps_features, kept_of
from plaudit.training.folder import (
    PLAN,
    Begun,
    begin,
    build_settings,
    locked,
    open_run,
    resolve_plan,
)
from plaudit.training.parts import (
    Given,
    Parts,
    given_parts,
    load_for,
    name_data,
    say_how_read,
    without_given,
)
from plaudit.training.processes import one_process
from plaudit.training.run import train_for_figures, try_out
from plaudit.training.setup import load_base

DEFAULT_FOLDS = 5
FEW_FOLDS = 10  # below: Student's t of few degrees of freedom makes wide intervals
FOLD = (2.0, 20.0)  # seconds of a head's training and its figures, beside the base model's work
# What of a fold's rankings the learning curve trains on, beside all of them.
SHARES = (0.125, 0.25, 0.5)


@dataclass(frozen=True)
class CrossValidation:
    """The result of `cross_validate`.

    `summary` is what `metrics.json` holds: of each metric the mean over the folds of all repeats
    with its interval, and `out_of_fold`, the summary of the first repeat's out-of-fold rewards.
    `evaluation` has the rankings and those rewards.
    """

    summary: CrossValidationMetrics
    evaluation: Evaluation
    folder: Path

    @property
    def rankings(self) -> list[Ranking]:
        """All rankings, in the data's order."""
        return self.evaluation.rankings

    @property
    def rewards(self) -> list[list[float]]:
        """The out-of-fold rewards of each ranking's completions."""
        return self.evaluation.rewards

    def __str__(self) -> str:
        return format_cross_validation(self.summary)

    def as_json(self) -> CrossValidationMetrics:
        """What `--json` prints."""
        return self.summary


def cross_validate(
    data: Given = None,
    *,
    k: int | None = None,
    repeats: int | None = None,
    learning_curve: bool = False,
    against: str | Path | Sequence[str | Path] | None = None,
    output: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> CrossValidation:
    """Train and measure a model for each fold; see `plaudit.cross_validate`."""
    one_process("cv")
    settings |= name_data(data)
    folder, chosen = open_run(output, config, resume, overwrite, settings, "cv")
    asked = {
        "command": "cv",
        "k": k,
        "repeats": repeats,
        "learning_curve": learning_curve or None,
        "against": _asked(against),
    }
    defaults = {"k": DEFAULT_FOLDS, "repeats": 1, "learning_curve": False, "against": None}
    plan = resolve_plan(folder, resume, asked, defaults)
    others_named = plan["against"]
    if not isinstance(others_named, list):  # of one, plans have the name alone
        others_named = [] if others_named is None else [others_named]
    compared = [Path(name) for name in others_named]
    if plan["k"] < 2 or plan["repeats"] < 1:
        raise PlauditError("k: give 2 folds or more, and 1 repeat or more")
    if chosen.test_data is not None:
        raise PlauditError(
            "test_data: cross-validation tests on every prompt of the data; leave it out"
        )
    for other in compared:
        if other.resolve() == folder.resolve():
            raise PlauditError(f"against: {other} is the output itself; name another one")
    rankings = load_for(data, chosen)
    say_how_read(rankings, "see rejected.jsonl in the run")
    given = given_parts(chosen)
    base = load_base(chosen)
    encoding = base.encoding
    given = {name: taken(part, [encoding], rankings) for name, part in given.items()}
    others = taken(without_given(rankings, given), [encoding], rankings)
    if line := rankings.describe_left_out():
        console.say(line)
    shares = [*(SHARES if plan["learning_curve"] else ()), 1.0]
    folds = list(_folds(others, given.get("validation"), plan, chosen))
    earlier = [_earlier(other, plan, chosen, others) for other in compared]
    if earlier:
        console.say(_power(earlier[0]["summary"]))

    if not resume:
        try_out(folds[0][2], chosen)
    runs: dict[tuple[int, int, float], _Fold] = {}
    with locked(folder):
        # So that a fold which is trained after a kill computes as those before.
        of_all = Begun(dtype=dtype_name(base.dtype))
        begin(folder, chosen, rankings, resume, plan, of_all)
        pace = console.Pace(len(folds) * len(shares), "runs", warms=keeps_features(chosen))
        for repeat, number, parts in folds:
            what = f"fold {number + 1} of {plan['k']}"
            if plan["repeats"] > 1:
                what = f"repeat {repeat + 1} of {plan['repeats']}, {what}"
            for share in shares:
                part = _share_of(parts, share, chosen.seed_of_split)
                where = folder / "folds" / _name(repeat, number, share)
                size = "" if share == 1 else f", {len(part.train):,} rankings"
                with (
                    pace.part(there=(where / "metrics.json").is_file()),
                    console.within(what + size),
                    console.hushed() if runs else nullcontext(),
                ):
                    runs[repeat, number, share] = _run(where, part, rankings, chosen)
        summary, evaluation = _sum_up(runs, others, plan, shares, chosen)
        write_jsonl(folder / "predictions.jsonl", _predictions(runs, others, plan))
        if compared:
            _compare(earlier, compared, summary, evaluation, folder)
        result = CrossValidation(summary, evaluation, folder)
        evaluation.plot(folder / "plots")
        write_plots("cross-validation", summary, folder / "plots")
        write_cv_report(result, rankings.files)
        # First, since nothing comes back to a run that has its figures.
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        write_results(folder / "metrics.json", summary)
        console.say(f"saved to {folder}")
    return result


def out_of_fold_rewards(rankings: list[Ranking]) -> list[list[float]]:
    """The reward of every completion by a head on `embedded:minilm` that has not seen its prompt:
    what costs least of all that can tell which pairs may be mislabelled. Keeps nothing.

    Raises `PlauditError` as `cross_validate` does.
    """
    if len({ranking.key for ranking in rankings}) < DEFAULT_FOLDS:
        raise PlauditError(
            f"--mislabelled takes {DEFAULT_FOLDS} prompts or more, to hold each out in its turn"
        )
    data = Rankings.from_list(rankings)
    frozen: dict[str, Any] = {"freeze_layers": -1}
    with tempfile.TemporaryDirectory() as folder, console.hushed(kept=False):
        console.show(_how_long(data, build_settings(None, name_data(data) | frozen)))
        return cross_validate(data, output=Path(folder) / "cv", **frozen).rewards


def _how_long(rankings: Rankings, chosen: Settings) -> str:
    """How long it takes to run a frozen model once over all rankings, what is kept left out, and to
    train and measure a head in each fold."""
    model = load_base(chosen)
    encoded = model.encoding.encode_each(list(islice(rankings, SAMPLE)))
    rows = [row for row in encoded if isinstance(row, dict)]
    forward = forward_seconds(model, rows, chosen) if rows else 0.0
    kept = kept_of(model, chosen, rows, [], []).train
    low, high = (
        slack * forward * len(rankings) * (1 - kept) + DEFAULT_FOLDS * each
        for slack, each in zip(SLACK, FOLD, strict=True)
    )
    return (
        f"cross-validating a head on {chosen.base} in {DEFAULT_FOLDS} folds, to judge labels by: "
        f"{console.duration(low)} to {console.duration(high)} on this machine"
    )


# ---- folds ----


@dataclass(frozen=True)
class _Fold:
    """A finished fold: its summary, and what it made of its test rankings, in their order."""

    summary: EvaluationSummary
    rewards: list[list[float]]
    train: int
    train_prompts: int
    test: list[Ranking]


def _folds(
    rankings: list[Ranking],
    validation: list[Ranking] | None,
    plan: dict[str, Any],
    chosen: Settings,
) -> Iterator[tuple[int, int, Parts]]:
    """Every fold of every repeat, its prompts the test, of the others some to validate on."""
    for repeat in range(plan["repeats"]):
        folds = folds_by_prompt(rankings, plan["k"], chosen.seed_of_split + repeat)
        for number, test in enumerate(folds):
            train = without_prompts_of(rankings, test)
            held = validation
            if held is None:
                shares, seed = [chosen.validation_fraction], chosen.seed_of_split
                held, train = split_by_prompt(train, shares, seed)
            yield repeat, number, Parts(train, held, test, frozenset())


def _share_of(parts: Parts, share: float, seed: int) -> Parts:
    """Fewer of the training prompts; a smaller share is within a larger one."""
    if share == 1:
        return parts
    keys = sorted({r.key for r in parts.train}, key=lambda key: (prompt_hash(key, seed), key))
    kept = set(keys[: max(round(share * len(keys)), 1)])
    train = [ranking for ranking in parts.train if ranking.key in kept]
    return Parts(train, parts.validation, parts.test, frozenset())


def _name(repeat: int, number: int, share: float) -> str:
    name = f"repeat-{repeat + 1}-fold-{number + 1}"
    return name if share == 1 else f"{name}-of-{100 * share:g}-percent"


def _run(folder: Path, parts: Parts, rankings: Rankings, chosen: Settings) -> _Fold:
    """Train and measure one fold, or read what an earlier attempt measured."""
    train_for_figures(parts, rankings, chosen, folder)
    rewards: list[list[float]] = [[] for _ in parts.test]
    try:
        summary = read_json(folder / "metrics.json")["test"]
        with open(folder / "predictions.jsonl", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if row["split"] == "test":
                    rewards[row["ranking"]].append(row["reward"])
    except (OSError, ValueError, LookupError, TypeError, PlauditError) as error:
        raise _damaged(folder) from error
    if [*map(len, rewards)] != [len(ranking.completions) for ranking in parts.test]:
        raise _damaged(folder)
    accuracy, longer = summary["pairwise_accuracy"], summary["length_baseline"]
    prompts = console.counted(summary["counts"]["prompts"], "prompt")
    console.show(
        f"pairwise accuracy {accuracy['value']:.3f} on {prompts} "
        f"(preferring the longer {longer['value']:.3f})"
    )
    train_prompts = len({ranking.key for ranking in parts.train})
    return _Fold(summary, rewards, len(list(parts.train)), train_prompts, parts.test)


def _damaged(fold: Path) -> PlauditError:
    return PlauditError(
        f"{fold}: what it measured is not as plaudit wrote it; remove this folder, and --resume "
        "trains it anew"
    )


# ---- what comes of them ----


def _sum_up(
    runs: dict[tuple[int, int, float], _Fold],
    rankings: list[Ranking],
    plan: dict[str, Any],
    shares: list[float],
    chosen: Settings,
) -> tuple[CrossValidationMetrics, Evaluation]:
    full = [fold for (_, _, share), fold in runs.items() if share == 1]
    train_size = float(np.mean([fold.train_prompts for fold in full]))
    test_size = float(np.mean([fold.summary["counts"]["prompts"] for fold in full]))
    metrics: dict[str, OverFolds] = {}
    for name in full[0].summary:
        # What else a summary says, counts for example, are no figures.
        given = [dict(fold.summary).get(name) for fold in full]
        values = [one["value"] for one in given if isinstance(one, dict) and "value" in one]
        if len(values) < len(given):
            continue
        _, _, (low, high) = corrected_resampled_t(values, train_size, test_size)
        if low is not None and high is not None:
            low, high = measure_named(name).within(low, high)
        metrics[name] = {
            "mean": float(np.mean(values)),
            "sd": float(np.std(values, ddof=1)),
            "low": low,
            "high": high,
            "folds": values,
        }
    # Not the mean over repeats: that would be an ensemble, and better than any of its models.
    evaluation = measure(rankings, _out_of_fold(runs, rankings, 0, 1.0))
    summary: CrossValidationMetrics = {
        "schema_version": SCHEMA_VERSION,
        "k": plan["k"],
        "repeats": plan["repeats"],
        "settings": chosen.model_dump(),
        "prompts": {"train": train_size, "test": test_size},
        "metrics": metrics,
        "out_of_fold": evaluation.summary,
        "learning_curve": None,
        "against": None,
    }
    if len(shares) > 1:
        summary["learning_curve"] = _learning_curve(runs, rankings, plan, shares)
    return summary, evaluation


def _out_of_fold(
    runs: dict[tuple[int, int, float], _Fold],
    rankings: list[Ranking],
    repeat: int,
    share: float,
) -> list[list[float]]:
    """The rewards of every ranking, by the model whose test fold it was in."""
    rewards_of = {
        id(ranking): rewards
        for (of_repeat, _, of_share), fold in runs.items()
        if (of_repeat, of_share) == (repeat, share)
        for ranking, rewards in zip(fold.test, fold.rewards, strict=True)
    }
    return [rewards_of[id(ranking)] for ranking in rankings]


def _predictions(
    runs: dict[tuple[int, int, float], _Fold], rankings: list[Ranking], plan: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row for each completion and repeat: its out-of-fold reward, and of which fold."""
    for repeat in range(plan["repeats"]):
        fold_of = {
            id(ranking): number + 1
            for number in range(plan["k"])
            for ranking in runs[repeat, number, 1.0].test
        }
        rewards = _out_of_fold(runs, rankings, repeat, 1.0)
        for row in prediction_rows(rankings, rewards, repeat=repeat + 1):
            yield row | {"fold": fold_of[id(rankings[row["ranking"]])]}


def _learning_curve(
    runs: dict[tuple[int, int, float], _Fold],
    rankings: list[Ranking],
    plan: dict[str, Any],
    shares: list[float],
) -> CurveRecord:
    sizes, columns, pairs = [], [], None
    for share in shares:
        sizes.append(round(np.mean([f.train for (_, _, of), f in runs.items() if of == share])))
        right = []
        for repeat in range(plan["repeats"]):
            table = per_prompt(
                _out_of_fold(runs, rankings, repeat, share),
                [ranking.ranks for ranking in rankings],
                prompts=[ranking.key for ranking in rankings],
            )
            column = table.names.index("pairwise_accuracy")
            right.append(table.sums[:, column])
            pairs = table.counts[:, column]
        columns.append(np.mean(right, axis=0))
    if len(set(sizes)) < len(sizes):
        raise PlauditError(
            f"learning_curve: {sizes[-1]:,} rankings a fold are too few to take parts of"
        )
    assert pairs is not None
    return fit_learning_curve(sizes, np.column_stack(columns), pairs)


# ---- against another configuration ----


def _earlier(
    folder: Path, plan: dict[str, Any], chosen: Settings, rankings: list[Ranking]
) -> dict[str, Any]:
    """The cross-validation in `folder`, when it had the same rankings in the same folds."""
    if not (folder / "metrics.json").is_file() or not (folder / PLAN).is_file():
        raise PlauditError(f"{folder}: holds no finished cross-validation to compare with")
    summary, plan_there = read_json(folder / "metrics.json"), read_json(folder / PLAN)
    there = {name: plan_there.get(name) for name in ("command", "k", "repeats")}
    here = {name: plan[name] for name in ("command", "k", "repeats")}
    seeds = summary.get("settings", {})
    of_split = seeds.get("split_seed")
    there["split seed"] = seeds.get("seed") if of_split is None else of_split
    here["split seed"] = chosen.seed_of_split
    for name in here:
        if here[name] != there[name]:
            raise PlauditError(
                f"{folder}: has {name} {there[name]}, not {here[name]}, and so other "
                "folds. Give the same, or compare with another run"
            )
    if summary["out_of_fold"]["counts"]["rankings"] != len(rankings):
        raise PlauditError(f"{folder}: was made from other data; compare on the same")
    rewards = read_predictions(folder / "predictions.jsonl", rankings, repeat=1)
    return {"summary": summary, "rewards": rewards}


def _power(earlier: CrossValidationMetrics) -> str:
    """How far apart another way of training must be to be told from it, before it is tried."""
    whole, sizes = earlier["out_of_fold"], earlier["prompts"]
    counts, accuracy = whole["counts"], figure(whole, MAIN_METRIC)
    worth = independent_pairs(accuracy, counts["pairs"], counts["prompts"])
    folds = earlier["metrics"][MAIN_METRIC]["folds"]
    return before_comparing_folds(folds, worth, sizes["train"], sizes["test"])


def _asked(against: str | Path | Sequence[str | Path] | None) -> str | list[str] | None:
    """What is to be compared with, as a plan has it: of one the name alone."""
    names = [against] if isinstance(against, str | Path) else [*(against or ())]
    listed = [*dict.fromkeys(map(str, names))]
    return listed if len(listed) > 1 else next(iter(listed), None)


def _compare(
    earlier: list[dict[str, Any]],
    others: list[Path],
    summary: CrossValidationMetrics,
    evaluation: Evaluation,
    folder: Path,
) -> None:
    """Compare with each of the others, and correct the main measure for their number."""
    found: list[Against] = []
    for number, (there, other) in enumerate(zip(earlier, others, strict=True), start=1):
        against, comparison = _against(there, summary, evaluation, folder, other)
        comparison.write(folder / "comparison" / (str(number) if len(others) > 1 else ""))
        found.append(against)
    summary["against"] = found[0]
    if len(found) < 2:
        return
    folds = holm([each["folds"][MAIN_METRIC]["p"] for each in found])
    prompts = holm([each["out_of_fold"]["metrics"][MAIN_METRIC]["p"] for each in found])
    for each, of_folds, of_prompts in zip(found, folds, prompts, strict=True):
        each["p_holm"] = {"folds": of_folds, "prompts": of_prompts}
    summary["comparisons"] = found


def _against(
    earlier: dict[str, Any],
    summary: CrossValidationMetrics,
    evaluation: Evaluation,
    folder: Path,
    other: Path,
) -> tuple[Against, ModelComparison]:
    """This configuration against an earlier one: over folds, and on all out-of-fold rewards."""
    these, others = summary["metrics"], earlier["summary"]["metrics"]
    common = [name for name in these if name in others and measure_named(name).compared]
    over_folds = compare_folds(
        {name: these[name]["folds"] for name in common},
        {name: others[name]["folds"] for name in common},
        train_size=summary["prompts"]["train"],
        test_size=summary["prompts"]["test"],
    )
    settings, settings_there = summary["settings"], earlier["summary"]["settings"]
    comparison = compare_rewards(
        evaluation.rankings, evaluation.rewards, earlier["rewards"], names=(str(folder), str(other))
    )
    against: Against = {
        "name": str(other),
        "settings": {
            name: {"this": settings[name], "other": settings_there.get(name)}
            for name in settings
            if settings[name] != settings_there.get(name)
        },
        "folds": over_folds,
        "out_of_fold": comparison.summary,
    }
    return against, comparison


def format_cross_validation(summary: CrossValidationMetrics) -> str:
    """The result of `cross_validate` as text for a person."""
    folds = f"{summary['k']} folds"
    if summary["repeats"] > 1:
        folds += f", {summary['repeats']} times"
    width = max(28, *(len(label(name)) for name in summary["metrics"]))
    lines = [
        f"over {folds}",
        "",
        f"{'':<{width}}{'mean':>8}   {'95 % interval':<18} fold to fold (sd)",
    ]
    for name, entry in summary["metrics"].items():
        interval = Figure(entry["mean"], entry["low"], entry["high"]).interval()
        lines.append(
            f"{label(name):<{width}}{entry['mean']:>8.3f}   {interval:<18} {entry['sd']:.3f}"
        )
    number = summary["k"] * summary["repeats"]
    wide = (
        f" {number} folds give a wide one; -k 10 or --repeats 3 narrows it."
        if number < FEW_FOLDS
        else ""
    )
    lines += [
        "",
        "For this way of training report the intervals above: other data would train another model."
        + wide,
        "",
        "all out-of-fold rewards together, with intervals over prompts for these models alone (of "
        "several models: their AUC and temperature are in the table above)",
        "",
        format_summary(summary["out_of_fold"]),
    ]
    if summary["learning_curve"] is not None:
        lines += ["", f"{'rankings':>8}  pairwise accuracy"]
        for point in summary["learning_curve"]["points"]:
            figure = Figure(point["value"], point["low"], point["high"])
            lines.append(f"{point['rankings']:>8,}  {figure}")
        lines.append(summary["learning_curve"]["answer"])
    several = summary.get("comparisons", [])
    first = summary["against"]
    for against in several or ([] if first is None else [first]):
        lines += ["", *_format_against(against, len(several))]
    return "\n".join(lines)


def _format_against(against: Against, several: int) -> list[str]:
    width = max(28, *(len(label(name)) for name in against["folds"]))
    lines = [f"against {against['name']}, fold by fold (corrected resampled t-test)"]
    for name, values in against["settings"].items():
        lines.append(f"  {name}: {values['this']} here, {values['other']} there")
    lines += [
        "",
        f"{'':<{width}}{'this':>8}{'other':>9}   difference   {'95 % interval':<18}{'p':>7}",
    ]
    for name, entry in against["folds"].items():
        difference = Figure(**entry["difference"])
        p = entry["p"] if entry["p_holm"] is None else entry["p_holm"]
        note = "" if entry["p_holm"] is None else " (Holm)"
        lines.append(
            f"{label(name):<{width}}{entry['first']:>8.3f}{entry['second']:>9.3f}   "
            f"{difference.value:>+10.3f}   {difference.interval('+.3f'):<18}{p:>7.3f}{note}"
        )
    p_holm = against.get("p_holm")
    if p_holm is not None:
        lines.append(
            f"p of {label(MAIN_METRIC)}, corrected for being {several} comparisons (Holm): "
            f"{p_holm['folds']:.3f}"
        )
    return [
        *lines,
        "",
        "For a way of training believe this table. Of the models at hand, on the same prompts:",
        comparison_verdict(against["out_of_fold"], None if p_holm is None else p_holm["prompts"]),
    ]


def write_cv_report(result: CrossValidation, files: Sequence[str]) -> None:
    """Write `report.html` of a cross-validation of the data in `files`."""
    report = cross_validation_report(
        result.summary,
        result.evaluation,
        title=result.folder.name,
        facts={
            "data": ", ".join(files) or "rankings in memory",
            "base model": result.summary["settings"]["base"],
        },
    )
    write_report(result.folder / "report.html", report)
