"""Regression on ratings against its definitions and NumPy, and parameters found again."""

import math

import numpy as np
import pytest
import torch
from by_hand import recovered
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from plaudit.data.rankings import PADDING
from plaudit.errors import PlauditError
from plaudit.training.objectives import ordinal as o
from plaudit.training.objectives import squared_error as s

rated = st.integers(1, 5).flatmap(
    lambda k: st.tuples(
        st.lists(st.floats(-8, 8), min_size=k, max_size=k),
        st.lists(st.sampled_from([1.0, 2.0, 3.5, 5.0, math.nan]), min_size=k, max_size=k),
    )
)


def padded(rewards, ratings, k=6):
    extra = k - len(rewards)
    ranks = torch.tensor([[0] * len(rewards) + [PADDING] * extra])
    rewards = torch.tensor([rewards + [3.7] * extra], dtype=torch.float64)
    return rewards, ranks, torch.tensor([ratings + [4.0] * extra], dtype=torch.float64)


@given(rated)
def test_squared_error_is_its_definition(example):
    rewards, ratings = example
    errors = [(r - (v - 3.0) / 1.5) ** 2 for r, v in zip(rewards, ratings, strict=True) if v == v]
    *data, ratings = padded(rewards, ratings)
    got = s.squared_error(*data, ratings=ratings, mean=3.0, deviation=1.5)
    assert got.item() == pytest.approx(sum(errors) / max(len(errors), 1))


def test_squared_error_is_standardised_by_the_ratings_there_are():
    ratings = torch.tensor([[1.0, 4.0, math.nan], [7.0, math.nan, math.nan]])
    fixed = s.prepare(ratings).fixed
    assert fixed["mean"].item() == pytest.approx(np.mean([1, 4, 7]))
    assert fixed["deviation"].item() == pytest.approx(np.std([1, 4, 7]))
    assert "rating, which is 4 + 2.449 · reward" in s.meaning(fixed)


def test_squared_error_finds_the_means_of_ratings():
    items = torch.tensor([[0, 1], [1, 2], [0, 2]])
    ratings = torch.tensor([[1.0, 3.0], [5.0, 8.0], [2.0, 7.0]], dtype=torch.float64)
    fixed = s.prepare(ratings).fixed
    ranks = torch.tensor([[1, 0]] * 3)
    rewards, _ = recovered(s.squared_error, items, ranks, {}, ratings=ratings, **fixed)
    assert (rewards * fixed["deviation"] + fixed["mean"]).tolist() == pytest.approx([1.5, 4.0, 7.5])


LEVELS = [1.0, 2.0, 3.5, 5.0]
CUTS = [-1.0, 0.2, 2.5]


def learnt(cuts):
    return torch.tensor([cuts[0], *np.log(np.diff(cuts))], dtype=torch.float64)


@given(rated)
def test_ordinal_is_its_definition(example):
    rewards, ratings = example
    losses = []
    for reward, rating in zip(rewards, ratings, strict=True):
        if rating == rating:
            above = [1.0, *(expit(reward - c) for c in CUTS), 0.0]  # P(level ≥ m)
            level = LEVELS.index(rating)
            losses.append(-math.log(above[level] - above[level + 1]))
    *data, ratings = padded(rewards, ratings)
    bounds = torch.tensor([1.5, 2.75, 4.25])
    got = o.ordinal(*data, ratings=ratings, bounds=bounds, cuts=learnt(CUTS))
    assert got.item() == pytest.approx(sum(losses) / max(len(losses), 1), rel=1e-6)


def test_gradient_of_the_cuts_is_that_of_finite_differences():
    rewards, ranks, ratings = padded([0.3, -1.0, 0.9], [1.0, 3.5, 5.0])
    bounds = torch.tensor([1.5, 2.75, 4.25])
    given = (rewards.requires_grad_(), learnt(CUTS).requires_grad_())
    assert torch.autograd.gradcheck(
        lambda r, c: o.ordinal(r, ranks, ratings=ratings, bounds=bounds, cuts=c), given
    )


def test_ordinal_begins_at_the_shares_of_the_levels():
    ratings = torch.tensor([[1.0, 2.0, 2.0, 5.0, math.nan]] * 1000)
    start = o.prepare(ratings)
    assert start.fixed["bounds"].tolist() == [1.5, 3.5]
    for rating, share in ((1.0, 0.25), (2.0, 0.5), (5.0, 0.25)):
        level = torch.tensor([[rating]])
        options = {**start.fixed, **start.learnt}
        loss = o.ordinal(torch.zeros(1, 1), torch.tensor([[0]]), ratings=level, **options)
        assert math.exp(-loss.item()) == pytest.approx(share, abs=1e-3)


def test_many_different_ratings_make_ten_levels():
    ratings = torch.linspace(0, 1, 1000).view(10, 100)
    bounds = o.prepare(ratings).fixed["bounds"]
    assert bounds.tolist() == pytest.approx(np.arange(1, 10) / 10, abs=2e-3)
    skewed = torch.cat([torch.zeros(1, 500), torch.linspace(0, 1, 500).view(1, -1)], 1)
    start = o.prepare(skewed)
    assert (start.fixed["bounds"].diff() > 0).all()
    assert start.learnt["cuts"].isfinite().all()
    two = o.prepare(torch.tensor([[0.0, 1.0]]))
    assert two.learnt["cuts"].shape == (1,)


def test_ordinal_finds_rewards_and_cuts_again():
    generator = torch.Generator().manual_seed(3)
    true = torch.tensor([-1.2, -0.3, 0.4, 1.1], dtype=torch.float64)
    items = torch.arange(4).repeat(8000, 1)
    # The level is the number of cuts below reward + logistic noise.
    noise = torch.rand(items.shape, generator=generator, dtype=torch.float64).logit()
    level = (true[items] + noise).unsqueeze(2) > torch.tensor(CUTS)
    ratings = torch.tensor(LEVELS)[level.sum(2)]
    start = o.prepare(ratings)
    rewards, found = recovered(
        o.ordinal, items, level.sum(2), start.learnt, ratings=ratings, **start.fixed
    )
    # One constant is free: it is in the rewards as it is in the cuts.
    shift = (rewards - true).mean()
    assert (rewards - shift).tolist() == pytest.approx(true.tolist(), abs=0.05)
    assert (o._cuts(found["cuts"]) - shift).tolist() == pytest.approx(CUTS, abs=0.05)


@pytest.mark.parametrize("objective", [s.OBJECTIVE, o.OBJECTIVE])
def test_ratings_that_are_all_the_same_are_refused(objective):
    with pytest.raises(PlauditError, match="ratings: are all the same"):
        objective.prepare(torch.full((3, 2), 4.0))
