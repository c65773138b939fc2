"""Plackett–Luce against the sum over all orders, and far from where it is easy."""

import math
from itertools import pairwise, permutations

import pytest
import torch
from by_hand import pad
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.training.objectives.bradley_terry import bradley_terry
from plaudit.training.objectives.plackett_luce import plackett_luce


def brute_plackett_luce(rewards, ranks):
    """Add the probabilities of every order of the completions that agrees with the ranks."""
    weights = [math.exp(r) for r in rewards]
    total = 0.0
    for order in permutations(range(len(ranks))):
        if any(ranks[a] > ranks[b] for a, b in pairwise(order)):
            continue
        probability, left = 1.0, sum(weights)
        for item in order:
            probability *= weights[item] / left
            left -= weights[item]
            left = max(left, weights[item] * 1e-300)
        total += probability
    return -math.log(total) / max(len(set(ranks)) - 1, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 5).flatmap(
        lambda k: st.tuples(
            st.lists(st.floats(-4, 4), min_size=k, max_size=k),
            st.lists(st.integers(0, k - 1), min_size=k, max_size=k),
        )
    )
)
def test_plackett_luce_adds_up_every_order_of_a_tie(example):
    rewards, ranks = example
    dense = [sorted(set(ranks)).index(rank) for rank in ranks]
    got = plackett_luce(*pad(rewards, dense, 6))
    assert got.item() == pytest.approx(brute_plackett_luce(rewards, dense), rel=1e-6, abs=1e-7)


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_plackett_luce_is_bradley_terry_on_a_pair(a, b):
    pair = torch.tensor([[a, b]], dtype=torch.float64), torch.tensor([[0, 1]])
    assert plackett_luce(*pair).item() == pytest.approx(
        bradley_terry(*pair).item(), rel=1e-6, abs=1e-7
    )


def test_plackett_luce_still_learns_from_a_reward_that_is_far_off():
    rewards = torch.tensor([[-50.0, 30.0]], requires_grad=True)
    loss = plackett_luce(rewards, torch.tensor([[0, 1]]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(80.0)
    assert rewards.grad.tolist() == [[-1.0, 1.0]]
    tied = torch.tensor([[-50.0, -50.0, 30.0]], requires_grad=True)
    loss = plackett_luce(tied, torch.tensor([[0, 0, 1]]))
    loss.sum().backward()
    # Both far behind: the probability is 2 a² (its two orders), with a = e^(−80).
    assert loss.item() == pytest.approx(160 - math.log(2), rel=1e-4)
    assert tied.grad[0].tolist() == pytest.approx([-1.0, -1.0, 2.0], abs=1e-3)
