"""Pooling `layers`: the head on all layers, against the states that transformers gives."""

import pytest
import torch
from torch.nn.functional import layer_norm
from transformers import AutoModelForSequenceClassification

import tiny
from plaudit import PlauditError, RewardModel
from plaudit.model.freezing import freeze
from plaudit.training.folder import build_settings

TEXTS = [("What is 1?", ["a fox", "a dog " * 9])]


def rows_of(model):
    [row] = model.encoding.encode_texts(TEXTS)
    names = [name for name in ("input_ids", "token_type_ids") if row.get(name)]
    return [{name: torch.tensor([row[name][k]]) for name in names} for k in range(2)]


@pytest.mark.parametrize("name", tiny.ENCODERS)
def test_it_is_the_mean_over_tokens_of_every_layers_score(base, name, tmp_path):
    model = RewardModel.load(base(name), pooling="layers", dtype="float32", device="cpu")
    [rewards] = model.score_all(TEXTS)
    model.save(tmp_path / "model")
    saved = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", trust_remote_code=True
    ).eval()
    head = saved.score.weight[0]
    assert head.shape == (3 * 32,)  # the embeddings and two layers
    for row, reward in zip(rows_of(model), rewards, strict=True):
        with torch.no_grad():
            assert saved(**row).logits.item() == pytest.approx(reward, abs=1e-5)
            layers = saved.model(**row, output_hidden_states=True).hidden_states
            means = [layer_norm(states, states.shape[-1:])[0].mean(0) for states in layers]
            assert (head @ torch.cat(means)).item() == pytest.approx(reward, abs=1e-5)
    again = RewardModel.load(tmp_path / "model", dtype="float32", device="cpu")
    [loaded] = again.score_all(TEXTS)
    assert list(loaded) == pytest.approx(list(rewards), abs=1e-6)


def test_a_head_alone_learns_from_kept_features_and_nothing_else_can_be_frozen(base):
    model = RewardModel.load(base("bert"), pooling="layers", dtype="float32", device="cpu")
    with pytest.raises(PlauditError, match="looks at every layer, and of 1 only the last is kept"):
        freeze(model, 1)
    assert freeze(model, -1).difference() < 1e-5


def test_a_decoder_has_no_such_pooling(base):
    with pytest.raises(PlauditError, match="layers does not suit this decoder"):
        RewardModel.load(base("llama"), pooling="layers", device="cpu")


def test_a_head_that_is_trained_alone_is_on_all_layers_of_an_encoder_unless_asked_otherwise(
    base, tmp_path
):
    def resolved(name, config=None, **given):
        settings = {"data": "x.csv", "base": str(base(name)), **given}
        chosen = build_settings(config, settings)
        return chosen.pooling, chosen.learning_rate

    assert resolved("bert", freeze_layers=-1) == ("layers", 1e-3)
    assert resolved("bert", freeze_layers=-1, learning_rate=0.1) == ("layers", 0.1)
    assert resolved("bert", freeze_layers=-1, pooling="cls") == ("cls", 0.01)
    assert resolved("bert") == ("auto", 2e-5)  # with the head that any server knows
    assert resolved("bert", freeze_layers=1) == ("auto", 2e-5)
    assert resolved("llama", freeze_layers=-1) == ("auto", 0.01)
    # What an earlier version saved names a pooling, and what a model was trained with stays.
    (tmp_path / "old.yaml").write_text("freeze_layers: -1\npooling: auto\n")
    assert resolved("bert", tmp_path / "old.yaml") == ("auto", 0.01)
    trained = RewardModel.load(base("bert"), pooling="mean", device="cpu")
    trained.save(tmp_path / "mean")
    again = build_settings(
        None, {"data": "x.csv", "base": str(tmp_path / "mean"), "freeze_layers": -1}
    )
    assert again.pooling == "auto"
