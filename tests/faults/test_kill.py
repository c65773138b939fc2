"""The short form of the kills: a few of the cheapest commands."""

import os
import subprocess
import sys

import pytest

SHORT = """
from faults.long_kill import run
for row in run(7, ["export --format pt", "evaluate --suite all"], times=3):
    print(row.what, "|", row.how_often, "|", row.lost)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks after torch was imported, reads /proc")
def test_kills_of_the_cheapest_commands_lose_nothing():
    """In a process of its own, which forks: one that has computed in threads must not."""
    path = os.pathsep.join([*sys.path, os.path.dirname(os.path.dirname(__file__))])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SHORT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert [line.split(" | ")[1:] for line in lines] == [["3", "nothing"]] * 2, done.stdout
