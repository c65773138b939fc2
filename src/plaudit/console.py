"""What plaudit says while it works: talk and progress, all of it on stderr.

Results go to stdout or to files, so that a pipe sees nothing but results. On a terminal progress is
a bar; without one (a log file, CI) it is a plain line now and then.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")

SECONDS_BEFORE_PROGRESS = 2.0  # what is done by then needs none
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_MOVES = 0.1  # of a bar
FOUND: Any = object()  # an item of `progress` that was there already
QUIET = "PLAUDIT_QUIET"  # a variable of the environment, which processes that are started have too


_within: list[str] = []  # what we are in the middle of, outermost first
_hushed: list[bool] = []  # not empty while there is to be no talk: whether the work is kept
# What an interruption would leave to go on with: its path, and what is kept there, outermost first.
_on_interrupt: dict[str, Callable[[], str | None]] = {}
_kept_anyway: list[str] = []  # what an interruption leaves though nothing can be gone on with
_interruptions: list[KeyboardInterrupt] = []
_held: list[bool] = []  # not empty while an interruption waits for what is under way


def say(message: str) -> None:
    """Print one line of talk to stderr."""
    if not _hushed:
        show(message)


def show(message: str) -> None:
    """Print one line of progress to stderr, hushed or not, but not where all is to be quiet."""
    raise_interruption()
    if not _quiet():
        # One write, so that an interruption never comes between a line and its end.
        print(": ".join([*_within, message]) + "\n", end="", file=sys.stderr, flush=True)


def _quiet() -> bool:
    return bool(os.environ.get(QUIET))


@contextmanager
def quieted() -> Iterator[None]:
    """Within the block there is neither talk nor progress, in this process and those it starts."""
    before = os.environ.get(QUIET)
    os.environ[QUIET] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[QUIET]
        else:
            os.environ[QUIET] = before


@contextmanager
def hushed(kept: bool = True) -> Iterator[None]:
    """Within the block there is no talk, only progress: all has been said about another one.

    Where nothing is `kept` of what is done there, nothing is finished for an interruption, either.
    """
    _hushed.append(kept)
    try:
        yield
    finally:
        _hushed.pop()


def on_interrupt(path: str | os.PathLike[str], kept: Callable[[], str | None]) -> None:
    """Note that `path` can be gone on with from now on, and how to say what of it is kept: None
    once it is whole."""
    _on_interrupt.setdefault(str(path), kept)


def what_is_kept() -> tuple[str, str] | None:
    """Of what was begun and is not whole the outermost: its path, and what of it is kept."""
    for path, what in _on_interrupt.items():
        if (said := what()) is not None:
            return path, said
    return None


def keeps(what: str) -> None:
    """Note what stays of a command that can only be begun again, and makes that faster."""
    if what not in _kept_anyway:
        _kept_anyway.append(what)


def kept_anyway() -> str:
    """What was noted by `keeps`, to end a line with."""
    return "".join(f"; {what}" for what in _kept_anyway)


def reset() -> None:
    """Begin anew to note what is begun, and that it is interrupted."""
    _on_interrupt.clear()
    _kept_anyway.clear()
    forget_interruptions()


def note_interruption(error: KeyboardInterrupt) -> None:
    """Note an interruption that is raised now, should whoever is running then lose it."""
    _interruptions.append(error)


def forget_interruptions() -> None:
    """What was noted has ended a command; whoever called it goes on with something else."""
    _interruptions.clear()
    _held.clear()


def hold_interruptions() -> None:
    """From now on a first interruption is noted and not raised: what is under way is finished."""
    if all(_hushed) and not _held:
        _held.append(True)


def release_interruptions() -> None:
    """From now on interruptions are raised again; one that was held is at the next step."""
    _held.clear()


def interruptions_are_held() -> bool:
    """Whether a first interruption would be noted, and not raised."""
    return bool(_held)


def is_interrupted() -> bool:
    """Whether an interruption was noted."""
    return bool(_interruptions)


def raise_interruption() -> None:
    """Raise an interruption that was lost; whoever works long calls this at every step.

    While one is on its way it is not raised again: what is tidied up then is to come to its end.
    """
    main = threading.current_thread() is threading.main_thread()
    if not _interruptions or _held:
        return
    if main and not isinstance(sys.exc_info()[1], KeyboardInterrupt):
        raise _interruptions[-1]


@contextmanager
def within(what: str) -> Iterator[None]:
    """Within the block all talk begins with what it is about: one of many alike.

    >>> with within("fold 2 of 5"):
    ...     say("step 10 of 60")  # fold 2 of 5: step 10 of 60
    """
    _within.append(what)
    try:
        yield
    finally:
        _within.pop()


def interactive() -> bool:
    """Whether somebody watches stderr on a terminal, and wants to."""
    return sys.stderr.isatty() and not _quiet()


def progress(
    items: Iterable[T],
    what: str,
    total: int | Callable[[], int | None] | None = None,
    done: int = 0,
) -> Iterator[T]:
    """Yield from `items` and show how far along we are, once it takes longer than two seconds.

    `total` may be a function, for what takes time to count: it is called when it is to be shown.
    `done` of them were done before, and are not among the items. Items that are `FOUND` count as
    done, too, and tell nothing of how fast the others are.

    >>> list(progress([1, 2, 3], "counting"))
    [1, 2, 3]
    """
    if total is None and isinstance(items, Sized):
        with suppress(TypeError):  # a stream has the method, but no length
            total = done + len(items)
    bar: Any = None
    started = time.monotonic()
    next_time = started + SECONDS_BEFORE_PROGRESS
    begun = done
    try:
        for item in items:
            yield item
            raise_interruption()
            done += 1
            if item is FOUND:
                begun += 1
                if bar is not None:  # which takes its speed from what is new since it was drawn
                    bar.n, bar.last_print_n, bar.initial = bar.n + 1, bar.last_print_n + 1, begun
            now = time.monotonic()
            if now < next_time or done == total or _quiet():
                continue
            if callable(total):
                total, now = total(), time.monotonic()
            if interactive():
                if bar is None:
                    bar = _bar(what, total, begun, started)
                bar.update(done - bar.n)
                next_time = now + SECONDS_BETWEEN_MOVES
            else:
                show(f"{what}: {_how_far(done, begun, total, now - started)}")
                next_time = now + SECONDS_BETWEEN_LINES
    finally:
        if bar is not None:
            bar.close()


class Pace:
    """Says after each of several long parts, such as folds, how many are left and for how long.

    A part that was there already, of a resumed run, took no time and tells nothing. Where the first
    one fills a cache that the others read (`warms`), it tells nothing of them either, and nothing
    is said of the time that is left until one of the others is done.
    """

    def __init__(self, total: int | None, what: str, warms: bool = False) -> None:
        self.total = total
        self.what = what
        self.warms = warms
        self.done = self.made = 0
        self.seconds = 0.0

    @contextmanager
    def part(self, there: bool = False) -> Iterator[None]:
        """Within the block a part is made, unless it is `there`."""
        started = time.monotonic()
        yield
        self.done += 1
        if there or self.total is None or self.done >= self.total:
            return
        far = f"{self.done:,} of {self.total:,} {self.what} done"
        if self.warms:
            self.warms = False
            show(f"{far}; the others find in a cache much of what it computed")
            return
        self.made += 1
        self.seconds += time.monotonic() - started
        left = self.seconds / self.made * (self.total - self.done)
        show(f"{far}, about {duration(left)} left")


def _bar(what: str, total: int | None, begun: int, started: float) -> Any:
    """A bar that has counted from when the work began."""
    from tqdm import tqdm

    name = ": ".join([*_within, what])
    bar = tqdm(desc=name, total=total, initial=begun, leave=False, file=sys.stderr)
    bar.start_t -= time.monotonic() - started
    return bar


def _how_far(done: int, begun: int, total: int | None, seconds: float) -> str:
    """How much is done, how fast and, of what has an end, for how much longer.

    >>> _how_far(120, 20, 1020, 50.0)
    '120 of 1,020, 2.0 a second, about 7 min 30 s left'
    """
    far = f"{done:,} of {total:,}" if total else f"{done:,}"
    if done == begun:
        return far
    if total and done - begun < (total - begun) / 20:
        return far  # the first batch's time would stand for one item
    far += f", {rate(done - begun, seconds)}"
    if not total:
        return far
    return far + f", about {duration(seconds / (done - begun) * max(total - done, 0))} left"


def rate(count: int, seconds: float) -> str:
    """How fast something goes.

    >>> rate(30, 10.0), rate(5000, 2.0), rate(2, 10.0)
    ('3.0 a second', '2,500 a second', '5.0 s each')
    """
    if count < seconds:
        each = seconds / count
        return f"{duration(each)} each" if each >= 100 else f"{each:.1f} s each"
    speed = count / max(seconds, 1e-9)
    return f"{speed:,.0f} a second" if speed >= 100 else f"{speed:.1f} a second"


def duration(seconds: float) -> str:
    """A time in units that suit it.

    >>> duration(12.4), duration(125), duration(7300)
    ('12 s', '2 min 5 s', '2 h 1 min')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def counted(count: int, what: str) -> str:
    """A count of something, in the singular or the plural.

    >>> counted(2, "category"), counted(2, "key"), counted(1200, "pair")
    ('2 categories', '2 keys', '1,200 pairs')
    """
    of_consonant = what.endswith("y") and what[-2:-1] not in "aeiou"
    plural = what[:-1] + "ies" if of_consonant else what + "s"
    return f"{count:,} {what if count == 1 else plural}"
