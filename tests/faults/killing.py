"""Commands that are killed with SIGKILL at random moments, and what became of them.

A parent that has imported plaudit forks a child for each attempt, which runs the command line as
`plaudit` does; so a kill costs no import of torch. A child is killed at a moment of the time that
an undisturbed run took, or at one of the changes that it makes to files: just before a file is
opened to be written, renamed or removed, or a few milliseconds after. Assumes that a child's folder
is its own, and Linux.
"""

import contextlib
import hashlib
import importlib
import os
import random
import re
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plaudit import cli

LONGEST = 600.0  # seconds after which an attempt is taken to hang
AFTER = 0.01  # seconds after a change to a file in which a kill comes
CHANGES = {
    *("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"),
    *("os.chmod", "os.utime", "shutil.rmtree"),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# What differs from one undisturbed run to the next: how long things took, when, in what memory.
TIMES = re.compile(
    rb'"(?:\w*seconds\w*|\w+_per_second|\w*_runtime|\w*(?:time|stamp)|peak_memory_bytes)": [^,\n}]+'
    rb'|steps in [\d,]+ s|"Of these [^"]+ fastest [^"]+"'
)
PRELOADED = ("plaudit", "transformers", "trl", "peft", "accelerate", "datasets", "pyarrow", "scipy",
             "optuna", "sqlalchemy", "matplotlib", "fastapi", "uvicorn", "jinja2")  # fmt: skip
MODULES = "\nmodules: "


class LostError(Exception):
    """What was lost, in words."""


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: its exit code, or minus the signal, how long it took and what it said,
    how many changes to files it made, and which modules it had imported in the end."""

    code: int
    seconds: float
    said: str
    changes: int = 0
    modules: tuple[str, ...] = ()


@dataclass
class Moment:
    """When an attempt is killed: after some seconds, or at a change to a file by its number, and
    then before it or up to `AFTER` seconds later."""

    seconds: float | None = None
    change: int | None = None
    after: float | None = None

    def earlier(self) -> "Moment":
        """One that comes sooner, where a run was over before this one."""
        if self.seconds is not None:
            return Moment(0.9 * self.seconds)
        return Moment(change=max(self.change - 1, 1), after=self.after)

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"after {self.seconds:.2f} s"
        return f"at change {self.change}" + (f" + {1000 * self.after:.1f} ms" if self.after else "")


def attempt(
    arguments: Sequence[str | Path],
    folder: Path,
    moment: Moment | None = None,
    during: Callable[[int, Path], None] | None = None,
) -> Ended:
    """Run the command line in `folder`, in a child, until its end or the moment of its death.

    `during` runs meanwhile in a thread, with the child's number, and ends when the child has.
    """
    log = folder.with_name(folder.name + ".said")
    log.unlink(missing_ok=True)
    readable, writable = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _run([str(one) for one in arguments], folder, log, writable, moment)
    os.close(writable)
    beside = None
    if during is not None:  # only after the fork: a child is to have no thread of its parent's
        beside = threading.Thread(target=during, args=(child, folder))
        beside.start()
    changes, due = 0, moment.seconds if moment and moment.seconds is not None else None
    try:
        while True:
            passed = time.monotonic() - started
            left = (LONGEST if due is None else due) - passed
            if left <= 0:
                break
            if select.select([readable], [], [], left)[0]:
                told = os.read(readable, 1 << 16)
                if not told:
                    break
                changes += len(told)
                if moment and moment.change and moment.after and changes >= moment.change:
                    due = time.monotonic() - started + moment.after
        if time.monotonic() - started >= LONGEST:
            raise LostError(f"{' '.join(map(str, arguments))} hangs: {log.read_text()[-2000:]}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            if due is not None or time.monotonic() - started >= LONGEST or sys.exc_info()[0]:
                os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(readable)
        if beside is not None:
            beside.join()
    *said, modules = (log.read_text(errors="replace") if log.exists() else "").rpartition(MODULES)
    return Ended(
        status,
        time.monotonic() - started,
        said[0] if said[1] else modules,
        changes,
        tuple(modules.split()) if said[1] else (),
    )


def _run(
    arguments: list[str], folder: Path, log: Path, writable: int, moment: Moment | None
) -> None:
    """What a child does; it never returns."""
    code = 70
    try:
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, there in enumerate((nothing, said, said)):
            os.dup2(there, number)
        os.chdir(folder)
        sys.addaudithook(_Watch(folder, writable, moment))
        code = cli.main(arguments)
        sys.stdout.flush()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            print(MODULES, *sys.modules, file=sys.stderr, flush=True)
        os._exit(code)


class _Watch:
    """Counts the changes that a process makes to files in a folder, and tells of each."""

    def __init__(self, folder: Path, writable: int, moment: Moment | None) -> None:
        self.folder, self.writable, self.moment = os.path.realpath(folder), writable, moment
        self.pid, self.count = os.getpid(), 0

    def __call__(self, event: str, given: tuple) -> None:
        if event == "open":
            path, _, flags = given
            if not (isinstance(flags, int) and flags & WRITING):
                return
        elif event in CHANGES:
            path = given[0]
        else:
            return
        if os.getpid() != self.pid or not isinstance(path, str | bytes | os.PathLike):
            return
        # Relative names are of the folder, where the child works.
        name = os.path.join(self.folder, os.fsdecode(path))
        if not name.startswith(self.folder + os.sep):
            return
        self.count += 1
        moment = self.moment
        if moment and self.count == moment.change and not moment.after:
            os.kill(self.pid, signal.SIGKILL)
        os.write(self.writable, b".")


def preload(names: Sequence[str]) -> None:
    """Import in this process what its children would import, of libraries that start no threads."""
    for name in names:
        if name.split(".")[0] not in PRELOADED or name in sys.modules:
            continue
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def contents(folder: Path, leave: str = "") -> dict[str, bytes]:
    """A digest of each file below, times left out, and of what `leave` matches of nothing."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.is_dir():
            found[name + "/"] = b""
            continue
        data = b"" if leave and re.search(leave, name) else file.read_bytes()
        if file.suffix in (".json", ".jsonl", ".html", ".csv"):
            data = TIMES.sub(b"", data)
        found[name] = hashlib.blake2b(data, digest_size=8).digest()
    return found


def differences(there: Mapping[str, bytes], here: Mapping[str, bytes]) -> list[str]:
    """What is not the same, in words."""
    return [
        *(f"{name} is missing" for name in there if name not in here),
        *(f"{name} is left behind" for name in here if name not in there),
        *(f"{name} differs" for name in there if name in here and there[name] != here[name]),
    ]


@dataclass(frozen=True)
class Command:
    """A command to be killed.

    Args:
        name: for the table.
        arguments: of its first run, in a folder that has what `ready` puts there.
        on: of every run after a kill. Where these find nothing to go on with, the first ones are
            run again; None: it is not resumable, and run again with `--overwrite`.
        ready: fills the folder before the first run.
        leave: a pattern of names of files that only have to be there.
        appears: names in the output's folder that are whole as soon as they are there.
        same: whether what it makes is the same in every run; else `check` alone looks at it.
        during: see `attempt`.
        look: raises `LostError` for what a kill, or the end, left in the folder.
        check: raises `LostError` where the second folder is not as good as the first.
    """

    name: str
    arguments: list[str]
    on: list[str] | None = None
    ready: Callable[[Path], None] = field(default=lambda folder: None)
    leave: str = ""
    appears: str = ""
    same: bool = True
    during: Callable[[int, Path], None] | None = None
    look: Callable[[Path], None] | None = None
    check: Callable[[Path, Path], None] | None = None


NOTHING_THERE = "no run to resume"


def undisturbed(command: Command, folder: Path) -> Ended:
    """A run without a kill, in a new folder."""
    _begin(command, folder)
    ended = attempt(command.arguments, folder, during=command.during)
    if ended.code:
        raise LostError(f"an undisturbed run fails: {ended.said[-2000:]}")
    return ended


def killed(
    command: Command, whole: Path, ended: Ended, folder: Path, times: int, chance: random.Random
) -> int:
    """Kill the command at `times` moments, going on after each, compare what it ends with, begin
    anew, and so on. Returns how many attempts that took; raises `LostError`.

    A moment that came too late, since a resumed run has less to do, is one of a new run.
    """
    expected = contents(whole, command.leave)
    moments = _moments(ended, times, chance)
    attempts = 0
    while moments:
        _begin(command, folder)
        story: list[str] = []
        arguments = command.arguments
        while True:
            # Half of the attempts after a kill are left to come to their end.
            last = not moments or (story and chance.random() < 0.5)
            moment = None if last else moments.pop()
            now = attempt(arguments, folder, moment, command.during)
            attempts += 1
            story.append(f"{moment or 'to the end'}: {now.code}")
            if now.code == -signal.SIGKILL:
                _look(command, expected, folder, story)
                arguments = _on(command)
                continue
            if moment is not None:
                moments.append(moment.earlier() if len(story) == 1 else moment)
            if now.code == 0 or "is finished" in now.said:
                break
            if arguments is command.arguments or not re.search(NOTHING_THERE, now.said):
                raise LostError(f"{'; '.join(story)}: it does not go on: {now.said[-1500:]}")
            arguments = command.arguments
        _compare(command, expected, whole, folder, story)
    return attempts


def _moments(ended: Ended, times: int, chance: random.Random) -> list[Moment]:
    """Half of them spread over the time of a run, half over its changes to files."""
    moments = []
    by_time = times - times // 2 if ended.changes else times
    for number in range(by_time):
        moments.append(Moment(ended.seconds * (number + chance.random()) / by_time))
    for number in range(times - by_time):
        change = 1 + int(ended.changes * (number + chance.random()) / (times - by_time))
        after = chance.choice([None, chance.uniform(0, AFTER)])
        moments.append(Moment(change=change, after=after))
    chance.shuffle(moments)
    return moments


def _begin(command: Command, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command.ready(folder)


def _on(command: Command) -> list[str]:
    return [*command.arguments, "--overwrite"] if command.on is None else command.on


def _look(command: Command, expected: Mapping[str, bytes], folder: Path, story: list[str]) -> None:
    """Look at what a kill left under names that are only there when they are whole."""
    try:
        if command.look:
            command.look(folder)
    except LostError as error:
        raise LostError(f"{'; '.join(story)}: {error}") from error
    if not command.appears:
        return
    there = contents(folder, command.leave)
    for name, digest in there.items():
        if re.fullmatch(command.appears, name) and expected.get(name) != digest:
            raise LostError(f"{'; '.join(story)}: {name} is there and not whole")


def _compare(
    command: Command, expected: Mapping[str, bytes], whole: Path, folder: Path, story: list[str]
) -> None:
    found = differences(expected, contents(folder, command.leave)) if command.same else []
    try:
        if command.look:
            command.look(folder)
        if command.check:
            command.check(whole, folder)
    except LostError as error:
        found.append(str(error))
    if found:
        raise LostError(f"{'; '.join(story)}: {', '.join(found[:6])}")
