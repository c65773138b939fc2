"""Processes of their own that need not import torch first: they fork from one that has it.

To import torch, transformers and TRL takes longer than what most tests want of a process. So
Python's fork server imports them once, and `start` forks what would be `python WORDS…` from it. A
process has its own environment, files and exit code, runs beside others, and can be killed as any
other. Where a test is about how Python or plaudit starts, it starts them afresh, by `subprocess`.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["plaudit.training.run", "trl.trainer.reward_trainer"])


class Process:
    """`python WORDS…`, where the words are `-m MODULE …` or `-c PROGRAM …`."""

    def __init__(self, words: list[str], environment: dict[str, str], places: list[str]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        arguments = (words, environment, places, os.getcwd(), self.folder.name)
        self.process = FORKS.Process(target=_run, args=arguments)
        self.process.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def poll(self) -> int | None:
        """Its exit code, if it has ended; as `subprocess` has it."""
        return self.process.exitcode

    def wait(self, seconds: float = 180) -> int:
        """Its exit code; it may not take longer."""
        self.process.join(seconds)
        assert self.poll() is not None, f"still running after {seconds} s:\n{self.stderr}"
        return self.poll()

    def kill(self) -> None:
        """Kill it, if it has not ended, and wait until it has."""
        self.process.kill()
        self.process.join()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def succeed(self) -> "Process":
        assert self.wait() == 0, self.stderr
        return self

    def wait_for(self, path: Path, seconds: float = 120) -> None:
        """Until it has written `path`; it may not end before."""
        deadline = time.monotonic() + seconds
        while not path.exists():
            assert self.poll() is None, self.stderr
            assert time.monotonic() < deadline, self.stderr
            time.sleep(0.01)

    @property
    def stdout(self) -> str:
        return self._said("stdout")

    @property
    def stderr(self) -> str:
        return self._said("stderr")

    def _said(self, name: str) -> str:
        path = Path(self.folder.name, name)
        return path.read_text() if path.exists() else ""


def start(*words: object, places: Sequence[str] = (), **environment: str) -> Process:
    """Start `python WORDS…`, with more or other variables in the environment.

    `places` are more folders to import from, as in `PYTHONPATH`, which is read only at a start.
    """
    return Process([*map(str, words)], {**os.environ, **environment}, [*places])


def _run(
    words: list[str], environment: dict[str, str], places: list[str], here: str, said: str
) -> None:
    gc.freeze()  # what was imported; as in conftest.py
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(Path(said, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(here)
    sys.path[:0] = places
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
