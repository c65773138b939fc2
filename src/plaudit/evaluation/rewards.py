"""The rewards that a model gives to rankings, and the rows of `predictions.jsonl` made of them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plaudit.console import progress
from plaudit.data.rankings import BadRowError, Ranking, Text, text_key
from plaudit.evaluation.rewrites import rewrites
from plaudit.evaluation.stress import Again

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
    asked, places = _distinct(rankings)
    scored = progress(as_log_odds(model, asked), what, total=len(rankings))
    with _telling_truncation(model, what):
        return [[found[k] for k in of] for of, found in zip(places, scored, strict=True)]


def posteriors_of(
    model: "Scorer", rankings: Sequence[Ranking], what: str = "scoring"
) -> tuple[list[list[float]], list[NDArray[np.float64]]]:
    """The rewards of `rewards_of` and the covariance `[K, K]` of those of each ranking.

    Raises:
        PlauditError: where the model has no uncertainty.
    """
    asked, places = _distinct(rankings)
    scored = progress(model.posterior_all(asked), what, total=len(rankings))
    rewards, covariances = [], []
    with _telling_truncation(model, what):
        for of, found in zip(places, scored, strict=True):
            rewards.append((model.scale * found.rewards[of]).tolist())
            covariances.append(model.scale**2 * found.covariance[np.ix_(of, of)])
    return rewards, covariances


def _telling_truncation(model: "Scorer", what: str) -> AbstractContextManager[None]:
    """Truncation is told with what is done, where that says more than that it is scored."""
    return model.telling_truncation("" if what == "scoring" else what)


def _distinct(
    rankings: Sequence[Ranking],
) -> tuple[list[tuple[Text, list[Text]]], list[list[int]]]:
    """Each prompt with its different completions, and which of these each completion is."""
    asked, places = [], []
    for ranking in rankings:
        texts = {text_key(text): text for text in ranking.completions}
        place = {key: k for k, key in enumerate(texts)}
        asked.append((ranking.prompt, [*texts.values()]))
        places.append([place[text_key(text)] for text in ranking.completions])
    return asked, places


def rewards_of_rewritten(
    model: "Scorer", rankings: Sequence[Ranking], number: int, seed: int
) -> dict[str, list[Again]]:
    """Rewards of so many rankings, drawn at random, rewritten in every way of `rewrites`.

    Of each ranking one ordered pair is rewritten, drawn at random; whitespace is changed in all its
    completions, as it was before there were other ways. What the model refuses, a chat template an
    empty message for example, has no reward.

    >>> from plaudit import RewardModel
    >>> model, ranking = RewardModel.load("runs/first"), Ranking("2+2?", ["4", "5"], [0, 1])
    >>> rewards_of_rewritten(model, [ranking], 1, seed=0)["empty"]
    [Again(ranking=0, completions=(0, 1), rewards=[..., ...])]
    """
    ordered = [index for index, ranking in enumerate(rankings) if len(set(ranking.ranks)) > 1]
    rng, of_pairs = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    drawn = rng.permutation(ordered)[:number].tolist()
    pairs: dict[int, tuple[int, ...]] = {}
    for i in drawn:
        among = rankings[i].pairs()
        pairs[i] = among[of_pairs.integers(len(among))]
    found: dict[str, list[Again]] = {}
    ways = rewrites()
    for number, (name, rewrite) in enumerate(ways.items() if drawn else (), start=1):
        places = [pairs[i] for i in drawn]
        if name == "whitespace":
            places = [tuple(range(len(rankings[i].ranks))) for i in drawn]
        texts = [
            [rewrite(rankings[i].prompt, rankings[i].completions[k], rng) for k in of]
            for i, of in zip(drawn, places, strict=True)
        ]
        asked = [
            (rankings[i].prompt, present)
            for i, each in zip(drawn, texts, strict=True)
            if (present := [text for text in each if text is not None])
        ]
        what = f"rewritten in way {number} of {len(ways)}, {rewrite.label}"
        rewards = iter(_rewards_or_none(model, asked, what))
        found[name] = [
            Again(i, of, [None if text is None else next(rewards) for text in each])
            for i, of, each in zip(drawn, places, texts, strict=True)
        ]
    model.truncation.clear()  # of the same texts, and reported before
    return found


def _rewards_or_none(
    model: "Scorer", asked: Sequence[tuple[Text, Sequence[Text]]], what: str
) -> list[float | None]:
    """The rewards of all these texts in a row; None for those that the model refuses."""
    try:
        scored = progress(as_log_odds(model, asked), what, len(asked))
        return [reward for each in scored for reward in each]
    except BadRowError:
        if len(asked) == 1 and len(asked[0][1]) == 1:
            return [None]
        each_alone = [(prompt, [text]) for prompt, texts in asked for text in texts]
        return [_rewards_or_none(model, [one], what)[0] for one in each_alone]


def as_log_odds(
    model: "Scorer", prompts: Iterable[tuple[Text, Sequence[Text]]]
) -> Iterator[list[float]]:
    """Rewards whose differences are log odds: as the model gives them, times its scale."""
    for rewards in model.score_all(prompts):
        yield [model.scale * reward for reward in rewards]


def prediction_rows(
    rankings: Sequence[Ranking],
    rewards: Sequence[Sequence[float]],
    covariances: Sequence[NDArray[np.float64]] | None = None,
    **extra: Any,
) -> Iterator[dict[str, Any]]:
    """One row for each completion: what `predictions.jsonl` holds, with `extra` in every row.

    `rewards` hold K numbers for each ranking, whose place among `rankings` is `ranking`. `rank`
    counts from 0, the best; in files of labels ranks count from 1. With `covariances` a row has the
    reward's standard deviation, `reward_std`.

    >>> list(prediction_rows([Ranking("2+2?", ["4"], [0])], [[1.25]], fold=3))
    [{'ranking': 0, 'prompt': '2+2?', 'completion': '4', 'rank': 0, 'reward': 1.25, 'fold': 3}]
    """
    for number, (ranking, given) in enumerate(zip(rankings, rewards, strict=True)):
        for k, reward in enumerate(given):
            row: dict[str, Any] = {"ranking": number, "prompt": ranking.prompt}
            row |= {"completion": ranking.completions[k], "rank": ranking.ranks[k]}
            row["reward"] = reward
            if covariances is not None:
                row["reward_std"] = float(np.sqrt(max(covariances[number][k, k], 0.0)))
            if ranking.category is not None:
                row["category"] = ranking.category
            if ranking.categories is not None:
                row["category"] = ranking.categories[k]
            if ranking.models is not None:
                row["model"] = ranking.models[k]
            if ranking.source:
                row["source"] = ranking.source
            yield row | extra
