"""The main road: read preference data, split it by prompt, train, measure, save everything.

`train` reads top to bottom. It fills a run folder: `model/`, `checkpoints/`, `config.yaml`,
`metrics.json`, `predictions.jsonl`, `rejected.jsonl`, `log.jsonl`, `plots/`. `metrics.json` comes
last, so a folder that has it holds a finished run. Under a launcher every process walks the road
and only the first one writes.
"""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from plaudit import console
from plaudit.data.mixing import Mixture
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings
from plaudit.errors import PlauditError
from plaudit.evaluation.rewards import rewards_of
from plaudit.files import (
    SCHEMA_VERSION,
    write_jsonl,
    writing,
    writing_folder,
)
from plaudit.model.base_models import quiet
from plaudit.model.devices import dtype_name
from plaudit.model.encoding import (
    Encoding,
    RefusedError,
    describe_pairs,
    describe_truncation,
)
from plaudit.model.freezing import FrozenLayout
from plaudit.model.loading import token_limit
from plaudit.model.precision import dtype_in_words
from plaudit.model.reward_model import RewardModel
from plaudit.model.saving import save_adapter
from plaudit.model.seen import each_encoded
from plaudit.model.trained_on import Collecting, TrainedOn
from plaudit.reporting.card import model_card
from plaudit.reporting.contents import evaluation_report
from plaudit.reporting.evaluation import Evaluation, evaluate
from plaudit.reporting.page import write_report
from plaudit.reporting.plots import Log, write_plots
from plaudit.results import DataOfRun, RunMetrics, SourceOfRun, Training
from plaudit.settings import Settings
from plaudit.training import head_first
from plaudit.training.compiling import compile_layers, compiles
from plaudit.training.control import read_nuisances
from plaudit.training.diagnosis import Course, Head, diagnose, in_words
from plaudit.training.duration import expected, forward_seconds, work_at_hand
from plaudit.training.folder import (
    Begun,
    as_begun,
    begin,
    check_divided,
    finish,
    locked,
    open_run,
)
from plaudit.training.objectives import OBJECTIVES, Prepared
from plaudit.training.parts import (
    Given,
    Parts,
    drawn,
    encoded_parts,
    held_out_that_model_takes,
    load,
    name_data,
    say_how_read,
    split,
    usable,
    with_steps,
)
from plaudit.training.processes import of_first, processes, say_once, sharded, together
from plaudit.training.setup import (
    bound_loss,
    build_trainer,
    check_sets,
    in_one_way,
    load_base,
    load_plain,
    prepared,
    run_frozen_layers,
    trained_adapter,
    trained_model,
    ways_of,
)
from plaudit.training.suites import encoded_suites, read_suites
from plaudit.training.tracking import track
from plaudit.training.trainer import RankingTrainer, last_checkpoint, read_log
from plaudit.training.two_stage import first_stage
from plaudit.training.uncertainty import check_uncertainty, fit_uncertainty

WORTH_SAYING = 60.0  # seconds that a run takes
LONG = 600.0  # seconds of training, of which a user may want a first look sooner
UNTRAINED = "the untrained base model"


@dataclass(frozen=True)
class Run:
    """A finished training run: the model it made, what it measured, and where it all is."""

    model: RewardModel
    metrics: RunMetrics
    folder: Path
    test: Evaluation | None

    def __str__(self) -> str:
        return "" if self.test is None else str(self.test)

    def as_json(self) -> RunMetrics:
        """What `--json` prints."""
        return self.metrics


def train(
    data: Given = None,
    *,
    output: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Run:
    """Train on preference data and measure it; see `plaudit.train`."""
    settings |= name_data(data)
    folder, chosen = open_run(output, config, resume, overwrite, settings)
    rankings = load(data, chosen)
    parts = split(rankings, chosen)
    say_once(_describe_data(rankings, parts))
    chosen = with_steps(chosen, rankings, parts)
    return train_on(parts, rankings, chosen, folder, resume=resume)


def train_for_figures(parts: Parts, rankings: Rankings, chosen: Settings, folder: Path) -> None:
    """One of many runs of which only the figures are wanted: train and measure it, go on with it,
    or leave it as it is where an earlier attempt measured it. Its checkpoints go.

    Raises:
        PlauditError: as `train_on` does.
    """
    if not (folder / "metrics.json").is_file():
        begun = (folder / "config.yaml").is_file()
        train_on(parts, rankings, chosen, folder, resume=begun, figures_only=True)
    # Also those of an earlier attempt, which a kill may have cut off between the two.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


@together()
def train_on(
    parts: Parts,
    rankings: Rankings,
    chosen: Settings,
    folder: Path,
    *,
    resume: bool = False,
    figures_only: bool = False,
) -> Run:
    """Train on rankings that are divided already, into a run folder: all of `train` after the data.

    Args:
        parts: of `rankings`, or of files of their own.
        rankings: all of the data.
        chosen: settings; what they say of the data has been done.
        folder: of the run.
        resume: continue from its last checkpoint.
        figures_only: leave neither model nor plots in the folder, only `metrics.json`,
            `predictions.jsonl`, `log.jsonl` and checkpoints.

    Raises:
        PlauditError: for anything the user can mend.
    """
    started = time.monotonic()
    if any(folder.resolve() in Path(file).resolve().parents for file in rankings.files):
        raise PlauditError(f"{folder}: holds the data themselves; choose another output")
    before = Begun.read(folder) if resume else Begun()
    if resume:  # a fold or the like, which nobody has opened yet
        chosen = as_begun(folder, chosen)
    # What does not suit is said before a base model is fetched.
    start = prepared(chosen, parts.train)
    parts = replace(parts, train=drawn(parts.train, rankings, chosen))
    bound_loss(chosen)
    check_uncertainty(chosen, rankings.streaming, parts.validation)
    check_sets(chosen, parts.validation)
    if chosen.validation_sets:
        say_once(_describe_sets(parts.validation, chosen))
    if chosen.eval_suite and not parts.validation:
        raise PlauditError("eval_suite: is scored when validating: hold out validation prompts")
    suites = read_suites(chosen)

    model = load_base(chosen)
    in_one_way(model, before.attention)
    say_once(_describe_model(model, chosen))
    keeps_hashes = chosen.training_hashes and not figures_only and processes().is_main_process
    texts = Collecting() if keeps_hashes else None
    [base_texts] = model.training_texts() if texts else [None]
    parts = held_out_that_model_takes(parts, model.encoding, rankings)
    if chosen.validation_sets:
        check_sets(chosen, parts.validation)  # again: the model may have refused all of a set
    counts: dict[str, int] = {}
    train_set, validation_set = encoded_parts(
        parts, model.encoding, chosen, start.attributes, counts, rankings, texts
    )
    _say_what_is_lost(rankings, counts, model.encoding)
    if not (figures_only or resume):
        _say_how_long(model, train_set, parts, chosen)
    suites = encoded_suites(suites, model.encoding, chosen, start.attributes)

    checkpoints = folder / "checkpoints"
    checkpoint = of_first(lambda: last_checkpoint(checkpoints)) if resume else None
    if checkpoint is not None:
        check_divided(checkpoint)
    untrained = fitted = kept = None
    # On a CPU there is room for the base model once more, after training; elsewhere there may not
    # be, and the first step waits for these rewards. What frozen layers give is kept: computed now,
    # it is only read when the trained model is measured.
    later = model.device.type == "cpu" and not (sharded() or chosen.freeze_layers)
    if head_first.wanted(model, chosen):
        if not later:
            untrained = _untrained_rewards(model, parts.test)
        fitted = kept = head_first.kept_head(model, checkpoints) if resume else None
        lost = resume and fitted is None and head_first.was_kept(checkpoints)
        if fitted is None and (checkpoint is None or lost):
            fitted = head_first.fit_head(model, train_set, chosen, start)
    new_head, head = model.new_head and fitted is None, Head(model.model)
    trainer = build_trainer(
        model, train_set, validation_set, chosen, folder, validation=parts.validation, start=start,
        suites=suites,
    )  # fmt: skip
    if trainer.expert is not None and chosen.control_method != "two-stage" and not fitted:
        say_once(trainer.expert.describe())
    begun = Begun(
        dtype=dtype_name(model.dtype),
        attention=ways_of(model),
        compiled=compile_layers(trainer, model, chosen, before.compiled),
    )
    with locked(folder):
        begin(folder, chosen, rankings, resume, begun=begun)
        if resume:
            say_once(
                f"resuming from {checkpoint}"
                if checkpoint
                else "no checkpoint yet: starting over"
                + (", from the head that was fitted before" if kept else "")
            )
        if fitted and processes().is_main_process:
            head_first.keep_head(fitted, checkpoints)
        frozen = run_frozen_layers(trainer, chosen)
        first_stage(trainer, chosen, start, checkpoints / "control.json")
        if untrained is None and not later:
            untrained = _untrained_rewards(model, parts.test)
        if chosen.lora_r:  # which trains a copy
            head = Head(trainer.model)
        alone = _validated(trainer, chosen) if fitted else None
        _train(trainer, checkpoint)
        moved = None if sharded() else head.moved(trainer.model)
        best = trainer.state.best_metric
        adapter = trained_adapter(trainer, chosen)
        model = trained_model(trainer, model, chosen)
        if untrained is None and parts.test and processes().is_main_process:
            with console.hushed():  # all has been said about the base model
                untrained = _untrained_rewards(load_base(chosen), parts.test)
        helped = alone is None or _improved(trainer, alone)
        if fitted and not helped:
            model, adapter = head_first.with_head(load_plain(chosen), fitted), None
            say_once(
                f"training all of it did not help the validation prompts ({best:.3f} at best, "
                f"{alone:.3f} with the head alone): the head as it was fitted first is kept"
            )
        if rankings.streaming and processes().is_main_process:
            _say_what_is_lost(rankings, counts, model.encoding)
            say_once("writing what the stream rejected")
            rankings.write_rejected(folder / "rejected.jsonl")

        training = _record(trainer, model, chosen, start, validation_set)
        if not helped:
            training["best_step"] = 0
        if suites:
            training["suites"] = {suite.name: suite.record() for suite in suites}
        if frozen:
            report: Any = frozen.report(trainer.accelerator.gather)
            training["frozen"] = report
        metrics: RunMetrics = {
            "schema_version": SCHEMA_VERSION,
            "data": _record_of_data(parts, rankings, counts),
            "model": {"base": chosen.base, "pooling": model.pooling, "kind": model.encoding.kind},
            "training": training,
        }
        test = validation = None
        if texts is not None:
            model.trained_on = _hashed(texts, parts, base_texts)
        if processes().is_main_process:
            if chosen.uncertainty != "none":
                model.uncertainty, training["uncertainty"] = fit_uncertainty(
                    chosen.uncertainty,
                    model,
                    train_set,
                    validation_set,
                    lambda rewards, batch: trainer.losses(
                        rewards, trainer.seen(rewards, batch, done=1.0), batch
                    ),
                )
            if parts.validation:
                what = "scoring the validation prompts"
                validation = evaluate(model, parts.validation, stress=0, what=what)
                validation.summary["length_control"] = _length_control(chosen)
                metrics["validation"] = validation.summary
            if parts.test:
                stress = 0 if figures_only else chosen.stress
                what = "scoring the test prompts"
                test = evaluate(model, parts.test, baselines=untrained, stress=stress, what=what)
                test.summary["length_control"] = _length_control(chosen)
                metrics["test"] = test.summary
                track(trainer, test.summary)
        if frozen:
            frozen.close()
        if processes().is_main_process:
            course = Course(
                read_log(folder / "log.jsonl"),
                chosen,
                head_moved=moved,
                head_trains=head.trains,
                new_head=new_head,
                at_first=None if fitted else _at_first(metrics),
                validation=len(parts.validation),
                truncated=counts,
            )
            training["diagnosis"] = diagnose(course)
            if not figures_only:
                for finding in training["diagnosis"]:
                    say_once(in_words(finding))
            training["seconds"] = round(time.monotonic() - started, 1)
            if adapter is not None and not figures_only:
                with writing_folder(folder / "adapter") as partial:
                    save_adapter(
                        adapter,
                        model.model,
                        model.encoding,
                        model.pooling,
                        partial,
                        model.attributes,
                    )
            _save(model, chosen, folder, metrics, test, validation, figures_only)
            best, last = training["best_step"], training["steps"]
            if best and best < last:  # or a run that went on further seems to have done nothing
                say_once(
                    f"the checkpoint of step {best:,} of {last:,} is the best on the validation "
                    "prompts: it is what is measured and saved"
                )
            say_once(f"saved to {folder}")
    return Run(model, metrics, folder, test)


def _hashed(texts: Collecting, parts: Parts, base: TrainedOn | None) -> TrainedOn:
    """The hashes of all training texts; those of a stream were taken as they passed."""
    if not isinstance(parts.train, Rankings):
        for _ in console.progress(texts.passing(parts.train), "hashing the training texts"):
            pass
    return texts.done(base)


def try_out(parts: Parts, chosen: Settings) -> None:
    """Raise what would stop a training run before its first step, while nothing is written yet.

    For commands that begin a folder before the runs within it begin theirs. Takes as long as the
    base model takes to load.
    """
    with console.hushed(), tempfile.TemporaryDirectory() as folder:
        start = prepared(chosen, parts.train)
        model = load_base(chosen)
        few = Parts(
            _first_taken(usable(parts.train, chosen), model.encoding),
            _first_taken(parts.validation, model.encoding) if parts.validation else [],
            [],
            frozenset(),
        )
        rows = encoded_parts(few, model.encoding, chosen, start.attributes)
        trainer = build_trainer(model, *rows, chosen, Path(folder), checkpoints=False, start=start)
        compiles(trainer, model, chosen)
        if isinstance(trainer.layout, FrozenLayout):
            trainer.layout.close()


def _train(trainer: RankingTrainer, checkpoint: Path | None) -> None:
    """Take all steps, from a checkpoint on where there is one."""
    try:
        with quiet():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:  # of the optimiser: passes look after themselves
        raise PlauditError(
            f"out of memory on {trainer.args.device}: weights, gradients and the optimiser's "
            "state do not fit; set lora_r, freeze_layers, or another optim such as "
            f"adafactor ({' '.join(str(error).split())[:200]})"
        ) from error


def _validated(trainer: RankingTrainer, chosen: Settings) -> float | None:
    """What checkpoints are chosen by, before the first step; None where the last one is kept."""
    if chosen.checkpoint_metric is None or trainer.eval_dataset is None:
        return None
    with quiet():
        return float(trainer.evaluate()[f"eval_{chosen.checkpoint_metric}"])


def _improved(trainer: RankingTrainer, before: float) -> bool:
    """Whether the best checkpoint is better than what training began from."""
    best = trainer.state.best_metric
    if best is None:
        return True
    return best > before if trainer.args.greater_is_better else best < before


def _record_of_data(parts: Parts, rankings: Rankings, counts: dict[str, int]) -> DataOfRun:
    record: DataOfRun = {
        "files": rankings.files,
        "format": rankings.format,
        "rankings": {
            "train": None if rankings.streaming else len(list(parts.train)),
            "validation": len(parts.validation),
            "test": len(parts.test),
        },
        "rejected": dict(rankings.rejected_by_reason),
        "truncated": counts,
    }
    if isinstance(rankings, Mixture):
        record["mixture"] = rankings.way
        record["sources"] = _record_of_sources(parts, rankings)
    return record


def _record_of_sources(parts: Parts, mixture: Mixture) -> dict[str, SourceOfRun]:
    train = None if mixture.streaming else Counter(r.source for r in parts.train)
    validation, test = (Counter(r.source for r in p) for p in (parts.validation, parts.test))
    return {
        name: {
            "share": share,
            "rows": tally.rows,
            "rankings": None if rankings.streaming else len(rankings),
            "train": None if train is None else train[name],
            "validation": validation[name],
            "test": test[name],
            "rejected": dict(tally.reasons),
        }
        for name, share, rankings, tally in (
            (s.name, s.share, s.rankings, mixture.tally_of(s.name)) for s in mixture.sources
        )
    }


def _record(
    trainer: RankingTrainer, model: RewardModel, chosen: Settings, start: Prepared, validation: Any
) -> Training:
    """What training was, and what was learnt beside the model; `validation` is encoded, or None."""
    record: Training = {
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "device": str(model.device),
        "dtype": dtype_name(model.dtype),
        "rewards": OBJECTIVES.get(chosen.loss).meaning({**start.fixed, **trainer.learnt}),
    }
    if trainer.mix is not None:
        weights = trainer.mix(trainer.learnt).tolist()
        record["attributes"] = mixed = dict(zip(start.attributes, weights, strict=True))
        listed = ", ".join(f"{weight:.2g} {name}" for name, weight in mixed.items())
        say_once(f"the reward mixes the predicted attributes as {listed}")
    if trainer.expert is not None:
        held_out = None if validation is None else read_nuisances(validation)
        record["control"] = trainer.expert.record(held_out)
    return record


def _at_first(metrics: RunMetrics) -> tuple[float, float] | None:
    """The accuracy of the untrained model on the test prompts, and its interval's upper end."""
    beside = metrics["test"]["baselines"].get(UNTRAINED) if "test" in metrics else None
    figure = beside and beside["pairwise_accuracy"]
    if not figure or figure["high"] is None:
        return None
    return figure["value"], figure["high"]


def _say_what_is_lost(rankings: Rankings, counts: dict[str, int], encoding: Encoding) -> None:
    """Say what truncation cut of the training data, and what of them is left out."""
    lines = [describe_truncation(counts, encoding.max_length), *describe_pairs(counts)]
    for line in filter(None, lines):
        say_once(f"training data: {line}")
    if line := rankings.describe_left_out():
        say_once(line)


def _say_how_long(model: RewardModel, train_set: Any, parts: Parts, chosen: Settings) -> None:
    """Say how long the run will take, where that is a minute or more."""
    if sharded() or not processes().is_main_process:
        return
    try:
        count = len(train_set) if hasattr(train_set, "__len__") else 0
        work = work_at_hand(model, chosen, train_set, parts, count)
        found = expected(work, forward_seconds(model, train_set, chosen))
    except torch.OutOfMemoryError:  # with which steps deal themselves
        return
    if found.training[1] + found.measuring[1] >= WORTH_SAYING:
        faster = found.training[1] >= LONG and chosen.recipe == "default"
        advice = "; --recipe fast trains the head alone, in a small part of that" if faster else ""
        say_once(f"this will take {found}{advice}")


def _first_taken(rankings: Iterable[Ranking], encoding: Encoding) -> list[Ranking]:
    """The first ranking that the model takes, to try things out on."""
    rows = each_encoded(rankings, encoding)
    first = next((r for r, row in rows if not isinstance(row, RefusedError)), None)
    if first is None:
        raise PlauditError(
            "the model takes none of the rankings. Give --template plain, or messages as its chat "
            "template wants them"
        )
    return [first]


def _untrained_rewards(model: RewardModel, test: list[Ranking]) -> dict[str, list[list[float]]]:
    """What the new head makes of the test prompts: a figure to set the trained model's beside.

    Under FSDP the model is not where it could be run, and there is no such figure.
    """
    if not test or sharded() or not processes().is_main_process:
        return {}
    with console.hushed():  # what is cut there is said once, after training
        rewards = rewards_of(model, test, "scoring the test prompts without training")
    return {UNTRAINED: rewards}


def _save(
    model: RewardModel,
    settings: Settings,
    folder: Path,
    metrics: RunMetrics,
    test: Evaluation | None,
    validation: Evaluation | None,
    figures_only: bool,
) -> None:
    # Of a run that was extended: never figures of one model beside the files of another.
    (folder / "metrics.json").unlink(missing_ok=True)
    write_jsonl(
        folder / "predictions.jsonl",
        (
            row
            for name, part in (("test", test), ("validation", validation))
            if part is not None
            for row in part.predictions(split=name)
        ),
    )
    if figures_only:
        finish(folder, metrics)
        return
    model.save(folder / "model")
    with writing(folder / "model" / "README.md") as file:
        model.card = model_card(settings, dict(metrics), model.encoding)
        file.write(model.card)
    if settings.report:
        _write_report_and_plots(folder, settings, metrics, test or validation)
    finish(folder, metrics)


def _write_report_and_plots(
    folder: Path, settings: Settings, metrics: RunMetrics, shown: Evaluation | None
) -> None:
    if shown is not None:
        shown.plot(folder / "plots")
        write_run_report(folder, settings, metrics, shown)
    write_plots("run", _log(folder, metrics), folder / "plots")


def write_run_report(
    folder: Path, settings: Settings, metrics: RunMetrics, shown: Evaluation
) -> None:
    """Write `report.html` of a run, with what it measured on its test or validation prompts."""
    flattering = "These prompts chose the checkpoint, which flatters it."
    report = evaluation_report(
        shown,
        title=folder.resolve().name,
        facts=_facts(metrics, settings),
        sources=metrics["data"].get("sources"),
        log=_log(folder, metrics),
        notes=() if "test" in metrics else (flattering,),
        diagnosis=[in_words(finding) for finding in metrics["training"].get("diagnosis", ())],
    )
    write_report(folder / "report.html", report)


def _log(folder: Path, metrics: RunMetrics) -> Log:
    training = metrics["training"]
    suites = tuple(training.get("suites", ()))
    return Log(read_log(folder / "log.jsonl"), training["best_step"], suites)


def _length_control(settings: Settings) -> float:
    """How much of what length explains was taken out of training; 0 where nothing was."""
    return settings.control_strength if "length" in settings.control else 0.0


def _facts(metrics: RunMetrics, settings: Settings) -> dict[str, str]:
    """What stands at the top of a run's report."""
    training = metrics["training"]
    sizes = ", ".join(
        f"{count:,} {part}" for part, count in metrics["data"]["rankings"].items() if count
    )
    how = f"{', '.join(settings.control)} at {settings.control_strength:g}"
    if not settings.control_strength:
        how += ": nothing is taken out"
    if settings.control_method != "expert":
        how += f" ({settings.control_method})"
    control = {"control": how} if settings.control else {}
    watched = {
        f"{name}, while training": f"{each['items']:,} of {each['of']:,} items"
        for name, each in training.get("suites", {}).items()
    }
    recipe = {} if settings.recipe == "default" else {"recipe": settings.recipe}
    return {
        "data": ", ".join(metrics["data"]["files"]),
        "rankings": sizes,
        "base model": f"{settings.base}, pooling {metrics['model']['pooling']}",
        **recipe,
        "loss": settings.loss,
        **control,
        "training": f"{training['steps']:,} steps in {training['seconds']:,.0f} s",
        **watched,
    }


def _describe_data(rankings: Rankings, parts: Parts) -> str:
    held = f"{len(parts.validation):,} validation, {len(parts.test):,} test"
    if isinstance(parts.train, Rankings):
        of = f", a mixture of {rankings.describe()}" if isinstance(rankings, Mixture) else ""
        return f"streaming {rankings.format} data{of}; held out: {held} rankings"
    say_how_read(rankings, "see rejected.jsonl in the run")
    return (
        f"{rankings.format} data, {len(rankings):,} rankings: {len(parts.train):,} train, {held} "
        "(no prompt on two sides)"
    )


def _describe_sets(validation: Sequence[Ranking], settings: Settings) -> str:
    """The sets to validate on, and which of them chooses the checkpoint."""
    metric = settings.checkpoint_metric
    count = Counter(ranking.source for ranking in validation)
    sets = ", ".join(f"{name} ({count[name]:,} rankings)" for name in settings.validation_sets)
    if metric is None:
        chooses = "the last checkpoint is kept"
    elif settings.validation_set == "mean":
        chooses = f"the mean of their {metric} chooses the checkpoint"
    else:
        chooses = f"the {metric} of {settings.validation_set} chooses the checkpoint"
    return f"validation sets: {sets}; {chooses}"


def _describe_model(model: RewardModel, settings: Settings) -> str:
    encoding = model.encoding
    count = sum(p.numel() for p in model.model.parameters())
    limit = token_limit(model.model, encoding.tokenizer)
    of = f" of the {limit:,} that it reads" if limit and limit > encoding.max_length else ""
    return (
        f"{settings.base}: {encoding.kind}, {count / 1e6:.1f} M parameters, pooling "
        f"{model.pooling}, {encoding.template} text, up to {encoding.max_length} tokens{of}, "
        f"{model.layout.describe()}, {dtype_in_words(model.dtype, model.ratio)}"
    )
