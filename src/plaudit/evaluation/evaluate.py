"""Measure a reward model on rankings: score them, sum up, write numbers, predictions and plots.

`evaluate` is the one way in, for the command line, for the end of a training run and for Python.
Assumes rankings that the model was not trained on; nothing here can know whether that is so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plaudit.console import progress
from plaudit.data.cells import characters
from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.evaluation import metrics
from plaudit.files import write_json, write_jsonl

if TYPE_CHECKING:
    from plaudit.model.reward_model import RewardModel


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of some rankings.

    `summary` is what `metrics.summarise` returns; `rankings` and `rewards` (K numbers for each
    ranking) are what it was made from.
    """

    summary: dict[str, Any]
    rankings: list[Ranking]
    rewards: list[list[float]]

    def __str__(self) -> str:
        return metrics.format_summary(self.summary)

    def predictions(self, **extra: Any) -> Iterator[dict[str, Any]]:
        """One row for each completion: what `predictions.jsonl` holds."""
        for number, (ranking, rewards) in enumerate(zip(self.rankings, self.rewards, strict=True)):
            for k, reward in enumerate(rewards):
                row: dict[str, Any] = {"ranking": number, "prompt": ranking.prompt}
                row |= {"completion": ranking.completions[k], "rank": ranking.ranks[k]}
                row["reward"] = reward
                if ranking.category is not None:
                    row["category"] = ranking.category
                if ranking.categories is not None:
                    row["category"] = ranking.categories[k]
                if ranking.models is not None:
                    row["model"] = ranking.models[k]
                yield row | extra

    def write(self, folder: str | Path) -> None:
        """Write `metrics.json`, `predictions.jsonl` and `plots/` into a folder."""
        folder = Path(folder)
        write_jsonl(folder / "predictions.jsonl", self.predictions())
        self.plot(folder / "plots")
        write_json(folder / "metrics.json", self.summary)

    def plot(self, folder: Path) -> None:
        """Draw reward distributions, margins, reward against length and accuracy by category."""
        from plaudit.evaluation import plots

        better, worse = self.pair_rewards()
        plots.reward_distributions(better, worse, folder / "rewards.png")
        plots.margins(better - worse, folder / "margins.png")
        lengths = np.concatenate([_lengths(r) for r in self.rankings])
        plots.reward_against_length(
            np.concatenate(self.rewards), lengths, folder / "reward_against_length.png"
        )
        if self.summary["by_category"]:
            plots.accuracy_by_category(
                self.summary["by_category"], folder / "accuracy_by_category.png"
            )

    def pair_rewards(self) -> tuple[np.ndarray, np.ndarray]:
        """Rewards of the better and of the worse completion of every ordered pair."""
        pairs = [
            (rewards[i], rewards[j])
            for ranking, rewards in zip(self.rankings, self.rewards, strict=True)
            for i, j in ranking.pairs()
        ]
        better, worse = np.array(pairs).T
        return better, worse


def evaluate(
    model: "RewardModel | str | Path",
    data: "str | Path | Iterable[Ranking]",
    *,
    output: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    what: str = "scoring",
    **reading: Any,
) -> Evaluation:
    """Score every completion of `data` and sum up how well the rewards agree with the ranks.

    Args:
        model: a reward model, or what `RewardModel.load` takes.
        data: rankings, or what `load_rankings` takes; `reading` are its other arguments.
        output: a folder for `metrics.json`, `predictions.jsonl` and `plots/`.
        resamples: of the bootstrap over prompts, for the 95 % intervals.
        seed: of the bootstrap.
        what: what the progress bar calls it.

    Raises:
        PlauditError: when the data cannot be read, or a reward is not a finite number.

    >>> print(evaluate("runs/finance", "held_out.csv"))  # doctest: +SKIP
    """
    if isinstance(data, str | Path):
        from plaudit.data.readers import load_rankings

        data = load_rankings(data, **reading)
    if isinstance(model, str | Path):
        from plaudit.model.reward_model import RewardModel

        model = RewardModel.load(model)
    rankings = list(data)
    if not rankings:
        raise PlauditError("there is no ranking to evaluate on")
    model.warn_if_untrained()
    scored = model.score_all((ranking.prompt, ranking.completions) for ranking in rankings)
    rewards = list(progress(scored, what, total=len(rankings)))
    model.report_truncation()
    evaluation = Evaluation(
        metrics.summarise(
            rewards,
            [ranking.ranks for ranking in rankings],
            prompts=[ranking.key for ranking in rankings],
            lengths=[_lengths(ranking) for ranking in rankings],
            categories=[ranking.categories or ranking.category for ranking in rankings],
            resamples=resamples,
            seed=seed,
        ),
        rankings,
        rewards,
    )
    if output is not None:
        evaluation.write(output)
    return evaluation


def _lengths(ranking: Ranking) -> np.ndarray:
    return np.array([characters(completion) for completion in ranking.completions])
