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
        "scoring: 2 of 30, about 28 s left",
        "scoring: 12 of 30, about 18 s left",
        "scoring: 22 of 30, about 8 s left",
    ]


def test_a_stream_has_no_end_to_tell(clock, capsys):
    walk(iter(range(1400)), clock, 1 / 64)  # a power of two, which adds up exactly
    assert capsys.readouterr().err.splitlines() == ["scoring: 128", "scoring: 768"]


def test_the_total_may_be_given(clock, capsys):
    walk(iter(range(3)), clock, 6.0, total=3)
    # Nor is there a line at the end, where it would be too late to be of use.
    assert capsys.readouterr().err == "scoring: 1 of 3, about 12 s left\n"


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
