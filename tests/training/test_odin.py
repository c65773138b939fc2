"""ODIN: its terms against their definitions, and what is learnt of data whose truth is known."""

import numpy as np
import pytest
import torch
from by_hand import loss_of
from torch import nn

from plaudit.data.rankings import PADDING
from plaudit.errors import PlauditError
from plaudit.settings import Settings
from plaudit.training.objectives import OBJECTIVES
from plaudit.training.objectives.bradley_terry import bradley_terry
from plaudit.training.odin import Odin, correlation


def test_a_correlation_is_of_the_completions_there_are():
    rng = np.random.default_rng(0)
    values, levels = rng.normal(size=(2, 3, 4))
    ranks = torch.tensor([[0, 1, 2, 3], [0, 1, PADDING, PADDING], [1, 0, 0, PADDING]])
    present = (ranks != PADDING).numpy()
    got = correlation(torch.tensor(values), torch.tensor(levels), ranks).item()
    assert got == pytest.approx(np.corrcoef(values[present], levels[present])[0, 1])
    assert correlation(torch.ones(3, 4), torch.tensor(levels), ranks) == 0


def test_the_terms_are_their_definition():
    rng = np.random.default_rng(1)
    rewards, other, level = rng.normal(size=(3, 2, 3))
    head = rng.normal(size=(2, 5))
    ranks = torch.tensor([[0, 1, 2], [0, 0, 1]])
    given = [torch.tensor(x) for x in (rewards, other[..., None], level[..., None])]
    odin = Odin(["length"], strength=0.5)
    offset = odin.offset(given[2], ranks, 0.0, given[1])
    assert torch.allclose(offset, torch.tensor(0.5 * other))

    def rho(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    cosine = head[0] @ head[1] / np.linalg.norm(head[0]) / np.linalg.norm(head[1])
    expected = 0.5 * (abs(rho(rewards, level)) - rho(other, level) + abs(cosine))
    assert odin.penalty(*given, ranks, torch.tensor(head)).item() == pytest.approx(expected)
    gone = Odin(["length"], strength=1.0, anneal=1.0)
    assert not gone.offset(given[2], ranks, 1.0, given[1]).any()
    assert gone.penalty(*given, ranks, torch.tensor(head), 1.0) == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_takes_it(name):
    ranks = torch.tensor([[0, 1, 1, PADDING], [0, 0, PADDING, PADDING]])
    rewards = torch.tensor([[0.3, -1.0, 0.9, 5.0], [0.1, 0.7, 0.0, 0.0]], requires_grad=True)
    others = torch.rand(2, 4, 2, generator=torch.manual_seed(0)).requires_grad_()
    levels, odin = torch.arange(16.0).view(2, 4, 2) ** 0.5, Odin(["length", "lists"])
    seen = rewards + odin.offset(levels, ranks, 0.0, others)
    loss = loss_of(name, ranks.tolist())(seen).sum()
    (loss + odin.penalty(rewards, others, levels, ranks, torch.eye(3))).backward()
    for gradient in (rewards.grad, others.grad):
        assert torch.isfinite(gradient).all()
        assert not gradient[ranks == PADDING].any()
        assert gradient.any()


def learnt(better, odin):
    """A linear reward of 300 pairs with 6 features, and the truth: what it depends on.

    `better[R, K]` is made of the features; the first is the length.
    """
    features = torch.randn(300, 2, 6, generator=torch.manual_seed(0))
    ranks = (better(features) < better(features).flip(1)).long()
    turned = torch.linalg.qr(torch.randn(6, 6, generator=torch.manual_seed(1)))[0]
    head = nn.Parameter(0.1 * torch.randn(2, 6, generator=torch.manual_seed(2)))
    optimiser = torch.optim.Adam([head], 0.05)
    levels = features[..., :1]
    for _ in range(200):
        outputs = features @ turned @ head.T
        rewards, others = outputs[..., 0], outputs[..., 1:]
        loss = 0.01 * head.square().sum()
        if odin is None:
            loss = loss + bradley_terry(rewards, ranks).mean()
        else:
            offset = odin.offset(levels, ranks, 0.0, others)
            loss = loss + bradley_terry(rewards + offset, ranks).mean()
            loss = loss + odin.penalty(rewards, others, levels, ranks, head)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return rewards.detach(), levels[..., 0]


def rho(a, b):
    return abs(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def test_of_pure_length_nothing_is_learnt():
    rewards, length = learnt(lambda x: x[..., 0], None)
    assert rho(rewards, length) > 0.95
    rewards, length = learnt(lambda x: x[..., 0], Odin(["length"]))
    assert rho(rewards, length) < 0.05


def test_quality_that_is_not_length_is_learnt_as_without():
    def quality(x):
        return x[..., 1] - 0.5 * x[..., 2]

    plain, _ = learnt(quality, None)
    rewards, length = learnt(quality, Odin(["length"]))
    assert rho(rewards, plain) > 0.97
    assert rho(rewards, length) < 0.05


def test_what_goes_with_a_method():
    for method in ("odin", "two-stage"):
        chosen = Settings.build(data="d", control="length", control_method=method)
        assert chosen.checkpoint_metric == "controlled_log_loss"
        with pytest.raises(PlauditError, match=f"control_method: {method} needs a control"):
            Settings.build(data="d", control="none", control_method=method)
        with pytest.raises(PlauditError, match=r"control_weight: only goes with .* expert"):
            Settings.build(data="d", control="length", control_method=method, control_weight=1.0)
