"""What a user gets: plaudit's command line beside TRL's `RewardTrainer`, over several seeds.

Each seed divides the data as `plaudit train --seed` does. All contenders get the training prompts
and are measured on the test prompts; plaudit takes the validation prompts to choose its checkpoint,
TRL leaves them. plaudit runs as a command: as it is, with
--fast, with --best and with what `--recipe` adds. TRL has its defaults
but for the epochs, and starts from the same weights, head and tokens. A result is appended to
`--output` when it is there, and is not computed again: a run that was stopped goes on.

    python benchmarks/quality_against_trl.py RANKED.csv [OTHER.jsonl …] [--seeds 5]
        [--recipe "uncontrolled: --control none"] [--trl-epochs 1 3] [--contender plaudit]
        [--output quality.jsonl]

Data sets after the first are tests alone: the models that were trained on the first score them.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from contenders import MAX_LENGTH, Case, Remote, Trl, machine, quiet_libraries, show

from plaudit import Ranking, RewardModel, Settings, load_rankings
from plaudit.data.cells import characters
from plaudit.evaluation.measures import MEASURES
from plaudit.evaluation.rewards import rewards_of
from plaudit.training.parts import split

FIGURES = ("pairwise_accuracy", "accuracy_where_shorter", "length_controlled_accuracy")
SHORT = ("accuracy", "where shorter", "length-controlled")
LENGTH = "preferring the longer"


class Theirs:
    """TRL with its defaults, trained once on the pairs of some rankings."""

    def __init__(self, start: str, epochs: int, seed: int) -> None:
        model = RewardModel.load(start, device="cpu", dtype="float32")
        case = Case(start, model.encoding, [], [])
        self.trl = Trl(case, num_train_epochs=epochs, seed=seed)
        self.model = model

    def learn(self, train: Sequence[Ranking], folder: Path) -> float:
        """Train, and save what was learnt as a model of plaudit's; returns seconds."""
        self.trl.prepare(train, folder)
        seconds = self.trl.train()
        self.model.model.load_state_dict(self.trl.trainer.model.state_dict())
        self.model.save(folder / "model")
        return seconds


def train_ours(
    data: str, base: str, limit: list[str], recipe: str, seed: int, folder: Path
) -> float:
    """Run the command; returns the seconds that it trained."""
    flags = ["--base", base, "--seed", str(seed), "--no-report", *limit, *shlex.split(recipe)]
    command = [sys.executable, "-m", "plaudit", "train", data, "-o", str(folder), *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds: float = json.loads((folder / "metrics.json").read_text())["training"]["seconds"]
    return seconds


def measured(model: RewardModel, rankings: Sequence[Ranking]) -> dict[str, float | None]:
    """The figures on test rankings."""
    return figures(rankings, rewards_of(model, rankings, "scoring the test prompts"))


def figures(rankings: Sequence[Ranking], rewards: Sequence[Any]) -> dict[str, float | None]:
    """The figures of rewards, K of them for each ranking; None where there is no such pair."""
    lengths = [[characters(text) for text in ranking.completions] for ranking in rankings]
    given = {"ranks": [ranking.ranks for ranking in rankings], "resamples": 0}
    values = {}
    for name in FIGURES:
        measure = MEASURES.get(name)
        taken = given | ({"lengths": lengths} if measure.takes_length else {})
        try:
            values[name] = measure(rewards, **taken).value
        except ValueError:
            values[name] = None
    return values


def table(rows: list[dict[str, Any]]) -> None:
    """Means over the seeds, and their spread, for every test set."""
    for test in dict.fromkeys(row["test"] for row in rows):
        of_test = [row for row in rows if row["test"] == test]
        lines = []
        for contender in dict.fromkeys(row["contender"] for row in of_test):
            of = [row for row in of_test if row["contender"] == contender]
            seconds = [row["seconds"] for row in of if row["seconds"] is not None]
            minutes = f"{mean(seconds) / 60:.1f}" if seconds else ""
            cells = [spread([row[name] for row in of if row[name] is not None]) for name in FIGURES]
            lines.append((contender, str(len(of)), *cells, minutes))
        print(f"\ntested on {test}")
        show(("", "seeds", *SHORT, "minutes"), lines)


def spread(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="to train and test on; others to test on")
    parser.add_argument("--base", default="embedded:minilm")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recipe", action="append", default=[], metavar="NAME: FLAGS")
    parser.add_argument("--trl-epochs", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--contender", action="append", help="only this one; may be repeated")
    parser.add_argument("--rankings", type=int, help="train on at most so many")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--output", type=Path, default=Path("quality.jsonl"))
    options = parser.parse_args()
    quiet_libraries()
    print(json.dumps(machine("float32", options.threads)))
    data, *others = options.data
    recipes = {"plaudit": "", "plaudit, fast": "--fast", "plaudit, best": "--best"} | {
        name.strip(): flags for name, _, flags in (each.partition(":") for each in options.recipe)
    }
    trl = {f"TRL, {n} epoch" + "s" * (n > 1): n for n in options.trl_epochs}
    if options.contender:
        known = [*recipes, *trl]
        if unknown := set(options.contender) - set(known):
            parser.error(f"no contender is called {', '.join(unknown)}; {', '.join(known)}")
        recipes = {name: recipes[name] for name in recipes if name in options.contender}
        trl = {name: trl[name] for name in trl if name in options.contender}
    rows = []
    if options.output.exists():
        rows = [json.loads(line) for line in options.output.open()]
    done = {(row["contender"], row["seed"]) for row in rows}

    def record(contender: str, seed: int, seconds: float | None, by_test: dict[str, Any]) -> None:
        new = [
            {"contender": contender, "seed": seed, "test": test, "seconds": seconds, **values}
            for test, values in by_test.items()
        ]
        with options.output.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in new)
        rows.extend(new)
        print(time.strftime("%H:%M"), json.dumps(new[0]), flush=True)

    elsewhere = {Path(name).name: list(load_rankings(name)) for name in others}
    for seed in range(options.seeds):
        parts = split(load_rankings(data), Settings.build(data=data, seed=seed))
        tests = {Path(data).name: parts.test, **elsewhere}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            train, given = list(parts.train), data
            limit: list[str] = []
            if options.rankings:  # the same ones for all, held-out prompts in files of their own
                train = train[: options.rankings]
                given = write(train, folder / "train.jsonl")
                limit = ["--validation-data", write(parts.validation, folder / "validation.jsonl")]
                limit += ["--test-data", write(parts.test, folder / "test.jsonl")]

            def on_all(model: RewardModel, tests: Any = tests) -> dict[str, Any]:
                return {test: measured(model, of) for test, of in tests.items()}

            start = RewardModel.load(
                options.base, max_length=MAX_LENGTH, dtype="float32", device="cpu", seed=seed
            )
            start.save(folder / "start")
            if (LENGTH, seed) not in done:
                by_length = {
                    test: figures(of, [[characters(text) for text in r.completions] for r in of])
                    for test, of in tests.items()
                }
                record(LENGTH, seed, None, by_length)
            for contender, recipe in recipes.items():
                if (contender, seed) not in done:
                    run = folder / "ours" / contender
                    seconds = train_ours(given, options.base, limit, recipe, seed, run)
                    model = RewardModel.load(run)
                    record(
                        contender,
                        seed,
                        seconds,
                        {t: measured(model, of) for t, of in tests.items()},
                    )
            for contender, epochs in trl.items():
                if (contender, seed) not in done:
                    place = folder / contender
                    remote = Remote(options.threads, Theirs, str(folder / "start"), epochs, seed)
                    seconds = remote("learn", train, place)
                    remote.stop()
                    model = RewardModel.load(place / "model")
                    record(
                        contender,
                        seed,
                        seconds,
                        {t: measured(model, of) for t, of in tests.items()},
                    )
    table(rows)


def write(rankings: Sequence[Ranking], path: Path) -> str:
    """Rankings as a file that `plaudit train` reads; returns its name."""
    with path.open("w") as file:
        for ranking in rankings:
            for completion, rank in zip(ranking.completions, ranking.ranks, strict=True):
                row = {"prompt": ranking.prompt, "answer": completion, "rank": rank}
                file.write(json.dumps(row) + "\n")
    return str(path)


if __name__ == "__main__":
    main()
