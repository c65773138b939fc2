"""Weights that are cast once give the rewards of autocast, and no others once they change."""

import copy

import pytest
import torch

from plaudit import RewardModel
from plaudit.model import cast_once as module

ROWS = [("a prompt of some words", ["an answer", "another answer, longer", ""])]


@pytest.mark.parametrize("name", ["bert", "gpt2", "qwen2"])
def test_rewards_are_those_of_autocast_before_and_after_a_change(base, monkeypatch, name):
    model = RewardModel.load(base(name), device="cpu", dtype="bfloat16")

    def both():
        (kept,) = model.score_all(ROWS)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_kept", lambda *_: None)
            (anew,) = model.score_all(ROWS)
        assert kept == anew
        return kept

    before = both()
    with torch.no_grad():
        for layer in model.model.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(1.5)
    changed = both()
    assert changed != before
    model.model.load_state_dict(
        {name: value * 0.5 for name, value in model.model.state_dict().items()}
    )
    assert both() not in (before, changed)


def test_casts_are_made_once_and_go_with_no_copy(base, monkeypatch):
    model = RewardModel.load(base("qwen2"), device="cpu", dtype="bfloat16")
    layers = [layer for layer in model.model.modules() if isinstance(layer, module._Linear)]
    assert layers
    list(model.score_all(ROWS))
    first = [layer._cast.tensors[0] for layer in layers]
    list(model.score_all(ROWS))
    assert all(
        layer._cast.tensors[0] is tensor for layer, tensor in zip(layers, first, strict=True)
    )
    other = copy.deepcopy(layers[0])
    assert other._cast.tensors is None


def test_training_keeps_none(base):
    model = RewardModel.load(base("bert"), device="cpu", dtype="bfloat16")
    tokens = torch.arange(5).unsqueeze(0) + 10
    with model.autocast():
        model.model(tokens)
        with torch.no_grad():
            model.model(tokens)
    assert not any("_cast" in layer.__dict__ for layer in model.model.modules())
