"""The whole road in one command: bundled data, a reward model, its measurement, a policy's answers.

Everything is real and offline: the data come from `data.sample`, the base model and the policy from
packages that carry their weights. What is printed are the figures of held-out prompts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit.bundled.sample import write_sample
from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.model import base_models
from plaudit.reporting.evaluation import Evaluation
from plaudit.sampling.comparing import Comparison, compare
from plaudit.training.run import train

BASE = "embedded:minilm"
POLICY = "embedded:smollm2"
# Answers of the bundled data are short, and what is off-topic takes a third pass to see.
SETTINGS: dict[str, Any] = {"max_length": 160, "num_train_epochs": 3}
PROMPTS = 6  # of the test prompts that the policy answers
COMPLETIONS = 4


@dataclass(frozen=True)
class Demo:
    """What the demo made: figures, and the policy's completions with their rewards."""

    folder: Path
    test: Evaluation
    comparison: Comparison
    metrics: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return self.metrics

    def __str__(self) -> str:
        return "\n".join(
            [
                f"== On {self.test.summary['counts']['prompts']} prompts it has not seen",
                "",
                str(self.test),
                "",
                f"== What {POLICY} answers, best reward first",
                "(neither it nor the reward model can check a sum: see the accuracy on wrong sums)",
                "",
                str(self.comparison),
                "",
                f"The model is in {self.folder / 'run' / 'model'}, plots are in "
                f"{self.folder / 'run' / 'plots'}.",
                "Try it on data of your own: plaudit train DATA",
            ]
        )


def demo(folder: str | Path, *, overwrite: bool = False, max_steps: int | None = None) -> Demo:
    """Walk the road: data, training, measurement, generation; everything lands in `folder`.

    Raises `PlauditError` when an embedded model is not installed, or the folder holds a demo.
    """
    folder = Path(folder)
    # Before minutes of training, not after them.
    for name in (BASE, POLICY):
        base_models.locate(name)
    if folder.exists() and not folder.is_dir():
        raise PlauditError(f"{folder}: is a file; the output is a folder")
    ranked, _ = write_sample(folder / "data", overwrite=overwrite)
    say(f"ranked answers and pairs to look at: {folder / 'data'}")
    settings = dict(SETTINGS)
    if max_steps is not None:
        settings["max_steps"] = max_steps
    run = train(ranked, output=folder / "run", overwrite=overwrite, base=BASE, **settings)
    assert run.test is not None  # the settings hold prompts out
    prompts = [ranking.prompt for ranking in run.test.rankings[:PROMPTS]]
    comparison = compare(
        run.model,
        POLICY,
        prompts,
        n=COMPLETIONS,
        max_new_tokens=80,
        batch_size=PROMPTS,
        output=folder / "comparison",
    )
    metrics = {**run.metrics, "comparison": comparison.summary()}
    return Demo(folder, run.test, comparison, metrics)
