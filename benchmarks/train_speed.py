"""Whole optimiser steps of plaudit and of TRL: how fast, how much memory, how exact.

From tokens in memory to updated weights, collation included. plaudit and a contender train in turn
on the same rankings from the same model, round by round, then plaudit and the next contender; TRL
trains on all pairs that the rankings make, in as many of its steps as that takes. Every round has
other rankings, and the first one is not counted: there the tuned TRL tries float32, bfloat16 and
its batch sizes. What runs out of memory gets a row that says so.

    python benchmarks/train_speed.py RANKED.csv [--case ranked-decoder] [--json FILE]
"""

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from contenders import (
    BASES,
    DTYPES,
    Case,
    OutOfMemoryError,
    Plaudit,
    Racer,
    Reference,
    Remote,
    Trl,
    arguments,
    fastest,
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
    parser.add_argument("--trl-batch-sizes", default="2,4,8,16", help="pairs, tried by `trl tuned`")
    options = parser.parse_args()
    quiet_libraries()
    print("`trl default` computes under bfloat16 autocast, as its defaults say, whatever the dtype")
    run_cases(race, BASES, options)


def race(name: str, folder: Path, options: Any) -> dict[str, Any]:
    case = make_case(
        name,
        options.data,
        folder,
        options.rankings,
        options.repeats + 1,
        options.seed,
        base=options.base,
    )
    tokens = [case.unique_tokens(rankings) for rankings in case.rounds]
    per_step = len(case.rounds[0])
    print(f"\n{name}: {per_step} rankings a step, {median(tokens[1:]):,.0f} unique tokens")

    reference = Remote(options.threads, Reference, case)
    reference("save", folder / "reference.pt")
    reference.stop()
    sizes = [int(size) for size in options.trl_batch_sizes.split(",")]
    plaudit = start_plaudit(case, folder, options.dtype, options.threads)
    ours: list[float] = []
    rows: dict[str, dict[str, Any]] = {"plaudit": {}}
    for contender in options.contender or PEERS:
        # Two at a time, since all together would not fit into the memory of a small machine.
        duel = []
        try:
            if contender == "plaudit padded":
                peer = start_plaudit(case, folder, options.dtype, options.threads, "padded")
            else:
                peer = start_trl(
                    contender, case, folder, case.rounds[0], options.threads, DTYPES, sizes
                )
            for rankings in case.rounds[1:]:
                duel.append((plaudit.run(rankings), peer.run(rankings)))
                print(f"  plaudit {duel[-1][0]:.2f} s, {peer.name} {duel[-1][1]:.2f} s")
            rows[contender] = report(peer, [theirs for _, theirs in duel], per_step, tokens[1:])
            rows[contender] |= {"plaudit_is_times_faster": spread([t / m for m, t in duel])}
            rows[contender] |= compared(peer, folder / "reference.pt")
        except OutOfMemoryError as error:
            rows[contender] = {"out_of_memory": str(error)}
            print(f"  {error}")
        ours += [mine for mine, _ in duel]
    rows["plaudit"] = report(plaudit, ours, per_step, tokens[1:])
    rows["plaudit"] |= compared(plaudit, folder / "reference.pt")
    print_table(rows)
    return {"rankings_per_step": per_step, "unique_tokens": tokens[1:], "contenders": rows}


def start_plaudit(
    case: Case, folder: Path, dtype: str, threads: int | None, layout: str | None = None
) -> Racer:
    """plaudit after the first round: by default, or on a layout."""
    name = f"plaudit {layout or ''}".strip()
    start = partial(Remote, threads, Plaudit, case, dtype, layout=layout)
    return Racer(name, folder / name, case.rounds[0], start)


def start_trl(
    contender: str,
    case: Case,
    folder: Path,
    first: Sequence[Ranking],
    threads: int | None,
    dtypes: Sequence[str],
    sizes: Sequence[int],
) -> Racer:
    """TRL by its defaults, or tuned: in the type and with the batch size that is fastest on
    `first`. Raises `OutOfMemoryError`."""

    def tuned(dtype: str, size: int) -> Racer:
        name = f"trl tuned, {size} pairs a batch, {dtype}"
        config = {"batch_size": size, "tuned": True, "bf16": dtype == "bfloat16"}
        start = partial(Remote, threads, Trl, case, **config)
        return Racer(name, folder / name, first, start)

    if contender == "trl tuned":
        return fastest(tuned, dtypes, sizes)
    name = "trl default, 8 pairs a batch"
    # Its own defaults take minutes for a ranking; what is set up in a first step is so in any.
    return Racer(name, folder / name, case.short[:1], partial(Remote, threads, Trl, case))


def report(racer: Racer, seconds: list[float], per_step: int, tokens: list[int]) -> dict[str, Any]:
    """What the timed rounds say, every round of `tokens` having been run as often."""
    rounds = zip(seconds, itertools.cycle(tokens), strict=False)
    return {
        "name": racer.name,
        "seconds": seconds,
        "rankings_per_second": median(per_step / s for s in seconds),
        "unique_tokens_per_second": median(t / s for s, t in rounds),
        "peak_memory_gib": racer.ask("peak_memory"),
        "first_train_seconds": racer.first_seconds,
        "tried": racer.tried,
    }


def compared(racer: Racer, reference: Path) -> dict[str, float]:
    """How exact it is; then it ends."""
    check = racer.folder / "compared"
    check.mkdir()
    rewards, gradients = racer.ask("compare", reference, check)
    racer.stop()
    return {
        "relative_difference_of_rewards": rewards,
        "relative_difference_of_gradients": gradients,
    }


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    headers = ("", "rankings/s", "unique tokens/s", "peak GiB", "plaudit is faster by")
    lines = []
    for contender, row in rows.items():
        if "out_of_memory" in row:
            lines.append((contender, *("out of memory", "", "", "", "", "")))
            continue
        ratio = row.get("plaudit_is_times_faster")
        lines.append(
            (
                row["name"],
                f"{row['rankings_per_second']:.3f}",
                f"{row['unique_tokens_per_second']:,.0f}",
                f"{row['peak_memory_gib']:.2f}",
                f"{ratio['median']:.2f} × ({ratio['min']:.2f}–{ratio['max']:.2f})" if ratio else "",
                f"{row['relative_difference_of_rewards']:.0e}",
                f"{row['relative_difference_of_gradients']:.0e}",
            )
        )
    show((*headers, "Δ rewards", "Δ gradients"), lines)


if __name__ == "__main__":
    main()
