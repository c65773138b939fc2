"""What holds for every objective, whoever wrote it; and the terms that are added to one."""

import re

import pytest
import torch
from by_hand import loop_pairs, pad, rewards_and_ranks
from hypothesis import given

from plaudit.data.rankings import PADDING
from plaudit.errors import PlauditError
from plaudit.settings import Settings, allowed
from plaudit.training.objectives import OBJECTIVES
from plaudit.training.pairs import reward_centring

LOSSES = {name: OBJECTIVES.get(name).loss for name in OBJECTIVES}


@given(rewards_and_ranks)
def test_reward_centring_is_its_definition(example):
    rewards, ranks = example
    pairs = loop_pairs(rewards, ranks)
    expected = sum((a + b) ** 2 for a, b in pairs) / max(len(pairs), 1)
    got = reward_centring(*pad(rewards, ranks, 8))
    assert got.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("far", [40.0, 60.0])
@pytest.mark.parametrize("loss", [*LOSSES.values(), reward_centring])
def test_gradients_are_finite_and_padding_gets_none(loss, far):
    rewards = torch.tensor([[far, -far, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    ranks = torch.tensor([[0, 1, 1, PADDING], [0, 0, 0, 0]])
    loss(rewards, ranks).sum().backward()
    assert torch.isfinite(rewards.grad).all()
    assert rewards.grad[0, 3] == 0
    assert (rewards.grad[1] == 0).all()


@pytest.mark.parametrize("loss", LOSSES.values())
def test_gradient_is_that_of_finite_differences(loss):
    rewards = torch.tensor([[0.3, -1.0, 0.9, 0.1]], dtype=torch.float64, requires_grad=True)
    ranks = torch.tensor([[1, 0, 1, 2]])
    assert torch.autograd.gradcheck(lambda r: loss(r, ranks), rewards)


def test_a_setting_names_an_objective_and_nothing_else():
    for name in OBJECTIVES:
        assert Settings.build(data="d", loss=name).loss == name
    with pytest.raises(PlauditError, match="loss: 'bradley' is not " + re.escape(allowed("loss"))):
        Settings.build(data="d", loss="bradley")
