"""Texts in, rewards out: plaudit against transformers' pipeline and against a plain batched loop.

All three load the same saved folder and score the same completions, round by round, tokenising
included. The other two get their texts rendered beforehand. Rankings of which anything would be
truncated are left out: truncation is plaudit's own, and rewards could not be compared.

    python benchmarks/score_speed.py RANKED.csv [--case ranked-decoder] [--json FILE]
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from contenders import (
    Case,
    Racer,
    Remote,
    arguments,
    classifier,
    fastest,
    make_case,
    quiet_libraries,
    run_cases,
    short_name,
    show,
    spread,
)
from transformers import pipeline

from plaudit import Ranking, RewardModel
from plaudit.model.encoding import plain_text
from plaudit.model.export import export
from plaudit.model.exports._gate import GateRows

# Pooling `cls` is a standard class of transformers, which the pipeline loads without further code.
CASES = {"ranked-decoder": {}, "ranked-encoder": {"pooling": "cls"}}
BATCH_SIZES = (1, 8, 32)
LOOP_BATCH_SIZE = 32
Scored = tuple[float, list[float]]  # seconds, and the reward of each completion in order


class Scoring(ABC):
    """A contender that scores."""

    @abstractmethod
    def score(self, rankings: Sequence[Ranking]) -> Scored:
        """Score every completion."""

    def run(self, rankings: Sequence[Ranking], folder: Path) -> float:
        """Seconds of scoring."""
        return self.score(rankings)[0]


class Plaudit(Scoring):
    """`RewardModel.score_all`, with its defaults."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.model = RewardModel.load(case.start, dtype=dtype, device="cpu")

    def score(self, rankings: Sequence[Ranking]) -> Scored:
        """Score every completion."""
        prompts = [(r.prompt, r.completions) for r in rankings]
        started = time.perf_counter()
        rewards = [reward for row in self.model.score_all(prompts) for reward in row]
        return time.perf_counter() - started, rewards

    def chosen_dtype(self) -> str:
        """What `dtype` came to on this machine."""
        return short_name(self.model.dtype)


class Pipeline(Scoring):
    """transformers' `text-classification` pipeline."""

    def __init__(self, case: Case, dtype: str, batch_size: int) -> None:
        self.case = case
        self.pipeline = pipeline(
            "text-classification",
            model=case.start,
            function_to_apply="none",
            top_k=None,
            batch_size=batch_size,
            dtype=getattr(torch, dtype),
            device="cpu",
        )

    def score(self, rankings: Sequence[Ranking]) -> Scored:
        """Score every completion."""
        first, second = rendered(self.case, rankings)
        texts: Any = first
        if second is not None:
            texts = [{"text": a, "text_pair": b} for a, b in zip(first, second, strict=True)]
        started = time.perf_counter()
        rewards = [labels[0]["score"] for labels in self.pipeline(texts)]
        return time.perf_counter() - started, rewards


class Loop(Scoring):
    """What one writes in ten lines: batches in the data's order, padded to their longest."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.case = case
        self.model = classifier(case.start).to(getattr(torch, dtype)).eval()

    @torch.inference_mode()
    def score(self, rankings: Sequence[Ranking]) -> Scored:
        """Score every completion."""
        first, second = rendered(self.case, rankings)
        started = time.perf_counter()
        rewards: list[float] = []
        for start in range(0, len(first), LOOP_BATCH_SIZE):
            part = slice(start, start + LOOP_BATCH_SIZE)
            batch = self.case.encoding.tokenizer(
                first[part],
                second[part] if second is not None else None,
                padding=True,
                return_tensors="pt",
            )
            rewards += self.model(**batch).logits[:, 0].tolist()
        return time.perf_counter() - started, rewards


def rendered(case: Case, rankings: Sequence[Ranking]) -> tuple[list[str], list[str] | None]:
    """The texts that plaudit makes tokens of: dialogues for a decoder, pairs for an encoder."""
    both = [(plain_text(r.prompt), plain_text(c)) for r in rankings for c in r.completions]
    if case.encoding.kind == "encoder":
        return [prompt for prompt, _ in both], [completion for _, completion in both]
    chats = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        for prompt, completion in both
    ]
    return case.encoding.tokenizer.apply_chat_template(chats, tokenize=False), None


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], list(CASES), rankings=8)
    options = parser.parse_args()
    quiet_libraries()
    run_cases(race, CASES, options)


def race(name: str, folder: Path, options: Any) -> dict[str, Any]:
    rounds = options.repeats + 1
    case = make_case(
        name,
        options.data,
        folder,
        options.rankings,
        rounds,
        options.seed,
        whole=True,
        base=options.base,
        **CASES[name],
    )
    count = sum(len(r.completions) for r in case.rounds[0])
    print(f"\n{name}: {count} completions a round")

    racers = {"plaudit": start_plaudit(case, folder, options.dtype, options.threads)}
    dtype = racers["plaudit"].ask("chosen_dtype")
    racers["pipeline"] = best_pipeline(case, folder, options.threads, [dtype])
    start = partial(Remote, options.threads, Loop, case, dtype)
    racers["plain loop"] = Racer("plain loop", folder / "plain loop", case.rounds[0], start)
    seconds: dict[str, list[float]] = {contender: [] for contender in racers}
    rewards: dict[str, list[float]] = {contender: [] for contender in racers}
    for rankings in case.rounds[1:]:
        for contender, racer in racers.items():
            taken, scored = racer.ask("score", rankings)
            seconds[contender].append(taken)
            rewards[contender] += scored
    rows = {}
    for contender, racer in racers.items():
        ratios = [t / p for t, p in zip(seconds[contender], seconds["plaudit"], strict=True)]
        difference = np.abs(np.subtract(rewards[contender], rewards["plain loop"])).max()
        rows[contender] = {
            "seconds": seconds[contender],
            "completions_per_second": median(count / s for s in seconds[contender]),
            "name": racer.name,
            "tried": racer.tried,
            "peak_memory_gib": racer.ask("peak_memory"),
            "plaudit_is_times_faster": spread(ratios),
            "largest_difference_of_rewards_from_plain_loop": float(difference),
        }
        racer.stop()
    show(
        ("", "completions/s", "peak GiB", "plaudit is faster by", "Δ rewards from the plain loop"),
        [
            (
                row["name"],
                f"{row['completions_per_second']:.1f}",
                f"{row['peak_memory_gib']:.2f}",
                "{median:.2f} × ({min:.2f}–{max:.2f})".format(**row["plaudit_is_times_faster"]),
                f"{row['largest_difference_of_rewards_from_plain_loop']:.0e}",
            )
            for row in rows.values()
        ],
    )
    return {"completions_per_round": count, "contenders": rows}


def start_plaudit(
    case: Case, folder: Path, dtype: str, threads: int | None, name: str = "plaudit"
) -> Racer:
    """plaudit after the first round."""
    start = partial(Remote, threads, Plaudit, case, dtype)
    return Racer(name, folder / name, case.rounds[0], start)


def start_int8(case: Case, folder: Path, threads: int | None) -> Racer:
    """plaudit with what it exported of the start in int8, after the first round."""
    name = "plaudit in int8"
    path = folder / name / "openvino"

    def start() -> Remote:
        # In a process of its own, whose memory is not that of scoring.
        prompts = [(r.prompt, r.completions) for some in case.rounds for r in some]
        Remote(threads, export_int8, case.start, path, prompts).stop()
        return Remote(threads, Plaudit, replace(case, start=str(path)), "auto")

    return Racer(name, folder / name, case.rounds[0], start)


def export_int8(start: str, path: Path, prompts: list) -> None:
    """Raises `PlauditError` where int8 does not keep the order of the case's own rows."""
    model = RewardModel.load(start, dtype="float32", device="cpu")
    rows = GateRows(prompts, ["the rankings of the case"])
    export(model, path, "openvino", dtype="int8", rows=rows)


def best_pipeline(
    case: Case,
    folder: Path,
    threads: int | None,
    dtypes: Sequence[str],
    sizes: Sequence[int] = BATCH_SIZES,
) -> Racer:
    """The pipeline in the type and with the batch size that are fastest on the first round.

    Raises `OutOfMemoryError`.
    """

    def of(dtype: str, size: int) -> Racer:
        name = f"transformers' pipeline, batches of {size}, {dtype}"
        start = partial(Remote, threads, Pipeline, case, dtype, size)
        racer = Racer(name, folder / name, case.rounds[0][:1], start)
        racer.first_seconds = racer.run(case.rounds[0])
        return racer

    return fastest(of, dtypes, sizes)


if __name__ == "__main__":
    main()
