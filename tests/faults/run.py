"""Run the long form of the faults and print the table of `docs/reliability.md`.

`python tests/faults/run.py [NAME ...] [--seed N] [-o FILE]` runs all modules `long_*.py` beside
this file, or the named ones (`kill` is `long_kill.py`), each in a process of its own. A module
defines `run(seed) -> list[Row]`, where a row says what was done, how often and what was lost. Above
the table stands what it was made by. The exit status is 1 where anything was lost.
"""

import argparse
import importlib
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from faults.rows import NOTHING, Row

NAMED = ("plaudit", "torch", "transformers", "trl", "ray", "pyarrow")
PREFIX = "long_"


def main() -> int:
    """Run what the command line names, print its table, and return the exit status."""
    here = Path(__file__).parent
    names = sorted(file.stem.removeprefix(PREFIX) for file in here.glob(f"{PREFIX}*.py"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; else all")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments and places")
    parser.add_argument("-o", "--output", type=Path, help="a file for the table, too")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen = asked.names or names
    command = " ".join(["python tests/faults/run.py", *asked.names, "--seed", str(asked.seed)])
    rows: list[Row] = []
    for name in chosen:
        print(f"{name}, seed {asked.seed}", file=sys.stderr, flush=True)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            done = process.submit(run, name, asked.seed).result()
        print(*lines(done)[2:], sep="\n", file=sys.stderr, flush=True)  # all of them take hours
        rows += done
    table = "\n".join(["", made_by(command), "", *lines(rows), ""])
    print(table)
    if asked.output is not None:
        asked.output.write_text(table)
    return int(any(row.lost != NOTHING for row in rows))


def run(name: str, seed: int) -> list[Row]:
    """The rows of one module, in the process that calls it."""
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
    return list(importlib.import_module(f"faults.{PREFIX}{name}").run(seed))


def made_by(command: str) -> str:
    """What the table was made by and on."""
    versions = ", ".join(f"{name} {version(name)}" for name in NAMED)
    on = f"{processor()}, {os.cpu_count()} threads, {platform.system()} {platform.release()}"
    return f"Made by `{command}` on {on}, Python {platform.python_version()}, {versions}."


def processor() -> str:
    """The processor's name, as Linux has it."""
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1] for line in about.splitlines() if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def lines(rows: list[Row]) -> list[str]:
    """The table in Markdown."""
    cells = [[row.what, f"{row.how_often:,}", row.lost] for row in rows]
    said = [
        "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in each) + " |"
        for each in cells
    ]
    return ["| what was done | times | lost |", "| --- | ---: | --- |", *said]


if __name__ == "__main__":
    sys.exit(main())
