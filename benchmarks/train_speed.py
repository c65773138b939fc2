"""Whole optimiser steps of plaudit and of TRL: how fast, how much memory, how exact.

From tokens in memory to updated weights, collation included. plaudit and a contender train in turn
on the same rankings from the same model, round by round, then plaudit and the next contender; TRL
trains on all pairs that the rankings make, in as many of its steps as that takes. Every round has
other rankings, and the first one is not counted: there the tuned TRL tries its batch sizes.

    python benchmarks/train_speed.py RANKED.csv [--case ranked-decoder] [--json FILE]
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from contenders import (
    BASES,
    Case,
    Plaudit,
    Reference,
    Remote,
    RemoteError,
    Trl,
    arguments,
    make_case,
    quiet_libraries,
    run_cases,
    show,
    spread,
)

from plaudit import Ranking

PEERS = ("plaudit padded", "trl tuned", "trl default")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], list(BASES))
    parser.add_argument(
        "--contender",
        action="append",
        choices=PEERS,
        help="plaudit against this one only; may be repeated",
    )
    parser.add_argument("--trl-batch-sizes", default="4,8,16", help="pairs, tried by `trl tuned`")
    options = parser.parse_args()
    quiet_libraries()
    print("`trl default` computes under bfloat16 autocast, as its defaults say, whatever the dtype")
    run_cases(race, BASES, options)


def race(name: str, folder: Path, dtype: str, options: Any) -> dict[str, Any]:
    case = make_case(
        name, options.data, folder, options.rankings, options.repeats + 1, options.seed
    )
    tokens = [case.unique_tokens(rankings) for rankings in case.rounds]
    per_step = len(case.rounds[0])
    print(f"\n{name}: {per_step} rankings a step, {median(tokens[1:]):,.0f} unique tokens")

    reference = Remote(options.threads, Reference, case)
    reference("save", folder / "reference.pt")
    reference.stop()
    sizes = [int(size) for size in options.trl_batch_sizes.split(",")]
    plaudit = Racer(case, folder / "plaudit", options.threads, Plaudit, dtype=dtype)
    ours: list[float] = []
    rows = {"plaudit": {}}
    for contender in options.contender or PEERS:
        # Two at a time, since all together would not fit into the memory of a small machine.
        peer = warmed_up(contender, case, dtype, folder, sizes, options.threads)
        duel = []
        for rankings in case.rounds[1:]:
            duel.append((plaudit.run(rankings), peer.run(rankings)))
            print(f"  plaudit {duel[-1][0]:.2f} s, {contender} {duel[-1][1]:.2f} s")
        ours += [mine for mine, _ in duel]
        rows[contender] = peer.report([theirs for _, theirs in duel], per_step, tokens[1:])
        rows[contender] |= {"plaudit_is_times_faster": spread([t / m for m, t in duel])}
        rows[contender] |= peer.compared(folder / "reference.pt")
    rows["plaudit"] = plaudit.report(ours, per_step, tokens[1:])
    rows["plaudit"] |= plaudit.compared(folder / "reference.pt")
    print_table(rows)
    return {"rankings_per_step": per_step, "unique_tokens": tokens[1:], "contenders": rows}


class Racer:
    """A contender in its process, after its first, untimed training."""

    def __init__(self, case: Case, folder: Path, threads: int | None, make: Any, **options: Any):
        self.folder = folder
        folder.mkdir()
        self.batch_size = options.get("batch_size")
        self.tried: dict[int, float | str] = {}
        self.remote = Remote(threads, make, case, **options)
        self.steps = self.remote("prepare", case.rounds[0], folder)
        self.memory_before = self.remote("peak_memory")
        self.first_seconds = self.remote("train")

    def run(self, rankings: Sequence[Ranking]) -> float:
        """Seconds of training on these rankings."""
        self.remote("prepare", rankings, self.folder)
        return self.remote("train")

    def report(self, seconds: list[float], per_step: int, tokens: list[int]) -> dict[str, Any]:
        """What the timed rounds say, every round of `tokens` having been run as often."""
        rounds = zip(seconds, itertools.cycle(tokens), strict=False)
        return {
            "seconds": seconds,
            "optimiser_steps": self.steps,
            "rankings_per_second": median(per_step / s for s in seconds),
            "unique_tokens_per_second": median(t / s for s, t in rounds),
            "peak_memory_gib": self.remote("peak_memory"),
            "memory_before_first_step_gib": self.memory_before,
            "first_train_seconds": self.first_seconds,
            "batch_size": self.batch_size,
            "batch_sizes_tried": self.tried,
        }

    def compared(self, reference: Path) -> dict[str, float]:
        """How exact it is; then it ends."""
        check = self.folder / "compared"
        check.mkdir()
        rewards, gradients = self.remote("compare", reference, check)
        self.remote.stop()
        return {
            "relative_difference_of_rewards": rewards,
            "relative_difference_of_gradients": gradients,
        }


def warmed_up(
    contender: str, case: Case, dtype: str, folder: Path, sizes: list[int], threads: int | None
) -> Racer:
    """The contender after the first round; of the tuned TRL the one with the best batch size."""
    place = folder / contender
    if contender == "plaudit padded":
        racer = Racer(case, place, threads, Plaudit, dtype=dtype, layout="padded")
    elif contender == "trl default":
        racer = Racer(case, place, threads, Trl, batch_size=8)
    else:
        racer = best_batch_size(case, place, dtype, sizes, threads)
    size = f", batches of {racer.batch_size} pairs" if racer.batch_size else ""
    print(f"  {contender}: the first, untimed time took {racer.first_seconds:.2f} s{size}")
    return racer


def best_batch_size(
    case: Case, folder: Path, dtype: str, sizes: list[int], threads: int | None
) -> Racer:
    """One process for each size, so that what was tried leaves no trace in the memory."""
    best: Racer | None = None
    tried: dict[int, float | str] = {}
    bf16 = dtype == "bfloat16"
    for size in sizes:
        place = folder.with_name(f"{folder.name} {size}")
        try:
            racer = Racer(case, place, threads, Trl, batch_size=size, tuned=True, bf16=bf16)
        except RemoteError as error:
            if not error.out_of_memory:
                raise
            tried[size] = "does not fit into memory"
        else:
            tried[size] = racer.first_seconds
            slower = racer
            if best is None or racer.first_seconds < best.first_seconds:
                slower, best = best, racer
            if slower is not None:
                slower.remote.stop()
        taken = f"{tried[size]:.2f} s" if isinstance(tried[size], float) else tried[size]
        print(f"  trl tuned, batches of {size} pairs: {taken}", flush=True)
    if best is None:
        raise SystemExit("trl tuned: no batch size fits into memory; give smaller ones")
    best.tried = tried
    return best


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    headers = ("", "rankings/s", "unique tokens/s", "peak GiB (before)", "plaudit is faster by")
    lines = []
    for contender, row in rows.items():
        ratio = row.get("plaudit_is_times_faster")
        lines.append(
            (
                contender,
                f"{row['rankings_per_second']:.3f}",
                f"{row['unique_tokens_per_second']:,.0f}",
                f"{row['peak_memory_gib']:.2f} ({row['memory_before_first_step_gib']:.2f})",
                f"{ratio['median']:.2f} × ({ratio['min']:.2f}–{ratio['max']:.2f})" if ratio else "",
                f"{row['relative_difference_of_rewards']:.0e}",
                f"{row['relative_difference_of_gradients']:.0e}",
            )
        )
    show((*headers, "Δ rewards", "Δ gradients"), lines)


if __name__ == "__main__":
    main()
