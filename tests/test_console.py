"""Talk and progress go to stderr: lines in a log, a bar on a terminal."""

import os
import pty
import re
import subprocess
import sys
import termios

import pytest

from plaudit import console


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand: `clock[0]`, in seconds."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def walk(items, clock, seconds, **options):
    """Take a given time over every item."""
    for _ in console.progress(items, "scoring", **options):
        clock[0] += seconds


def test_talk_goes_to_stderr(capsys):
    console.say("reading")
    assert capsys.readouterr() == ("", "reading\n")


def test_what_is_quick_is_done_in_silence(clock, capsys):
    walk(range(100), clock, 0.015)
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_after_two_seconds_and_then_every_ten(clock, capsys):
    walk(range(30), clock, 1.0)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "scoring: 2 of 30, 1.0 a second, about 28 s left",
        "scoring: 12 of 30, 1.0 a second, about 18 s left",
        "scoring: 22 of 30, 1.0 a second, about 8 s left",
    ]


def test_a_stream_has_no_end_to_tell(clock, capsys):
    walk(iter(range(1400)), clock, 1 / 64)  # a power of two, which adds up exactly
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 128, 64.0 a second",
        "scoring: 768, 64.0 a second",
    ]


def test_nothing_is_counted_where_nobody_is_told(clock):
    counted = []
    with console.quieted():
        walk(iter(range(100)), clock, 1.0, total=lambda: counted.append(1))
    assert counted == []


def test_the_total_may_be_given(clock, capsys):
    walk(iter(range(3)), clock, 6.0, total=3)
    # Nor is there a line at the end, where it would be too late to be of use.
    assert capsys.readouterr().err == "scoring: 1 of 3, 6.0 s each, about 12 s left\n"


def test_what_was_done_before_counts_but_took_no_time(clock, capsys):
    walk(iter(range(20)), clock, 1.0, total=lambda: 120, done=100)
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 102 of 120, 1.0 a second, about 18 s left",
        "scoring: 112 of 120, 1.0 a second, about 8 s left",
    ]


def test_what_is_found_among_the_others_counts_but_took_no_time(clock, capsys):
    for item in console.progress([*[console.FOUND] * 100, *range(20)], "scoring"):
        clock[0] += 0.0 if item is console.FOUND else 1.0
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 102 of 120, 1.0 a second, about 18 s left",
        "scoring: 112 of 120, 1.0 a second, about 8 s left",
    ]
    for _ in console.progress(iter([console.FOUND] * 2), "scoring"):  # of a stream nothing is new
        clock[0] += 2.0
    assert capsys.readouterr().err == "scoring: 1\n"


def test_a_total_is_counted_only_where_it_is_shown(clock, capsys):
    counted = []
    walk(iter(range(10)), clock, 0.1, total=lambda: counted.append(1))
    assert counted == []
    walk(iter(range(100)), clock, 1.0, total=lambda: counted.append(1) or None)
    assert counted == [1]


def test_several_long_parts_say_how_many_are_left(clock, capsys):
    pace = console.Pace(4, "folds")
    for there, seconds in ((True, 0), (False, 90), (False, 30), (False, 5)):
        with pace.part(there):
            clock[0] += seconds
    assert capsys.readouterr().err.splitlines() == [
        "2 of 4 folds done, about 3 min 0 s left",
        "3 of 4 folds done, about 1 min 0 s left",
    ]


def test_a_first_part_that_fills_a_cache_tells_nothing_of_the_others(clock, capsys):
    pace = console.Pace(4, "runs", warms=True)
    for seconds in (300, 20, 40):
        with pace.part():
            clock[0] += seconds
    assert capsys.readouterr().err.splitlines() == [
        "1 of 4 runs done; the others find in a cache much of what it computed",
        "2 of 4 runs done, about 40 s left",
        "3 of 4 runs done, about 30 s left",
    ]


def test_quiet_silences_talk_and_progress(clock, capsys):
    with console.quieted():
        console.say("reading")
        walk(range(30), clock, 1.0)
        assert not console.interactive()
    assert capsys.readouterr() == ("", "")
    console.say("reading")
    assert capsys.readouterr().err == "reading\n"


class StreamWithoutLength:
    def __len__(self):
        raise TypeError("no length before it is read")

    def __iter__(self):
        return iter("abc")


def test_items_come_through_unchanged():
    assert list(console.progress(StreamWithoutLength(), "reading")) == ["a", "b", "c"]
    assert list(console.progress([], "reading")) == []


def test_a_terminal_gets_a_bar_and_stdout_nothing():
    program = (
        "import time\n"
        "from plaudit import console\n"
        "console.SECONDS_BEFORE_PROGRESS = 0.05\n"
        "for _ in console.progress(range(4), 'scoring'): time.sleep(0.15)\n"
    )
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    os.set_blocking(terminal, False)  # so that nothing to read is an error, not a wait
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=stderr, check=True
        )
        shown = os.read(terminal, 100_000).decode()
    finally:
        os.close(stderr)
        os.close(terminal)
    assert done.stdout == b""
    assert re.search(r"scoring:\s+\d+%.*\| [1-3]/4 \[", shown)
    assert not shown.endswith("\n")  # the bar takes itself away
