"""Davidson's and Rao and Kupper's models against their definitions, and the parameters found again
in data that were drawn by them."""

import math

import pytest
import torch
from by_hand import all_pairs, pad, recovered, rewards_and_ranks
from hypothesis import given
from hypothesis import strategies as st

from plaudit.data.rankings import PADDING
from plaudit.training.objectives import davidson as d
from plaudit.training.objectives import rao_kupper as rk
from plaudit.training.objectives.bradley_terry import bradley_terry


def by_davidson(a, b, tie):
    """Davidson 1970: the probabilities that a wins and that they tie, in worths π = e^r."""
    worths, between = math.exp(a) + math.exp(b), math.exp((a + b) / 2)
    return math.exp(a) / (worths + tie * between), tie * between / (worths + tie * between)


def by_rao_kupper(a, b, theta):
    """Rao and Kupper 1967: the same, in their terms."""
    a, b = math.exp(a), math.exp(b)
    return a / (a + theta * b), a * b * (theta**2 - 1) / ((a + theta * b) * (theta * a + b))


@given(rewards_and_ranks, st.floats(0.05, 5))
def test_davidson_is_its_definition(example, tie):
    losses = [-math.log(by_davidson(a, b, tie)[t]) for a, b, t in all_pairs(*example)]
    got = d.davidson(*pad(*example, 7), log_tie=math.log(tie))
    assert got.item() == pytest.approx(sum(losses) / len(losses))


@given(rewards_and_ranks, st.floats(0.05, 2))
def test_rao_kupper_is_its_definition(example, threshold):
    theta = math.exp(threshold)
    losses = [-math.log(by_rao_kupper(a, b, theta)[t]) for a, b, t in all_pairs(*example)]
    got = rk.rao_kupper(*pad(*example, 7), log_threshold=math.log(threshold))
    assert got.item() == pytest.approx(sum(losses) / len(losses))


@pytest.mark.parametrize(
    ("loss", "option"), [(d.davidson, "log_tie"), (rk.rao_kupper, "log_threshold")]
)
def test_without_ties_both_come_down_to_bradley_terry(loss, option):
    data = pad([0.3, -1.0, 2.0], [1, 2, 0], 4)
    assert loss(*data, **{option: -30.0}).item() == pytest.approx(bradley_terry(*data).item())


@pytest.mark.parametrize("objective", [d.OBJECTIVE, rk.OBJECTIVE])
def test_gradient_of_what_is_learnt_is_that_of_finite_differences(objective):
    rewards, ranks = pad([0.3, -1.0, 0.9, 0.1], [1, 0, 1, 2], 5)
    rewards.requires_grad_()
    [(name, value)] = objective.prepare(ranks).learnt.items()
    value = value.double().requires_grad_()
    loss = objective.loss
    assert torch.autograd.gradcheck(lambda r, v: loss(r, ranks, **{name: v}), (rewards, value))


@pytest.mark.parametrize("objective", [d.OBJECTIVE, rk.OBJECTIVE])
def test_a_tie_draws_rewards_together_where_bradley_terry_sees_nothing(objective):
    rewards = torch.tensor([[2.0, 0.0, 5.0]], requires_grad=True)
    objective.loss(rewards, torch.tensor([[0, 0, PADDING]])).sum().backward()
    better, worse, padded = rewards.grad[0].tolist()
    assert better > 0.2 > -0.2 > worse
    assert padded == 0


TRUE = torch.tensor([1.5, 0.5, 0.0, -0.4, -1.6], dtype=torch.float64)


def drawn(probabilities, count=20_000):
    """Pairs of items, judged as a model says: `items[R, 2]`, `ranks[R, 2]`."""
    generator = torch.Generator().manual_seed(5)
    items = torch.rand(count, len(TRUE), generator=generator).argsort(1)[:, :2]
    table = torch.tensor([[probabilities(a, b) for b in TRUE.tolist()] for a in TRUE.tolist()])
    win, tie = table[items[:, 0], items[:, 1]].unbind(1)
    chance = torch.rand(count, generator=generator)
    second = (chance > win + tie).long()
    first = (chance < win).long()
    return items, torch.stack([second, first], 1)


@pytest.mark.parametrize(
    ("objective", "model", "true"),
    [
        (d.OBJECTIVE, lambda a, b: by_davidson(a, b, 0.8), math.log(0.8)),
        (rk.OBJECTIVE, lambda a, b: by_rao_kupper(a, b, math.exp(0.6)), math.log(0.6)),
    ],
)
def test_parameters_are_found_again_in_data_drawn_by_the_model(objective, model, true):
    items, ranks = drawn(model)
    start = objective.prepare(ranks).learnt
    rewards, learnt = recovered(objective.loss, items, ranks, start)
    assert (rewards - rewards.mean()).tolist() == pytest.approx(TRUE.tolist(), abs=0.08)
    [value] = learnt.values()
    assert value.item() == pytest.approx(true, abs=0.05)


@pytest.mark.parametrize("objective", [d.OBJECTIVE, rk.OBJECTIVE])
def test_it_begins_where_equal_rewards_tie_as_often_as_the_data(objective):
    ranks = torch.tensor([[0, 0, 1]] * 4000)  # one pair of three is tied
    start = objective.prepare(ranks).learnt
    tie = objective.loss(torch.zeros(1, 2), torch.tensor([[0, 0]]), **start)
    assert math.exp(-tie.item()) == pytest.approx(1 / 3, abs=1e-3)
    untied = objective.prepare(torch.tensor([[0, 1]])).learnt
    assert all(value.isfinite() for value in untied.values())
