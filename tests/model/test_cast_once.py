"""Weights that are cast once give the rewards of autocast, and no others once they change."""

import copy
import pickle

import pytest
import torch

from plaudit import RewardModel
from plaudit.model import cast_once as module

ROWS = [("a prompt of some words", ["an answer", "another answer, longer", ""])]


def rewards(model):
    (found,) = model.score_all(ROWS)
    return found


def linear_layers(model):
    return [layer for layer in model.model.modules() if isinstance(layer, module._Linear)]


@pytest.mark.parametrize("name", ["bert", "gpt2", "qwen2"])
def test_rewards_are_those_of_autocast_to_the_last_bit(base, monkeypatch, name):
    model = RewardModel.load(base(name), device="cpu", dtype="bfloat16")
    kept = rewards(model)
    monkeypatch.setattr(module, "_kept", lambda *_: None)
    assert rewards(model) == kept


def test_weights_that_change_are_cast_anew_however_they_do(base):
    model = RewardModel.load(base("qwen2"), device="cpu", dtype="bfloat16")
    seen = [rewards(model)]
    for layer in linear_layers(model):  # as peft merges an adapter, past the counter of changes
        layer.weight.data *= 1.5
    seen.append(rewards(model))
    with torch.no_grad():
        for layer in linear_layers(model):
            layer.weight.mul_(1.5)
    seen.append(rewards(model))
    fresh = {name: value * 0.5 for name, value in model.model.state_dict().items()}
    model.model.load_state_dict(fresh)
    seen.append(rewards(model))
    assert len(set(map(tuple, seen))) == len(seen)


def test_within_remembering_a_weight_is_cast_once_and_nothing_is_kept_after_it(base):
    model = RewardModel.load(base("qwen2"), device="cpu", dtype="bfloat16")
    with model.remembering():
        rewards(model)
        first = dict(model._casts)
        assert {layer for layer, _ in first} == set(linear_layers(model))
        assert all(weight.dtype == torch.bfloat16 for weight, _ in first.values())
        model.score("another prompt", ["and its answer"])
        assert {key: id(cast) for key, cast in model._casts.items()} == {
            key: id(cast) for key, cast in first.items()
        }
    assert model._casts is None


def test_training_keeps_none_and_layers_are_copied_and_pickled_as_they_are(base):
    model = RewardModel.load(base("bert"), device="cpu", dtype="bfloat16")
    casts = {}
    tokens = torch.arange(5).unsqueeze(0) + 10
    with module.cast_once(casts), model.autocast():
        model.model(tokens)  # with a graph
    assert not casts
    with module.cast_once(casts), torch.no_grad():
        model.model(tokens)  # in float32
    assert not casts
    layer = linear_layers(model)[0]
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other.weight, layer.weight)
