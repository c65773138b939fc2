"""Search for settings: many short trainings, the best one's settings trained on all, one test.

`tune` reads top to bottom: split by prompt, trials measured on the validation prompts, the best
trial's settings trained anew on training and validation prompts together, and only then a look at
the test prompts. Optuna proposes and prunes; its study lies in the output folder, so that a killed
search goes on and several processes may share one. A trial leaves the model that its last step
left, not the best of its checkpoints, so that what it reached can be trained again without
validation prompts. Assumes data that fit into memory.
"""

import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import datasets
import optuna
from numpy.typing import ArrayLike
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from plaudit import console
from plaudit.data.cells import lengths_of
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings
from plaudit.errors import PlauditError
from plaudit.evaluation.choice import behind_best
from plaudit.evaluation.comparison import SIGNIFICANT
from plaudit.evaluation.measures import label, measure_named
from plaudit.evaluation.statistics import Figure
from plaudit.evaluation.summary import format_summary
from plaudit.files import SCHEMA_VERSION, read_json, write_json, write_jsonl
from plaudit.model.base_models import quiet
from plaudit.model.encoding import Encoding
from plaudit.model.seen import taken
from plaudit.reporting.contents import search_report
from plaudit.reporting.evaluation import Evaluation
from plaudit.reporting.page import write_report
from plaudit.reporting.plots import Log, write_plots
from plaudit.results import RunMetrics, SearchMetrics, Trial
from plaudit.settings import Settings, ValidationMetric
from plaudit.training.compiling import compile_layers
from plaudit.training.duration import keeps_features
from plaudit.training.folder import begin, finish, is_finished, locked, open_run, resolve_plan
from plaudit.training.head_first import fit_head
from plaudit.training.objectives import OBJECTIVES
from plaudit.training.parts import (
    Given,
    Parts,
    drawn,
    encoded_parts,
    held_out_that_model_takes,
    load_for,
    name_data,
    say_how_read,
    split,
)
from plaudit.training.processes import one_process
from plaudit.training.run import Run, train_on, try_out
from plaudit.training.setup import (
    build_trainer,
    check_metric,
    load_base,
    prepared,
    run_frozen_layers,
)
from plaudit.training.space import Space, default_space, describe_space, distribution, read_space
from plaudit.training.trainer import RankingTrainer, read_log, rewards_in
from plaudit.training.two_stage import first_stage
from plaudit.yaml_file import read_yaml

METRICS = get_args(ValidationMetric)
VALIDATIONS = 5  # of a trial, at each of which it may be cut short
DEFAULT_TRIALS = 30
LOG_LOSS = "log_loss"  # of a trial's validation prompts, by which a tie is broken
ROUNDING = 1e-9
REWARDS = "rewards.json"  # of a trial: those of the validation prompts
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class Search:
    """The result of `tune`.

    `summary` is what `metrics.json` holds: `trials`, `best`, `metric` and `test`, the summary of
    the best settings' model on the test prompts. `best` is that model's training run; None while
    other processes still work on the same search.
    """

    summary: SearchMetrics
    best: Run | None
    folder: Path

    def __str__(self) -> str:
        return format_search(self.summary)

    def as_json(self) -> SearchMetrics:
        """What `--json` prints."""
        return self.summary


def tune(
    data: Given = None,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    space: str | Path | Mapping[str, Any] | None = None,
    metric: str | None = None,
    output: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Search:
    """Search, then train the settings that validate best; see `plaudit.tune`."""
    one_process("tune")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if metric is not None and metric not in METRICS:
        raise PlauditError(f"metric: {metric} is not {' or '.join(METRICS)}")
    if trials is None and minutes is None and not resume:
        trials = DEFAULT_TRIALS
    settings |= name_data(data)
    fixed = {*settings, *(read_yaml(config) if config is not None else {})}
    more = resume and not (trials is None and minutes is None)
    folder, chosen = open_run(output, config, resume, overwrite, settings, "tune", extend=more)
    given = read_space(space, chosen) if space is not None else None
    asked = {"command": "tune", "metric": metric, "space": given and describe_space(given)}
    defaults = {
        "metric": "pairwise_accuracy",
        "space": describe_space(given or default_space(chosen, fixed)),
    }
    plan = resolve_plan(folder, resume, asked, defaults)
    if chosen.validation_sets:
        raise PlauditError(
            "validation_data: a search chooses by one set of validation prompts, so give one "
            "without a name"
        )
    searched = {name: distribution(name, entry) for name, entry in plan["space"].items()}
    if not searched:
        raise PlauditError("space: is empty: every setting of the default space is fixed")

    rankings = load_for(data, chosen)
    say_how_read(rankings, "see rejected.jsonl in the run")
    parts = split(rankings, chosen)
    if not parts.validation or not parts.test:
        raise PlauditError(
            "a search needs validation prompts to choose by and test prompts to measure what it "
            "chose: set validation_fraction and test_fraction, or give files of them"
        )
    check_metric(plan["metric"], "metric", parts.validation)
    encoding = load_base(chosen).encoding
    parts = held_out_that_model_takes(parts, encoding, rankings)
    parts = replace(parts, train=taken(parts.train, [encoding], rankings))
    if line := rankings.describe_left_out():
        console.say(line)
    if not resume:
        try_out(parts, chosen)
    with _storing(folder):
        with locked(folder, wait=True):  # several processes may begin at once
            if not resume:  # since we looked, another one may have
                open_run(output, config, resume, overwrite, settings, "tune")
                if not all(map(_abandoned, folder.glob("trials/*"))):
                    raise PlauditError(f"{folder}: another process is searching in it")
            if resume and is_finished(folder):
                _check_extended(folder, trials, _study(folder, plan["metric"], chosen.seed))
            begin(folder, chosen, rankings, resume, plan)
            study = _study(folder, plan["metric"], chosen.seed)
        console.say(
            f"{len(list(parts.train)):,} rankings to train on, {len(parts.validation):,} to choose "
            f"by; nobody looks at the {len(parts.test):,} test rankings before the search is over"
        )
        trial_of = _Trials(parts, rankings, chosen, plan["metric"], folder)
        ends = time.monotonic() + 60 * minutes if minutes is not None else math.inf
        # Resumed without a budget, what there is, is all.
        wanted = trials if trials is not None else math.inf if minutes is not None else 0
        pace = console.Pace(trials, "trials", warms=keeps_features(chosen))
        while time.monotonic() < ends:
            with ExitStack() as held:
                trial, spent = _next_trial(study, searched, folder, wanted, held)
                if trial is None:
                    break
                of = f" of {trials}" if trials is not None else ""
                pace.done = spent
                with pace.part(), console.within(f"trial {trial.number} ({spent + 1}{of})"):
                    _run_trial(study, trial, trial_of, plan["metric"])
        return _finish(study, parts, rankings, chosen, plan, folder)


def _check_extended(folder: Path, trials: int | None, study: optuna.Study) -> None:
    """Refuse to go on with a finished search without more trials; else say what that means."""
    spent = _spent(study, folder)
    if trials is not None and spent >= trials:
        raise PlauditError(
            f"{folder}: this search is finished, with {console.counted(spent, 'trial')}; more "
            "--trials than that, or --minutes, goes on with it"
        )
    console.say(
        f"{folder}: goes on with a search that ended after {console.counted(spent, 'trial')}; the "
        "best of all is trained anew. Whoever goes on because of what the test prompts showed "
        "chooses by them"
    )


# ---- trials ----


class _Trials:
    """Trains and measures a trial; keeps what trials share: the encoded data."""

    def __init__(
        self, parts: Parts, data: Rankings, chosen: Settings, metric: str, folder: Path
    ) -> None:
        self.parts = parts
        self.data = data
        self.chosen = chosen
        self.metric = metric
        self.folder = folder
        self._sets: dict[tuple[Any, ...], tuple[datasets.Dataset, datasets.Dataset]] = {}
        self._drawn: dict[tuple[str, ...], Parts] = {}  # by what the loss learns from

    def run(self, trial: optuna.Trial, values: dict[str, Any]) -> tuple[Figure, bool]:
        """What the trial's settings reach on the validation prompts, and whether it was cut short.

        Raises `PlauditError` for settings that do not go together, and when training diverges.
        """
        folder = _place(self.folder, trial.number)
        settings = Settings.build(**{**self.chosen.model_dump(), **values})
        parts = self._parts(settings)
        per_step = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
        steps = math.ceil(len(list(parts.train)) / per_step * settings.num_train_epochs)
        if settings.max_steps > 0:
            steps = settings.max_steps
        own = {"save_steps": max(steps // VALIDATIONS, 1), "early_stopping_patience": 0}
        settings = Settings.build(**{**settings.model_dump(), **own})
        settings.save(folder / "config.yaml")
        model, start = load_base(settings), prepared(settings, self.parts.train)
        train_set, validation_set = self._encoded(model.encoding, settings, start.attributes)
        fit_head(model, train_set, settings, start)
        trainer = build_trainer(
            model, train_set, validation_set, settings, folder, checkpoints=False,
            validation=self.parts.validation, start=start,
        )  # fmt: skip
        pruning = _Pruning(trial, self.metric)
        trainer.add_callback(pruning)
        compile_layers(trainer, model, settings)
        frozen = run_frozen_layers(trainer, settings)
        try:
            first_stage(trainer, settings, start)
            with quiet():
                trainer.train()
                figure, rewards = self._measure(trainer, validation_set)
        finally:  # the next trial is run, whatever became of this one
            if frozen is not None:
                frozen.close()
        write_json(folder / REWARDS, rewards)
        trial.set_user_attr(LOG_LOSS, self._figure("log_loss", rewards, resamples=0).value)
        return figure, pruning.pruned

    def _parts(self, settings: Settings) -> Parts:
        """The parts, of the training rankings those of an epoch, as the last training has them."""
        needs = tuple(OBJECTIVES.get(settings.loss).needs())
        if needs not in self._drawn:
            train = drawn(self.parts.train, self.data, settings)
            self._drawn[needs] = replace(self.parts, train=train)
        return self._drawn[needs]

    def _encoded(
        self, encoding: Encoding, settings: Settings, attributes: Sequence[str]
    ) -> tuple[datasets.Dataset, datasets.Dataset]:
        key = (
            type(encoding.tokenizer).__name__,
            encoding.tokenizer.name_or_path,
            encoding.template,
            str(encoding.tokenizer.chat_template),
            encoding.max_length,
            encoding.separator,
            encoding.pooling,
            tuple(settings.control),
            tuple(attributes),
            tuple(OBJECTIVES.get(settings.loss).needs()),
        )
        if key not in self._sets:
            train, validation = encoded_parts(
                self._parts(settings), encoding, settings, attributes, data=self.data
            )
            assert validation is not None
            self._sets[key] = train, validation
        return self._sets[key]

    def _measure(
        self, trainer: RankingTrainer, validation_set: datasets.Dataset
    ) -> tuple[Figure, list[list[float]]]:
        """The metric on the validation prompts, and the rewards that it is of."""
        rewards = rewards_in(trainer.predict(validation_set))
        return self._figure(self.metric, rewards), [row.tolist() for row in rewards]

    def _figure(
        self, metric: str, rewards: Sequence[ArrayLike], *, resamples: int = 1000
    ) -> Figure:
        """A metric of these rewards of the validation prompts."""
        return measure_named(metric)(
            rewards,
            [ranking.ranks for ranking in self.parts.validation],
            lengths=lengths_of(self.parts.validation),
            prompts=[ranking.key for ranking in self.parts.validation],
            resamples=resamples,
        )


class _Pruning(TrainerCallback):
    """Tells the study what a trial has reached, and stops it where the study says so."""

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self.trial = trial
        self.metric = metric
        self.validations = 0
        self.pruned = False

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """After each validation but the last one."""
        self.validations += 1
        if metrics is None or state.global_step >= state.max_steps:
            return
        self.trial.report(metrics[f"eval_{self.metric}"], self.validations)
        if self.trial.should_prune():
            self.pruned = control.should_training_stop = True


def _place(folder: Path, number: int) -> Path:
    """The folder of a trial."""
    return folder / "trials" / f"{number:04d}"


@contextmanager
def _storing(folder: Path) -> Iterator[None]:
    """A `PlauditError` where the study cannot be kept: a full disk, a file that is damaged."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        cause = getattr(error.__cause__ or error, "orig", None) or error
        raise PlauditError(
            f"{folder / 'study.db'}: cannot be read or written: {' '.join(str(cause).split())}; "
            "mend that, then --resume goes on"
        ) from error


def _study(folder: Path, metric: str, seed: int) -> optuna.Study:
    storage = optuna.storages.RDBStorage(
        URL.create("sqlite", database=str(folder / "study.db")).render_as_string(),
        engine_kwargs={"connect_args": {"timeout": 60}},
    )
    study = optuna.create_study(
        storage=storage,
        study_name="plaudit",
        load_if_exists=True,
        direction="minimize" if measure_named(metric).lower_is_better else "maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
    )
    # Processes that share a study, or resume it, must not propose the same.
    begun = study.user_attrs.get("begun", 0)
    study.set_user_attr("begun", begun + 1)
    study.sampler = optuna.samplers.TPESampler(seed=(seed + begun) % 2**32, multivariate=True)
    return study


def _spent(study: optuna.Study, folder: Path) -> int:
    """How many trials have been made or are being made; one that was killed is not counted."""
    spent = 0
    for trial in study.get_trials(deepcopy=False):
        place = _place(folder, trial.number)
        if trial.state == TrialState.RUNNING and _abandoned(place):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            (place / "killed").touch()
        elif not (place / "killed").exists():
            spent += 1
    return spent


def _abandoned(place: Path) -> bool:
    """Whether no process works on a trial any more: then nobody holds its folder."""
    try:
        with locked(place):
            return True
    except PlauditError:
        return False


def _next_trial(
    study: optuna.Study, space: Space, folder: Path, wanted: float, held: ExitStack
) -> tuple[optuna.Trial | None, int]:
    """A trial to run, whose folder `held` keeps locked, and how many there were before it.

    None when there are enough, or the search is over. Other processes wait meanwhile: none is to
    see a trial that nobody holds yet and take it for one that was killed.
    """
    with locked(folder, wait=True):
        spent = _spent(study, folder)
        if spent >= wanted or is_finished(folder):
            return None, spent
        trial = study.ask(space)
        held.enter_context(locked(_place(folder, trial.number)))
    return trial, spent


def _run_trial(study: optuna.Study, trial: optuna.Trial, trial_of: _Trials, metric: str) -> None:
    values = dict(trial.params)
    started = time.monotonic()
    try:
        with console.hushed() if trial.number else nullcontext():
            figure, pruned = trial_of.run(trial, values)
    except PlauditError as error:
        study.tell(trial, state=TrialState.FAIL)
        console.say(f"{error} ({_shown(values)})")
        states = [each.state for each in study.get_trials(deepcopy=False)]
        if len(states) >= 3 and set(states) == {TrialState.FAIL}:
            raise PlauditError(f"no trial gets through; the last one: {error}") from error
        return
    trial.set_user_attr("interval", [figure.low, figure.high])
    trial.set_user_attr("seconds", round(time.monotonic() - started, 1))
    if pruned:
        # A pruned trial's value is of a shorter training, and is not chosen by.
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, figure.value)
    best = _best(study)
    console.show(
        f"{label(metric)} {figure.value:.3f}{', cut short' if pruned else ''} ({_shown(values)})"
        + (f"; best {best.value:.3f}" if best else "")
    )


def _best(study: optuna.Study) -> FrozenTrial | None:
    """The whole trial of the best value; of those that reach the same, that of the least log loss.

    A trial of an earlier version has kept no log loss, and stands behind one that has.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return None
    best = study.best_value
    return min(
        (trial for trial in complete if trial.value is not None and _same(trial.value, best)),
        key=lambda trial: (trial.user_attrs.get(LOG_LOSS, math.inf), trial.number),
    )


def _same(value: float, other: float) -> bool:
    """Whether two values differ by no more than rounding."""
    return math.isclose(value, other, rel_tol=0, abs_tol=ROUNDING)


# ---- the end of a search ----


def _finish(
    study: optuna.Study,
    parts: Parts,
    rankings: Rankings,
    chosen: Settings,
    plan: dict[str, Any],
    folder: Path,
) -> Search:
    """Train the best settings on all but the test prompts, unless trials still run elsewhere."""
    with locked(folder, wait=True):
        _spent(study, folder)  # to find out which trials were killed
    trials = [_row(trial) for trial in study.get_trials(deepcopy=False) if trial.state in STATES]
    best = _best(study)
    if best is None:
        raise PlauditError(
            f"{folder}: no trial has come to its end; --resume with more --trials or --minutes"
        )
    summary: SearchMetrics = {
        "schema_version": SCHEMA_VERSION,
        "metric": plan["metric"],
        "space": plan["space"],
        "settings": chosen.model_dump(),
        "trials": trials,
        "best": _row(best),
        "test": None,
    }
    _hold_against_best(summary, folder, parts.validation)
    write_jsonl(folder / "trials.jsonl", map(dict, trials))
    running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    if running:
        console.say(
            f"{running} trials still run in other processes; the last one trains the best settings"
        )
        return Search(summary, None, folder)
    with locked(folder, wait=True):
        if is_finished(folder):  # another process was faster
            return Search(read_json(folder / "metrics.json"), None, folder)
        trained = list(parts.train) if chosen.validation_data else [*parts.train, *parts.validation]
        keys = {ranking.key for ranking in trained}
        train = [ranking for ranking in rankings if ranking.key in keys]  # in the data's order
        settings = Settings.build(
            **{
                **chosen.model_dump(),
                **summary["best"]["settings"],
                "validation_fraction": 0.0,
                "validation_data": None,
                "early_stopping_patience": 0,
            }
        )
        where = folder / "best"
        console.say(
            f"training the settings of trial {best.number} on {len(train):,} rankings, "
            f"those to validate on {'left out' if chosen.validation_data else 'included'}"
        )
        stored = where / "config.yaml"
        begun = stored.is_file() and not (where / "metrics.json").is_file()
        if begun and Settings.build(stored).model_dump() != settings.model_dump():
            begun = False  # the search went on, and found better ones
        (folder / "metrics.json").unlink(missing_ok=True)  # of a search that was extended
        if not begun:
            shutil.rmtree(where, ignore_errors=True)
        run = train_on(
            Parts(train, [], parts.test, frozenset()), rankings, settings, where, resume=begun
        )
        assert run.test is not None  # the search was refused without test prompts
        summary["test"] = run.test.summary
        write_search_report(folder, summary, run.metrics, run.test)
        finish(folder, summary)
        console.say(f"saved to {folder}; its model is in {where}")
    return Search(summary, run, folder)


def _row(trial: FrozenTrial) -> Trial:
    low, high = trial.user_attrs.get("interval", (None, None))
    row: Trial = {
        "number": trial.number,
        "state": STATES[trial.state],
        "value": trial.value if trial.state == TrialState.COMPLETE else _last(trial),
        "low": low,
        "high": high,
        "seconds": trial.user_attrs.get("seconds"),
        "settings": dict(trial.params),
    }
    if LOG_LOSS in trial.user_attrs:
        row["log_loss"] = trial.user_attrs[LOG_LOSS]
    return row


def _last(trial: FrozenTrial) -> float | None:
    values = trial.intermediate_values
    return values[max(values)] if values else None


def _hold_against_best(summary: SearchMetrics, folder: Path, validation: Sequence[Ranking]) -> None:
    """Say of each whole trial whether the validation prompts tell it from the best, `p_behind`; the
    best one gets the numbers of those that they do not.

    Trials of earlier versions have left no rewards. Then those equal the best that lie within its
    interval.
    """
    best, whole = summary["best"], [t for t in summary["trials"] if t["state"] == "complete"]
    files = [_place(folder, trial["number"]) / REWARDS for trial in whole]
    if all(file.is_file() for file in files):
        rewards = [read_json(file) for file in files]
        for trial, p in zip(
            whole, behind_best(validation, rewards, summary["metric"]), strict=True
        ):
            trial["p_behind"] = p
    best["equals"] = [
        trial["number"]
        for trial in whole
        if trial["number"] != best["number"]
        and (trial["p_behind"] > SIGNIFICANT if "p_behind" in trial else _within(trial, best))
    ]


def _within(trial: Trial, best: Trial) -> bool:
    """Whether a trial is within the interval of the best one."""
    value, low, high = trial["value"], best["low"], best["high"]
    return None not in (value, low, high) and low <= value <= high  # type: ignore[operator]


def format_search(summary: SearchMetrics) -> str:
    """The result of `tune` as text for a person."""
    best, metric, trials = summary["best"], summary["metric"], summary["trials"]
    counted = {state: sum(t["state"] == state for t in trials) for state in STATES.values()}
    assert best["value"] is not None  # a trial that came to its end
    figure = Figure(best["value"], best["low"], best["high"])
    lines = [
        f"{len(trials):,} trials: "
        + ", ".join(f"{number:,} {state}" for state, number in counted.items() if number),
        f"best: trial {best['number']}, {label(metric)} {figure} on the validation prompts",
        *(f"  {name}: {_text(value)}" for name, value in best["settings"].items()),
    ]
    level = [
        trial
        for trial in trials
        if trial["state"] == "complete"
        and trial["number"] != best["number"]
        and _same(trial["value"] or 0.0, best["value"])
        and "log_loss" in trial  # of earlier versions there is none
    ]
    if level and "log_loss" in best:
        lines.append(
            f"{len(level):,} of the others {'has' if len(level) == 1 else 'have'} the same "
            f"{label(metric)}; of these it has the least log loss, {best['log_loss']:.3f}"
        )
    if best["equals"]:
        lines.append(
            f"{len(best['equals']):,} of the others cannot be told from it by these validation "
            "prompts (5 %, corrected for choosing among all)"
        )
    if summary["test"] is not None:
        lines += [
            "",
            "trained with these settings on all but the test prompts, which were not looked at "
            "before:",
            "",
            format_summary(summary["test"]),
        ]
    return "\n".join(lines)


def write_search_report(
    folder: Path, summary: SearchMetrics, best: RunMetrics, test: Evaluation
) -> None:
    """Write `report.html` of a search: of all trials, and of the best run's metrics and test."""
    settings = summary["settings"]
    report = search_report(
        summary,
        test,
        title=folder.name,
        facts={"data": ", ".join(best["data"]["files"]), "base model": settings["base"]},
        log=Log(read_log(folder / "best" / "log.jsonl"), best["training"]["best_step"]),
    )
    write_report(folder / "report.html", report)
    write_plots("search", summary, folder / "plots")


def _shown(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
