"""Which pairs are most likely labelled the wrong way round, by a model that never saw them.

The rewards are out-of-fold: each prompt is scored by a model trained on the other folds, so no
label has taught the model what it is now asked about. As in confident learning (Northcutt, Jiang
and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"), labels are judged
by calibrated out-of-fold probabilities together with an estimate of how many labels are wrong.

The model of a label: of two completions whose rewards differ by m, the first is better with the
probability σ(m / T) (Bradley–Terry at temperature T), and a label is turned round with the
probability ε whatever the pair. So P(label) = (1 − ε) σ(m / T) + ε σ(−m / T), T and ε are those of
the highest posterior, with a weak beta prior on ε (`PRIOR`), and by Bayes

    P(turned round | label) = ε σ(−m / T) / P(label).

Where few margins are large, T and ε can hardly be told apart, and ε comes out low rather than high:
the order of the suspects is to be relied on more than their probabilities.

Where other rankings of the prompt speak of the same completions, they are evidence too, and often
better evidence than the model: m is then what the rewards and all *other* rankings of the prompt
make of the pair together (`_with_other_rankings`). The pairs of one ranking are one judgement and
never support each other.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from plaudit.data.cells import characters, excerpt, said
from plaudit.data.rankings import Ranking, Text, text_key
from plaudit.data.rows import place
from plaudit.errors import PlauditError
from plaudit.evaluation.metrics import accuracy_above_length, pairwise_accuracy

# How far, in units of T, what other rankings say may move a completion from its reward: tried in
# turn, and the one under which the labels that were left out are likeliest is taken.
SPREADS = (0.25, 0.5, 1.0, 2.0, 4.0)
# A weak prior on ε, a beta distribution: a handful of pairs must not prove that no label is wrong.
PRIOR = (1.5, 5.5)
EXAMPLES = 10


@dataclass(frozen=True)
class Suspect:
    """A pair that the evidence speaks against, and the evidence.

    `probability` is that of the label being the wrong way round. `margin` is `reward_better` minus
    `reward_worse`, out of fold. `better_won` and `worse_won` are in how many (first number) of the
    comparisons (second) in *other* rankings of the prompt each completion was the better one.
    """

    origin: str
    ranking: int
    prompt: Text
    better: Text
    worse: Text
    reward_better: float
    reward_worse: float
    margin: float
    better_won: tuple[int, int]
    worse_won: tuple[int, int]
    probability: float

    def as_dict(self) -> dict[str, Any]:
        """A row of the file of suspects."""
        return asdict(self)


class Labels(NamedTuple):
    """What is known of every strictly ordered pair; arrays of M, in the order of the rankings."""

    rankings: Sequence[Ranking]
    rewards: Sequence[Sequence[float]]
    ranking: np.ndarray  # which one each pair is of
    better: np.ndarray  # index of the better completion in its ranking
    worse: np.ndarray
    won: np.ndarray  # [M, 4]: better_won, worse_won
    evidence: np.ndarray  # m / T, for the label where it is above zero
    probability: np.ndarray  # of the label being the wrong way round
    noise_rate: float

    def suspects(self, every: bool = False) -> Iterator[Suspect]:
        """The pairs that the evidence speaks against, likeliest first; with `every`, all pairs.

        Such a label is likelier wrong than labels are on the whole.
        """
        # By evidence, in which probabilities that round to one are still apart.
        for pair in np.argsort(self.evidence, kind="stable").tolist():
            if not every and self.evidence[pair] >= 0:
                return
            number, i, j = (int(each[pair]) for each in (self.ranking, self.better, self.worse))
            ranking, rewards = self.rankings[number], self.rewards[number]
            won = self.won[pair].tolist()
            yield Suspect(
                ranking.origin,
                number,
                ranking.prompt,
                ranking.completions[i],
                ranking.completions[j],
                float(rewards[i]),
                float(rewards[j]),
                float(rewards[i] - rewards[j]),
                (won[0], won[1]),
                (won[2], won[3]),
                float(self.probability[pair]),
            )

    def summary(self, examples: int = EXAMPLES) -> dict[str, Any]:
        """How many labels are probably wrong, and the likeliest ones; ready for JSON."""
        found = self.suspects()
        return {
            "pairs": len(self.probability),
            "noise_rate": self.noise_rate,
            "suspects": int((self.evidence < 0).sum()),
            "more_likely_wrong_than_right": int((self.probability > 0.5).sum()),
            "expected": float(self.probability.sum()),
            "examples": [
                one.as_dict()
                | {"better": excerpt(said(one.better)), "worse": excerpt(said(one.worse))}
                | {"prompt": excerpt(said(one.prompt))}
                for one in islice(found, examples)
            ],
        }


def judge(rankings: Sequence[Ranking], rewards: Sequence[Sequence[float]]) -> dict[str, Any]:
    """How far to trust the out-of-fold rewards that labels are judged by: the figures of their
    pairwise accuracy, and of how far it is above preferring the longer completion.

    >>> judge([Ranking("2+2?", ["4", "four"], [0, 1])], [[1.0, 0.0]])["above_length"]["value"]
    1.0
    """
    ranks = [ranking.ranks for ranking in rankings]
    prompts = [ranking.key for ranking in rankings]
    lengths = [[*map(characters, ranking.completions)] for ranking in rankings]
    return {
        "pairwise_accuracy": pairwise_accuracy(rewards, ranks, prompts=prompts).as_dict(),
        "above_length": accuracy_above_length(
            rewards, ranks, lengths=lengths, prompts=prompts
        ).as_dict(),
    }


def suspects(rankings: Sequence[Ranking], rewards: Sequence[Sequence[float]]) -> list[Suspect]:
    """The pairs most likely to be mislabelled, likeliest first, with the evidence.

    Args:
        rankings: R rankings.
        rewards: [R][K] the out-of-fold reward of each of their completions.

    Raises:
        PlauditError: when a reward is not a finite number, or rewards do not fit the rankings.

    >>> rankings = [Ranking(f"{i}+1?", ["right", "wrong"], [0, 1]) for i in range(9)]
    >>> rankings.append(Ranking("9+1?", ["wrong", "right"], [0, 1], origin="sums.csv:10"))
    >>> [found.origin for found in suspects(rankings, 9 * [[1.0, -1.0]] + [[-1.0, 1.0]])]
    ['sums.csv:10']
    """
    return list(check_labels(rankings, rewards).suspects())


def check_labels(rankings: Sequence[Ranking], rewards: Sequence[Sequence[float]]) -> Labels:
    """How likely each strictly ordered pair is to be labelled the wrong way round.

    Takes and raises what `suspects` does.
    """
    if len(rankings) != len(rewards):
        raise PlauditError(f"{len(rewards)} rankings have rewards, but there are {len(rankings)}")
    for ranking, given in zip(rankings, rewards, strict=True):
        if len(given) != len(ranking.completions) or not np.isfinite(given).all():
            raise PlauditError(
                f"{ranking.origin or 'a ranking'}: needs a finite reward for each of its "
                f"{len(ranking.completions)} completions; got {list(given)}"
            )
    pairs = np.array(
        [(number, i, j) for number, one in enumerate(rankings) for i, j in one.pairs()], dtype=int
    ).reshape(-1, 3)
    if not len(pairs):
        raise PlauditError(
            "no completion is ranked above another, so there are no labels to check; "
            "give data in which one is preferred"
        )
    margins = np.array([rewards[number][i] - rewards[number][j] for number, i, j in pairs])
    fit = _fit(margins)
    evidence, won = margins / fit.temperature, np.zeros((len(pairs), 4), int)
    prompts = [shared for shared in _prompts(rankings, rewards, pairs) if shared.is_linked]
    if prompts:
        trials = [_with_other_rankings(evidence, prompts, fit, spread) for spread in SPREADS]
        evidence, fit = min(((trial, _fit(trial)) for trial in trials), key=lambda x: x[1].loss)
        evidence = evidence / fit.temperature
        for prompt in prompts:
            won[prompt.pairs] = prompt.won()
    wrong, right = fit.noise * expit(-evidence), (1 - fit.noise) * expit(evidence)
    number, i, j = pairs.T
    probability = wrong / (wrong + right)
    return Labels(rankings, rewards, number, i, j, won, evidence, probability, fit.noise)


class Fit(NamedTuple):
    """The temperature and the share of wrong labels of the highest posterior, and its −log."""

    temperature: float
    noise: float
    loss: float


def _fit(margins: np.ndarray) -> Fit:
    """T and ε of the highest posterior, over log T and logit ε; see the top of this file."""
    scale = float(np.abs(margins).mean()) or 1.0  # so that the search begins near, in any units

    def loss(at: np.ndarray) -> float:
        noise = expit(at[1])
        likely = noise + (1 - 2 * noise) * expit(margins / (scale * math.exp(at[0])))
        prior = (PRIOR[0] - 1) * math.log(noise) + (PRIOR[1] - 1) * math.log1p(-noise)
        return -float(np.log(likely).sum()) - prior

    # ε stays under a half, where turning all labels round would explain them as well, and T within
    # what margins can tell of.
    bounds = [(math.log(1e-2), math.log(1e2)), (logit(1e-4), logit(0.45))]
    starts = [(0.0, logit(0.02)), (-1.0, logit(0.2))]
    found = min(
        (minimize(loss, start, method="L-BFGS-B", bounds=bounds) for start in starts),
        key=lambda result: result.fun,
    )
    return Fit(scale * math.exp(found.x[0]), float(expit(found.x[1])), float(found.fun))


# ---- what other rankings of the same prompt say ----


@dataclass
class Prompt:
    """All pairs of one prompt, between C distinct completions."""

    pairs: np.ndarray  # [m] which of all pairs
    rankings: np.ndarray  # [m] which ranking each is of
    better: np.ndarray  # [m] 0 … C − 1
    worse: np.ndarray
    rewards: np.ndarray  # [C]
    is_linked: bool  # whether some completion stands in several rankings

    def won(self) -> np.ndarray:
        """[m, 4] wins and comparisons of the better and of the worse one in other rankings."""
        count, columns = len(self.rewards), []
        _, ranking = np.unique(self.rankings, return_inverse=True)
        for side in (self.better, self.worse):
            for ends in ((self.better,), (self.better, self.worse)):
                table = np.zeros((ranking.max() + 1, count), int)
                for end in ends:
                    np.add.at(table, (ranking, end), 1)
                columns.append(table.sum(axis=0)[side] - table[ranking, side])
        return np.stack(columns, axis=1)


def _prompts(
    rankings: Sequence[Ranking], rewards: Sequence[Sequence[float]], pairs: np.ndarray
) -> Iterator[Prompt]:
    """The pairs of each prompt that has several rankings."""
    of_prompt: dict[str, list[int]] = {}
    for number, ranking in enumerate(rankings):
        of_prompt.setdefault(ranking.key, []).append(number)
    begins = np.searchsorted(pairs[:, 0], np.arange(len(rankings) + 1))
    for numbers in of_prompt.values():
        if len(numbers) < 2:
            continue
        known: dict[str, int] = {}
        found: list[list[float]] = []  # rewards of each completion, over the rankings it stands in
        names: dict[int, list[int]] = {}
        for number in numbers:
            names[number] = []
            for text, reward in zip(rankings[number].completions, rewards[number], strict=True):
                name = known.setdefault(text_key(text), len(known))
                if name == len(found):
                    found.append([])
                found[name].append(reward)
                names[number].append(name)
        members = np.concatenate([np.arange(begins[n], begins[n + 1]) for n in numbers])
        yield Prompt(
            members,
            pairs[members, 0],
            np.array([names[n][i] for n, i, _ in pairs[members]]),
            np.array([names[n][j] for n, _, j in pairs[members]]),
            np.array([float(np.mean(of_one)) for of_one in found]),
            is_linked=any(len(of_one) > 1 for of_one in found),
        )


def _with_other_rankings(
    evidence: np.ndarray, prompts: Iterable[Prompt], fit: Fit, spread: float
) -> np.ndarray:
    """[M] the margin of each pair by the rewards and by the other rankings of its prompt.

    The completions of a prompt have qualities θ ~ N(reward / T, spread²), and every pair is a
    Bradley–Terry comparison of two of them. θ is found by Newton's method over all pairs; what it
    would be without a ranking is one more Newton step from there, in closed form (approximate
    leave-one-out: Rad and Maleki 2020).
    """
    evidence = evidence.copy()
    for prompt in prompts:
        mean = prompt.rewards / fit.temperature
        count = len(mean)
        edges = np.zeros((len(prompt.pairs), count))
        edges[np.arange(len(edges)), prompt.better] = 1
        edges[np.arange(len(edges)), prompt.worse] = -1
        prior = np.eye(count) / spread**2
        theta = mean
        for _ in range(20):
            pull = expit(-(edges @ theta))
            gradient = edges.T @ pull - prior @ (theta - mean)
            curvature = prior + (edges.T * (pull * (1 - pull))) @ edges
            step = np.linalg.solve(curvature, gradient)
            theta = theta + step / max(1.0, float(np.abs(step).max()))
            if np.abs(step).max() < 1e-6:
                break
        margins = edges @ theta
        pull = expit(-margins)
        inverse = np.linalg.inv(prior + (edges.T * (pull * (1 - pull))) @ edges)
        for ranking in np.unique(prompt.rankings):
            own = np.flatnonzero(prompt.rankings == ranking)
            reach = edges[own] @ inverse @ edges[own].T
            weights = pull[own] * (1 - pull[own])
            moved = np.linalg.solve(np.eye(len(own)) - reach * weights, reach @ pull[own])
            evidence[prompt.pairs[own]] = margins[own] - moved
    return evidence


# ---- out-of-fold rewards from a file ----


def read_predictions(
    path: str | Path, rankings: Sequence[Ranking], repeat: int | None = None
) -> list[list[float]]:
    """The out-of-fold rewards of `rankings` from the `predictions.jsonl` of a cross-validation.

    A row has `prompt`, `completion`, `reward`, `fold` and, where there are several, `repeat`; the
    rewards of repeats are averaged, or those of one `repeat` taken. Rows are matched to completions
    by their texts, so the data may have been sorted, or rid of rows, since.

    Returns [R][K] rewards.

    Raises:
        PlauditError: when the file cannot be read, is no such file, or lacks a reward.

    >>> from plaudit.files import write_jsonl
    >>> row = {"prompt": "2 + 2?", "fold": 0}
    >>> rows = [row | {"completion": text, "reward": len(text)} for text in ("4", "22")]
    >>> _ = write_jsonl("predictions.jsonl", rows)
    >>> read_predictions("predictions.jsonl", [Ranking("2 + 2?", ["22", "4"], [1, 0])])
    [[2.0, 1.0]]
    """
    sums: dict[tuple[str, str], list[float]] = {}
    for number, row in _rows(path):
        try:
            key = (text_key(row["prompt"]), text_key(row["completion"]))
            reward = float(row["reward"])
        except (KeyError, TypeError, ValueError) as error:
            raise PlauditError(
                f"{place(str(path), number)}: no prompt, completion and reward; "
                "name the predictions.jsonl that plaudit cv wrote"
            ) from error
        if not math.isfinite(reward):
            raise PlauditError(f"{place(str(path), number)}: the reward is not a finite number")
        if row.get("fold") is None:
            raise PlauditError(
                f"{place(str(path), number)}: no fold, so the model may have learnt from this very "
                "label; name the predictions.jsonl that plaudit cv wrote"
            )
        if repeat is None or row.get("repeat") == repeat:
            sums.setdefault(key, []).append(reward)
    found: list[list[float]] = []
    missing: list[str] = []
    for ranking in rankings:
        prompt = text_key(ranking.prompt)
        rewards = [sums.get((prompt, text_key(text))) for text in ranking.completions]
        if any(given is None for given in rewards):
            missing.append(ranking.origin)
        found.append([math.fsum(given) / len(given) for given in rewards if given])
    if missing:
        first = f" (the first is {missing[0]})" if missing[0] else ""
        raise PlauditError(
            f"{path}: has no reward for {len(missing):,} of {len(rankings):,} rankings{first}; "
            "it was made from other data: run plaudit cv on these"
        )
    return found


def _rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("not an object")
                    yield number, row
    except OSError as error:
        raise PlauditError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:  # found while reading ahead, lines before it comes
        raise PlauditError(f"{path}: not JSON lines: not UTF-8") from error
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise PlauditError(f"{place(str(path), number)}: not JSON lines: {why}") from error
