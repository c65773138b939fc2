"""Whether what is said to be found in four of five comparisons is, by simulating them."""

import math

import numpy as np
import pytest
from scipy import stats

from plaudit.evaluation.comparison import corrected_resampled_t
from plaudit.evaluation.power import (
    before_comparing,
    before_comparing_folds,
    independent_pairs,
    told_apart,
    told_apart_over_folds,
)
from plaudit.evaluation.statistics import Figure, bootstrap


# The formula is for many pairs that part; of 20 it says a little too little.
@pytest.mark.parametrize(
    ("pairs", "parting", "error"), [(200, 0.1, 0.04), (1000, 0.1, 0.02), (1000, 0.25, 0.02)]
)
def test_such_a_difference_is_found_in_four_of_five_comparisons(pairs, parting, error):
    rng = np.random.default_rng(0)
    delta = told_apart(pairs, parting)
    better, worse = (parting + delta) / 2, (parting - delta) / 2
    drawn = rng.multinomial(pairs, [better, worse, 1 - parting], 20_000)
    first, second, _ = drawn.T
    # McNemar's test by the normal distribution, which the formula is for.
    z = (first - second) / np.sqrt(np.maximum(first + second, 1))
    found = np.mean(np.abs(z) > stats.norm.ppf(0.975))
    assert found == pytest.approx(0.8, abs=error)


@pytest.mark.parametrize("folds", [5, 10, 30])
def test_over_folds_too(folds):
    rng = np.random.default_rng(1)
    train, test, sigma, trials = 400.0, 100.0, 0.02, 4000
    # What the corrected test assumes: folds whose differences correlate by test / (test + train).
    rho = test / (test + train)
    # The spread that folds show is σ √(1 − ρ).
    delta = told_apart_over_folds(sigma * math.sqrt(1 - rho), folds, train, test)
    shared = math.sqrt(rho) * rng.standard_normal((trials, 1))
    own = math.sqrt(1 - rho) * rng.standard_normal((trials, folds))
    differences = delta + sigma * (shared + own)
    found = np.mean([corrected_resampled_t(row, train, test)[1] < 0.05 for row in differences])
    assert found == pytest.approx(0.8, abs=0.025)


def test_pairs_of_a_prompt_that_go_together_are_worth_fewer():
    rng = np.random.default_rng(2)
    right = rng.random(400) < 0.7  # of each prompt all ten pairs, or none
    copied = bootstrap(10.0 * right[:, None], np.full((400, 1), 10.0), shares=True)[0]
    assert independent_pairs(copied, 4000, 400) == pytest.approx(400, rel=0.1)
    each = rng.binomial(10, 0.7, 400).astype(float)
    alone = bootstrap(each[:, None], np.full((400, 1), 10.0), shares=True)[0]
    assert independent_pairs(alone, 4000, 400) == pytest.approx(4000, rel=0.15)
    assert independent_pairs(Figure(1.0, 0.98, 1.0), 4000, 400) == 400
    assert independent_pairs(Figure(0.7), 10, 4) == 4


def test_more_prompts_tell_more_and_few_tell_nothing():
    apart = [told_apart(n, 0.1) for n in (100, 400, 1600)]
    assert apart[0] > 1.7 * apart[1] > 1.7**2 * apart[2]
    assert math.isnan(told_apart(20, 0.1))
    said = before_comparing(Figure(0.7), 45, 45)
    assert "disagree on 10 % of the pairs, no difference, however large; where on 25 %" in said
    assert f"difference of {100 * told_apart(45, 0.25):.1f} points of accuracy or more" in said
    assert told_apart_over_folds(0.0, 5, 400, 100) == 0


def test_what_is_said_of_folds():
    said = before_comparing_folds([0.70, 0.74, 0.72, 0.71, 0.73], 3000, 400, 100)
    low, high = (
        100 * told_apart_over_folds(sd, 5, 400, 100)
        for sd in (math.sqrt(0.1 / 600), math.sqrt(2) * np.std([0, 4, 2, 1, 3], ddof=1) / 100)
    )
    assert f"between {low:.1f} points and {high:.1f} points" in said
