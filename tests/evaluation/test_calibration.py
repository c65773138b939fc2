"""Calibration, temperature and AUC against scipy and scikit-learn, degenerate data included."""

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import brentq
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from drawn import RANKINGS, gaps, ordered_pairs, pair_counts, plain_bootstrap, some_rankings
from plaudit.errors import PlauditError
from plaudit.evaluation.layout import lay_out
from plaudit.evaluation.measures import MEASURES
from plaudit.evaluation.measures.temperature import COOLEST, HOTTEST
from plaudit.evaluation.measures.temperature import temperature as temperature_statistic
from plaudit.evaluation.metrics import auc, calibration_error, temperature
from plaudit.evaluation.statistics import Figure
from plaudit.evaluation.summary import format_summary, summarise

PAIR = [[0, 1]]


def plain_calibration_error(rewards, ranks):
    gap = np.array(gaps(rewards, ranks))
    right, sure = (np.sign(gap) + 1) / 2, 1 / (1 + np.exp(-np.abs(gap)))
    error = 0.0
    for b in range(10):
        inside = (sure >= 0.5 + b / 20) & ((sure < 0.5 + (b + 1) / 20) | (b == 9))
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return error


def scipy_temperature(rewards, ranks):
    gap = np.array(gaps(rewards, ranks))

    def slope(log_t):
        return (gap / (1 + np.exp(np.minimum(gap / np.exp(log_t), 700)))).sum()

    low, high = np.log(COOLEST), np.log(HOTTEST)
    if not gap.any():
        return 1.0
    if slope(high) <= 0:
        return HOTTEST
    return COOLEST if slope(low) >= 0 else np.exp(brentq(slope, low, high, xtol=1e-14, rtol=1e-14))


def sklearn_auc(rewards, ranks):
    pairs = [(r[i], r[j]) for r, k in zip(rewards, ranks, strict=True) for i, j in ordered_pairs(k)]
    better, worse = map(list, zip(*pairs, strict=True))
    return roc_auc_score([1] * len(better) + [0] * len(worse), better + worse)


@given(RANKINGS)
@settings(max_examples=100)
def test_each_agrees_with_an_independent_one(rankings):
    rewards, ranks, *_ = map(list, zip(*rankings, strict=True))
    assert calibration_error(rewards, ranks, resamples=0).value == pytest.approx(
        plain_calibration_error(rewards, ranks), abs=1e-9
    )
    assert auc(rewards, ranks, resamples=0).value == pytest.approx(
        sklearn_auc(rewards, ranks), abs=1e-9
    )
    assert temperature(rewards, ranks, resamples=0).value == pytest.approx(
        scipy_temperature(rewards, ranks), rel=1e-9, abs=1e-9
    )


def test_calibration_error_is_that_of_sklearns_curve_over_both_orders():
    rewards, ranks, _, _ = some_rankings(count=300)
    gap = np.array(gaps(rewards, ranks))
    right = np.concatenate([np.ones(len(gap)), np.zeros(len(gap))])
    sure = 1 / (1 + np.exp(-np.concatenate([gap, -gap])))
    observed, predicted = calibration_curve(right, sure, n_bins=20)
    pairs = np.histogram(sure, np.linspace(0, 1, 21))[0]
    expected = (pairs[pairs > 0] / pairs.sum() * np.abs(observed - predicted)).sum()
    assert calibration_error(rewards, ranks).value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", [auc, temperature])
def test_interval_is_what_a_plain_bootstrap_over_prompts_gives(metric):
    rewards, ranks, _, prompts = some_rankings()

    def measure(rows):
        return metric([rewards[i] for i in rows], [ranks[i] for i in rows], resamples=0).value

    expected = plain_bootstrap(measure, prompts, seed=7, items=pair_counts(ranks))
    figure = metric(rewards, ranks, prompts=prompts, resamples=50, seed=7)
    assert (figure.low, figure.high) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("count", [3, 12, 60])
def test_resampled_temperatures_are_those_fitted_to_each_resample(scale, count):
    """With few prompts some resamples are separable, and some no better than chance."""
    rng = np.random.default_rng(0)
    rewards, ranks = scale * rng.normal(0, 1, (count, 2)), PAIR * count
    rewards[:, 0] += 0.5 * scale
    layout = lay_out(ranks, None)
    rows = rng.integers(count, size=(100, count))
    weights = np.stack([np.bincount(row, minlength=count) for row in rows]).astype(float)
    found = temperature_statistic(layout, rewards.ravel()).of(weights)[:, 0]
    expected = [scipy_temperature(rewards[row], ranks) for row in rows]
    assert found == pytest.approx(expected, rel=2e-3)


def test_temperature_undoes_a_scale():
    rewards, ranks, _, _ = some_rankings()
    once = temperature(rewards, ranks, resamples=0).value
    twice = temperature([2 * r for r in rewards], ranks, resamples=0).value
    assert twice == pytest.approx(2 * once, rel=1e-9)
    assert temperature([r / once for r in rewards], ranks, resamples=0).value == pytest.approx(1)


@pytest.mark.filterwarnings("error")
def test_degenerate_temperatures():
    for rewards, end in (([2.0, 0.0], COOLEST), ([0.0, 2.0], HOTTEST), ([5e5, 0.0], COOLEST)):
        figure = temperature([rewards] * 5, PAIR * 5)
        assert (figure.value, figure.low, figure.high) == pytest.approx((end, end, end))
    assert temperature([[1.0, 1.0]] * 5, PAIR * 5) == Figure(1.0, 1.0, 1.0)
    assert temperature([[1e5, 0.0], [0.0, 1e5]], PAIR * 2).value == pytest.approx(HOTTEST)
    assert temperature([[2.0, 0.0]], PAIR).low is None


@pytest.mark.filterwarnings("error")
def test_degenerate_calibration_and_auc():
    assert calibration_error([[1.0, 1.0]] * 5, PAIR * 5) == Figure(0.0, 0.0, 0.0)
    assert calibration_error([[900.0, 0.0]] * 5, PAIR * 5) == Figure(0.0, 0.0, 0.0)
    wrong = calibration_error([[0.0, 900.0]] * 5, PAIR * 5)
    assert (wrong.value, wrong.low, wrong.high) == pytest.approx((1, 1, 1))
    assert auc([[1.0, 1.0]] * 5, PAIR * 5) == Figure(0.5, 0.5, 0.5)
    # Right in each pair, but one prompt's rewards lie below the other's.
    assert auc([[9.0, 8.0], [2.0, 1.0]], PAIR * 2).value == 0.75


@pytest.mark.parametrize("stretch", [1.0, 1.6])
def test_interval_of_the_calibration_error_covers_the_truth(stretch):
    """At 1 the rewards are calibrated: any estimate is too high, and percentiles never cover."""

    def sample(count, rng):
        margins = rng.normal(0, 1.7, count)
        right = rng.random(count) < 1 / (1 + np.exp(-np.abs(margins)))
        size = stretch * np.abs(margins)
        return np.stack([np.where(right, size, 0), np.where(right, 0, size)], axis=1)

    rng = np.random.default_rng(0)
    many = sample(200_000, rng)
    truth = plain_calibration_error(many, PAIR * len(many)) if stretch != 1 else 0
    covered = 0
    for seed in range(100):
        figure = calibration_error(sample(300, rng), PAIR * 300, resamples=200, seed=seed)
        assert figure.low <= figure.value
        covered += figure.low <= truth <= figure.high
    assert covered / 100 >= 0.88


def test_a_reward_that_is_not_finite_is_named():
    for metric in (calibration_error, temperature, auc):
        with pytest.raises(PlauditError, match="completion 1 in ranking 1"):
            metric([[1.0, 0.0], [1.0, np.nan]], PAIR * 2)


def tied(seed):
    """Rankings of four with ties, rewards, and every pair of them in plain loops: label and gap."""
    rng = np.random.default_rng(seed)
    ranks = [rng.integers(0, 3, 4) for _ in range(60)]
    rewards = [rng.normal(-rank, 1.0) for rank in ranks]
    pairs = []
    for rank, reward in zip(ranks, rewards, strict=True):
        if len(set(rank)) == 1:
            continue  # which asks no question
        for i in range(4):
            for j in range(i):
                a, b = (i, j) if rank[i] <= rank[j] else (j, i)
                pairs.append((0.5 if rank[i] == rank[j] else 1.0, reward[a] - reward[b]))
    return ranks, rewards, pairs


def test_ties_are_half_a_preference_for_either():
    ranks, rewards, pairs = tied(0)
    log_loss, error = (
        MEASURES.get(f"{name}_with_ties") for name in ("log_loss", "calibration_error")
    )
    losses = [
        -y * np.log(1 / (1 + np.exp(-m))) - (1 - y) * np.log(1 / (1 + np.exp(m))) for y, m in pairs
    ]
    assert log_loss(rewards, ranks).value == pytest.approx(np.mean(losses))
    bins = {}
    for y, m in pairs:
        sure = 1 / (1 + np.exp(-abs(m)))
        right = 0.5 if y == 0.5 else float(m > 0)
        bins.setdefault(min(int((sure - 0.5) * 20), 9), []).append(right - sure)
    expected = sum(abs(sum(gaps)) for gaps in bins.values()) / len(pairs)
    found = error(rewards, ranks)
    assert found.value == pytest.approx(expected)
    assert found.low is not None


def test_without_ties_there_is_nothing_to_say_of_them():
    summary = summarise([[2.0, 1.0]] * 9, [[0, 1]] * 9, prompts=range(9), lengths=[[1, 2]] * 9)
    assert summary["log_loss_with_ties"] is None
    assert summary["calibration_error_with_ties"] is None


@pytest.mark.parametrize(
    ("rewards", "says"),
    [
        ([[2.0, 0.0]] * 40, "end of its range (0.001): all pairs are right"),
        ([[0.0, 2.0]] * 40, "end of its range (1,000): the rewards are no better than chance"),
        ([[2.0, 0.0]] * 39 + [[0.0, 0.1]], "reaches the end of its range (0.001)"),
    ],
)
def test_a_temperature_at_the_edge_is_said(rewards, says):
    lengths = [[1, 2], [2, 1]] * 20
    summary = summarise(rewards, [[0, 1]] * 40, prompts=range(40), lengths=lengths)
    assert says in format_summary(summary)


def test_a_temperature_within_its_range_is_left_alone():
    rewards = [[1.0, 0.0]] * 30 + [[0.0, 1.0]] * 10
    lengths = [[1, 2], [2, 1]] * 20
    summary = summarise(rewards, [[0, 1]] * 40, prompts=range(40), lengths=lengths)
    assert "its range" not in format_summary(summary)
