"""The folder that a run fills: opened, locked, never overwritten unasked.

`metrics.json` comes last, so a folder that has it holds what was finished; while a finished run is
extended it stays, and `EXTENDED` lies beside it. `config.yaml` has the settings, and `PLAN` what
else the command was asked for, where it is not `train`; a folder without a `config.yaml` holds
nothing yet that could be resumed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plaudit import console, files
from plaudit.console import counted
from plaudit.data.rankings import text_key
from plaudit.data.readers import Rankings
from plaudit.errors import PlauditError, check_at_most_one
from plaudit.files import read_json, write_json, write_results
from plaudit.model.attention import Ways
from plaudit.model.loading import suited_pooling
from plaudit.recipes import RECIPES
from plaudit.settings import Settings, renamed
from plaudit.sources import named
from plaudit.training.checksums import CHECKSUMS, damaged, seal
from plaudit.training.processes import processes, say_once, sharded
from plaudit.yaml_file import read_yaml

PLAN = "plan.json"  # of a folder that `train` did not make: which command did, and how
# Among checkpoints: how a step of the run is done, a `Begun`.
STEP = "step.json"
EXTENDED = ".extended-run"  # beside the figures of a finished run that goes on
GOING = ".replaced-run"  # the name of a `config.yaml` whose run is being taken away
_FIRST = {"data.json", STEP, CHECKSUMS}  # what there is of a run before its `config.yaml`
# What a folder of one of these commands holds: what may go when it is filled anew, in this order,
# so that after a kill nothing half gone is resumed or taken for finished.
RUN_FILES = (
    *("config.yaml", "metrics.json", "predictions.jsonl", "rejected.jsonl", "log.jsonl"),
    *(EXTENDED, "report.html", PLAN, "trials.jsonl", "study.db", "study.db-journal"),
)
RUN_FOLDERS = (
    *("model", "adapter", "checkpoints", "plots", "tensorboard"),
    *("folds", "comparison", "trials", "best", "strengths", "grid"),
)
OF_A_RUN = {*RUN_FILES, *RUN_FOLDERS}


def build_settings(config: str | Path | None, settings: dict[str, Any]) -> Settings:
    """`Settings.build`, with the pooling that suits base model and training, unless given."""
    chosen = Settings.build(config, **settings)
    of_file = read_yaml(config) if config is not None else {}
    suited = (
        "pooling" not in RECIPES[chosen.recipe].keys() | settings.keys()
        and of_file.get("recipe", chosen.recipe) != chosen.recipe
        and of_file.get("pooling")
        == suited_pooling(
            of_file.get("base", chosen.base), head_alone=of_file.get("freeze_layers") == -1
        )
    )  # to what the file's recipe asked for
    if chosen.freeze_layers > 0 or ("pooling" in chosen.model_fields_set and not suited):
        return chosen
    pooling = suited_pooling(chosen.base, head_alone=chosen.freeze_layers == -1)
    return Settings.build(config, **settings, pooling=pooling)


def open_run(
    output: str | Path | None,
    config: str | Path | None,
    resume: bool,
    overwrite: bool,
    settings: dict[str, Any],
    what: str = "train",
    extend: bool = False,
) -> tuple[Path, Settings]:
    """Make or find the run folder and the settings it runs with.

    `what` is the command that fills it, named in errors and, but for `train`, in a default folder.
    With `extend` what is finished is gone on with; a training is where it is to be longer.
    """
    check_at_most_one(resume=resume, overwrite=overwrite)
    if resume:
        if output is None:
            raise PlauditError("--resume needs the run's folder: -o RUN")
        folder = Path(output)
        stored = folder / "config.yaml"
        if not stored.is_file():
            raise PlauditError(
                f"{folder}: there is no run to resume here (no config.yaml); start it without "
                "--resume"
            )
        if not _holds_run(folder):
            raise PlauditError(
                f"{folder}: has a config.yaml, but not what plaudit writes beside it when a run "
                "begins; start it without --resume, in another folder"
            )
        if (command := made_by(folder)) != what:
            raise PlauditError(f"{folder}: plaudit {command} made it; resume it with that")
        given = renamed({**(read_yaml(config) if config is not None else {}), **settings})
        # Where features are kept changes no result, and a full disk may have stopped the run.
        free = {name: given[name] for name in given if name.startswith("features_cache")}
        # A run of an earlier version has what the settings of today stood at then.
        of_old = read_yaml(stored)
        then = RECIPES["plain"] if "recipe" not in of_old else {}
        then = {name: value for name, value in then.items() if name not in of_old}
        chosen = Settings.build(stored, **then, **free)
        asked = Settings.build(**{"data": chosen.data, **given})
        longer = _longer(folder, chosen, asked, given) if what == "train" else {}
        if is_finished(folder) and not (extend or longer):
            raise PlauditError(
                f"{folder}: this run is finished; {_EXTENDED.get(what, '')}--overwrite replaces it"
            )
        for name in given.keys() - longer.keys():
            if getattr(asked, name) != getattr(chosen, name):
                raise PlauditError(
                    f"{name}: the run in {folder} has {getattr(chosen, name)!r}, not "
                    f"{getattr(asked, name)!r}; a resumed run keeps its settings. "
                    "Leave it out; --overwrite begins anew"
                )
        if longer:
            _say_extended(folder, chosen, longer)
        return folder, as_begun(folder, chosen.model_copy(update=longer))
    chosen = build_settings(config, settings)
    folder = Path(output) if output is not None else default_folder(chosen, what)
    if "\n" in str(folder):
        raise PlauditError(f"output: {str(folder)!r} has a line break in it; choose another name")
    if folder.exists() and not folder.is_dir():
        raise PlauditError(f"{folder}: is a file; the output is a folder")
    if _holds_run(folder):
        if not overwrite:
            raise PlauditError(
                f"{folder}: already holds a run; --resume continues it, --overwrite replaces it"
            )
    elif folder.is_dir() and not _may_be_filled(folder):
        raise PlauditError(f"{folder}: is not empty and not a run; choose another folder")
    processes().wait_for_everyone()  # before anything is written where others still look
    return folder, chosen


def _holds_run(folder: Path) -> bool:
    """Whether plaudit filled a folder, finished or not.

    Others call a file `config.yaml`, too, and a printed config may lie in anybody's folder: only
    with what a run has beside it may what has the name of a run's files be taken away.
    """
    begun = (folder / PLAN, *(folder / "checkpoints" / name for name in ("data.json", STEP)))
    ours = any(path.is_file() for path in begun) or files.is_result(folder / "metrics.json")
    try:
        settings = read_yaml(folder / "config.yaml")
    except PlauditError:  # damaged, which is told where it is read; or none
        return ours and (folder / "config.yaml").is_file()
    # A run whose checkpoints somebody took away has a log at least.
    ours = ours or {"step", "loss"} <= _first_of(folder / "log.jsonl").keys()
    return ours and settings.keys() >= {"data", "base", "loss"}


def _first_of(log: Path) -> dict[str, Any]:
    """The first line of a run's log; empty where there is none, or it is no JSON."""
    try:
        with log.open(encoding="utf-8") as lines:
            row = json.loads(next(lines, "{}"))
    except (OSError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}


def _may_be_filled(folder: Path) -> bool:
    """Whether nothing would be lost in a folder that holds no run: what is in it is what a kill
    left of a run that was being replaced, or that had not yet begun."""
    names = {path.name for path in folder.iterdir() if not files.is_leftover(path)}
    if GOING in names:
        return names <= {GOING, *OF_A_RUN}
    first = folder / "checkpoints"
    if not names or not first.is_dir():
        return not names
    begun = {path.name for path in first.iterdir() if not files.is_leftover(path)}
    return names <= {PLAN, first.name} and begun <= _FIRST


LENGTHS = ("max_steps", "num_train_epochs")  # settings of which a resumed training may have more
_EXTENDED = {
    "train": "--max-steps or --num-train-epochs with more than it had goes on with it, ",
    "tune": "--trials with more than it had, or --minutes, goes on with it, ",
}


def _longer(
    folder: Path, chosen: Settings, asked: Settings, given: Mapping[str, Any]
) -> dict[str, Any]:
    """By which settings a run that is resumed is to be longer than it was meant to be."""
    more = {n: getattr(asked, n) for n in LENGTHS if n in given}
    more = {n: value for n, value in more.items() if value > getattr(chosen, n)}
    if chosen.max_steps > 0:  # which goes before epochs
        more = {name: value for name, value in more.items() if name == "max_steps"}
    if not more:
        return {}
    steps = [int(path.name.rsplit("-", 1)[1]) for path in checkpoints_of(folder)]
    if not steps:
        if (folder / "metrics.json").is_file():
            raise PlauditError(
                f"{folder}: has no checkpoint any more to go on from; --overwrite trains it anew"
            )
        if "max_steps" in more and chosen.max_steps <= 0:
            raise PlauditError(
                f"max_steps: the run in {folder} has num_train_epochs "
                f"{chosen.num_train_epochs:g}, and no checkpoint yet that says how many steps "
                "these are; leave max_steps out, or start it anew with --overwrite"
            )
        return more
    state = folder / "checkpoints" / f"checkpoint-{max(steps)}" / "trainer_state.json"
    meant = read_json(state).get("max_steps", 0) if state.is_file() else 0
    if 0 < asked.max_steps <= meant and "max_steps" in more:
        raise PlauditError(f"max_steps: the run in {folder} has {meant:,} already; give more")
    return more


def _say_extended(folder: Path, chosen: Settings, longer: Mapping[str, Any]) -> None:
    """Say that a run becomes longer, and what that does to its learning rate."""
    to = ", ".join(f"{name} {value:g}" for name, value in longer.items())
    line = f"{folder}: goes on with {to}"
    if chosen.lr_scheduler_type in ("linear", "cosine"):
        line += (
            f"; the learning rate, which a shorter {chosen.lr_scheduler_type} schedule had brought "
            "towards 0, rises to where one of the new length stands, so this is not what one long "
            "run would have given"
        )
    say_once(line)


@dataclass(frozen=True)
class Begun:
    """How a step of a run was done when it began: rankings of all processes together, the number
    type, by which attention on a CPU, and whether by compiled layers. None: it is not known."""

    rankings: int | None = None
    dtype: str | None = None
    attention: Ways | None = None
    compiled: bool | None = None

    @staticmethod
    def read(folder: Path) -> "Begun":
        """What a run's folder says of it; of an earlier version's not all is known.

        Raises:
            PlauditError: where it is not as plaudit wrote it.
        """
        file = folder / "checkpoints" / STEP
        if not file.is_file():
            return Begun()
        try:
            stored = dict(_kept(file))
            if (ways := stored.get("attention")) is not None:
                stored["attention"] = Ways(*ways)
            return Begun(**stored)
        except (TypeError, ValueError) as error:
            raise _damaged(file) from error


def _kept(file: Path) -> Any:
    """What `begin` wrote among checkpoints."""
    if damaged(file.parent, [file.name]):
        raise _damaged(file)
    return read_json(file)


def _damaged(file: Path) -> PlauditError:
    return PlauditError(
        f"{file}: is damaged. Where data, machine and number of processes are what they were when "
        "the run began, remove this file, and --resume goes on; else --overwrite starts it anew"
    )


def as_begun(folder: Path, settings: Settings) -> Settings:
    """The settings of a run that is resumed, such that a step takes as many rankings as before,
    and computes in the same number type.

    The number of rankings is what a step, the learning rate and the number of steps depend on; in
    how many batches and processes it is done changes rounding alone.

    Raises:
        PlauditError: where the processes that there are now cannot share it evenly.
    """
    begun = Begun.read(folder)
    if settings.dtype == "auto" and begun.dtype is not None:
        settings = settings.model_copy(update={"dtype": begun.dtype})
    step = rankings_a_step(settings) if begun.rankings is None else begun.rankings
    if step == rankings_a_step(settings):
        return settings
    here, times = processes().num_processes, settings.gradient_accumulation_steps
    share, left = divmod(step, here)
    if left:
        raise PlauditError(
            f"{folder}: a step of this run takes {step} rankings, which {here} processes cannot "
            f"share evenly; resume it in a number of processes that divides {step}"
        )
    times = times if share % times == 0 else 1
    say_once(
        f"{folder}: was begun in another number of processes; of the {step} rankings of a step "
        f"each takes {share} now"
    )
    return settings.model_copy(
        update={
            "per_device_train_batch_size": share // times,
            "gradient_accumulation_steps": times,
        }
    )


def rankings_a_step(settings: Settings) -> int:
    """How many rankings an optimiser step takes, in all processes."""
    of_a_process = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    return of_a_process * processes().num_processes


def check_divided(checkpoint: Path) -> None:
    """Raise where a checkpoint is divided among processes and the model is not, or the reverse."""
    divided = any(checkpoint.glob("pytorch_model_fsdp*"))
    if divided == sharded():
        return
    raise PlauditError(
        f"{checkpoint}: FSDP wrote it in parts, which only FSDP reads; resume it under FSDP, in "
        "any number of processes"
        if divided
        else f"{checkpoint}: was written without FSDP; resume it without, in any number of "
        "processes, or start the run anew with --overwrite"
    )


def default_folder(settings: Settings, what: str = "train") -> Path:
    """`runs/DATA-BASE`, or `runs/DATA-BASE-WHAT` for what is not a training run."""
    first = settings.data if isinstance(settings.data, str) else next(iter(settings.data))
    first = named(first).name
    stem = Path(first.rstrip("/*")).name.split(".")[0] or "data"
    base = settings.base.replace(":", "/").rstrip("/").split("/")[-1]
    return Path("runs") / (f"{stem}-{base}" + (f"-{what}" if what != "train" else ""))


def made_by(folder: Path) -> str:
    """The command that fills a run folder: train, cv, tune, frontier or variance."""
    return str(_plan(folder)["command"])


def _plan(folder: Path) -> dict[str, Any]:
    file = folder / PLAN
    return read_json(file) if file.is_file() else {"command": "train"}


def resolve_plan(
    folder: Path, resume: bool, asked: dict[str, Any], defaults: dict[str, Any]
) -> dict[str, Any]:
    """What a command other than `train` is to do: what was asked (None: nothing), else the default,
    or what the run that is resumed was begun with."""
    stored = _plan(folder) if resume else defaults
    for name, value in asked.items():
        if resume and value is not None and value != stored.get(name):
            raise PlauditError(
                f"{name}: the run in {folder} has {stored.get(name)!r}, not {value!r}; a resumed "
                "run keeps its settings. Leave it out; --overwrite begins anew"
            )
    return defaults | {n: stored.get(n) if v is None else v for n, v in asked.items()}


def is_finished(folder: Path) -> bool:
    """Whether what fills a folder came to its end, and is not being extended."""
    return (folder / "metrics.json").is_file() and not (folder / EXTENDED).is_file()


def finish(folder: Path, results: Mapping[str, Any]) -> None:
    """Write the figures of what is finished now."""
    write_results(folder / "metrics.json", results)
    (folder / EXTENDED).unlink(missing_ok=True)


def what_is_kept(folder: Path) -> str | None:
    """What of an unfinished run is kept, in words; None of one that is finished, or gone as a
    temporary one is."""
    if is_finished(folder) or not (folder / "config.yaml").is_file():
        return None
    command = made_by(folder)
    if command == "train":
        steps = [int(path.name.rsplit("-", 1)[1]) for path in checkpoints_of(folder)]
        if not steps:
            config = read_yaml(folder / "config.yaml")
            cached = config.get("freeze_layers") and config.get("features_cache_gb")
            found = ", but finds what the frozen layers gave" if cached else ""
            return f"there is no checkpoint yet, and --resume begins anew{found}"
        return f"its checkpoint of step {max(steps):,} is kept"
    place, mark, what = _PARTS[command]
    done = len(list((folder / place).glob(f"*/{mark}")))
    return f"{counted(done, what)} finished"


def checkpoints_of(folder: Path) -> list[Path]:
    """The checkpoints of a run, in no order."""
    return [path for path in (folder / "checkpoints").glob("checkpoint-*") if path.is_dir()]


# Of a command that trains many: where they lie, what a finished one has, and what they are called.
_PARTS = {
    "cv": ("folds", "metrics.json", "run"),
    "tune": ("trials", "rewards.json", "trial"),
    "frontier": ("strengths", "metrics.json", "run"),
    "variance": ("grid", "metrics.json", "run"),
}


def begin(
    folder: Path,
    settings: Settings,
    rankings: Rankings,
    resume: bool,
    plan: dict[str, Any] | None = None,
    begun: Begun | None = None,
) -> None:
    """Write what is known before the first step; only now does an overwritten run go.

    `begun` is how the run does its steps: a resumed one keeps it, however fast that is there. A
    start that fails before this point, on bad data or settings, leaves nothing behind. Of a stream
    nothing is known yet: what it rejects is written at the end.
    """
    if processes().is_main_process:
        fingerprint = _fingerprint(rankings)
        data = folder / "checkpoints" / "data.json"
        if not resume:
            if (folder / "config.yaml").is_file():
                os.replace(folder / "config.yaml", folder / GOING)
            for name in RUN_FILES:
                (folder / name).unlink(missing_ok=True)
            for name in RUN_FOLDERS:
                shutil.rmtree(folder / name, ignore_errors=True)
            (folder / GOING).unlink(missing_ok=True)
            write_json(data, fingerprint)
            if plan is not None:
                write_json(folder / PLAN, plan)
            begun = replace(begun or Begun(), rankings=rankings_a_step(settings))
            known = {name: value for name, value in vars(begun).items() if value is not None}
            write_json(data.with_name(STEP), known)
            seal(data.parent, [data.name, STEP])
            # Last: where it is there is a run to resume, and all that a resume looks at.
            settings.save(folder / "config.yaml")
        elif data.is_file() and _kept(data) != fingerprint:
            raise PlauditError(
                f"{folder}: the data have changed since this run began; --overwrite starts it anew"
            )
        else:
            if is_finished(folder):
                (folder / EXTENDED).touch()
            stored = Settings.build(folder / "config.yaml")
            length = {name: getattr(settings, name) for name in LENGTHS}
            if plan is None and any(getattr(stored, n) < v for n, v in length.items()):
                stored.model_copy(update=length).save(folder / "config.yaml")
        if not rankings.streaming:
            rankings.write_rejected(folder / "rejected.jsonl")
        console.on_interrupt(folder, lambda: what_is_kept(folder))
    processes().wait_for_everyone()


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Keep the run folder to this run, whose main process holds the lock for all (see `files`)."""
    if not processes().is_main_process:
        yield
        return
    with files.locked(folder, "training", wait, stays=True):
        yield


def _fingerprint(rankings: Rankings) -> dict[str, Any]:
    """What tells whether data are the same: content, or of a stream the sizes of its files."""
    if rankings.streaming:
        return {"files": [[f, os.path.getsize(f)] for f in rankings.files if os.path.isfile(f)]}
    digest = hashlib.blake2b(digest_size=16)
    for ranking in rankings:
        texts = [ranking.key, *map(text_key, ranking.completions), str(list(ranking.ranks))]
        digest.update("\0".join(texts).encode("utf-8", "surrogatepass"))
    return {"rankings": len(rankings), "content": digest.hexdigest()}
