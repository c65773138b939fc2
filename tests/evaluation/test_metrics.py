"""Metrics against brute force and scipy, and the bootstrap against a plain loop."""

import json
import math
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from plaudit.errors import PlauditError
from plaudit.evaluation.metrics import (
    Figure,
    accuracy_above_length,
    bootstrap,
    format_summary,
    kendall_tau_b,
    length_baseline,
    log_loss,
    mean_margin,
    pairwise_accuracy,
    summarise,
    top1_accuracy,
    verdict,
)

# Rewards from few values, so that ties are common, or from many; float32 as a model gives them.
REWARD = st.one_of(st.integers(-2, 2).map(float), st.floats(-30, 30, allow_nan=False, width=32))
RANKING = st.integers(1, 6).flatmap(
    lambda k: st.tuples(
        st.lists(REWARD, min_size=k, max_size=k),
        st.lists(st.integers(0, 3), min_size=k, max_size=k),
        st.lists(st.integers(0, 5), min_size=k, max_size=k),
        st.lists(st.sampled_from(["a", "b", None]), min_size=k, max_size=k),
        st.integers(0, 3),
    )
)
RANKINGS = st.lists(RANKING, min_size=1, max_size=8).filter(
    lambda rankings: any(len(set(ranks)) > 1 for _, ranks, *_ in rankings)
)


def ordered_pairs(ranks):
    for i, j in combinations(range(len(ranks)), 2):
        if ranks[i] != ranks[j]:
            yield (i, j) if ranks[i] < ranks[j] else (j, i)


def gaps(rewards, ranks):
    return [r[i] - r[j] for r, k in zip(rewards, ranks, strict=True) for i, j in ordered_pairs(k)]


def brute_accuracy(scores, ranks):
    won = [1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap in gaps(scores, ranks)]
    return sum(won) / len(won)


def brute_top1(rewards, ranks):
    shares = []
    for r, k in zip(rewards, ranks, strict=True):
        if len(set(k)) > 1:
            top = [rank for reward, rank in zip(r, k, strict=True) if reward == max(r)]
            shares.append(sum(rank == min(k) for rank in top) / len(top))
    return sum(shares) / len(shares)


def scipy_tau(rewards, ranks):
    taus = []
    for r, k in zip(rewards, ranks, strict=True):
        if len(set(k)) > 1:
            taus.append(kendalltau(r, -np.array(k)).statistic if len(set(r)) > 1 else 0.0)
    return sum(taus) / len(taus)


@given(RANKINGS)
@settings(max_examples=150, deadline=None)
def test_every_metric_agrees_with_brute_force(rankings):
    rewards, ranks, lengths, categories, prompts = map(list, zip(*rankings, strict=True))
    gap = gaps(rewards, ranks)
    expected = {
        "pairwise_accuracy": brute_accuracy(rewards, ranks),
        "log_loss": sum(math.log1p(math.exp(-g)) for g in gap) / len(gap),
        "mean_margin": sum(gap) / len(gap),
        "top1_accuracy": brute_top1(rewards, ranks),
        "kendall_tau_b": scipy_tau(rewards, ranks),
        "length_baseline": brute_accuracy(lengths, ranks),
        "accuracy_above_length": brute_accuracy(rewards, ranks) - brute_accuracy(lengths, ranks),
    }
    summary = summarise(
        rewards, ranks, prompts=prompts, lengths=lengths, categories=categories, resamples=20
    )
    for name, value in expected.items():
        assert summary[name]["value"] == pytest.approx(value, abs=1e-9), name
    assert summary["counts"] == {
        "prompts": len(set(prompts)),
        "rankings": len(rankings),
        "completions": sum(map(len, ranks)),
        "pairs": len(gap),
    }

    by_category = {}
    for r, k, n, c in zip(rewards, ranks, lengths, categories, strict=True):
        for i, j in ordered_pairs(k):
            entry = by_category.setdefault(c[j] or "(no category)", [])
            entry.append([(np.sign(r[i] - r[j]) + 1) / 2, (np.sign(n[i] - n[j]) + 1) / 2])
    if set(by_category) == {"(no category)"}:
        by_category = {}
    assert set(summary["by_category"]) == set(by_category)
    for name, pairs in by_category.items():
        found = summary["by_category"][name]
        assert found["pairs"] == len(pairs)
        accuracy, longer = np.mean(pairs, axis=0)
        assert found["pairwise_accuracy"]["value"] == pytest.approx(accuracy, abs=1e-9)
        assert found["length_baseline"]["value"] == pytest.approx(longer, abs=1e-9)
    json.dumps(summary, allow_nan=False)
    assert format_summary(summary).endswith(verdict(summary))


def some_rankings(count=60, seed=3):
    """Rankings of 2 to 5 over fewer prompts, rewards and lengths that both know something."""
    rng = np.random.default_rng(seed)
    ranks = [np.append(rng.integers(0, 3, k), [0, 1]) for k in rng.integers(0, 4, count)]
    rewards = [rng.normal(size=len(k)) - 0.5 * k for k in ranks]
    lengths = [rng.integers(20, 200, len(k)) - 20 * k for k in ranks]
    prompts = [f"prompt {i}" for i in rng.integers(0, count // 2, count)]
    return rewards, ranks, lengths, prompts


@pytest.mark.parametrize(
    "metric",
    [pairwise_accuracy, log_loss, mean_margin, top1_accuracy, kendall_tau_b, length_baseline],
)
def test_interval_is_what_a_plain_bootstrap_over_prompts_gives(metric):
    rewards, ranks, _, prompts = some_rankings()
    names = list(dict.fromkeys(prompts))
    rng = np.random.default_rng(7)
    values = []
    for _ in range(50):
        rows = []  # a prompt drawn twice brings its rankings twice
        for drawn in rng.integers(len(names), size=len(names)):
            rows += [i for i, prompt in enumerate(prompts) if prompt == names[drawn]]
        values.append(
            metric([rewards[i] for i in rows], [ranks[i] for i in rows], resamples=0).value
        )
    low, high = np.quantile(values, [0.025, 0.975])
    figure = metric(rewards, ranks, prompts=prompts, resamples=50, seed=7)
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=1e-9)


def test_difference_from_length_is_paired():
    rewards, ranks, lengths, prompts = some_rankings()
    names = list(dict.fromkeys(prompts))
    rng = np.random.default_rng(7)
    values = []
    for _ in range(50):
        rows = []
        for drawn in rng.integers(len(names), size=len(names)):
            rows += [i for i, prompt in enumerate(prompts) if prompt == names[drawn]]
        chosen = [ranks[i] for i in rows]
        values.append(
            brute_accuracy([rewards[i] for i in rows], chosen)
            - brute_accuracy([lengths[i] for i in rows], chosen)
        )
    low, high = np.quantile(values, [0.025, 0.975])
    figure = accuracy_above_length(rewards, lengths, ranks, prompts=prompts, resamples=50, seed=7)
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=1e-9)
    # Rewards that are the lengths differ from them in no resample.
    same = accuracy_above_length(lengths, lengths, ranks, prompts=prompts)
    assert same == Figure(0.0, 0.0, 0.0)


def test_summary_and_single_metrics_agree():
    rewards, ranks, lengths, prompts = some_rankings()
    summary = summarise(rewards, ranks, prompts=prompts, lengths=lengths, resamples=100, seed=1)
    settings = {"prompts": prompts, "resamples": 100, "seed": 1}
    assert summary["pairwise_accuracy"] == pytest.approx(
        pairwise_accuracy(rewards, ranks, **settings).as_dict()
    )
    assert summary["kendall_tau_b"] == pytest.approx(
        kendall_tau_b(rewards, ranks, **settings).as_dict()
    )
    assert summary["length_baseline"] == pytest.approx(
        length_baseline(lengths, ranks, **settings).as_dict()
    )
    again = summarise(rewards, ranks, prompts=prompts, lengths=lengths, resamples=100, seed=1)
    other = summarise(rewards, ranks, prompts=prompts, lengths=lengths, resamples=100, seed=2)
    assert again == summary
    assert other["pairwise_accuracy"] != summary["pairwise_accuracy"]


def test_blocks_of_resamples_do_not_change_the_interval(monkeypatch):
    rng = np.random.default_rng(0)
    sums, counts = rng.normal(size=(40, 2)), rng.integers(1, 4, (40, 2))
    whole = bootstrap(sums, counts, resamples=101, seed=5)
    monkeypatch.setattr("plaudit.evaluation.metrics.DRAWS_AT_ONCE", 40 * 7)
    assert bootstrap(sums, counts, resamples=101, seed=5) == whole


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        # 80 prompts with 1 to 4 pairs each; the pairs of a prompt are right or wrong together.
        counts = rng.integers(1, 5, (80, 1))
        sums = counts * (rng.random((80, 1)) < 0.7)
        figure = bootstrap(sums, counts, resamples=200, seed=seed)[0]
        covered += figure.low <= 0.7 <= figure.high
    assert 0.88 <= covered / 200 <= 0.99


def test_several_rankings_of_a_prompt_are_not_taken_for_independent():
    rewards = [[1.0, 0.0], [0.0, 1.0]] * 20
    ranks = [[0, 1]] * 40
    lumped = pairwise_accuracy(rewards, ranks, prompts=[i % 4 for i in range(40)])
    apart = pairwise_accuracy(rewards, ranks)
    assert lumped.value == apart.value == 0.5
    assert lumped.high - lumped.low > 2 * (apart.high - apart.low)


def test_constant_rewards_score_what_a_coin_toss_scores():
    rewards, ranks = [[2.0, 2.0, 2.0]] * 3, [[0, 1, 2]] * 3
    assert pairwise_accuracy(rewards, ranks) == Figure(0.5, 0.5, 0.5)
    assert log_loss(rewards, ranks).value == pytest.approx(math.log(2))
    assert mean_margin(rewards, ranks).value == 0
    assert top1_accuracy(rewards, ranks).value == pytest.approx(1 / 3)
    assert kendall_tau_b(rewards, ranks) == Figure(0.0, 0.0, 0.0)


def test_a_ranking_of_nothing_but_ties_changes_nothing():
    rewards, ranks = [[2.0, 1.0], [0.0, 1.0]], [[0, 1], [0, 1]]
    for metric in (pairwise_accuracy, log_loss, mean_margin, top1_accuracy, kendall_tau_b):
        assert metric([*rewards, [9.0, 1.0]], [*ranks, [0, 0]]) == metric(rewards, ranks)


@pytest.mark.filterwarnings("error")
def test_huge_rewards_neither_overflow_nor_warn():
    assert log_loss([[0.0, 5000.0]], [[0, 1]]).value == 5000
    assert log_loss([[5000.0, 0.0]], [[0, 1]]).value == 0


def test_one_prompt_has_no_interval():
    figure = pairwise_accuracy([[1.0, 0.0], [0.0, 1.0]], [[0, 1], [0, 1]], prompts=["p", "p"])
    assert figure == Figure(0.5, None, None)
    assert str(figure) == "0.500"
    summary = summarise([[1.0, 0.0]], [[0, 1]], prompts=["p"], lengths=[[1, 2]])
    assert "Nothing can be concluded: 1 prompt" in format_summary(summary)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_named(bad):
    rewards, ranks = [[1.0, 0.0], [1.0, 2.0, bad]], [[0, 1], [0, 1, 2]]
    with pytest.raises(PlauditError) as caught:
        summarise(rewards, ranks, prompts=["first", "second"], lengths=[[1, 2], [1, 2, 3]])
    message = str(caught.value)
    assert 'completion 2 in ranking 1 (both counted from 0; prompt "second")' in message
    assert str(bad) in message
    with pytest.raises(PlauditError, match="completion 2 in ranking 1"):
        kendall_tau_b(rewards, ranks)


def test_nothing_to_measure_is_said():
    with pytest.raises(PlauditError, match="nothing to measure"):
        pairwise_accuracy([[1.0, 2.0]], [[0, 0]])
    with pytest.raises(PlauditError, match="nothing to measure"):
        summarise([], [], prompts=[], lengths=[])


def test_arrays_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="one number for each completion"):
        pairwise_accuracy([[1.0, 2.0, 3.0]], [[0, 1]])
    with pytest.raises(ValueError, match="2 prompts for 1 rankings"):
        pairwise_accuracy([[1.0, 2.0]], [[0, 1]], prompts=["a", "b"])


def test_category_of_a_pair_is_that_of_its_ranking_or_its_worse_completion():
    summary = summarise(
        [[1.0, 0.0], [1.0, 2.0, 0.0], [3.0, 4.0]],
        [[0, 1], [0, 1, 2], [0, 1]],
        prompts=[0, 1, 2],
        lengths=[[3, 2], [2, 2, 1], [1, 2]],
        categories=["maths", [None, "maths", "code"], None],
    )
    values = {
        name: (entry["pairwise_accuracy"]["value"], entry["length_baseline"]["value"])
        for name, entry in summary["by_category"].items()
    }
    assert values == {"code": (1.0, 1.0), "maths": (0.5, 0.75), "(no category)": (0.0, 0.0)}
    assert [entry["prompts"] for entry in summary["by_category"].values()] == [1, 2, 1]


@pytest.mark.parametrize(
    ("right", "longer", "says"),
    [
        (90, 50, "beats preferring the longer completion by 40.0 points"),
        (70, 90, "is worse than preferring the longer completion by 20.0 points"),
        (72, 70, "cannot be told from preferring the longer completion"),
        (52, 20, "cannot be told from a coin toss"),
        (20, 20, "the wrong way round"),
    ],
)
def test_verdict_says_what_the_intervals_allow(right, longer, says):
    rng = np.random.default_rng(0)
    rewards = [[1.0, 0.0] if i < right else [0.0, 1.0] for i in rng.permutation(100)]
    lengths = [[2, 1] if i < longer else [1, 2] for i in rng.permutation(100)]
    summary = summarise(rewards, [[0, 1]] * 100, prompts=range(100), lengths=lengths)
    assert says in verdict(summary)
    few = summarise(rewards[:20], [[0, 1]] * 20, prompts=range(20), lengths=lengths[:20])
    assert verdict(few).endswith("20 prompts are too few to rely on the interval.")


def test_torch_is_not_imported():
    code = "import sys, plaudit.evaluation.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
