"""Texts in, rewards out: plaudit against transformers' pipeline and against a plain batched loop.

All three load the same saved folder and score the same completions, round by round, tokenising
included. The other two get their texts rendered beforehand. Rankings of which anything would be
truncated are left out: truncation is plaudit's own, and rewards could not be compared.

    python benchmarks/score_speed.py RANKED.csv [--case ranked-decoder] [--json FILE]
"""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from contenders import (
    Case,
    Remote,
    arguments,
    classifier,
    make_case,
    quiet_libraries,
    run_cases,
    show,
    spread,
)
from transformers import pipeline

from plaudit import Ranking, RewardModel
from plaudit.model.encoding import plain_text

# Pooling `cls` is a standard class of transformers, which the pipeline loads without further code.
CASES = {"ranked-decoder": {}, "ranked-encoder": {"pooling": "cls"}}
PIPELINE_BATCH_SIZES = (1, 8, 32)
LOOP_BATCH_SIZE = 32
Scored = tuple[float, list[float]]  # seconds, and the reward of each completion in order


class Plaudit:
    """`RewardModel.score_all`, with its defaults."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.model = RewardModel.load(case.start, dtype=dtype, device="cpu")

    def score(self, rankings: Sequence[Ranking]) -> Scored:
        """Score every completion."""
        prompts = [(r.prompt, r.completions) for r in rankings]
        started = time.perf_counter()
        rewards = [reward for row in self.model.score_all(prompts) for reward in row]
        return time.perf_counter() - started, rewards


class Pipeline:
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


class Loop:
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


def race(name: str, folder: Path, dtype: str, options: Any) -> dict[str, Any]:
    rounds = options.repeats + 1
    case = make_case(
        name,
        options.data,
        folder,
        options.rankings,
        rounds,
        options.seed,
        whole=True,
        **CASES[name],
    )
    count = sum(len(r.completions) for r in case.rounds[0])
    print(f"\n{name}: {count} completions a round")

    racers = {"plaudit": Remote(options.threads, Plaudit, case, dtype)}
    racers["pipeline"], best = best_pipeline(case, dtype, options.threads)
    racers["plain loop"] = Remote(options.threads, Loop, case, dtype)
    for contender in ("plaudit", "plain loop"):
        racers[contender]("score", case.rounds[0])
    seconds: dict[str, list[float]] = {contender: [] for contender in racers}
    rewards: dict[str, list[float]] = {contender: [] for contender in racers}
    for rankings in case.rounds[1:]:
        for contender, remote in racers.items():
            taken, scored = remote("score", rankings)
            seconds[contender].append(taken)
            rewards[contender] += scored
    rows = {}
    for contender, remote in racers.items():
        ratios = [t / p for t, p in zip(seconds[contender], seconds["plaudit"], strict=True)]
        difference = np.abs(np.subtract(rewards[contender], rewards["plain loop"])).max()
        rows[contender] = {
            "seconds": seconds[contender],
            "completions_per_second": median(count / s for s in seconds[contender]),
            "peak_memory_gib": remote("peak_memory"),
            "plaudit_is_times_faster": spread(ratios),
            "largest_difference_of_rewards_from_plain_loop": float(difference),
        }
        remote.stop()
    rows["pipeline"]["batch_size"] = best
    print(f"the pipeline is best with batches of {best}")
    show(
        ("", "completions/s", "peak GiB", "plaudit is faster by", "Δ rewards from the plain loop"),
        [
            (
                contender,
                f"{row['completions_per_second']:.1f}",
                f"{row['peak_memory_gib']:.2f}",
                "{median:.2f} × ({min:.2f}–{max:.2f})".format(**row["plaudit_is_times_faster"]),
                f"{row['largest_difference_of_rewards_from_plain_loop']:.0e}",
            )
            for contender, row in rows.items()
        ],
    )
    return {"completions_per_round": count, "contenders": rows}


def best_pipeline(case: Case, dtype: str, threads: int | None) -> tuple[Remote, int]:
    """The pipeline with the batch size that was fastest on the first, uncounted round."""
    tried = {size: Remote(threads, Pipeline, case, dtype, size) for size in PIPELINE_BATCH_SIZES}
    seconds = {}
    for size, remote in tried.items():
        remote("score", case.rounds[0][:1])
        seconds[size], _ = remote("score", case.rounds[0])
    best = min(seconds, key=seconds.__getitem__)
    for size, remote in tried.items():
        if size != best:
            remote.stop()
    return tried[best], best


if __name__ == "__main__":
    main()
