"""The best of many, picked by the same data: how often an equal one is told from it."""

import numpy as np

from plaudit import Ranking
from plaudit.evaluation.choice import behind_best

PROMPTS = 60


def data(rng, quality):
    """Rewards of candidates that are right with these probabilities, and share mistakes."""
    hard = rng.random(PROMPTS)
    right = 0.5 * hard[None] + 0.5 * rng.random((len(quality), PROMPTS))
    # The sum of both is below its median with a probability of one half, and so on.
    bounds = np.quantile(0.5 * rng.random(100_000) + 0.5 * rng.random(100_000), quality)
    right = right < bounds[:, None]
    return [[[1.0, 0.0] if one else [0.0, 1.0] for one in row] for row in right]


RANKINGS = [Ranking(f"{n}?", [f"yes {n}", "no"], [0, 1]) for n in range(PROMPTS)]


def test_equal_candidates_are_rarely_told_apart():
    rng = np.random.default_rng(0)
    found = sum(
        min(behind_best(RANKINGS, data(rng, [0.7] * 12), "pairwise_accuracy", resamples=200)) < 0.05
        for _ in range(200)
    )
    # At 5 %, 10 ± 3 of 200.
    assert found <= 20


def test_a_bad_one_is_told_from_the_best_and_the_good_ones_are_not():
    rng = np.random.default_rng(1)
    told = np.array(
        [
            behind_best(RANKINGS, data(rng, [0.8, 0.78, 0.35]), "pairwise_accuracy", resamples=200)
            for _ in range(50)
        ]
    )
    assert (told[:, 2] < 0.05).mean() > 0.9
    assert (told[:, :2].min(axis=1) < 0.05).mean() < 0.1


def test_less_is_better_where_the_measure_says_so():
    sure, unsure = [[4.0, 0.0]] * PROMPTS, [[0.1, 0.0]] * PROMPTS
    assert behind_best(RANKINGS, [sure, unsure], "log_loss")[0] == 1
    assert behind_best(RANKINGS, [sure, unsure], "log_loss")[1] < 0.05
