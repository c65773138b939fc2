"""Abstaining from the least sure pairs, against plain loops; ties, and what uncertainty changes."""

import numpy as np
import pytest

from drawn import gaps, ordered_pairs, some_rankings
from plaudit.evaluation.abstention import surest, variances
from plaudit.evaluation.layout import lay_out
from plaudit.evaluation.metrics import (
    accuracy_where_certain,
    accuracy_where_sure,
    calibration_error_where_certain,
    calibration_error_where_sure,
    calibration_error_with_uncertainty,
    log_loss,
    log_loss_with_uncertainty,
    pairwise_accuracy,
    uncertainty_gain,
)
from plaudit.evaluation.summary import format_summary, summarise

PAIR = [[0, 1]]


def some_covariances(ranks, seed=0):
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(len(rank), 3)) * rng.exponential(2) for rank in ranks]
    return [row @ row.T for row in rows]


def plain_variances(ranks, covariances):
    return np.array(
        [
            c[i, i] + c[j, j] - c[i, j] - c[j, i]
            for rank, c in zip(ranks, covariances, strict=True)
            for i, j in ordered_pairs(rank)
        ]
    )


def plain_surest(odds, right):
    """Accuracy and calibration error of the four fifths whose log odds are farthest from 0."""
    kept = np.argsort(-np.abs(odds), kind="stable")[: round(0.8 * len(odds))]
    sure = 1 / (1 + np.exp(-np.abs(odds[kept])))
    error = 0.0
    for b in range(10):
        inside = (sure >= 0.5 + b / 20) & ((sure < 0.5 + (b + 1) / 20) | (b == 9))
        error += abs((right[kept] - sure)[inside].sum()) / len(kept)
    return right[kept].mean(), error


def some_data():
    rewards, ranks, _, prompts = some_rankings(count=150)
    rng = np.random.default_rng(3)
    rewards = [np.array(r) + rng.normal(size=len(r)) * 1e-6 for r in rewards]  # no two are equal
    pairs = len(gaps(rewards, ranks))
    while pairs % 5:  # so that four fifths are whole pairs
        rewards, ranks, prompts = rewards[:-1], ranks[:-1], prompts[:-1]
        pairs = len(gaps(rewards, ranks))
    return rewards, ranks, prompts


def test_each_measure_agrees_with_a_plain_one():
    rewards, ranks, _ = some_data()
    covariances = some_covariances(ranks)
    gap = np.array(gaps(rewards, ranks))
    right = (np.sign(gap) + 1) / 2
    odds = gap / np.sqrt(1 + np.pi * plain_variances(ranks, covariances) / 8)
    given = {"covariances": covariances, "resamples": 0}

    accuracy, error = plain_surest(gap, right)
    assert accuracy_where_sure(rewards, ranks, resamples=0).value == pytest.approx(accuracy)
    assert calibration_error_where_sure(rewards, ranks, resamples=0).value == pytest.approx(error)
    with_accuracy, with_error = plain_surest(odds, right)
    assert accuracy_where_certain(rewards, ranks, **given).value == pytest.approx(with_accuracy)
    assert calibration_error_where_certain(rewards, ranks, **given).value == pytest.approx(
        with_error
    )
    assert uncertainty_gain(rewards, ranks, **given).value == pytest.approx(
        with_accuracy - accuracy
    )
    loss = np.log1p(np.exp(-odds)).mean()
    assert log_loss_with_uncertainty(rewards, ranks, **given).value == pytest.approx(loss)


def test_variances_are_those_of_the_pairs_of_each_ranking():
    _, ranks, _ = some_data()
    covariances = some_covariances(ranks)
    layout = lay_out(ranks, None)
    found = dict(
        zip(
            zip(layout.better.tolist(), layout.worse.tolist(), strict=True),
            variances(layout, covariances).tolist(),
            strict=True,
        )
    )
    for ranking, (rank, c) in enumerate(zip(ranks, covariances, strict=True)):
        start = layout.starts[ranking]
        for i, j in ordered_pairs(rank):
            expected = c[i, i] + c[j, j] - 2 * c[i, j]
            assert found[start + i, start + j] == pytest.approx(expected)
    with pytest.raises(ValueError, match="one matrix"):
        variances(layout, covariances[:-1])


def test_without_variance_the_uncertainty_changes_nothing():
    rewards, ranks, _ = some_data()
    given = {"covariances": [np.zeros((len(r), len(r))) for r in ranks], "resamples": 50}
    assert uncertainty_gain(rewards, ranks, **given).value == 0
    assert accuracy_where_certain(rewards, ranks, **given) == accuracy_where_sure(
        rewards, ranks, resamples=50
    )
    assert log_loss_with_uncertainty(rewards, ranks, **given).value == pytest.approx(
        log_loss(rewards, ranks, resamples=0).value
    )


def test_what_all_pairs_share_changes_no_difference():
    """A covariance that is the same everywhere is that of a common zero."""
    rewards, ranks, _ = some_data()
    shared = [np.full((len(r), len(r)), 7.0) for r in ranks]
    found = uncertainty_gain(rewards, ranks, covariances=shared, resamples=0)
    assert found.value == 0


def test_uncertainty_that_knows_the_mistakes_is_seen_to():
    """One pair in five is wrong, by as much as the others are right, and only it is uncertain."""
    rewards = [[2.0, 0.0]] * 40 + [[0.0, 2.0]] * 10
    covariances = [np.eye(2) * 0.1] * 40 + [np.eye(2) * 9.0] * 10
    given = {"covariances": covariances, "resamples": 200}
    ranks = PAIR * 50
    assert accuracy_where_certain(rewards, ranks, **given).value == 1
    assert accuracy_where_sure(rewards, ranks, resamples=0).value == pytest.approx(0.8)
    gain = uncertainty_gain(rewards, ranks, **given)
    assert gain.value == pytest.approx(0.2)
    assert gain.low > 0
    kept = calibration_error_where_certain(rewards, ranks, **given)
    assert kept.value < calibration_error_with_uncertainty(rewards, ranks, **given).value + 0.2


@pytest.mark.filterwarnings("error")
def test_equal_pairs_are_kept_in_part():
    assert surest(np.array([5.0, 5.0, 5.0, 5.0, 5.0])).tolist() == pytest.approx([0.8] * 5)
    assert surest(np.array([5.0, 1.0, 9.0, 3.0, 4.0])).tolist() == [1.0, 0.0, 1.0, 1.0, 1.0]
    assert surest(np.array([2.0, 2.0, 9.0]), 0.5).tolist() == [0.25, 0.25, 1.0]
    assert accuracy_where_sure([[1.0, 1.0]] * 5, PAIR * 5).value == 0.5
    assert calibration_error_where_sure([[1.0, 1.0]] * 5, PAIR * 5).value == 0
    rewards = [[1.0, 0.0]] * 3 + [[0.0, 1.0]]
    accuracy = pairwise_accuracy(rewards, PAIR * 4, resamples=0).value
    assert accuracy_where_sure(rewards, PAIR * 4, resamples=0).value == pytest.approx(accuracy)


def test_the_summary_has_what_needs_covariances_only_where_there_are_some():
    rewards, ranks, prompts = some_data()
    given = {"prompts": prompts, "lengths": [[len(str(x)) for x in r] for r in rewards]}
    without = summarise(rewards, ranks, resamples=20, **given)
    covariances = some_covariances(ranks)
    with_ = summarise(rewards, ranks, covariances=covariances, resamples=20, **given)
    more = with_.keys() - without.keys()
    assert "uncertainty_gain" in more
    assert len(more) == 5
    assert not more & with_["baselines"]["a coin toss"].keys()
    for name in without.keys() - {"baselines"}:
        assert with_[name] == without[name]
    assert "gain by the uncertainty" in format_summary(with_)
    assert "gain by the uncertainty" not in format_summary(without)
    with pytest.raises(ValueError, match="is measured on uncertain rewards; give `covariances`"):
        uncertainty_gain(rewards, ranks)
