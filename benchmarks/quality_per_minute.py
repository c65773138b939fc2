"""Held-out pairwise accuracy over minutes of training: plaudit against a tuned TRL.

Both start from the same weights and head and see the same training rankings equally often, one
after the other on the same machine. TRL gets all their pairs, shuffled, then sorted by length
within stretches of many batches, so that batches are alike in length and still come in random
order. The clock stands while accuracy is measured, for both by plaudit's scoring.

    python benchmarks/quality_per_minute.py RANKED.csv [--plot FILE.png] [--json FILE]
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
from contenders import (
    MAX_LENGTH,
    Case,
    Plaudit,
    Remote,
    Trl,
    machine,
    pair_length,
    quiet_libraries,
    short_name,
)
from transformers import TrainerCallback

from plaudit import Ranking, RewardModel, load_rankings
from plaudit.data.splits import split_by_prompt
from plaudit.evaluation.metrics import pairwise_accuracy

STRETCH = 50  # batches within which pairs are sorted by length
Curve = list[tuple[float, float]]  # seconds of training, accuracy


class Curved(TrainerCallback):
    """Measures accuracy at the beginning, at some steps, and at the end, off the clock."""

    def __init__(self, case: Case, held_out: Sequence[Ranking], evaluations: int) -> None:
        self.evaluator = RewardModel.load(case.start, device="cpu")
        self.rows = case.encoding.encode(held_out)
        self.ranks = [r.ranks for r in held_out]
        self.evaluations = evaluations
        self.curve: Curve = []
        self.seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        """Place the measurements, denser at the beginning, and start the clock."""
        n = self.evaluations
        self.steps = {max(round(state.max_steps * (i / n) ** 2), 1) for i in range(1, n + 1)}
        self.measure(model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        """Measure where it is time to."""
        if state.global_step in self.steps:
            self.seconds += time.perf_counter() - self.started
            self.measure(model)

    def measure(self, model: Any) -> None:
        """One point of the curve, with the weights as they are now."""
        weights = {k.replace("_orig_mod.", ""): v for k, v in model.state_dict().items()}
        self.evaluator.model.load_state_dict(weights)
        rewards = self.evaluator.rewards(self.rows)
        accuracy = pairwise_accuracy(rewards, self.ranks, resamples=0).value
        self.curve.append((self.seconds, accuracy))
        print(f"  {self.seconds / 60:.2f} min: {accuracy:.4f}", flush=True)
        self.started = time.perf_counter()


class Learner:
    """A contender that trains once through all epochs and gives its curve."""

    def __init__(self, case: Case, contender: Plaudit | Trl) -> None:
        self.case, self.contender = case, contender

    def learn(
        self,
        train: Sequence[Ranking],
        held_out: Sequence[Ranking],
        evaluations: int,
        epochs: int,
        seed: int,
        folder: Path,
    ) -> Curve:
        """Train on every ranking `epochs` times."""
        curved = Curved(self.case, held_out, evaluations)
        if isinstance(self.contender, Plaudit):
            self.contender.prepare(train, folder, num_train_epochs=epochs, seed=seed)
        else:
            pairs, drawn = self.contender.pairs(train), random.Random(seed)
            ordered = [
                pair
                for _ in range(epochs)
                for pair in alike_in_length(pairs, self.contender.batch_size, drawn)
            ]
            self.contender.set_pairs(ordered, folder)
        self.contender.trainer.add_callback(curved)
        self.contender.trainer.train()
        return curved.curve


def alike_in_length(pairs: list[dict], batch_size: int, drawn: random.Random) -> list[dict]:
    """One epoch: stretches of shuffled pairs, sorted by length and cut into shuffled batches."""
    pairs = drawn.sample(pairs, len(pairs))
    stretch = STRETCH * batch_size
    batches = []
    for start in range(0, len(pairs), stretch):
        part = sorted(pairs[start : start + stretch], key=pair_length, reverse=True)
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    # One that is not full would shift all batches of the epochs after it: at most 1 is left out.
    whole = [batch for batch in batches if len(batch) == batch_size]
    drawn.shuffle(whole)
    return [pair for batch in whole for pair in batch]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--base", default="embedded:minilm")
    parser.add_argument("--train-rankings", type=int, default=400)
    parser.add_argument("--test-rankings", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--evaluations", type=int, default=12)
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="both have this default")
    parser.add_argument("--trl-learning-rate", type=float, help="by default the same")
    parser.add_argument("--trl-batch-size", type=int, default=8, help="pairs of a step")
    parser.add_argument("--plaudit-batch-size", type=int, default=8, help="rankings of a step")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", default="quality_per_minute.png")
    parser.add_argument("--json")
    options = parser.parse_args()
    quiet_libraries()

    rankings = list(load_rankings(options.data))
    share = options.test_rankings / len(rankings)
    held_out, rest = split_by_prompt(rankings, [share], options.seed)
    train = random.Random(options.seed).sample(rest, min(options.train_rankings, len(rest)))
    print(f"{len(train)} rankings to train on, {len(held_out)} to test on, {options.epochs} epochs")

    curves: dict[str, Curve] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = RewardModel.load(
            options.base, max_length=MAX_LENGTH, dtype="float32", device="cpu", seed=options.seed
        )
        model.save(folder / "start")
        case = Case(str(folder / "start"), model.encoding, [], [])
        dtype = short_name(RewardModel.load(case.start, dtype=options.dtype, device="cpu").dtype)
        shared = {"lr_scheduler_type": "linear", "warmup_steps": 0.1, "weight_decay": 0.01}
        trl = Trl(
            case,
            tuned=True,
            batch_size=options.trl_batch_size,
            bf16=dtype == "bfloat16",
            learning_rate=options.trl_learning_rate or options.learning_rate,
            seed=options.seed,
            **shared,
        )
        plaudit = Plaudit(
            case,
            dtype,
            learning_rate=options.learning_rate,
            per_device_train_batch_size=options.plaudit_batch_size,
            **shared,
        )
        for contender, trains in (("plaudit", plaudit), ("TRL tuned", trl)):
            print(contender, flush=True)
            place = folder / contender
            place.mkdir()
            remote = Remote(options.threads, Learner, case, trains)
            curves[contender] = remote(
                "learn", train, held_out, options.evaluations, options.epochs, options.seed, place
            )
            remote.stop()

    theirs, final = curves["TRL tuned"][-1]
    their_first = reached(curves["TRL tuned"], final)
    ours = reached(curves["plaudit"], final)
    print(f"TRL's final accuracy is {final:.4f}, after {theirs / 60:.2f} min;", end=" ")
    print(f"its curve was there first at {their_first / 60:.2f} min")
    if final <= curves["TRL tuned"][0][1]:
        print("TRL ended no better than it began: how soon plaudit is there says nothing")
    if ours is None:
        print(f"plaudit did not reach it in its {curves['plaudit'][-1][0] / 60:.2f} min")
    else:
        print(
            f"plaudit reached it at {ours / 60:.2f} min: 1/{theirs / ours:.1f} of TRL's time,",
            end=" ",
        )
        print(f"1/{their_first / ours:.1f} of the time when TRL's curve was there first")
    draw(curves, final, options.plot)
    if options.json:
        result = {
            "machine": machine(dtype, options.threads),
            "options": vars(options),
            "curves_seconds_accuracy": curves,
            "trl_final_accuracy": final,
            "trl_seconds": theirs,
            "trl_seconds_when_first_there": their_first,
            "plaudit_seconds_when_there": ours,
            "times_faster": theirs / ours if ours else None,
        }
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")


def reached(curve: Curve, accuracy: float) -> float | None:
    """Seconds at the first measurement, of those after a step, that is no worse than `accuracy`."""
    return next((seconds for seconds, value in curve[1:] if value >= accuracy), None)


def draw(curves: dict[str, Curve], final: float, path: str) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for (contender, curve), colour in zip(curves.items(), ("C0", "C1"), strict=True):
        minutes, accuracies = [s / 60 for s, _ in curve], [a for _, a in curve]
        axes.plot(minutes, accuracies, marker=".", color=colour)
        axes.annotate(
            contender,
            (minutes[-1], accuracies[-1]),
            (6, 0),
            textcoords="offset points",
            color=colour,
            va="center",
        )
    axes.axhline(final, color="0.7", linewidth=0.8, zorder=0)
    axes.margins(x=0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel("minutes of training, measuring left out")
    axes.set_ylabel("pairwise accuracy, held-out prompts")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
