"""The short form of `long_load.py`: a shutdown with a few requests, and a few for the memory."""

import re

from faults import long_load
from faults.long_load import Answered
from faults.rows import NOTHING


def test_requests_that_wait_at_a_shutdown_are_answered(base):
    [row] = long_load.shutdown(0, base("bert"), 5)
    assert (row.how_often, row.lost) == (5, NOTHING)
    # Where all five are answered before it is asked, the new one finds nobody there.
    refused = r"refused with (503|no connection), and the service ends with 0"
    assert re.search(f": 5 answered rightly, a new one {refused}$", row.what)


def test_memory_is_told_and_every_answer_is_looked_at(base):
    [row] = long_load.memory(0, base("bert"), 40, 20)
    assert row.how_often == 40
    assert "MiB after the first 20" in row.what
    assert row.lost == NOTHING or "MiB more" in row.lost  # so few say little of memory


def test_times_are_of_those_that_ended_so():
    found = [Answered(200, 1.0, True), Answered(200, 3.0, True), Answered(503, 9.0, False)]
    assert long_load._times(found, 200) == "2.00 s (p50), 2.98 s (p99)"
    assert long_load._times(found, 429, 503) == "9.00 s (p50), 9.00 s (p99)"
    assert long_load._times(found, 504) == "no time: there are none"
