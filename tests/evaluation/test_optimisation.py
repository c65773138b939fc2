"""Best-of-n, variance and over-optimisation of rewards under a policy's samples."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.evaluation.optimisation import (
    best_of,
    kl_of_best,
    sizes_up_to,
    under_policy,
    verdict,
)

levels = st.lists(st.integers(0, 4), min_size=2, max_size=6)


@given(levels, st.data())
def test_best_of_n_is_the_mean_over_all_subsets(by, data):
    of = data.draw(st.lists(st.floats(-9, 9), min_size=len(by), max_size=len(by)))
    sizes = range(1, len(by) + 1)

    def picked(subset):  # by a fair draw among those that are equally good
        top = [k for k in subset if by[k] == max(by[j] for j in subset)]
        return np.mean([of[k] for k in top])

    expected = [np.mean([*map(picked, itertools.combinations(range(len(by)), n))]) for n in sizes]
    assert best_of(by, [of], sizes)[0] == pytest.approx(expected, abs=1e-9)


def test_best_of_n_takes_many_samples():
    by = np.random.default_rng(0).normal(size=2000)
    first, last = best_of(by, [by], [1, 2000])[0]
    assert first == pytest.approx(by.mean())
    assert last == by.max()


def test_sizes_and_kl():
    assert sizes_up_to(2) == [1, 2]
    assert sizes_up_to(16) == [1, 2, 4, 8, 16]
    assert kl_of_best(1) == 0
    assert kl_of_best(2) == pytest.approx(math.log(2) - 0.5)


def drawn(prompts=40, n=8, seed=0):
    rng = np.random.default_rng(seed)
    gold = rng.normal(size=(prompts, n))
    length = rng.integers(1, 400, size=(prompts, n)).astype(float)
    return rng, gold, length


def value(picks, what, place=-1):
    return picks[place][what]["value"]


def test_a_reward_that_is_the_gold_gets_the_upper_curve():
    _, gold, length = drawn()
    record = under_policy(3 * gold - 7, length, gold, most=8, resamples=50)
    for by_reward, by_gold in zip(record["picks"]["reward"], record["picks"]["gold"], strict=True):
        assert by_reward["gold"] == pytest.approx(by_gold["gold"])
        assert by_reward["reward"]["value"] == pytest.approx(by_gold["gold"]["value"])
    assert value(record["picks"]["reward"], "attained") == pytest.approx(1)
    assert record["agreement"]["value"] == 1
    assert record["peak"]["n"] == 8
    assert record["more_than_length"]["low"] > 0
    said = " ".join(verdict(record))
    assert "100 % (100 to 100) of what the gold's own picks gain" in said
    assert "over-optimisation is not reached" in said
    assert "is better than the longest" in said


def test_a_reward_that_is_length_picks_the_longest():
    _, gold, length = drawn()
    record = under_policy(length, length, gold, most=8, resamples=50)
    assert record["picks"]["reward"] == [
        pick | {"reward": mine["reward"]}
        for pick, mine in zip(record["picks"]["length"], record["picks"]["reward"], strict=True)
    ]
    lengths = [pick["length"]["value"] for pick in record["picks"]["reward"]]
    assert lengths == sorted(lengths)
    assert lengths[-1] == pytest.approx(length.max(axis=1).mean())
    assert record["more_than_length"]["value"] == 0
    assert "longer than a sample at random; by the gold it cannot be told" in verdict(record)[2]


def test_over_optimisation_is_seen_and_where():
    """Right among most samples, and fooled by one in sixteen, which is by far the worst."""
    rng, gold, length = drawn(prompts=200, n=16)
    reward = gold + rng.normal(size=gold.shape) / 4
    gold[:, 0], reward[:, 0] = -4, 9
    order = rng.permuted(np.tile(np.arange(16), (200, 1)), axis=1)
    reward, gold = (np.take_along_axis(each, order, 1) for each in (reward, gold))
    record = under_policy(reward, length, gold, most=16, resamples=100)
    gains = [pick["gold"]["value"] for pick in record["picks"]["reward"]]
    assert record["peak"]["n"] == record["picks"]["reward"][int(np.argmax(gains))]["n"]
    assert 1 < record["peak"]["n"] < 16
    assert record["peak"]["lost"]["value"] == pytest.approx(max(gains) - gains[-1])
    assert record["peak"]["lost"]["low"] > 0
    assert "beyond, the reward is over-optimised" in verdict(record)[1]


def test_the_variance_within_prompts_and_its_share_of_all():
    rng = np.random.default_rng(0)
    prompt, sample = rng.normal(0, 3, size=(3000, 1)), rng.normal(0, 1, size=(3000, 4))
    record = under_policy(prompt + sample, np.ones((3000, 4)), None, most=4, resamples=50)
    assert record["variance"]["value"] == pytest.approx(1, rel=0.05)
    assert record["within"]["value"] == pytest.approx(0.1, rel=0.1)  # 1 / (1 + 9)
    assert record["within"]["low"] < 0.1 < record["within"]["high"]
    spread = np.std(prompt + sample, axis=1, ddof=1)
    overall = math.sqrt(10)
    assert record["deviations"][5] == pytest.approx(np.median(spread) / overall, rel=0.05)
    assert record["flat"]["value"] == pytest.approx(np.mean(spread < overall / 10), abs=0.01)
    scaled = under_policy(9 * (prompt + sample), np.ones((3000, 4)), None, most=4, resamples=0)
    assert scaled["within"]["value"] == pytest.approx(record["within"]["value"])
    assert scaled["deviations"] == pytest.approx(record["deviations"])


def test_without_gold_it_says_what_it_cannot_know():
    _, gold, length = drawn()
    record = under_policy(gold, length, None, most=8, resamples=50)
    assert record["picks"].keys() == {"reward", "length"}
    assert record["picks"]["reward"][-1]["gold"] is None
    assert record["agreement"] is record["peak"] is record["more_than_length"] is None
    assert verdict(record)[0].startswith("Without a gold judge nothing here says")


def test_a_reward_that_never_differs_teaches_nothing():
    _, gold, length = drawn()
    for reward in (np.zeros((40, 8)), np.tile(np.arange(40.0)[:, None], 8)):
        record = under_policy(reward, length, gold, most=8, resamples=50)
        assert verdict(record) == [
            "All samples of a prompt get the same reward: there is nothing to learn from."
        ]
        assert value(record["picks"]["reward"], "gold") == pytest.approx(0, abs=1e-9)
        assert value(record["picks"]["reward"], "attained") == pytest.approx(0, abs=1e-9)


def test_one_prompt_whose_rewards_differ_is_not_said_to_teach_nothing():
    rewards = np.array([[1.0, 2.0]])
    record = under_policy(rewards, np.ones((1, 2)), None, most=2, resamples=0)
    assert verdict(record) == [
        "One prompt does not show what a policy can learn from the reward: take more."
    ]


def test_pairs_that_the_gold_ties_have_no_say_and_ties_of_the_reward_count_half():
    record = under_policy([[1.0, 1.0, 0.0]], [[1, 1, 1]], [[0.0, 1.0, 1.0]], most=2)
    # By gold 1 > 0 and 2 > 0: the reward ties one pair and reverses the other.
    assert record["agreement"]["value"] == 0.25


def test_prompts_may_have_different_numbers_of_samples():
    rewards = [[1.0, 2.0], [0.0, 1.0, 5.0]]
    record = under_policy(rewards, [[1, 2], [1, 2, 3]], rewards, most=2)
    assert value(record["picks"]["reward"], "length") == pytest.approx((2 + (2 + 3 + 3) / 3) / 2)
