"""The rewards that a model gives to rankings, and the rows of `predictions.jsonl` made of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from plaudit.console import progress
from plaudit.data.rankings import Ranking, Text, text_key
from plaudit.evaluation.style import change_whitespace

if TYPE_CHECKING:
    from plaudit.model.scorer import Scorer


def rewards_of(
    model: "Scorer", rankings: Sequence[Ranking], what: str = "scoring"
) -> list[list[float]]:
    """The reward of every completion, K numbers for each ranking; says what had to be cut.

    Equal completions of a ranking are scored once, so that their rewards are equal to the last bit.
    They are in the unit in which σ(r_a − r_b) is a probability, whether or not the model normalises
    its rewards. `what` is what the progress bar calls it.

    >>> from plaudit import RewardModel
    >>> rewards_of(RewardModel.load("runs/first"), [Ranking("2+2?", ["4", "5"], [0, 1])])
    [[..., ...]]
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


def rewards_of_changed(
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
