"""The hinge against its definition, in plain loops."""

import pytest
import torch
from by_hand import loop_pairs, pad, rewards_and_ranks
from hypothesis import given
from hypothesis import strategies as st

from plaudit.training.objectives.hinge import hinge


@given(rewards_and_ranks, st.floats(0, 2))
def test_hinge_is_its_definition(example, margin):
    rewards, ranks = example
    pairs = loop_pairs(rewards, ranks)
    expected = sum(max(0.0, 1 + margin - (a - b)) for a, b in pairs) / max(len(pairs), 1)
    padded = pad(rewards, ranks, 7)
    assert hinge(*padded, margin=margin).item() == pytest.approx(expected)
    assert hinge(*padded, margin=torch.tensor([margin])).item() == pytest.approx(expected)


def test_a_pair_that_is_far_enough_ahead_pulls_no_more():
    rewards = torch.tensor([[1.1, 0.0], [0.9, 0.0]], requires_grad=True)
    hinge(rewards, torch.tensor([[0, 1], [0, 1]])).sum().backward()
    assert rewards.grad.tolist() == [[0.0, 0.0], [-1.0, 1.0]]
