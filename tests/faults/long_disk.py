"""What a disk, a machine or another process may do to a command: told in a line, nothing lost.

Each fault is real where this machine allows it: a full disk is a small file system in memory, which
takes the rights of root to mount, as a control group does, in which the system kills what takes too
much memory. After the fault goes, the same command goes on and ends as if there had been none.
"""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import torch

from faults.commands import commands, make_material
from faults.killing import (
    Command,
    Ended,
    Moment,
    attempt,
    contents,
    differences,
    preload,
    undisturbed,
)
from faults.long_kill import in_a_child
from faults.rows import NOTHING, Row

TIMES, OF_TRAIN = 20, 5  # full disks
MIB = 1 << 20
KINDS = ("train", "score", "score to Parquet", "generate", "bench", "export --format folder")


def run(seed: int) -> list[Row]:
    """A row for each fault."""
    torch.set_num_threads(1)
    chance = random.Random(f"{seed} disk")
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "made"
        in_a_child(lambda: make_material(made))
        every = commands(made)
        whole = {}
        for name in KINDS:
            preload(undisturbed(every[name], Path(place) / "whole" / name).modules)
            whole[name] = undisturbed(every[name], Path(place) / "whole" / name)
        faults = Faults(every, whole, Path(place), chance)
        rows = []
        for fault in (
            *(faults.full_disk, faults.read_only, faults.removed, faults.clock),
            *(faults.two_at_once, faults.little_memory, faults.killed_for_memory),
            faults.worker_killed,
        ):
            rows.append(fault())
            print(f"  {rows[-1].what}: lost {rows[-1].lost}", file=sys.stderr, flush=True)
        return rows


class Faults:
    """The commands, what they make undisturbed, and a folder for all."""

    def __init__(
        self, every: dict[str, Command], whole: dict[str, Ended], place: Path, chance: random.Random
    ) -> None:
        self.every, self.whole, self.place, self.chance = every, whole, place, chance

    def full_disk(self) -> Row:
        """A file system that is full after a random share of what the command writes."""
        lost, count = NOTHING, 0
        for name in KINDS:
            command = self.every[name]
            needs = size(self.place / "whole" / name)
            for _ in range(OF_TRAIN if name == "train" else TIMES):
                room = self.chance.randrange(4096, max(needs, 8192))
                with disk(self.place / "disk", room) as there:
                    ended = attempt(command.arguments, there)
                    what = f"{name} with room for {room:,} of {needs:,} bytes"
                    count += 1
                    if ended.code == 0:
                        continue
                    lost = told(what, ended, "No space left|cannot be written") or lost
                    more_room(there, 64 * MIB)
                    lost = self.goes_on(name, there, what) or lost
        return Row(f"disk full at a random byte ({', '.join(KINDS)})", count, lost)

    def read_only(self) -> Row:
        """A folder that cannot be written into, from the start or while the command runs."""
        lost, count = NOTHING, 0
        for name in KINDS:
            with disk(self.place / "disk", 64 * MIB) as there:
                mount(there, "remount,ro")
                ended = attempt(self.every[name].arguments, there)
                lost = told(f"{name} into a read-only folder", ended, "Read-only") or lost
                mount(there, "remount,rw")
                lost = self.goes_on(name, there, f"{name} after read-only") or lost
                count += 1
        return Row("folder read-only, then writable again", count, lost)

    def empty(self, what: str, name: str) -> Path:
        """A folder for a command of these runs, with nothing in it."""
        folder = self.place / what / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def removed(self) -> Row:
        """The output's folder is removed while the command runs: told, and made anew."""
        lost, count = NOTHING, 0
        for name in KINDS:
            for _ in range(3):
                folder = self.empty("removed", name)
                after = self.chance.uniform(0, 0.7 * self.whole[name].seconds)

                whole: list[bool] = []
                remove = partial(self.remove, name, after, whole)
                ended = attempt(self.every[name].arguments, folder, during=remove)
                what = f"{name}, its output removed after {after:.2f} s"
                if ended.code:
                    lost = told(what, ended, "") or lost
                elif not whole[0] and (bad := self.differs(name, folder)):
                    lost = f"{what}, ends as if nothing had been: {bad}"
                shutil.rmtree(folder / "out", ignore_errors=True)
                lost = self.goes_on(name, folder, what, anew=True) or lost
                count += 1
        return Row("output folder removed while the command runs, begun anew", count, lost)

    def clock(self) -> Row:
        """A kill, and the clock set back by a year: all files are of the future."""
        lost, count = NOTHING, 0
        for name in KINDS:
            folder = self.empty("clock", name)
            attempt(self.every[name].arguments, folder, Moment(0.6 * self.whole[name].seconds))
            ahead = time.time() + 365 * 86400
            for path in [folder, *folder.rglob("*")]:
                os.utime(path, (ahead, ahead))
            lost = self.goes_on(name, folder, f"{name} with files of the future") or lost
            count += 1
        return Row("killed, then the clock set back by a year", count, lost)

    def two_at_once(self) -> Row:
        """A second process of the same command in the same folder: refused, the first one ends."""
        lost, count = NOTHING, 0
        for name in KINDS:
            folder = self.empty("two", name)
            command = self.every[name]
            first, second = both(command, folder, self.whole[name].seconds)
            what = f"{name} in two processes"
            for ended in (first, second):
                if ended.code:
                    lost = told(what, ended, "another process|already|is finished|unfin") or lost
            if first.code and second.code:
                lost = self.goes_on(name, folder, what) or lost
            elif bad := self.differs(name, folder):
                lost = f"{what}: {bad}"
            count += 1
        return Row("two processes in one folder", count, lost)

    def little_memory(self) -> Row:
        """An address space that a run does not fit into."""
        lost, count = NOTHING, 0
        for name in KINDS:
            for _ in range(3):
                folder = self.empty("memory", name)
                room = self.chance.randrange(MIB, 32 * MIB)
                ended = limited(self.every[name].arguments, folder, room)
                what = f"{name} with {room // MIB} MiB more"
                if ended.code > 0:
                    lost = told(what, ended, "memory|allocate") or lost
                if ended.code:
                    lost = self.goes_on(name, folder, what) or lost
                count += 1
        return Row("out of memory (a bound on the address space)", count, lost)

    def killed_for_memory(self) -> Row:
        """A control group whose memory is used up: the system kills the command."""
        lost, count = NOTHING, 0
        for name in KINDS:
            killed = 0
            for number in range(12):
                folder = self.empty("group", name)
                room = self.chance.randrange(2 * MIB, 96 * MIB)
                with memory_group(room) as join:
                    ended = attempt(self.every[name].arguments, folder, during=join)
                what = f"{name} in a group with {room // MIB} MiB"
                if ended.code == -signal.SIGKILL:
                    killed += 1
                elif ended.code:
                    lost = told(what, ended, "memory|allocate") or lost
                if ended.code:
                    lost = self.goes_on(name, folder, what) or lost
                if killed == 3 or (number >= 5 and not killed):
                    break
            count += killed
        return Row("killed by the system for memory (a control group)", count, lost)

    def worker_killed(self) -> Row:
        """One of two scoring processes gets SIGKILL."""
        name, lost, count = "score --processes 2", NOTHING, 0
        command = self.every[name]
        whole = undisturbed(command, self.place / "whole" / name)
        for _ in range(3):
            folder = self.place / "worker"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            after = self.chance.uniform(0.3, 1) * whole.seconds
            ended = attempt(command.arguments, folder, during=partial(kill_one_of, after))
            what = f"{name}, a worker killed after {after:.1f} s"
            if ended.code:
                lost = told(what, ended, "a scoring process .* died: SIGKILL") or lost
                lost = self.goes_on(name, folder, what) or lost
            count += 1
        return Row("a scoring process killed", count, lost)

    def goes_on(self, name: str, folder: Path, what: str, anew: bool = False) -> str:
        """What is lost when the command goes on; empty where it ends as if undisturbed."""
        command = self.every[name]
        on = [*command.arguments, "--overwrite"] if command.on is None else command.on
        ended = attempt(command.arguments if anew else on, folder)
        if ended.code and not anew and re.search("no run to resume", ended.said):
            ended = attempt(command.arguments, folder)
        if ended.code and "is finished" not in ended.said:
            return f"{what}: does not go on: {ended.said[-600:]}"
        bad = self.differs(name, folder)
        return f"{what}: {bad}" if bad else ""

    def remove(self, name: str, after: float, whole: list[bool], _: int, folder: Path) -> None:
        """Remove the output, and note whether all of it was there already."""
        time.sleep(after)
        whole.append(not self.differs(name, folder))
        shutil.rmtree(folder / "out", ignore_errors=True)

    def differs(self, name: str, folder: Path) -> str:
        """How the folder differs from an undisturbed run's; empty where it does not."""
        leave = self.every[name].leave
        there = contents(self.place / "whole" / name, leave)
        return ", ".join(differences(there, contents(folder, leave))[:5])


def told(what: str, ended: Ended, said: str) -> str:
    """What is wrong with how a command ended; empty where it is said in a line what happened."""
    if "Traceback" in ended.said:
        return f"{what}: a traceback: {ended.said[-900:]}"
    if ended.code != 1 or not re.search(said, ended.said):
        return f"{what}: {ended.code}, {ended.said[-600:]}"
    return ""


def size(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def disk(where: Path, room: int) -> Iterator[Path]:
    """A file system with so much room."""
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", where], check=True)


def mount(where: Path, options: str) -> None:
    """Mount it anew with other options."""
    subprocess.run(["mount", "-o", options, where], check=True)


def more_room(where: Path, room: int) -> None:
    """Give a file system more room."""
    mount(where, f"remount,size={room}")


def both(command: Command, folder: Path, seconds: float) -> tuple[Ended, Ended]:
    """The same command twice at once in one folder, the second one a little later."""
    found: list[Ended] = []

    def second(child: int, folder: Path) -> None:
        time.sleep(0.3 * seconds)
        said = folder.with_name(folder.name + ".second")
        code = subprocess.run(
            [sys.executable, "-m", "plaudit", *map(str, command.arguments)],
            cwd=folder, stdout=said.open("w"), stderr=subprocess.STDOUT, check=False,
        ).returncode  # fmt: skip
        found.append(Ended(code, 0.0, said.read_text()))

    first = attempt(command.arguments, folder, during=second)
    return first, found[0]


@contextmanager
def memory_group(room: int) -> Iterator[Callable[[int, Path], None]]:
    """A control group with so many bytes, and what puts a process into it. Memory that a process
    shares with the one it was forked from counts as that one's."""
    with tempfile.TemporaryDirectory() as place:
        old = subprocess.run(["mount", "-t", "cgroup", "-o", "memory", "none", place], check=False)
        if old.returncode:
            subprocess.run(["mount", "-t", "cgroup2", "none", place], check=True)
            Path(place, "cgroup.subtree_control").write_text("+memory")
        group = Path(place, f"plaudit-{os.getpid()}")
        try:
            group.mkdir()
            limit = "memory.max" if old.returncode else "memory.limit_in_bytes"
            (group / limit).write_text(str(room))

            def join(child: int, _: Path) -> None:
                with suppress(ProcessLookupError):
                    (group / "cgroup.procs").write_text(str(child))

            yield join
            # What a killed process leaves in it is gone a little later.
            for _ in range(100):
                with suppress(OSError):
                    group.rmdir()
                    break
                time.sleep(0.05)
        finally:
            subprocess.run(["umount", "-l", place], check=True)


def limited(arguments, folder: Path, room: int) -> Ended:
    """Run it in a process that may take so many more bytes than it has at its start."""
    ended: list[Ended] = []
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + room, before[1]))
    try:
        ended.append(attempt(arguments, folder))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    return ended[0]


def kill_one_of(after: float, parent: int, _: Path) -> None:
    """Kill a child of a process."""
    time.sleep(after)
    children = [
        int(number)
        for number in filter(str.isdigit, os.listdir("/proc"))
        if parent_of(number) == parent and "spawn_main" in command_of(number)
    ]
    if children:
        os.kill(children[-1], signal.SIGKILL)


def parent_of(number: str) -> int:
    """The process that started one."""
    try:
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def command_of(number: str) -> str:
    """Its command line."""
    try:
        return Path(f"/proc/{number}/cmdline").read_text()
    except OSError:
        return ""
