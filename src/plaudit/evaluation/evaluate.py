"""Measure a reward model on rankings: score them, sum up, write numbers, predictions and plots.

`evaluate` is the one way in, for the command line, for the end of a training run and for Python.
Assumes rankings that the model was not trained on; nothing here can know whether that is so.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plaudit.console import progress
from plaudit.data.cells import characters
from plaudit.data.rankings import Ranking, Text, text_key
from plaudit.errors import PlauditError
from plaudit.evaluation.style import change_whitespace, count_list_items, count_markdown_marks
from plaudit.evaluation.summary import format_summary, summarise
from plaudit.files import write_json, write_jsonl

if TYPE_CHECKING:
    from plaudit.evaluation.comparison import ModelComparison
    from plaudit.model.scorer import Scorer


# Of what `Evaluation.write` writes, the files that not every evaluation has.
NOT_ALWAYS = ("comparison.json", "parting.jsonl", "plots/accuracy_by_category.png")


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of some rankings.

    `summary` is what `summarise` returns; `rankings` and `rewards` (K numbers for each ranking) are
    what it was made from; `comparison` is with another model, where one was asked for.
    """

    summary: dict[str, Any]
    rankings: list[Ranking]
    rewards: list[list[float]]
    comparison: "ModelComparison | None" = None

    def __str__(self) -> str:
        text = format_summary(self.summary)
        return text if self.comparison is None else f"{text}\n\n{self.comparison}"

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints: `metrics.json`, with `against` what the comparison found."""
        if self.comparison is None:
            return self.summary
        return self.summary | {"against": self.comparison.summary}

    def predictions(self, **extra: Any) -> Iterator[dict[str, Any]]:
        """One row for each completion: what `predictions.jsonl` holds; see `prediction_rows`."""
        return prediction_rows(self.rankings, self.rewards, **extra)

    def write(self, folder: str | Path, facts: Mapping[str, str] | None = None) -> None:
        """Write `metrics.json`, `predictions.jsonl`, `report.html` and `plots/` into a folder.

        `facts` name what stands at the top of the report: the model, the data. A comparison
        goes into the report, and into files of its own.
        """
        from plaudit.reporting.contents import evaluation_report
        from plaudit.reporting.page import write_report

        folder = Path(folder)
        for name in NOT_ALWAYS:  # nothing of an evaluation that stood here may pass for this one's
            (folder / name).unlink(missing_ok=True)
        write_jsonl(folder / "predictions.jsonl", self.predictions())
        self.plot(folder / "plots")
        title = folder.resolve().name
        report = evaluation_report(
            self.summary,
            self.rankings,
            self.rewards,
            title=title,
            facts=facts or {},
            against=None if self.comparison is None else self.comparison.summary,
        )
        write_report(folder / "report.html", report)
        if self.comparison is not None:
            self.comparison.write(folder)
        write_json(folder / "metrics.json", self.summary)

    def plot(self, folder: Path) -> None:
        """Draw reward distributions, margins, reward against length and accuracy by category."""
        from plaudit.reporting import reward_plots as plots

        better, worse = self.pair_rewards()
        plots.reward_distributions(better, worse).write(folder / "rewards.png")
        plots.margins(better - worse).write(folder / "margins.png")
        lengths = np.concatenate([_lengths(r) for r in self.rankings])
        plots.reward_against_length(np.concatenate(self.rewards), lengths).write(
            folder / "reward_against_length.png"
        )
        if self.summary["by_category"]:
            plots.accuracy_by_category(self.summary["by_category"]).write(
                folder / "accuracy_by_category.png"
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
    model: "Scorer | str | Path | Sequence[str | Path]",
    data: "str | Path | Iterable[Ranking]",
    *,
    output: str | Path | None = None,
    baselines: Mapping[str, Sequence[Sequence[float]]] | None = None,
    whitespace: int = 50,
    resamples: int = 1000,
    seed: int = 0,
    what: str = "scoring",
    **reading: Any,
) -> Evaluation:
    """Score every completion of `data` and sum up how well the rewards agree with the ranks.

    Args:
        model: a scorer, or what `RewardModel.load` takes: a name or several.
        data: rankings, or what `load_rankings` takes; `reading` are its other arguments.
        output: a folder for `metrics.json`, `predictions.jsonl`, `report.html` and `plots/`.
        baselines: name → rewards of another model for the same rankings, K numbers each, to stand
            beside these; those of the base model before training, for example.
        whitespace: how many rankings, drawn at random, to score a second time with whitespace
            changed in a way that means nothing; 0 for none.
        resamples: of the bootstrap over prompts, for the 95 % intervals.
        seed: of the bootstrap and the draw.
        what: what the progress bar calls it.

    Raises:
        PlauditError: when the data cannot be read, or a reward is not a finite number.

    >>> print(evaluate("runs/finance", "held_out.csv"))  # doctest: +SKIP
    """
    facts = {
        name: str(given)
        for name, given in (("model", model), ("data", data))
        if isinstance(given, str | Path)
    }
    if isinstance(data, str | Path):
        from plaudit.data.readers import load_rankings

        data = load_rankings(data, **reading)
    from plaudit.model.reward_model import as_scorer

    model = as_scorer(model)
    rankings = list(data)
    if not rankings:
        raise PlauditError("there is no ranking to evaluate on")
    model.warn_if_untrained()
    evaluation = measure(
        rankings,
        rewards_of(model, rankings, what),
        whitespace=_scored_again(model, rankings, whitespace, seed),
        baselines=baselines,
        resamples=resamples,
        seed=seed,
    )
    if output is not None:
        evaluation.write(output, facts)
    return evaluation


def rewards_of(
    model: "Scorer", rankings: Sequence[Ranking], what: str = "scoring"
) -> list[list[float]]:
    """The reward of every completion, K numbers for each ranking; says what had to be cut.

    Equal completions of a ranking are scored once, so that their rewards are equal to the last bit.
    They are in the unit in which σ(r_a − r_b) is a probability, whether or not the model normalises
    its rewards. `what` is what the progress bar calls it.

    >>> rewards_of(model, [Ranking("2+2?", ["4", "5"], [0, 1])])  # doctest: +SKIP
    [[1.25, -0.5]]
    """
    distinct = [{text_key(text): text for text in ranking.completions} for ranking in rankings]
    scored = _as_log_odds(
        model,
        (
            (ranking.prompt, list(texts.values()))
            for ranking, texts in zip(rankings, distinct, strict=True)
        ),
    )
    rewards = []
    for ranking, texts, found in zip(
        rankings, distinct, progress(scored, what, total=len(rankings)), strict=True
    ):
        reward = dict(zip(texts, found, strict=True))
        rewards.append([reward[text_key(text)] for text in ranking.completions])
    model.report_truncation()
    return rewards


def _as_log_odds(
    model: "Scorer", prompts: Iterable[tuple[Text, Sequence[Text]]]
) -> Iterator[list[float]]:
    """Rewards whose differences are log odds: as the model gives them, times its scale."""
    for rewards in model.score_all(prompts):
        yield [model.scale * reward for reward in rewards]


def prediction_rows(
    rankings: Sequence[Ranking], rewards: Sequence[Sequence[float]], **extra: Any
) -> Iterator[dict[str, Any]]:
    """One row for each completion: what `predictions.jsonl` holds, with `extra` in every row.

    `rewards` hold K numbers for each ranking, whose place among `rankings` is `ranking`.

    >>> list(prediction_rows([Ranking("2+2?", ["4"], [0])], [[1.25]], fold=3))
    [{'ranking': 0, 'prompt': '2+2?', 'completion': '4', 'rank': 0, 'reward': 1.25, 'fold': 3}]
    """
    for number, (ranking, given) in enumerate(zip(rankings, rewards, strict=True)):
        for k, reward in enumerate(given):
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


def measure(
    rankings: list[Ranking],
    rewards: list[list[float]],
    *,
    whitespace: Sequence[Sequence[float] | None] | None = None,
    baselines: Mapping[str, Sequence[Sequence[float]]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Sum up rewards that are there already, K numbers for each ranking; see `evaluate`.

    `whitespace` holds the rewards after a change of whitespace, None for rankings without them.
    """
    summary = summarise(
        rewards,
        [ranking.ranks for ranking in rankings],
        prompts=[ranking.key for ranking in rankings],
        lengths=[_lengths(ranking) for ranking in rankings],
        categories=[ranking.categories or ranking.category for ranking in rankings],
        styles={
            "lists": [[*map(count_list_items, ranking.completions)] for ranking in rankings],
            "markdown": [[*map(count_markdown_marks, ranking.completions)] for ranking in rankings],
        },
        whitespace=whitespace,
        baselines=baselines,
        resamples=resamples,
        seed=seed,
    )
    return Evaluation(summary, rankings, rewards)


def _scored_again(
    model: "Scorer", rankings: list[Ranking], number: int, seed: int
) -> list[list[float] | None] | None:
    """Rewards of so many rankings with other whitespace, None in the place of the others."""
    ordered = [index for index, ranking in enumerate(rankings) if len(set(ranking.ranks)) > 1]
    if not number or not ordered:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(ordered)[:number].tolist()
    changed = [
        (rankings[i].prompt, [change_whitespace(text, rng) for text in rankings[i].completions])
        for i in drawn
    ]
    scored = progress(_as_log_odds(model, changed), "scoring with other whitespace", len(drawn))
    again = dict(zip(drawn, scored, strict=True))
    model.truncation.clear()  # of the same texts, and reported before
    return [again.get(index) for index in range(len(rankings))]


def _lengths(ranking: Ranking) -> np.ndarray:
    return np.array([characters(completion) for completion in ranking.completions])
