"""Every ratio of plaudit's goals in one table, with the share of the machine's own limit.

Case by case plaudit trains (one optimiser step over the rankings of a round) and scores by its
default settings, the type it computes in included. In turn with it, round by round and on the same
rankings, each of these has its go:

- the two bounds of `bounds.py`: the matrix products alone, and with them the memory traffic;
- plaudit at an earlier revision, its own code in a process of its own;
- TRL's `RewardTrainer`, with its defaults and tuned (`contenders.Trl` says how);
- transformers' pipeline in the type and with the batch size that are fastest of those tried;
- for int8, plaudit's own scoring in float32.

A ratio is of times in the same round: so many times faster is plaudit. Its spread is that over
rounds, which are few by default; the first one is not timed. Every process has its own peak memory,
and what runs out of memory gets a row that says so. `--json` has everything measured, written after
every row.

    python benchmarks/limits.py RANKED.csv [--case ranked-decoder] [--part train] [--json FILE]
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from statistics import median
from typing import Any

import score_speed
import train_speed
from bounds import Bound, Bounds
from contenders import (
    BASES,
    DTYPES,
    Case,
    OutOfMemoryError,
    Racer,
    Remote,
    RemoteError,
    arguments,
    described,
    machine,
    make_case,
    quiet_libraries,
    show,
    spread,
)

HERE = Path(__file__).parent
PARTS = {  # by work, in the order of the contests
    "bound": {"train": ["bound"], "score": ["bound"]},
    "revision": {"train": ["revision"], "score": ["revision"]},
    "train": {"train": ["trl tuned", "trl default"]},
    "score": {"score": ["pipeline", "int8"]},
}

# What is aimed at: times TRL with its defaults and tuned, times the pipeline, int8 times float32,
# and the share of the matrix products where bfloat16 is at most three times as fast as float32, and
# where it is faster.
TRL_GOALS = {
    "ranked-encoder": {"trl default": 25.0, "trl tuned": 12.0},
    "ranked-decoder": {"trl default": 40.0, "trl tuned": 15.0},
    "prefix-pairs": {"trl default": 8.0, "trl tuned": 3.0},
    "ranked-deberta": {"trl default": 20.0, "trl tuned": 8.0},
}
PIPELINE_GOALS = {"ranked-decoder": 6.0, "ranked-encoder": 3.0}
INT8_GOAL = 3.0
SHARE_GOALS = {"train": (0.60, 0.35), "score": (0.70, 0.45)}


# ---- what is said ----


@dataclass
class Row:
    """What the rounds against one opponent say."""

    work: str  # train or score
    case: str
    opponent: str
    dtype: str = ""  # that plaudit computed in
    seconds: list[float] = field(default_factory=list)  # plaudit's, of each round
    other_seconds: list[float] = field(default_factory=list)  # the opponent's, or the bound's
    bounds: list[Bound] = field(default_factory=list)  # of a bound, whose ratio is a share
    tried: dict[str, float | str] = field(default_factory=dict)  # what the opponent is the best of
    goal: float | None = None
    peak_gib: float | None = None
    other_peak_gib: float | None = None
    note: str = ""
    failed: bool = False  # for another reason than memory

    @property
    def ratios(self) -> list[float]:
        """How many times longer the opponent took."""
        return [other / own for own, other in zip(self.seconds, self.other_seconds, strict=True)]

    def cells(self) -> tuple[str, ...]:
        """The row as it is shown."""
        unit = "" if self.bounds else " ×"
        ratio = met = goal = ""
        if self.seconds:
            ratio = "{median:.2f}{unit} ({min:.2f}–{max:.2f})".format(
                unit=unit, **spread(self.ratios)
            )
        if self.goal is not None:
            goal = f"{self.goal:g}{unit}"
        if self.goal is not None and self.seconds:
            met = "missed" if median(self.ratios) < self.goal else "met"
            met += "?" if min(self.ratios) < self.goal <= max(self.ratios) else ""
        return (
            f"{self.work} {self.case} {self.dtype}".rstrip(),
            self.opponent,
            ratio,
            str(len(self.seconds)),
            goal,
            met,
            *(f"{gib:.2f}" if gib else "" for gib in (self.peak_gib, self.other_peak_gib)),
            self.note,
        )


class Table:
    """The rows so far, on the terminal and in the file."""

    def __init__(self, about: dict[str, Any], path: str | None) -> None:
        self.about, self.path = about, path
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Print a row and write the file anew."""
        self.rows.append(row)
        print("  ".join(filter(None, row.cells())), flush=True)
        if self.path:
            rows = [
                asdict(row) | {"ratio": spread(row.ratios) if row.seconds else None}
                for row in self.rows
            ]
            text = json.dumps({"machine": self.about, "rows": rows}, indent=2)
            Path(self.path).write_text(text + "\n")

    def show(self) -> None:
        """All in one."""
        print("\n" + described(self.about))
        headers = ("", "against", "times faster, or share", "rounds", "goal", "", "peak GiB", "its")
        show((*headers, ""), [row.cells() for row in self.rows], left=(0, 1, 5, 8))
        print("met and missed: by the median; ? where the goal lies within the rounds' spread")


# ---- an earlier revision ----


class Elsewhere(Remote):
    """plaudit at another revision, in the process of `earlier.py`."""

    def __init__(self, files: Path, threads: int | None, work: str, start: str, dtype: str) -> None:
        self.pipe, theirs = Pipe()
        given = (files, theirs.fileno(), threads or 0, work, start, dtype)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "earlier.py"), *map(str, given)],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._receive()

    def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        """See `Remote`; rankings go as tuples of what every revision knows."""
        if method == "run":
            rankings, folder = args
            args = ([(r.prompt, r.completions, r.ranks) for r in rankings], folder)
        return super().__call__(method, *args, **options)

    def _wait(self) -> int:
        return self.process.wait()


def files_of(revision: str, folder: Path) -> Path:
    """Write `src` and `benchmarks` of a revision to a new folder."""
    command = ["git", "archive", revision, "src", "benchmarks"]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True)
    if done.returncode:
        raise SystemExit(f"--against-revision {revision}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


# ---- contests ----


class Budget:
    """The time that is left, in equal shares for the contests that are left."""

    def __init__(self, minutes: float, contests: int) -> None:
        self.end = time.monotonic() + 60 * minutes
        self.contests = contests

    def until(self) -> float:
        """When the contest that begins now is to end."""
        now = time.monotonic()
        share = (self.end - now) / self.contests
        self.contests -= 1
        return now + share


def in_turn(
    ours: Callable[[Any], Any], theirs: Callable[[Any], Any], rounds: Sequence[Any], until: float
) -> Iterator[tuple[Any, Any]]:
    """What both make of each round, one beginning and then the other.

    There is one round at least, and no further one that would not be over by `until`.
    """
    for number, given in enumerate(rounds):
        started = time.monotonic()
        if number % 2:
            other = theirs(given)
            own = ours(given)
        else:
            own = ours(given)
            other = theirs(given)
        yield own, other
        now = time.monotonic()
        if now + (now - started) > until:
            return


@dataclass(frozen=True)
class Contests:
    """What plaudit is raced against in one case, at training or at scoring."""

    work: str
    name: str
    case: Case
    folder: Path
    options: argparse.Namespace
    earlier: Path | None  # the files of the earlier revision

    def run(self, opponents: Sequence[str], table: Table, budget: Budget) -> None:
        """Add a row for each opponent, and two for the bounds.

        An opponent that runs out of memory, or fails, has a row that says so.
        """
        ours: Racer | None = None
        for opponent in opponents:
            until = budget.until()
            row = Row(self.work, self.name, opponent)
            try:
                if ours is None or ours.ended:
                    ours = self.start_plaudit()
                row.dtype = ours.ask("chosen_dtype")
                self.fill(row, ours, until)
            except OutOfMemoryError as error:
                row.note = str(error)
            except RemoteError as error:
                print(error, file=sys.stderr)
                row.note = "failed: " + str(error).strip().splitlines()[-1]
                row.failed = "refused: in int8" not in row.note  # which is an answer
            table.add(row)
            if row.bounds:
                table.add(with_memory(row))
        if ours is not None and not ours.ended:
            ours.stop()

    def fill(self, row: Row, ours: Racer, until: float) -> None:
        """Race against the opponent of the row. Raises `OutOfMemoryError` and `RemoteError`."""
        threads, rounds = self.options.threads, self.case.rounds
        if row.opponent == "bound":
            self.bound(row, ours, until)
            return
        if row.opponent == "revision":
            row.goal = 1.0
            theirs = self.start_earlier()
        elif row.opponent == "int8":
            row.goal, row.dtype = INT8_GOAL, "int8"
            ours = score_speed.start_int8(self.case, self.folder, threads)
            theirs = score_speed.start_plaudit(
                self.case, self.folder, "float32", threads, "plaudit in float32"
            )
        elif row.opponent == "pipeline":
            row.goal = PIPELINE_GOALS[self.name]
            theirs = score_speed.best_pipeline(
                self.case, self.folder, threads, *self.choices(row, score_speed.BATCH_SIZES)
            )
        else:
            row.goal = TRL_GOALS.get(self.name, {}).get(row.opponent)
            share = self.options.trl_rankings / self.options.rankings
            rounds = [some[: max(round(share * len(some)), 1)] for some in rounds]
            sizes = [int(size) for size in self.options.trl_batch_sizes.split(",")]
            theirs = train_speed.start_trl(
                row.opponent,
                self.case,
                self.folder,
                rounds[0],
                threads,
                *self.choices(row, sizes),
            )
        row.opponent = theirs.name
        for own, other in in_turn(ours.run, theirs.run, rounds[1:], until):
            row.seconds.append(own)
            row.other_seconds.append(other)
        row.peak_gib, row.other_peak_gib = ours.ask("peak_memory"), theirs.ask("peak_memory")
        row.tried = theirs.tried
        if "trl tuned" in row.opponent and round(row.peak_gib - row.other_peak_gib, 2) > 0:
            row.note = "more memory than TRL's"
        theirs.stop()
        if row.dtype == "int8":
            ours.stop()

    def choices(self, row: Row, sizes: Sequence[int]) -> tuple[Sequence[str], Sequence[int]]:
        """The types and batch sizes that an opponent may try: one of each with `--quick`."""
        return ([row.dtype], sizes[:1]) if self.options.quick else (DTYPES, sizes)

    def bound(self, row: Row, ours: Racer, until: float) -> None:
        """Measure the step beside its bounds, and how fast the products are in either type."""
        training = self.work == "train"
        remote = Remote(self.options.threads, Bounds, self.case)
        first, *rounds = self.case.rounds
        full, half = (remote("measure", first, dtype, training).products for dtype in DTYPES)
        row.goal = SHARE_GOALS[self.work][full / half > 3]
        row.opponent = "bound: matrix products"
        measure = partial(remote, "measure", dtype=row.dtype, training=training)
        for own, bound in in_turn(ours.run, measure, rounds, until):
            row.seconds.append(own)
            row.bounds.append(bound)
        row.other_seconds = [bound.products for bound in row.bounds]
        row.peak_gib = ours.ask("peak_memory")
        speed = median(bound.operations / bound.products for bound in row.bounds)
        row.note = f"{speed / 1e9:,.0f} GFLOP/s; bfloat16 {full / half:.1f} × float32"
        remote.stop()

    def start_plaudit(self) -> Racer:
        """plaudit by its default settings, warm."""
        start = train_speed.start_plaudit if self.work == "train" else score_speed.start_plaudit
        return start(self.case, self.folder, self.options.dtype, self.options.threads)

    def start_earlier(self) -> Racer:
        """plaudit as it was, warm."""
        name = f"plaudit at {self.options.against_revision}"
        given = (self.earlier, self.options.threads, self.work, self.case.start)
        start = partial(Elsewhere, *given, self.options.dtype)
        racer = Racer(name, self.folder / name, self.case.rounds[0], start)
        racer.name += f", {racer.ask('chosen_dtype')}"
        return racer


def with_memory(row: Row) -> Row:
    """The row of the products' bound with the memory traffic added to it."""
    bandwidth = median(bound.traffic / bound.memory for bound in row.bounds)
    traffic = median(bound.traffic for bound in row.bounds)
    return replace(
        row,
        opponent="bound: products and memory traffic",
        other_seconds=[bound.products + bound.memory for bound in row.bounds],
        goal=None,
        note=f"{traffic / 1e9:.2f} GB at {bandwidth / 1e9:.0f} GB/s",
    )


def planned(options: argparse.Namespace) -> list[tuple[str, str, list[str]]]:
    """Work, case and opponents, as the options choose them."""
    plan = []
    for work, cases in (("train", list(BASES)), ("score", list(score_speed.CASES))):
        opponents = [o for part in options.part or PARTS for o in PARTS[part].get(work, [])]
        for name in cases:
            # Goals in int8 are an encoder's.
            chosen = [o for o in opponents if o != "int8" or name == "ranked-encoder"]
            if chosen and name in (options.case or cases):
                plan.append((work, name, chosen))
    return plan


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], list(BASES))
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated; all")
    parser.add_argument("--against-revision", default="2ef8e09", metavar="REVISION")
    parser.add_argument("--trl-rankings", type=int, default=1, help="of a round against TRL")
    parser.add_argument("--trl-batch-sizes", default="2,4,8,16", help="pairs, tried by `trl tuned`")
    parser.add_argument("--scored-rankings", type=int, default=8, help="of a round of scoring")
    parser.add_argument(
        "--minutes",
        type=float,
        default=30.0,
        help="that it may take: fewer rounds where they are long, and one of each at least",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one small round, and nothing tried beforehand"
    )
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.rankings, options.scored_rankings = 1, 1, 2
    quiet_libraries()
    table = Table(machine(options.dtype, options.threads), options.json)
    print(described(table.about), flush=True)
    plan = planned(options)
    budget = Budget(options.minutes, sum(len(opponents) for _, _, opponents in plan))
    with tempfile.TemporaryDirectory() as checkout:
        earlier = None
        if any("revision" in opponents for _, _, opponents in plan):
            earlier = files_of(options.against_revision, Path(checkout))
        for work, name, opponents in plan:
            print(f"\n{work} {name}", flush=True)
            with tempfile.TemporaryDirectory() as place:
                folder, scoring = Path(place), work == "score"
                case = make_case(
                    name,
                    options.data,
                    folder,
                    options.scored_rankings if scoring else options.rankings,
                    options.repeats + 1,
                    options.seed,
                    whole=scoring,
                    base=options.base,
                    **(score_speed.CASES[name] if scoring else {}),
                )
                contests = Contests(work, name, case, folder, options, earlier)
                contests.run(opponents, table, budget)
    table.show()
    if failed := [row.opponent for row in table.rows if row.failed]:
        raise SystemExit(f"failed, as the rows say: {', '.join(failed)}")


if __name__ == "__main__":
    main()
