"""Labels turned round: the mixture against its definition, and its share found again in data."""

import math

import pytest
import torch
from by_hand import loop_pairs, pad, recovered, rewards_and_ranks
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from plaudit.training.objectives.bradley_terry import bradley_terry
from plaudit.training.objectives.noisy_labels import OBJECTIVE, noisy_labels


@given(rewards_and_ranks, st.floats(-5, 5))
def test_noisy_labels_is_its_definition(example, logit):
    flip = expit(logit) / 2
    pairs = loop_pairs(*example)
    losses = [-math.log((1 - flip) * expit(a - b) + flip * expit(b - a)) for a, b in pairs]
    got = noisy_labels(*pad(*example, 7), flip_logit=logit)
    assert got.item() == pytest.approx(sum(losses) / max(len(losses), 1), abs=1e-12)


def test_without_noise_it_is_bradley_terry():
    data = pad([0.3, -1.0, 2.0], [1, 2, 0], 4)
    assert noisy_labels(*data, flip_logit=-40.0).item() == pytest.approx(
        bradley_terry(*data).item()
    )


def test_a_pair_that_is_surely_labelled_wrong_pulls_no_more():
    wrong = torch.tensor([[0.0, 12.0]], requires_grad=True)
    noisy_labels(wrong, torch.tensor([[0, 1]]), flip_logit=-1.0).backward()
    assert wrong.grad.abs().max() < 1e-3


def test_gradient_of_the_share_is_that_of_finite_differences():
    rewards, ranks = pad([0.3, -1.0, 0.9, 0.1], [1, 0, 1, 2], 5)
    given = (rewards.requires_grad_(), torch.tensor(-1.0, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(lambda r, x: noisy_labels(r, ranks, flip_logit=x), given)


def test_rewards_and_the_share_turned_round_are_found_again():
    true = torch.tensor([2.4, 1.2, 0.0, -1.2, -2.4], dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    items = torch.rand(40_000, 5, generator=generator).argsort(1)[:, :2]
    difference = true[items[:, 0]] - true[items[:, 1]]
    first = torch.rand(40_000, generator=generator) < torch.sigmoid(difference)
    turned = torch.rand(40_000, generator=generator) < 0.15
    first = first ^ turned
    ranks = torch.stack([~first, first], 1).long()
    start = OBJECTIVE.prepare().learnt
    rewards, found = recovered(noisy_labels, items, ranks, start)
    assert torch.sigmoid(found["flip_logit"]).item() / 2 == pytest.approx(0.15, abs=0.01)
    assert (rewards - rewards.mean()).tolist() == pytest.approx(true.tolist(), abs=0.15)
    # Bradley–Terry, which knows of no noise, takes the differences for less than half.
    flat, _ = recovered(bradley_terry, items, ranks, {})
    assert (flat[0] - flat[4]).item() < 0.7 * (true[0] - true[4]).item()
