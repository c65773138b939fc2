"""Margins and weights that come from preference strength, against Bradley–Terry in plain loops."""

import math

import pytest
import torch
from by_hand import loop_pairs, pad, rewards_and_ranks
from hypothesis import given
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.training.objectives import strength_margin as m
from plaudit.training.objectives import strength_weight as w


@given(rewards_and_ranks, st.floats(0, 3))
def test_both_are_their_definitions(example, strength):
    pairs = loop_pairs(*example)
    data = pad(*example, 7)
    given_strength = torch.tensor([strength], dtype=torch.float64)

    def expected(margin):
        return sum(math.log1p(math.exp(-(a - b - margin))) for a, b in pairs) / max(len(pairs), 1)

    got = m.strength_margin(*data, strength=given_strength, greatest=3.0)
    assert got.item() == pytest.approx(expected(strength / 3))
    got = w.strength_weight(*data, strength=given_strength, mean=1.5)
    assert got.item() == pytest.approx(strength / 1.5 * expected(0.0))


@pytest.mark.parametrize("loss", [m.strength_margin, w.strength_weight])
def test_a_ranking_without_strength_teaches_nothing(loss):
    rewards = torch.tensor([[0.5, 1.0], [0.5, 1.0]], requires_grad=True)
    losses = loss(rewards, torch.tensor([[0, 1]] * 2), strength=torch.tensor([math.nan, 1.0]))
    losses.sum().backward()
    assert losses[0].item() == 0
    assert rewards.grad[0].tolist() == [0.0, 0.0]
    assert rewards.grad[1, 0] < 0 < rewards.grad[1, 1]


def test_strength_is_set_in_proportion_to_that_of_the_training_data():
    strength = torch.tensor([1.0, 3.0, math.nan, 2.0])
    assert m.prepare(strength).fixed["greatest"].item() == 3
    assert w.prepare(strength).fixed["mean"].item() == 2
    # The stronger preference pulls harder.
    rewards = torch.zeros(2, 2, requires_grad=True)
    pair = torch.tensor([[0, 1]] * 2)
    for objective in (m.OBJECTIVE, w.OBJECTIVE):
        fixed = objective.prepare(strength).fixed
        objective.loss(rewards, pair, strength=torch.tensor([1.0, 3.0]), **fixed).sum().backward()
        assert -rewards.grad[1, 0] > -rewards.grad[0, 0] > 0
        rewards.grad = None


@pytest.mark.parametrize("strength", [[-1.0, 2.0], [0.0, 0.0]])
@pytest.mark.parametrize("objective", [m.OBJECTIVE, w.OBJECTIVE])
def test_strength_that_is_no_strength_is_refused(objective, strength):
    with pytest.raises(PlauditError, match="strength: must be 0 or more"):
        objective.prepare(torch.tensor(strength))
