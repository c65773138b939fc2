"""The table of faults: what was lost is in it, and in the exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

from faults import run
from faults.rows import NOTHING, Row


def test_a_table_has_a_line_a_row():
    rows = [Row("a | b", 10_000), Row("killed", 2, "one of 12 rows")]
    assert run.lines(rows)[2:] == [
        f"| a \\| b | 10,000 | {NOTHING} |",
        "| killed | 2 | one of 12 rows |",
    ]


@pytest.mark.parametrize(("lost", "code"), [(NOTHING, 0), ("a row", 1)])
def test_what_is_lost_is_the_exit_status(tmp_path, lost, code):
    here = Path(run.__file__).parent
    for name in ("rows.py", "run.py"):
        (tmp_path / "faults").mkdir(exist_ok=True)
        (tmp_path / "faults" / name).write_bytes((here / name).read_bytes())
    (tmp_path / "faults" / "long_small.py").write_text(
        "from faults.rows import Row\n"
        f"def run(seed):\n    return [Row('drawn with %d' % seed, 3, {lost!r})]\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "faults" / "run.py", "small", "--seed", "5", "-o", "table.md"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert f"| drawn with 5 | 3 | {lost} |" in (tmp_path / "table.md").read_text()
    assert "run.py small --seed 5` on" in done.stdout
