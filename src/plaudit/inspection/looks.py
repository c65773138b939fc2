"""What is looked for in each text by itself: work of an inspection that processes can share.

A look takes distinct texts and gives what is kept of them, as numbers. It depends on nothing but
the text, so it does not matter which process looks. Little work is done here; of much, processes of
their own do a part, two of them where there are two cores or more. They are started with nothing
but this module, and not copied from this process or its script, and end when it does.
"""

import os
import pickle  # nosec B403 # between processes that this one started, by pipes of its own
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from plaudit.data.cells import EXCERPT
from plaudit.data.sketches import sketch
from plaudit.errors import PlauditError
from plaudit.inspection.flaws import Ending, Refusal, ending, refusal

SIGNS = len(Ending._fields) + len(Refusal._fields)
TAIL = 4 * EXCERPT  # characters that an excerpt is made of

PROCESSES = 2
# Characters that are looked at here before another process pays: some two seconds' work.
ALONE = 1 << 24
AT_ONCE = 1 << 19  # characters that go to a process together
WAITING = 3  # such parcels for each process


class Look(NamedTuple):
    """What is kept of N texts."""

    signatures: np.ndarray  # [N, 120] numbers of 16 bits, see `data.sketches`
    figures: np.ndarray  # [N] of 64 bits: equal where texts name the same numbers
    blank: np.ndarray  # [N] whether they say nothing
    signs: np.ndarray  # [N, 7] `Ending` and `Refusal`, where they were asked for
    tails: dict[int, str]  # the last words of those that may be cut off, by place


def look(texts: Sequence[str], flaws: bool) -> Look:
    """Look at texts, and with `flaws` also at how they begin and end.

    >>> look(["7 % of 200", "7 % of 300", " "], flaws=True).blank.tolist()
    [False, False, True]
    """
    sketched = sketch(texts)
    signs, tails = bytearray(), {}
    for place, words in enumerate(texts if flaws else ()):
        end = ending(words)
        signs.extend(end)
        signs.extend(refusal(words))
        if end.may_be_cut_off:
            tails[place] = words[-TAIL:]
    return Look(
        sketched.signatures,
        sketched.figures,
        sketched.blank,
        np.frombuffer(signs, bool).reshape(-1, SIGNS),
        tails,
    )


class Looking:
    """Looks at parcels of texts, here or in processes of its own; what is seen comes in order."""

    def __init__(self) -> None:
        self._seen = 0  # characters
        self._threads: ThreadPoolExecutor | None = None  # each waits for a process
        self._idle: deque[subprocess.Popen[bytes]] = deque()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sent: deque[tuple[Future[Look], Callable[[Look], None]]] = deque()

    def __enter__(self) -> "Looking":
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()  # closes what it reads from, at which it ends

    def at(self, texts: list[str], flaws: bool, then: Callable[[Look], None]) -> None:
        """Look at texts, and give what is seen to `then`, by `finish` at the latest."""
        self._seen += sum(map(len, texts))
        if self._threads is None:
            if self._seen < ALONE or _cores() < 2:
                then(look(texts, flaws))
                return
            self._start()
        assert self._threads is not None
        while len(self._sent) >= WAITING * PROCESSES:
            self._receive()
        self._sent.append((self._threads.submit(self._ask, texts, flaws), then))

    def finish(self) -> None:
        """Wait for what is still being looked at."""
        while self._sent:
            self._receive()

    def _receive(self) -> None:
        future, then = self._sent.popleft()
        then(future.result())

    def _start(self) -> None:
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            "from plaudit.inspection.looks import answer; answer()"
        )
        self._threads = ThreadPoolExecutor(PROCESSES)
        for _ in range(PROCESSES):
            process = subprocess.Popen(
                [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._processes.append(process)
            self._idle.append(process)

    def _ask(self, texts: list[str], flaws: bool) -> Look:
        process = self._idle.popleft()  # there are as many threads as processes
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(process.stdin, (texts, flaws))
            seen: Look = pickle.load(process.stdout)  # nosec B301 # as above
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise PlauditError(
                f"a process that looks at texts ended with status {process.wait()}: was there too "
                "little memory?"
            ) from error
        self._idle.append(process)
        return seen


def answer() -> None:
    """Be such a process: look at what comes on stdin until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it is told, and closes stdin
    with suppress(EOFError, BrokenPipeError):
        while True:
            texts, flaws = pickle.load(sys.stdin.buffer)  # nosec B301 # as above
            _send(sys.stdout.buffer, look(texts, flaws))


def _send(pipe: BinaryIO | Any, value: Any) -> None:
    pickle.dump(value, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
