"""The command line, interrupted at a place that a test chooses, in a process of its own.

A signal goes to a whole process, and whoever else works in it, a test runner or a library, has its
own view of that. So it is raised where nobody but plaudit is.
"""

import faulthandler
import importlib
import signal
from typing import NamedTuple

import forked

PROGRAM = """
import sys
import interrupting
interrupting.arrange(*sys.argv[1:6])
from plaudit.cli import main
sys.exit(main(sys.argv[6:]))
"""


class Ended(NamedTuple):
    """How a command ended: its exit code, and the lines that it wrote to stderr."""

    code: int
    said: list[str]


def run(place, words, *, call=1, number=signal.SIGINT, times=1, rows_at_once=10_000, **environment):
    """Run a command that is sent a signal as soon as `place` was called so often.

    `place` is the name of a function or method, with its module; `times` is how often the signal is
    sent; `rows_at_once` is how many rows are read before any is scored.
    """
    asked = (place, call, int(number), times, rows_at_once)
    process = forked.start(
        "-c", PROGRAM, *asked, *words, places=[__file__.rpartition("/")[0]], **environment
    )
    code = process.wait()
    assert process.stdout == "", process.stdout
    return Ended(code, process.stderr.splitlines())


def arrange(place: str, call: str, number: str, times: str, rows_at_once: str) -> None:
    """In the process: have the signal raised, and whatever kills the process told."""
    faulthandler.enable()
    importlib.import_module("plaudit.scoring.score")  # an output tells the bounds that it has here
    importlib.import_module("plaudit.scoring.windows").ROWS_AT_ONCE = int(rows_at_once)
    module, *names = place.split(":")
    owner = importlib.import_module(module)
    *path, name = names[0].split(".")
    for one in path:
        owner = getattr(owner, one)
    was, calls = getattr(owner, name), []

    def interrupted(*given, **named):
        result = was(*given, **named)
        calls.append(name)
        if len(calls) == int(call):
            for _ in range(int(times)):
                signal.raise_signal(int(number))
        return result

    setattr(owner, name, interrupted)
