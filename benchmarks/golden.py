"""Every number that a user sees, recorded before a change of the house and compared after it.

    git worktree add before COMMIT
    python benchmarks/golden.py record before.json RANKED.csv PAIRS.jsonl --source before/src
    python benchmarks/golden.py record after.json RANKED.csv PAIRS.jsonl
    python benchmarks/golden.py compare before.json after.json

It walks the commands as a user does (sample, inspect, pairs, train, evaluate, cv, score, export,
serve) on the first prompts of two files and on the bundled sample, and keeps the figures, rewards
and rows that they write. Only the command line is used, so that it outlives what is behind it. The
two recordings must come from one machine: another processor rounds otherwise, and training makes
more of it. Runs and models that the first one wrote are scored by the second (`--models`).
"""

import argparse
import csv
import hashlib
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOLERANCE = 1e-6  # of a number, relative where it is above 1
# What differs from run to run, and what says where files lie.
NOT_COMPARED = {"seconds", "minutes", "started", "version", "eval_runtime"}
NOT_COMPARED |= {"eval_samples_per_second", "eval_steps_per_second"}
RANKED, PAIRS = "ranked.csv", "pairs.jsonl"  # in the folder that the commands run in
SMALL = ["--max-length", "128", "--dtype", "float32", "--seed", "3"]


class Recorder:
    """Runs commands and keeps what they give."""

    def __init__(self, folder: Path, source: str | None) -> None:
        self.folder = folder
        self.environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        if source:
            self.environment["PYTHONPATH"] = str(Path(source).resolve())
        self.found: dict[str, Any] = {}

    def run(self, *words: Any) -> str:
        """What a command prints on standard output; ends where it fails."""
        command = [sys.executable, "-m", "plaudit", *map(str, words)]
        print("plaudit", *words, flush=True)
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"exit code {done.returncode}:\n{done.stderr}")
        return done.stdout

    def keep(self, name: str, value: Any) -> None:
        """Note something under a name of its own."""
        self.found[name] = value

    def keep_rows(self, name: str, path: Path) -> None:
        """Note the rows of a JSON lines file."""
        self.keep(name, [json.loads(line) for line in path.read_text().splitlines()])


def record(options: argparse.Namespace) -> None:
    """Walk the commands and write what was found."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.models.resolve() if options.models else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        r = Recorder(folder, options.source)
        first_ranked(options.ranked, folder / RANKED, 60)
        first_lines(options.pairs, folder / PAIRS, 80)
        data_commands(r)
        model_commands(r)
        options.out.write_text(json.dumps(r.found, indent=1) + "\n")
    print(f"{options.out}: {sum(1 for _ in leaves(r.found)):,} values")


def data_commands(r: Recorder) -> None:
    """What needs no model."""
    r.run("sample", "-n", 40, "--seed", 5, "-o", "sample")
    for path in sorted((r.folder / "sample").iterdir()):
        r.keep(f"sample {path.name}", hashlib.sha256(path.read_bytes()).hexdigest())
    for name, path, other in (("ranked", RANKED, PAIRS), ("pairs", PAIRS, RANKED)):
        r.keep(f"inspect {name}", json.loads(r.run("inspect", path, "--split", other, "--json")))
    r.run("pairs", RANKED, "-o", "as_pairs.jsonl")
    r.keep_rows("pairs", r.folder / "as_pairs.jsonl")


def model_commands(r: Recorder) -> None:
    """Train, measure, use: an encoder on rankings, a decoder on pairs, a head alone over folds."""
    steps = ["--max-steps", 6, "--save-steps", 3, "--per-device-train-batch-size", 4, *SMALL]
    r.run("train", RANKED, "-o", "encoder", *steps, "--loss", "plackett-luce")
    decoder = ["--base", "embedded:smollm2", "--max-length", 96, "--dtype", "float32"]
    r.run("train", PAIRS, "-o", "decoder", *decoder, "--seed", 3, "--max-steps", 2,
          "--per-device-train-batch-size", 2, "--lora-r", 2)  # fmt: skip
    for run in ("encoder", "decoder"):
        folder = r.folder / run
        r.keep(f"{run} metrics", json.loads((folder / "metrics.json").read_text()))
        r.keep_rows(f"{run} predictions", folder / "predictions.jsonl")
        r.keep_rows(f"{run} log", folder / "log.jsonl")
        r.keep(f"{run} evaluate", json.loads(r.run("evaluate", run, PAIRS, "--json")))
        r.run("score", run, PAIRS, "-o", f"{run}_scored.jsonl")
        r.keep_rows(f"{run} scored", r.folder / f"{run}_scored.jsonl")
    r.run("cv", RANKED, "-k", 3, "-o", "folds", "--freeze-layers", -1, "--num-train-epochs", 2,
          "--features-cache", "features", *SMALL)  # fmt: skip
    r.keep_rows("cv predictions", r.folder / "folds" / "predictions.jsonl")
    r.run("export", "encoder", "--format", "onnx", "-o", "encoder.onnx")
    r.run("export", "encoder", "--format", "pt", "-o", "encoder.pt")
    r.run("score", "encoder.pt", PAIRS, "-o", "pt_scored.jsonl")
    r.keep_rows("pt scored", r.folder / "pt_scored.jsonl")
    r.keep("served", served(r))


def served(r: Recorder) -> Any:
    """The service's answer to one request."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "plaudit", "serve", "encoder", "--port", str(port)]
    process = subprocess.Popen(command, cwd=r.folder, env=r.environment, stderr=subprocess.DEVNULL)
    asked = {"prompt": "What is a bond?", "completions": ["A loan to a company.", "It depends."]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/score",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # nosec B310 # http
                    return json.load(answer)
            except OSError:
                time.sleep(0.5)
        sys.exit("the service does not answer")
    finally:
        process.kill()
        process.wait()


def first_ranked(source: Path, target: Path, prompts: int) -> None:
    """The rows of the first prompts of a ranked file."""
    with source.open(newline="") as file:
        reader = csv.DictReader(file)
        kept: dict[str, list[dict[str, str]]] = {}
        for row in reader:
            if row["prompt"] in kept or len(kept) < prompts:
                kept.setdefault(row["prompt"], []).append(row)
        with target.open("w", newline="") as out:
            writer = csv.DictWriter(out, reader.fieldnames or ())
            writer.writeheader()
            writer.writerows(row for rows in kept.values() for row in rows)


def first_lines(source: Path, target: Path, count: int) -> None:
    """The first lines of a file."""
    target.write_text("".join(source.read_text().splitlines(keepends=True)[:count]))


# ---- comparing ----


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and text in plain JSON, with its place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in NOT_COMPARED:
                yield from leaves(inner, f"{place}/{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{place}/{index}")
    else:
        yield place, value


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal; numbers within the tolerance."""
    numbers = [isinstance(x, int | float) and not isinstance(x, bool) for x in (one, other)]
    if not all(numbers):
        return one == other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one))


def compare(options: argparse.Namespace) -> None:
    """Say what differs; exit code 1 if anything does."""
    before, after = (
        dict(leaves(json.loads(path.read_text()))) for path in (options.before, options.after)
    )
    different = [
        place
        for place in [*before, *(place for place in after if place not in before)]
        if place not in before or place not in after or not same(before[place], after[place])
    ]
    for place in different[:40]:
        print(f"{place}: {before.get(place, 'absent')} → {after.get(place, 'absent')}")
    print(f"{len(before):,} values before, {len(after):,} after: {len(different):,} differ")
    sys.exit(bool(different))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    recording = commands.add_parser("record", help="walk the commands, write their figures")
    recording.add_argument("out", type=Path)
    recording.add_argument("ranked", type=Path, help="ranked answers, CSV")
    recording.add_argument("pairs", type=Path, help="pairs, JSON lines")
    recording.add_argument("--source", help="take plaudit from this folder")
    recording.add_argument("--models", type=Path, help="keep runs and models in this folder")
    recording.set_defaults(run=record)
    comparing = commands.add_parser("compare", help="say what differs between two recordings")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.set_defaults(run=compare)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
