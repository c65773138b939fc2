"""The bootstrap: what it draws, how wide it is, and how often it covers the truth."""

import numpy as np
import pytest
from scipy import stats

from drawn import plain_bootstrap
from plaudit.evaluation.statistics import (
    Figure,
    Statistic,
    bootstrap,
    effective,
    ratios,
    resample,
)


def test_blocks_of_resamples_do_not_change_the_interval(monkeypatch):
    rng = np.random.default_rng(0)
    sums, counts = rng.normal(size=(40, 2)), rng.integers(1, 4, (40, 2))
    whole = bootstrap(sums, counts, resamples=101, seed=5)
    monkeypatch.setattr("plaudit.evaluation.statistics.DRAWS_AT_ONCE", 40 * 7)
    assert bootstrap(sums, counts, resamples=101, seed=5) == whole


def test_statistics_share_their_resamples():
    rng = np.random.default_rng(0)
    sums, counts = rng.normal(size=(30, 2)), np.ones((30, 2))
    alone = [bootstrap(sums[:, [m]], counts[:, [m]])[0] for m in (0, 1)]
    assert bootstrap(sums, counts) == alone
    same = Statistic(np.zeros(1), lambda w: w @ sums[:, :1] - w @ sums[:, :1], np.array([30.0]))
    assert resample([ratios(sums, counts), same], 30) == [alone, [Figure(0.0, 0.0, 0.0)]]


@pytest.mark.parametrize("size", [12, 80])
def test_interval_covers_the_truth_about_as_often_as_it_says(size):
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        # 1 to 4 pairs for each prompt; those of a prompt are all alike.
        counts = rng.integers(1, 5, (size, 1))
        sums = counts * rng.normal(0.7, 1, (size, 1))
        figure = bootstrap(sums, counts, resamples=200, seed=seed)[0]
        covered += figure.low <= 0.7 <= figure.high
    assert 0.90 <= covered / 200 <= 0.985


@pytest.mark.parametrize("size", [5, 40])
def test_interval_is_the_expanded_percentile_interval(size):
    rng = np.random.default_rng(1)
    sums, counts = rng.exponential(size=(size, 1)) ** 2, rng.integers(1, 4, (size, 1))

    def measure(rows):
        return sums[rows].sum() / counts[rows].sum()

    figure = bootstrap(sums, counts, resamples=400, seed=3)[0]
    expected = plain_bootstrap(measure, range(size), 3, items=counts.ravel(), resamples=400)
    assert (figure.low, figure.high) == pytest.approx(expected, rel=1e-9)


def test_interval_is_near_that_of_scipy():
    """Scipy's percentiles, at the levels that 40 prompts of equal weight ask for."""
    sums = np.random.default_rng(1).exponential(size=(40, 1)) ** 2
    figure = bootstrap(sums, np.ones((40, 1)), resamples=20_000, seed=3)[0]
    widened = stats.norm.cdf(np.sqrt(40 / 39) * stats.t.ppf(0.975, 39))
    found = stats.bootstrap(
        (sums.ravel(),),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(0),
        confidence_level=2 * widened - 1,
    ).confidence_interval
    assert (figure.low, figure.high) == pytest.approx((found.low, found.high), rel=0.03)


def test_a_prompt_with_most_of_the_pairs_widens_the_interval():
    assert effective(np.ones((20, 1))) == pytest.approx([20])
    assert effective(np.full((20, 1), 3.0)) == pytest.approx([20])
    counts = np.ones((20, 2))
    counts[0, 0] = 20
    assert effective(counts) == pytest.approx([39**2 / 419, 20])
    assert effective(np.eye(20)[:, :1] + 1e-9) == pytest.approx([2])  # one decides: all there is
    assert effective(counts[:4]) == pytest.approx([0, 0])  # too few for an interval


def test_a_share_of_one_is_no_certainty():
    sums, counts = np.ones((20, 1)), np.full((20, 1), 3.0)
    low = stats.beta.ppf(0.025, 20 * (1.96 / 2.093) ** 2 + 0.5, 0.5)  # 2.093: t for 19 degrees
    for right, expected in ((counts, (1, low, 1)), (0 * sums, (0, 0, 1 - low))):
        figure = resample([ratios(right, counts, shares=True)], 20)[0][0]
        assert (figure.value, figure.low, figure.high) == pytest.approx(expected, abs=1e-4)
    assert resample([ratios(counts, counts)], 20)[0][0] == Figure(1.0, 1.0, 1.0)


def test_shares_of_many_independent_trials_have_the_interval_of_a_binomial():
    right = np.random.default_rng(0).permutation(np.repeat([1.0, 0.0], [1960, 40]))[:, None]
    figure = resample([ratios(right, np.ones((2000, 1)), shares=True)], 2000, resamples=4000)[0][0]
    expected = stats.beta.ppf([0.025, 0.975], 1960.5, 40.5)
    assert (figure.low, figure.high) == pytest.approx(expected, abs=5e-4)
    # Trials that a prompt has twice, alike, are no more evidence.
    doubled = resample([ratios(2 * right, np.full((2000, 1), 2.0), shares=True)], 2000)[0][0]
    assert (doubled.low, doubled.high) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("share", "size"), [(0.96, 30), (0.99, 30), (0.9, 10), (0.6, 30)])
def test_intervals_of_shares_cover_near_the_ends_too(share, size):
    """Where percentiles cover 92 % (0.6 and 0.9) to 47 % (0.99) of the time."""
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(300):
        # 1 to 5 pairs for each prompt, with a share of right ones of its own.
        counts = rng.integers(1, 6, (size, 1))
        sums = rng.binomial(counts, rng.beta(3 * share, 3 * (1 - share), (size, 1)))
        statistic = ratios(sums.astype(float), counts.astype(float), shares=True)
        figure = resample([statistic], size, resamples=200, seed=seed)[0][0]
        covered += figure.low <= share <= figure.high
    assert covered / 300 >= 0.92


def test_a_resample_with_nothing_to_count_is_left_out():
    sums, counts = np.zeros((12, 3)), np.zeros((12, 3))
    counts[:6, 0], counts[:4, 1] = 1, 1
    sums[:3, :2] = 1
    six, four, none = resample([ratios(sums, counts)], 12)[0]
    assert (six.value, four.value) == (0.5, 0.75)
    assert 0 <= six.low < 0.2
    assert 0.8 < six.high <= 1
    assert four.low is four.high is None  # too few to say
    assert np.isnan(none.value)
    assert none.low is none.high is None


def test_a_prompt_without_a_count_is_refused():
    with pytest.raises(ValueError, match="count above zero"):
        bootstrap([[1.0], [0.0]], [[1], [0]])
    with pytest.raises(ValueError, match="must be one shape"):
        bootstrap([1.0], [1])


def test_without_resamples_there_is_no_interval():
    assert bootstrap([[1.0], [0.0]], [[1], [1]], resamples=0) == [Figure(0.5)]
    assert str(Figure(0.5)) == "0.500"
