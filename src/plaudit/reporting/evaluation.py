"""Measure a reward model on rankings: score them, sum up, write numbers, predictions and plots.

`evaluate` is the one way in, for the command line, for the end of a training run and for Python.
Rankings that the model was trained on are noticed by the hashes beside it, where there are some.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plaudit.console import say
from plaudit.data.cells import lengths_of
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings, load_rankings
from plaudit.errors import PlauditError
from plaudit.evaluation.agreement import agreement
from plaudit.evaluation.comparison import ModelComparison
from plaudit.evaluation.layout import Floats
from plaudit.evaluation.overlap import measure_overlap
from plaudit.evaluation.rewards import (
    posteriors_of,
    prediction_rows,
    rewards_of,
    rewards_of_rewritten,
)
from plaudit.evaluation.stress import Again
from plaudit.evaluation.style import count_list_items, count_markdown_marks
from plaudit.evaluation.summary import Summary, format_summary, summarise
from plaudit.files import SCHEMA_VERSION, make_way, write_jsonl, write_results
from plaudit.model.encoding import describe_pairs
from plaudit.model.seen import taken
from plaudit.model.trained_on import Overlap, overlap
from plaudit.reporting.contents import evaluation_report
from plaudit.reporting.page import write_report
from plaudit.reporting.plots import write_plots

if TYPE_CHECKING:
    from plaudit.model.scorer import Scorer


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of some rankings.

    `summary` is what `summarise` returns; `rankings` and `rewards` (K numbers for each ranking) are
    what it was made from, with `covariances` (`[K, K]` for each) where the model says how uncertain
    its rewards are; `comparison` is with another model, where one was asked for; `trained_on` says
    what of the rankings the model was trained on, where that was looked up.
    """

    summary: Summary
    rankings: list[Ranking]
    rewards: list[list[float]]
    comparison: ModelComparison | None = None
    covariances: list[NDArray[np.float64]] | None = None
    trained_on: Overlap | None = None

    def __str__(self) -> str:
        text = format_summary(self.summary)
        return text if self.comparison is None else f"{text}\n\n{self.comparison}"

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints: `metrics.json`, with the comparison as `against`."""
        found = {"schema_version": SCHEMA_VERSION, **self.summary}
        return found if self.comparison is None else found | {"against": self.comparison.summary}

    def predictions(self, **extra: Any) -> Iterator[dict[str, Any]]:
        """One row for each completion: what `predictions.jsonl` holds; see `prediction_rows`."""
        return prediction_rows(self.rankings, self.rewards, self.covariances, **extra)

    def write(self, folder: str | Path, facts: Mapping[str, str] | None = None) -> None:
        """Write `metrics.json`, `predictions.jsonl`, `report.html` and `plots/` into a folder.

        `facts` name what stands at the top of the report: the model, the data. A comparison with
        another model goes into the report, and into files of its own.
        """
        folder = Path(folder)
        make_way(folder)
        write_jsonl(folder / "predictions.jsonl", self.predictions())
        self.plot(folder / "plots")
        report = evaluation_report(
            self,
            title=folder.resolve().name,
            facts=facts or {},
            against=None if self.comparison is None else self.comparison.summary,
        )
        write_report(folder / "report.html", report)
        if self.comparison is not None:
            self.comparison.write(folder)
        write_results(folder / "metrics.json", self.summary)

    def plot(self, folder: Path) -> None:
        """Write the plots of rewards that have a file into a folder."""
        write_plots("evaluation", self, folder)

    def pair_rewards(self) -> tuple[Floats, Floats]:
        """Rewards of the better and of the worse completion of every ordered pair."""
        pairs = [
            (rewards[i], rewards[j])
            for ranking, rewards in zip(self.rankings, self.rewards, strict=True)
            for i, j in ranking.pairs()
        ]
        better, worse = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        return better, worse


def evaluate(
    model: "Scorer | str | Path | Sequence[str | Path]",
    data: "str | Path | Iterable[Ranking]",
    *,
    output: str | Path | None = None,
    baselines: Mapping[str, Sequence[Sequence[float]]] | None = None,
    stress: int = 50,
    whitespace: int | None = None,
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
        stress: how many rankings, drawn at random, to score again with their answers rewritten in
            every way of `rewrites`; 0 for none.
        whitespace: the name of `stress` before there were other ways.
        resamples: of the bootstrap over prompts, for the 95 % intervals.
        seed: of the bootstrap and the draw.
        what: what the progress bar calls it.

    Raises:
        PlauditError: when the data cannot be read, or a reward is not a finite number.

    >>> print(evaluate("runs/first", "pairs.jsonl"))
    24 prompts, 24 rankings, 48 completions, 24 pairs
    ...
    pairwise accuracy            0... [0..., 0...]       0.500       0.500
    ...
    """
    facts = {
        name: str(given)
        for name, given in (("model", model), ("data", data))
        if isinstance(given, str | Path)
    }
    if isinstance(data, str | Path):
        data = load_rankings(data, **reading)
    from plaudit.model.reward_model import as_scorer

    model = as_scorer(model)
    rankings = list(data)
    if not rankings:
        raise PlauditError("there is no ranking to evaluate on; give data with at least one")
    truncated: dict[str, int] = {}
    if isinstance(data, Rankings):
        rankings = taken(rankings, model.encodings, data, counts=truncated)
        if line := data.describe_left_out():
            say(line)
        if not rankings:
            raise data.nothing_left("to evaluate on")
    else:
        rankings = taken(rankings, model.encodings, None, counts=truncated)
    for line in describe_pairs(truncated):
        say(line if what == "scoring" else f"{what}: {line}")
    model.warn_if_untrained()
    model.training_texts()  # damaged hashes are said before an hour of scoring
    covariances = None
    with model.remembering():
        if model.uncertain:
            rewards, covariances = posteriors_of(model, rankings, what)
        else:
            rewards = rewards_of(model, rankings, what)
        number = stress if whitespace is None else whitespace
        rewritten = rewards_of_rewritten(model, rankings, number, seed)
    evaluation = measure(
        rankings,
        rewards,
        covariances=covariances,
        rewritten=rewritten,
        baselines=baselines,
        resamples=resamples,
        seed=seed,
    )
    evaluation.summary["truncated"] = truncated
    if getattr(model, "readings", None):  # a scorer of somebody's own need not have it
        evaluation.summary["from_elsewhere"] = True
    trained_on = overlap(model.training_texts(), rankings)
    evaluation = replace(evaluation, trained_on=trained_on)
    evaluation.summary["training_overlap"] = measure_overlap(
        trained_on,
        rankings,
        rewards,
        resamples=resamples,
        seed=seed,
    )
    if isinstance(data, Rankings) and not data.streaming:
        # Only there it is known which labels contradict each other, and were left out for it.
        evaluation.summary["annotators"] = agreement(
            rankings, data.rejected, resamples=resamples, seed=seed
        )
    if output is not None:
        evaluation.write(output, facts)
    return evaluation


def measure(
    rankings: list[Ranking],
    rewards: list[list[float]],
    *,
    covariances: list[NDArray[np.float64]] | None = None,
    rewritten: Mapping[str, Sequence[Again]] | None = None,
    baselines: Mapping[str, Sequence[Sequence[float]]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Sum up rewards that are there already, K numbers for each ranking; see `evaluate`.

    `rewritten` holds the rewards of a sample after rewriting: what `rewards_of_rewritten` returns.
    """
    summary = summarise(
        rewards,
        [ranking.ranks for ranking in rankings],
        prompts=[ranking.key for ranking in rankings],
        lengths=lengths_of(rankings),
        categories=[ranking.categories or ranking.category for ranking in rankings],
        sources=sources if any(sources := [ranking.source for ranking in rankings]) else None,
        styles={
            "lists": [[*map(count_list_items, ranking.completions)] for ranking in rankings],
            "markdown": [[*map(count_markdown_marks, ranking.completions)] for ranking in rankings],
        },
        rewritten=rewritten,
        baselines=baselines,
        covariances=covariances,
        resamples=resamples,
        seed=seed,
    )
    return Evaluation(summary, rankings, rewards, covariances=covariances)
