"""Twenty kills of each command: resumed, or run again, it makes what it makes undisturbed."""

import os
import random
import sys
import tempfile
import time
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

import torch

from faults.commands import commands, make_material
from faults.killing import Command, LostError, killed, preload, undisturbed
from faults.rows import NOTHING, Row

TIMES = 20
RAY = "score --engine ray"
ENDS = {
    "train": "resumed; the same weights bit for bit",
    "tune": "resumed; all trials, none twice, and a model",
    "serve --label": "started again; every label that was acknowledged, once",
}


def run(seed: int, only: Collection[str] = (), times: int = TIMES) -> list[Row]:
    """A row for each command, or for those named, killed so many times."""
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        in_a_child(lambda: make_material(made))
        for name, command in commands(made).items():
            if only and name not in only:
                continue
            if name == RAY and not find_spec("ray"):
                continue
            place, started = Path(folder) / name.replace(" ", "-"), time.monotonic()
            try:
                lost = NOTHING
                run_and_kill(command, place, times, random.Random(f"{seed} {name}"))
            except LostError as error:
                lost = " ".join(str(error).split())
            ends = ENDS.get(name, "resumed; the same files byte for byte, but for times")
            if command.on is None:
                ends = "run again with --overwrite; the same files byte for byte"
            rows.append(Row(f"`{name}` killed, {ends}", times, lost))
            took = time.monotonic() - started
            print(f"  {name}: {took:.0f} s, lost {lost}", file=sys.stderr, flush=True)
    return rows


def run_and_kill(command: Command, place: Path, times: int, chance: random.Random) -> None:
    """Undisturbed, then killed so often."""
    # The first one is for what it imports, and not measured.
    preload(undisturbed(command, place / "first").modules)
    whole = undisturbed(command, place / "whole")
    killed(command, place / "whole", whole, place / "killed", times, chance)


def in_a_child(work) -> None:
    """Do it in a process that is forked: this one is to stay as it was, for its other children."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise RuntimeError(f"a child ended with {code}")
