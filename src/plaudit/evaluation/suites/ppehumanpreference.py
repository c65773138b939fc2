"""PPE Human Preference (2024), by LMArena: which of two answers visitors of an arena prefer.

Battles that ended in a tie have no right answer and are left out of the accuracy. Beside it: do the
rewards rank the models that wrote the answers as people do?
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit
from scipy.stats import rankdata

from plaudit.data.cells import read_label
from plaudit.data.rankings import BadRowError, Fault
from plaudit.data.rows import Row
from plaudit.evaluation.layout import Floats
from plaudit.evaluation.statistics import Statistic, divide, effective
from plaudit.evaluation.suite import (
    Item,
    Means,
    Part,
    Suite,
    higher_is_right,
    is_true,
    make_item,
)

WINNERS = {"model_a": (0, 1), "model_b": (1, 0), "tie": (0, 0), "tie (bothbad)": (0, 0)}
PROMPTS = {  # columns that say what kind of prompt it is
    "hard_prompt": "hard prompts",
    "easy_prompt": "easy prompts",
    "if_prompt": "instruction following",
    "is_code": "code",
    "math_prompt": "math",
}
LANGUAGES = ("English", "Chinese", "Russian")
FEWEST_MODELS = 3  # to rank
NEWTON_STEPS = 12


class Battle(NamedTuple):
    """What kind of prompt it is, in which language, and the two models."""

    kinds: set[str]
    first: str
    second: str


def read_ppehumanpreference(row: Row) -> Item:
    """`prompt`, `response_1`, `response_2`, `winner`, and what kind of prompt in which language."""
    cell = row.values or {}
    winner = read_label(cell.get("winner"), "winner")
    if winner not in WINNERS:
        raise BadRowError(Fault.UNKNOWN, f"unknown winner: {winner!r}, wanted {', '.join(WINNERS)}")
    language = read_label(cell.get("language"), "language") or "unknown"
    return make_item(
        row,
        None,
        cell.get("prompt"),
        [cell.get("response_1") or "", cell.get("response_2") or ""],
        WINNERS[winner],
        names=("response 1", "response 2"),
        id=cell.get("question_id"),
        about=Battle(
            {*(name for name in PROMPTS if is_true(cell.get(name))), language},
            *(read_label(cell.get(name), name) or "" for name in ("model_a", "model_b")),
        ),
    )


def score_ppehumanpreference(
    items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means
) -> Part:
    """Share of the battles without a tie whose winner has the higher reward; by kind of prompt.

    Frick et al. 2024, arXiv:2410.14872.
    """
    right = higher_is_right(items, rewards)
    decided = np.array([item.ranking.ranks[0] != item.ranking.ranks[1] for item in items])
    total = mean.part(right, decided)
    kinds = {name: [name in item.about.kinds for item in items] for name in (*PROMPTS, *LANGUAGES)}
    if any(kinds["English"]):
        kinds["other than English"] = [not one for one in kinds["English"]]
    for name, among in kinds.items():
        of = decided & np.array(among)
        if of.any():
            total.figures[PROMPTS.get(name, name)] = mean(right, of)
    return replace(total, figures=total.figures | standings(items, rewards, mean))


def standings(
    items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means
) -> dict[str, Statistic]:
    """How the M models stand by the rewards and by people, ties of either counting half.

    `row-wise Pearson` is the correlation of a model's win rates against each other model, the mean
    over models; Spearman's and Kendall's are of the ratings of Bradley and Terry.
    """
    battles = [item.about for item in items]
    models = sorted({name for one in battles for name in (one.first, one.second)})
    if len(models) < FEWEST_MODELS:
        return {}
    count = len(models)
    first, second = (
        np.array([models.index(getattr(one, side)) for one in battles])
        for side in ("first", "second")
    )
    by_people = np.array([0.5 + 0.5 * np.sign(np.diff(item.ranking.ranks)[0]) for item in items])
    by_reward = np.array([0.5 + 0.5 * np.sign(a - b) for a, b in rewards])
    # In a row for each unit: how often a model won against each other, by people and by rewards.
    cells = [
        (side * count**2 + winner * count + loser, share)
        for side, won in enumerate((by_people, by_reward))
        for winner, loser, share in ((first, second, won), (second, first, 1 - won))
    ]
    columns, shares = (np.concatenate(part) for part in zip(*cells, strict=True))
    wins_of = csr_array(
        (shares, (np.tile(mean.unit, len(cells)), columns)), shape=(mean.size, 2 * count**2)
    )

    def of(weights: Floats) -> Floats:
        wins = (weights @ wins_of).reshape(len(weights), 2, count, count)
        rates = divide(wins, wins + wins.swapaxes(2, 3))
        rates[..., np.arange(count), np.arange(count)] = np.nan  # against itself
        rows = _correlation(rates[:, 0], rates[:, 1])
        ratings = bradley_terry(wins)
        ranks = rankdata(ratings, axis=2)
        apart = np.sign(ratings[..., :, None] - ratings[..., None, :])
        tau = divide(
            (apart[:, 0] * apart[:, 1]).sum(axis=(1, 2)),
            np.sqrt(np.prod((apart**2).sum(axis=(2, 3)), axis=1)),
        )
        with np.errstate(invalid="ignore"):
            pearson = divide(np.nansum(rows, axis=1), (~np.isnan(rows)).sum(axis=1))
        return np.stack([pearson, _correlation(ranks[:, 0], ranks[:, 1]), tau], axis=1)

    names = ("row-wise Pearson", "Spearman of models", "Kendall of models")
    sizes = effective(np.bincount(mean.unit, minlength=mean.size)[:, None].astype(np.float64))
    values = of(np.ones((1, mean.size)))[0]
    return {
        name: Statistic(values[[k]], lambda weights, k=k: of(weights)[:, [k]], sizes)  # type: ignore[misc]
        for k, name in enumerate(names)
    }


def _correlation(one: Floats, other: Floats) -> Floats:
    """Pearson's correlation along the last axis, of what neither has as NaN."""
    missing = np.isnan(one) | np.isnan(other)
    one, other = np.where(missing, np.nan, one), np.where(missing, np.nan, other)
    n = np.maximum((~missing).sum(axis=-1, keepdims=True), 1)
    one = np.nan_to_num(one - np.nansum(one, axis=-1, keepdims=True) / n)
    other = np.nan_to_num(other - np.nansum(other, axis=-1, keepdims=True) / n)
    spread = np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))
    return divide((one * other).sum(axis=-1), spread)


def bradley_terry(wins: Floats) -> Floats:
    """The ratings [..., M] that make wins [..., M, M] of one over another likeliest, in nats.

    Newton's method. A weak pull towards 0 holds the ratings of what always won, and their mean.

    >>> bradley_terry(np.array([[0.0, 3.0], [1.0, 0.0]])).round(3)  # 3 : 1, half of log 3 each
    array([ 0.549, -0.549])
    """
    games = wins + wins.swapaxes(-1, -2)
    ratings = np.zeros(wins.shape[:-1])
    pull = 1e-3 * np.eye(wins.shape[-1])
    for _ in range(NEWTON_STEPS):
        chance = expit(ratings[..., :, None] - ratings[..., None, :])
        slope = (wins - games * chance).sum(axis=-1) - (pull @ ratings[..., None])[..., 0]
        curve = games * chance * (1 - chance)
        steep = np.eye(wins.shape[-1]) * curve.sum(axis=-1)[..., None] - curve + pull
        step = np.linalg.solve(steep, slope[..., None])[..., 0]
        ratings = ratings + np.clip(step, -2, 2)
    return ratings


SUITE = Suite(
    title="PPE Human Preference",
    fields=("prompt", "response_1", "response_2", "winner", "model_a", "model_b"),
    read=read_ppehumanpreference,
    score=score_ppehumanpreference,
    totals=(16038,),
    definition="accuracy over the battles that did not end in a tie; equal rewards count as wrong",
    source="Frick et al. 2024, arXiv:2410.14872, and the post Preference Proxy Evaluations of "
    "lmarena/lmarena.github.io; the card of lmarena-ai/PPE-Human-Preference-V1",
    hub="lmarena-ai/PPE-Human-Preference-V1",
    split="test",
)
