"""What holds for every objective, whoever wrote it; and the terms that are added to one."""

import functools
import inspect
import re

import pytest
import torch
from by_hand import loop_pairs, loss_of, pad, rewards_and_ranks
from hypothesis import given

from plaudit.data.rankings import PADDING
from plaudit.errors import PlauditError
from plaudit.settings import Settings, allowed
from plaudit.training.objectives import OBJECTIVES
from plaudit.training.pairs import reward_centring


@given(rewards_and_ranks)
def test_reward_centring_is_its_definition(example):
    rewards, ranks = example
    pairs = loop_pairs(rewards, ranks)
    expected = sum((a + b) ** 2 for a, b in pairs) / max(len(pairs), 1)
    got = reward_centring(*pad(rewards, ranks, 8))
    assert got.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("far", [40.0, 60.0])
@pytest.mark.parametrize("name", [*OBJECTIVES, "reward centring"])
def test_gradients_are_finite_and_padding_gets_none(name, far):
    rewards = torch.tensor([[far, -far, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    ranks = [[0, 1, 1, PADDING], [0, 0, 0, 0]]
    centring = name == "reward centring"
    loss = functools.partial(reward_centring, ranks=torch.tensor(ranks)) if centring else None
    losses = (loss or loss_of(name, ranks))(rewards)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert torch.isfinite(rewards.grad).all()
    assert rewards.grad[0, 3] == 0
    if centring or "ratings" not in OBJECTIVES.get(name).needs():
        assert (rewards.grad[1] == 0).all()  # equal rewards of a tie: nothing pulls them


@pytest.mark.parametrize("name", OBJECTIVES)
def test_padding_changes_nothing(name):
    rewards = torch.tensor([[0.3, -1.0, 0.9]], dtype=torch.float64)
    alone = loss_of(name, [[1, 0, 2]])(rewards)
    padded = torch.cat([rewards, torch.full((1, 3), 7.7)], 1)
    assert loss_of(name, [[1, 0, 2, *[PADDING] * 3]])(padded).item() == pytest.approx(alone.item())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_says_what_its_rewards_mean(name):
    objective = OBJECTIVES.get(name)
    ranks = torch.tensor([[0, 1, 2]])
    data = {"ratings": 5.0 - ranks, "strength": torch.tensor([2.0]), "ranks": ranks}
    data["attributes"] = data["ratings"].unsqueeze(-1)
    options = {}
    if objective.prepare is not None:
        wanted = inspect.signature(objective.prepare).parameters
        prepared = objective.prepare(**{key: data[key] for key in wanted})
        options = {**prepared.fixed, **prepared.learnt}
    said = objective.meaning(options)
    assert said[0].isupper() or said[0] == "σ"
    assert not said.endswith(".")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradient_is_that_of_finite_differences(name):
    rewards = torch.tensor([[0.3, -1.0, 0.9, 0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss_of(name, [[1, 0, 1, 2]]), rewards)


def test_a_setting_names_an_objective_and_nothing_else():
    for name in OBJECTIVES:
        assert Settings.build(data="d", loss=name).loss == name
    with pytest.raises(PlauditError, match="loss: 'bradley' is not " + re.escape(allowed("loss"))):
        Settings.build(data="d", loss="bradley")
