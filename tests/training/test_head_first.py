"""A new head is fitted first, to the base model as it is; and what older runs had stays theirs."""

import json

import pytest
import torch
import yaml

import tiny
from plaudit import RewardModel, train
from plaudit.data.readers import load_rankings
from plaudit.settings import Settings
from plaudit.training.folder import build_settings
from plaudit.training.head_first import fit_head
from plaudit.training.objectives import Prepared
from plaudit.training.parts import encoded
from plaudit.training.trainer import RankingTrainer


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """The better answer says `fox` more often; all of a prompt are of one length."""
    return tiny.write_rankings(tmp_path_factory.mktemp("data") / "ranked.jsonl", 40)


def options(base, name="bert", **more):
    given = {"base": str(base(name)), "dtype": "float32", "max_length": 48, "stress": 0}
    given |= {"max_steps": 1, "learning_rate": 1e-12, "report": False, "head_epochs": 40}
    return given | more


@pytest.mark.parametrize("name", ["bert", "llama", "roberta"])
def test_only_the_head_learns_and_it_learns(ranked, base, name, tmp_path):
    rankings = load_rankings(ranked)
    chosen = Settings.build(data="x", features_cache=str(tmp_path), **options(base, name))
    model = RewardModel.load(chosen.base, dtype="float32", device="cpu", max_length=48)
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    trains = {k: p.requires_grad for k, p in model.model.named_parameters()}
    kind, accuracy = type(model.model), right(model, rankings)
    rows = encoded(list(rankings), model.encoding, "encoding", control=chosen.control)
    assert fit_head(model, rows, chosen, Prepared())
    after = model.model.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    base_prefix = model.model.base_model_prefix
    assert moved
    assert not any(k.startswith(f"{base_prefix}.encoder") for k in moved)
    assert not any("embed" in k or "layers" in k for k in moved)
    # All of it is trained from here on, as before, and nothing of the freezing is left.
    assert {k: p.requires_grad for k, p in model.model.named_parameters()} == trains
    assert type(model.model) is kind
    assert right(model, rankings) > max(accuracy, 0.7)


def right(model, rankings):
    """The share of the pairs in the right order."""
    rewards = model.score_all((r.prompt, r.completions) for r in rankings)
    pairs = [
        scores[i] > scores[j]
        for ranking, scores in zip(rankings, rewards, strict=True)
        for i, j in ranking.pairs()
    ]
    return sum(pairs) / len(pairs)


def test_a_trained_head_is_left_as_it_is(ranked, base, tmp_path):
    fitted = train(ranked, output=tmp_path / "first", **options(base))
    chosen = options(base) | {"base": str(tmp_path / "first" / "model")}
    again = train(ranked, output=tmp_path / "again", **chosen)
    texts = [("What is 1 plus 1?", ["fox fox", "dog dog"])]
    [then], [now] = (run.model.score_all(texts) for run in (fitted, again))
    assert now == pytest.approx(then)
    plain = train(ranked, output=tmp_path / "plain", recipe="plain", **options(base, head_epochs=0))
    right, drawn = (run.metrics["test"]["pairwise_accuracy"]["value"] for run in (fitted, plain))
    assert right > max(drawn, 0.7)  # one step of 1e-12 gave none of it


def test_lora_begins_from_the_fitted_head(ranked, base, tmp_path):
    run = train(ranked, output=tmp_path / "run", lora_r=2, **options(base, "llama"))
    assert run.metrics["test"]["pairwise_accuracy"]["value"] > 0.7


@pytest.mark.parametrize(("name", "layer"), [("bert", "query"), ("llama", "q_proj")])
def test_in_bfloat16_all_of_the_model_is_trained_so_and_a_resumed_run_is_the_same(
    ranked, base, tmp_path, monkeypatch, name, layer
):
    """The base model's own layers compute in bfloat16 after the head was fitted, too."""
    chosen = options(base, name, dtype="bfloat16", head_epochs=1) | {"learning_rate": 1e-3}
    step, computed = RankingTrainer.training_step, []

    def watched(self, model, *given):
        [*_, last] = (m for called, m in model.named_modules() if called.endswith(layer))
        hook = last.register_forward_hook(lambda _, __, out: computed.append(out.dtype))
        try:
            return step(self, model, *given)
        finally:
            hook.remove()

    monkeypatch.setattr(RankingTrainer, "training_step", watched)
    whole = train(ranked, output=tmp_path / "whole", **chosen)
    assert whole.metrics["training"]["dtype"] == "bfloat16"
    assert set(computed) == {torch.bfloat16}

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # before the first step
        patch.setattr("plaudit.training.run._train", killed)
        with pytest.raises(KeyboardInterrupt):
            train(ranked, output=tmp_path / "run", **chosen)
    resumed = train(output=tmp_path / "run", resume=True)
    weights, again = (run.model.model.state_dict() for run in (whole, resumed))
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_lora_resumes_with_the_fitted_head(ranked, base, tmp_path, monkeypatch, capsys):
    # BERT's pooler, a part of the head, is none of what a checkpoint of LoRA has.
    chosen = options(base, head_epochs=2, lora_r=2, max_steps=4, save_steps=2)
    whole = train(ranked, output=tmp_path / "whole", **chosen)
    step = RankingTrainer.training_step

    def killed(self, *given):
        if self.state.max_steps == 4 and self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(RankingTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(ranked, output=tmp_path / "run", **chosen)
    assert "before the first step: validation" in capsys.readouterr().err
    resumed = train(output=tmp_path / "run", resume=True)
    assert resumed.metrics["test"] == whole.metrics["test"]
    assert "before the first step" not in capsys.readouterr().err  # nor is that a step of it


def test_a_run_of_an_earlier_version_goes_on_without_what_it_did_not_have(ranked, base, tmp_path):
    run = tmp_path / "run"
    chosen = options(base, recipe="plain", head_epochs=0, max_steps=4, save_steps=2)
    train(ranked, output=run, **chosen)
    (run / "metrics.json").unlink()
    settings = yaml.safe_load((run / "config.yaml").read_text())
    for name in ("recipe", "head_epochs", "control", "control_strength"):
        del settings[name]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    resumed = train(output=run, resume=True)
    assert "control" not in resumed.metrics["training"]


def test_another_recipe_than_that_of_a_runs_config_chooses_the_pooling_anew(base, tmp_path):
    given = {"data": "x", "base": str(base("bert"))}
    build_settings(None, given | {"recipe": "fast"}).save(tmp_path / "fast.yaml")
    build_settings(None, given).save(tmp_path / "default.yaml")
    whole = build_settings(tmp_path / "fast.yaml", {"recipe": "best"})
    assert (whole.pooling, whole.freeze_layers, whole.learning_rate) == ("auto", 0, 2e-5)
    fast = build_settings(tmp_path / "default.yaml", {"recipe": "fast"})
    assert (fast.pooling, fast.freeze_layers, fast.learning_rate) == ("layers", -1, 1e-3)


def test_the_fitted_head_is_kept_where_training_all_of_it_does_not_help(
    ranked, base, tmp_path, capsys
):
    chosen = options(base, pooling="layers", max_steps=4, save_steps=2)
    run = train(ranked, output=tmp_path / "still", **chosen)  # by steps of 1e-12
    assert run.metrics["training"]["best_step"] == 0
    assert "the head as it was fitted first is kept" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "still" / "log.jsonl").open()]
    measured = [row["step"] for row in rows if "eval_log_loss" in row]
    assert measured == [0, 2, 4]
    texts = [("What is 1 plus 1?", ["fox fox", "dog dog"])]
    [kept] = run.model.score_all(texts)
    [saved] = RewardModel.load(tmp_path / "still").score_all(texts)
    assert saved == pytest.approx(kept, abs=1e-5)
    better = train(ranked, output=tmp_path / "better", **chosen | {"learning_rate": 0.1})
    assert better.metrics["training"]["best_step"] == 4
