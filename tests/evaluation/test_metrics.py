"""Metrics against brute force, scipy and scikit-learn, on random and on degenerate rankings."""

import math
import subprocess
import sys
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import brier_score_loss, ndcg_score, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from drawn import (
    RANKINGS,
    brute_accuracy,
    gaps,
    pair_counts,
    plain_bootstrap,
    some_rankings,
)
from plaudit.errors import PlauditError
from plaudit.evaluation.measures import measure_named, measures
from plaudit.evaluation.metrics import (
    accuracy_above_length,
    brier,
    kendall_tau_b,
    length_baseline,
    log_loss,
    mean_margin,
    mean_reciprocal_rank,
    ndcg,
    pairwise_accuracy,
    per_prompt,
    spearman,
    tie_agreement,
    top1_accuracy,
)
from plaudit.evaluation.statistics import Figure
from plaudit.evaluation.stress import Again
from plaudit.evaluation.summary import summarise

OF_PAIRS = [pairwise_accuracy, log_loss, brier, mean_margin]
OF_REWARDS = [
    *OF_PAIRS,
    top1_accuracy,
    kendall_tau_b,
    spearman,
    ndcg,
    mean_reciprocal_rank,
    tie_agreement,
]


def over_rankings(measure, rewards, ranks):
    """The mean of a measure over the rankings that ask something."""
    found = [measure(r, np.array(k)) for r, k in zip(rewards, ranks, strict=True) if len({*k}) > 1]
    return np.mean(found)


def brute_top1(rewards, ranks):
    top = [rank for reward, rank in zip(rewards, ranks, strict=True) if reward == max(rewards)]
    return sum(rank == min(ranks) for rank in top) / len(top)


def scipy_tau(rewards, ranks):
    return kendalltau(rewards, -ranks).statistic if len(set(rewards)) > 1 else 0.0


def scipy_rho(rewards, ranks):
    return spearmanr(rewards, -ranks).statistic if len(set(rewards)) > 1 else 0.0


def sklearn_ndcg(rewards, ranks):
    levels = sorted(set(ranks), reverse=True)
    return ndcg_score([[levels.index(rank) for rank in ranks]], [rewards])


def brute_reciprocal_rank(rewards, ranks):
    """Over every order in which the completions may stand that falls in reward."""
    found = []
    for order in permutations(range(len(ranks))):
        if all(rewards[a] >= rewards[b] for a, b in pairwise(order)):
            found.append(1 / (1 + [ranks[i] == min(ranks) for i in order].index(True)))
    return np.mean(found)


def sklearn_tie_agreement(rewards, ranks):
    found = []
    for r, k in zip(rewards, ranks, strict=True):
        i, j = np.triu_indices(len(k), 1)
        strict = np.array(k)[i] != np.array(k)[j]
        if 0 < strict.sum() < len(strict):
            found.append(roc_auc_score(strict, np.abs(np.array(r)[i] - np.array(r)[j])))
    return np.mean(found) if found else None


@given(RANKINGS)
@settings(max_examples=80)
def test_every_metric_agrees_with_an_independent_one(rankings):
    rewards, ranks, lengths, _, _ = map(list, zip(*rankings, strict=True))
    gap = np.array(gaps(rewards, ranks))
    certain = 1 / (1 + np.exp(-gap))
    expected = {
        pairwise_accuracy: brute_accuracy(rewards, ranks),
        log_loss: np.mean([math.log1p(math.exp(-g)) for g in gap]),
        brier: brier_score_loss(np.ones(len(gap)), certain, labels=[0, 1]),
        mean_margin: gap.mean(),
        top1_accuracy: over_rankings(brute_top1, rewards, ranks),
        kendall_tau_b: over_rankings(scipy_tau, rewards, ranks),
        spearman: over_rankings(scipy_rho, rewards, ranks),
        ndcg: over_rankings(sklearn_ndcg, rewards, ranks),
        mean_reciprocal_rank: over_rankings(brute_reciprocal_rank, rewards, ranks),
        tie_agreement: sklearn_tie_agreement(rewards, ranks),
    }
    for metric, value in expected.items():
        if value is None:
            with pytest.raises(PlauditError, match="nothing to measure"):
                metric(rewards, ranks)
        else:
            found = metric(rewards, ranks, resamples=0).value
            assert found == pytest.approx(value, abs=1e-9), metric.label
    if np.abs(gap).max() < 15:  # scikit-learn's takes the log of a probability that was rounded
        sklearn = sklearn_log_loss(np.ones(len(gap)), certain, labels=[0, 1])
        assert log_loss(rewards, ranks, resamples=0).value == pytest.approx(sklearn, abs=1e-9)
    longer = brute_accuracy(lengths, ranks)
    assert length_baseline(rewards, ranks, lengths=lengths, resamples=0).value == pytest.approx(
        longer, abs=1e-9
    )
    above = accuracy_above_length(rewards, ranks, lengths=lengths, resamples=0).value
    assert above == pytest.approx(expected[pairwise_accuracy] - longer, abs=1e-9)
    kept = [
        1 - abs(np.sign(a) - np.sign(b)) / 2 for a, b in zip(gap, gaps(lengths, ranks), strict=True)
    ]
    data = {"ranks": ranks, "prompts": range(len(ranks)), "lengths": lengths, "resamples": 0}
    again = [
        Again(i, range(len(k)), n)
        for i, (k, n) in enumerate(zip(ranks, lengths, strict=True))
        if len(set(k)) > 1
    ]
    white = summarise(rewards, rewritten={"whitespace": again}, **data)["whitespace"]
    assert white["agreement"]["value"] == pytest.approx(np.mean(kept))


@given(RANKINGS)
@settings(max_examples=50)
def test_what_prompts_add_gives_the_metrics(rankings):
    rewards, ranks, _, _, prompts = map(list, zip(*rankings, strict=True))
    found = per_prompt(rewards, ranks, prompts=prompts)
    values = found.sums.sum(axis=0) / found.counts.sum(axis=0)
    for name, value in zip(found.names, values, strict=True):
        metric = measures()[name]
        assert value == pytest.approx(metric(rewards, ranks, resamples=0).value, abs=1e-9)
    asked = [p for p, k in zip(prompts, ranks, strict=True) if len({*k}) > 1]
    assert sorted(found.prompts) == sorted(set(asked))
    for prompt, sums, counts in zip(found.prompts, found.sums, found.counts, strict=True):
        own = [i for i, name in enumerate(prompts) if name == prompt]
        of_prompt = [rewards[i] for i in own], [ranks[i] for i in own]
        assert sums[0] / counts[0] == pytest.approx(brute_accuracy(*of_prompt))


@pytest.mark.parametrize("metric", OF_REWARDS)
def test_interval_is_what_a_plain_bootstrap_over_prompts_gives(metric):
    rewards, ranks, _, prompts = some_rankings()

    def measure(rows):
        return metric([rewards[i] for i in rows], [ranks[i] for i in rows], resamples=0).value

    if metric in OF_PAIRS:
        counted = pair_counts(ranks)
    else:  # a ranking is an item; for ties one that has some
        counted = [metric is not tie_agreement or len({*of}) < len(of) for of in ranks]
    is_share = metric in (pairwise_accuracy, top1_accuracy)
    trials = sum(counted) if is_share else None
    expected = plain_bootstrap(measure, prompts, seed=7, items=counted, trials=trials)
    figure = metric(rewards, ranks, prompts=prompts, resamples=50, seed=7)
    assert (figure.low, figure.high) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("metric", [pairwise_accuracy, top1_accuracy])
def test_all_right_is_no_certainty(metric):
    figure = metric([[1.0, 0.0]] * 20, [[0, 1]] * 20)
    assert (figure.value, figure.high) == (1, 1)
    assert figure.low == pytest.approx(0.87, abs=0.01)
    assert metric([[1.0, 0.0]] * 20, [[1, 0]] * 20).high == pytest.approx(0.13, abs=0.01)


def test_every_figure_of_a_summary_has_its_facts():
    rewards, ranks, lengths, prompts = some_rankings()
    summary = summarise(rewards, ranks, prompts=prompts, lengths=lengths, resamples=0)
    figures = {name for name, entry in summary.items() if "value" in (entry or ())}
    # What is measured on uncertain rewards needs their covariances.
    expected = {name for name, measure in measures().items() if not measure.takes_variance}
    assert figures == expected
    worse = summarise([-r for r in rewards], ranks, prompts=prompts, lengths=lengths, resamples=0)
    compared = {name for name, measure in measures().items() if measure.compared}
    for name in compared | {"mean_margin", "auc"}:  # turning the order round is worse
        rises = worse[name]["value"] > summary[name]["value"]
        assert rises == measure_named(name).lower_is_better, name
        if measure_named(name).form == "share":
            assert 0 <= summary[name]["value"] <= 1


def test_difference_from_length_is_paired():
    rewards, ranks, lengths, prompts = some_rankings()

    def measure(rows):
        chosen = [ranks[i] for i in rows]
        return brute_accuracy([rewards[i] for i in rows], chosen) - brute_accuracy(
            [lengths[i] for i in rows], chosen
        )

    expected = plain_bootstrap(measure, prompts, seed=7, items=pair_counts(ranks))
    figure = accuracy_above_length(
        rewards, ranks, lengths=lengths, prompts=prompts, resamples=50, seed=7
    )
    assert (figure.low, figure.high) == pytest.approx(expected, abs=1e-4)
    # Rewards that are the lengths differ from them in no resample.
    same = accuracy_above_length(lengths, ranks, lengths=lengths, prompts=prompts)
    assert same == Figure(0.0, 0.0, 0.0)


def test_several_rankings_of_a_prompt_are_not_taken_for_independent():
    rewards = [[1.0, 0.0], [0.0, 1.0]] * 20  # a prompt is right in all its rankings or in none
    ranks = [[0, 1]] * 40
    lumped = pairwise_accuracy(rewards, ranks, prompts=[i % 8 for i in range(40)])
    apart = pairwise_accuracy(rewards, ranks)
    assert lumped.value == apart.value == 0.5
    assert lumped.high - lumped.low > 1.9 * (apart.high - apart.low)


def test_constant_rewards_score_what_a_coin_toss_scores():
    rewards, ranks = [[2.0, 2.0, 2.0]] * 6, [[0, 1, 2]] * 6
    assert pairwise_accuracy(rewards, ranks) == Figure(0.5, 0.5, 0.5)
    assert log_loss(rewards, ranks).value == pytest.approx(math.log(2))
    assert brier(rewards, ranks) == Figure(0.25, 0.25, 0.25)
    assert mean_margin(rewards, ranks).value == 0
    assert top1_accuracy(rewards, ranks).value == pytest.approx(1 / 3)
    assert mean_reciprocal_rank(rewards, ranks).value == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert kendall_tau_b(rewards, ranks) == Figure(0.0, 0.0, 0.0)
    assert spearman(rewards, ranks) == Figure(0.0, 0.0, 0.0)
    orders = [[rank] for rank in permutations([0.0, 1.0, 2.0])]
    mean_of_orders = np.mean([ndcg(order, [[0, 1, 2]], resamples=0).value for order in orders])
    assert ndcg(rewards, ranks).value == pytest.approx(mean_of_orders)
    assert tie_agreement([[0.0] * 3], [[0, 1, 1]]).value == 0.5


def test_a_ranking_of_nothing_but_ties_changes_nothing():
    rewards, ranks = [[2.0, 1.0, 1.5], [0.0, 1.0]], [[0, 1, 1], [0, 1]]
    for metric in OF_REWARDS:
        assert metric([*rewards, [9.0, 1.0]], [*ranks, [0, 0]]) == metric(rewards, ranks)


def test_only_the_order_of_ranks_matters():
    rewards, ranks, _, _ = some_rankings()
    stretched = [np.exp(3.0 * rank) - 7 for rank in ranks]
    for metric in OF_REWARDS:
        assert metric(rewards, stretched, resamples=0) == metric(rewards, ranks, resamples=0)


@pytest.mark.filterwarnings("error")
def test_huge_rewards_neither_overflow_nor_warn():
    assert log_loss([[0.0, 5000.0]], [[0, 1]]).value == 5000
    assert log_loss([[5000.0, 0.0]], [[0, 1]]).value == 0
    assert brier([[0.0, 5000.0]], [[0, 1]]).value == 1


def test_one_prompt_has_no_interval():
    figure = pairwise_accuracy([[1.0, 0.0], [0.0, 1.0]], [[0, 1], [0, 1]], prompts=["p", "p"])
    assert figure == Figure(0.5, None, None)
    assert str(figure) == "0.500"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_named(bad):
    rewards, ranks = [[1.0, 0.0], [1.0, 2.0, bad]], [[0, 1], [0, 1, 1]]
    for metric in OF_REWARDS:
        with pytest.raises(PlauditError) as caught:
            metric(rewards, ranks, prompts=["first", "second"])
        message = str(caught.value)
        assert 'completion 2 in ranking 1 (both counted from 0; prompt "second")' in message
        assert str(bad) in message


def test_nothing_to_measure_is_said():
    for metric in OF_REWARDS:
        with pytest.raises(PlauditError, match="nothing to measure"):
            metric([[1.0, 2.0]], [[0, 0]])


def test_arrays_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="one number for each completion"):
        pairwise_accuracy([[1.0, 2.0, 3.0]], [[0, 1]])
    with pytest.raises(ValueError, match="2 prompts for 1 rankings"):
        pairwise_accuracy([[1.0, 2.0]], [[0, 1]], prompts=["a", "b"])


def test_torch_is_not_imported():
    code = "import sys, plaudit.evaluation.summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
