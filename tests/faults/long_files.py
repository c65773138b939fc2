"""10,000 fuzzed files of every kind that plaudit reads: refused with a reason, or read.

They are read in processes of their own, so that one that a damaged file takes down is seen; such a
case is counted as lost, and the next process goes on after it.
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from faults.rows import NOTHING, Row

CASES = 10_000
AT_ONCE = 500  # of a process, which then makes room for a fresh one
SLOW = 60.0  # seconds that a file may take on a busy machine
MEMORY = 8 << 30  # bytes that a file may ask for; a damaged one may say that it needs any number


class Reading(NamedTuple):
    """How a case ended that was read in one way."""

    number: int
    kind: str
    way: str
    ended: str
    seconds: float = 0.0

    @property
    def wrong(self) -> bool:
        """Whether it ended in anything but being read or refused, in time."""
        return self.ended not in ("read", "refused") or self.seconds > SLOW

    def __str__(self) -> str:
        how = f"{self.ended}, {self.seconds:.0f} s" if self.seconds > SLOW else self.ended
        return f"case {self.number} ({self.kind}) by {self.way}: {how}"


def run(seed: int, cases: int = CASES) -> list[Row]:
    """The row of the table; what is wrong is said as it is found."""
    readings: list[Reading] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PLAUDIT_FAULTS_MODELS"] = folder
        in_child(make_models, Path(folder))
        starts = range(0, cases, AT_ONCE)
        chunks = ((seed, start, min(start + AT_ONCE, cases), Path(folder)) for start in starts)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for found in threads.map(read_chunk, chunks):
                readings += found
                for one in filter(attrgetter("wrong"), found):
                    print(one, file=sys.stderr)
                print(f"{found[-1].number + 1:,} of {cases:,} files", file=sys.stderr, flush=True)
    ended = Counter(one.ended for one in readings)
    wrong = [one for one in readings if one.wrong]
    kinds = ", ".join(sorted({one.kind for one in readings}))
    lost = NOTHING if not wrong else f"{len(wrong):,} readings, the first: {wrong[0]}"
    what = (
        f"fuzzed files ({kinds}), read in {len(readings):,} ways: {ended['read']:,} read, "
        f"{ended['refused']:,} refused with a reason; every line that was left whole was read"
    )
    return [Row(what, cases, lost)]


def read_chunk(chunk: tuple[int, int, int, Path]) -> list[Reading]:
    """The readings of some cases, in a process of their own, or in several where it dies."""
    seed, start, until, folder = chunk
    present = folder / f"present-{start}"
    readings: list[Reading] = []
    while start < until:
        try:
            return readings + in_child(read_some, seed, start, until, present)
        except BrokenProcessPool:
            at = int(present.read_text())
            readings += in_child(read_some, seed, start, at, present)  # which it had not told
            readings.append(Reading(at, "unknown", "some way", "the process died"))
            start = at + 1
    return readings


def in_child(function: Any, *given: Any) -> Any:
    """The function's result, from a process of its own. Raises `BrokenProcessPool` if it dies."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *given).result()


def make_models(folder: Path) -> None:
    """The models that cases are made of and read with."""
    from faults import files

    files.make_models(folder)


def read_some(seed: int, start: int, until: int, present: Path) -> list[Reading]:
    """The cases of these numbers, one after another; the one that is being read is in `present`."""
    import resource

    from faults import files

    files.scorer()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    found = []
    for number in range(start, until):
        present.write_text(str(number))
        quiet = io.StringIO()
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stderr(quiet),
            contextlib.redirect_stdout(quiet),
        ):
            case = files.draw_case(seed, number, Path(folder))
            began = time.monotonic()
            for way, ended in files.read(case):
                now = time.monotonic()
                found.append(Reading(number, case.kind, way, ended, now - began))
                began = now
    return found
