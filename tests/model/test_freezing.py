"""Training from kept features against running everything; and that nothing runs twice."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from plaudit import PlauditError, RewardModel, train
from plaudit.data.rankings import Ranking
from plaudit.model.batches import model_inputs, per_ranking
from plaudit.model.freezing import freeze
from plaudit.settings import Settings
from plaudit.training.folder import what_is_kept
from plaudit.training.objectives.bradley_terry import bradley_terry
from plaudit.training.parts import encoded
from plaudit.training.setup import build_trainer, run_frozen_layers

MODELS = [
    *(("gpt2", "last"), ("llama", "last"), ("llama", "mean")),
    *(("bert", "cls"), ("bert", "mean"), ("modernbert", "cls")),
    *(("deberta-v2", "cls"), ("deberta-v2", "mean")),
]
# What is trained, of the names of the parameters, when one of two layers is frozen: the layer
# above, what comes after it, the head. DeBERTa's layers share their embeddings of positions.
UPPER = {
    "gpt2": r"transformer\.(h\.1|ln_f)\.|score\.",
    "llama": r"model\.(layers\.1|norm)\.|score\.",
    "bert": r"(bert|model)\.(encoder\.layer\.1|pooler)\.|classifier\.|score\.",
    "modernbert": r"model\.(layers\.1|final_norm)\.|head\.|classifier\.",
    "deberta-v2": r"(deberta|model)\.encoder\.layer\.1\.|pooler\.|classifier\.|score\.",
}
HEAD = r"score\.|classifier\.|(bert\.)?pooler\.|head\."
RANKINGS = [
    Ranking("the quick brown fox " * 3, ["one", "two is it", "one and two"], [0, 1, 1]),
    Ranking("", ["fox", "dog is that so"], [1, 0]),
    Ranking("what is two?", [f"{n} plus {n} " * n for n in range(1, 6)], list(range(5))),
]


@pytest.fixture
def ranked(tmp_path):
    path = tmp_path / "ranked.csv"
    lines = ["prompt,answer,rank"]
    for number in range(30):
        for rank in range(3):
            text = "fox " * (3 - rank) + "dog " * (rank + number % 3)
            lines.append(f"What is {number} plus {number}?,{text},{rank + 1}")
    path.write_text("\n".join(lines))
    return path


def load(folder, **options):
    return RewardModel.load(folder, dtype="float32", device="cpu", **options)


def options(folder, tmp_path, **more):
    given = {
        "base": str(folder),
        "recipe": "plain",
        "dtype": "float32",
        "max_length": 48,
        "max_steps": 6,
    }
    given |= {"save_steps": 3, "learning_rate": 1e-3, "per_device_train_batch_size": 4}
    given["report"] = False
    return given | {"features_cache": str(tmp_path / "features"), "freeze_layers": 1} | more


def rewards_and_gradients(model, layout, rankings, max_tokens):
    """Of a step as the trainer makes it, in the order of the rankings."""
    rewards = [None] * len(rankings)
    model.model.zero_grad()
    for batch in layout.divide(rankings, max_tokens):
        logits = model.model(**model_inputs(batch)).logits[:, 0]
        laid = per_ranking(logits, batch["ranks"])
        bradley_terry(laid, batch["ranks"]).sum().backward()
        sizes = [len(rankings[place]["ranks"]) for place in batch["position"].tolist()]
        parts = logits.detach().split(sizes)
        for place, part in zip(batch["position"].tolist(), parts, strict=True):
            rewards[place] = part
    gradients = {n: p.grad for n, p in model.model.named_parameters() if p.grad is not None}
    return torch.cat(rewards), gradients


def assert_refused(model, layers, said):
    """And the model is left as it was."""

    def state():
        modes = [module.training for module in model.model.modules()]
        return type(model.model), modes, [p.requires_grad for p in model.model.parameters()]

    model.model.train()
    next(model.model.parameters()).requires_grad_(False)
    before = state()
    with pytest.raises(PlauditError, match=f"freeze_layers: {said}"):
        freeze(model, layers)
    assert state() == before
    assert not hasattr(model.model, "given")


@pytest.mark.parametrize("layers", [1, -1])
@pytest.mark.parametrize(("name", "pooling"), MODELS)
def test_rewards_and_gradients_are_those_of_running_everything(
    base, tmp_path, name, pooling, layers
):
    whole, model = (
        load(base(name), pooling=pooling, layout="padded"),
        load(base(name), pooling=pooling),
    )
    trained = UPPER[name] if layers == 1 else HEAD
    for parameter_name, parameter in whole.model.named_parameters():
        parameter.requires_grad_(re.match(trained, parameter_name) is not None)
    frozen = freeze(model, layers)
    frozen.keep(tmp_path, 1)
    rankings = model.encoding.encode(RANKINGS)
    frozen.fill(rankings, 60)
    expected, wanted = rewards_and_gradients(whole, whole.layout, rankings, 10**6)
    for max_tokens in (60, 10**6):
        rewards, gradients = rewards_and_gradients(model, frozen, rankings[::-1], max_tokens)
        rewards = torch.cat([*reversed(rewards.split([5, 2, 3]))])
        assert torch.allclose(rewards, expected, rtol=0, atol=1e-5)
        assert gradients.keys() == wanted.keys()
        scale = max(gradient.abs().max() for gradient in wanted.values())
        for each, gradient in wanted.items():
            assert torch.allclose(gradients[each], gradient, rtol=1e-4, atol=1e-5 * scale), each
    assert frozen.computed == len(rankings)


@pytest.mark.parametrize(("name", "layers"), [("llama", 1), ("bert", -1), ("deberta-v2", 1)])
def test_frozen_layers_run_once_for_all_epochs_and_runs(base, tmp_path, name, layers):
    """The lowest layer's calls: some before the first training, and never again."""
    calls = []
    for run in range(2):
        model = load(base(name), max_length=48)
        (lowest,) = (
            module
            for path, module in model.model.named_modules()
            if re.search(r"layers?\.0$", path)
        )
        lowest.register_forward_hook(lambda *_: calls.append(1))
        chosen = Settings.build(
            data="unused",
            **options(
                base(name),
                tmp_path,
                freeze_layers=layers,
                max_steps=-1,
                num_train_epochs=2,
                seed=run,
            ),
        )
        order = RANKINGS if run == 0 else RANKINGS[::-1]
        rows = encoded(order, model.encoding, "encoding")
        (tmp_path / f"run{run}").mkdir()
        held_out = encoded(RANKINGS[:1], model.encoding, "encoding")
        trainer = build_trainer(model, rows, held_out, chosen, tmp_path / f"run{run}")
        tried = len(calls)
        frozen = run_frozen_layers(trainer, chosen)
        filled = len(calls)
        assert (filled > tried) == (run == 0)
        assert (frozen.computed, frozen.found) == ((3, 1) if run == 0 else (0, 4))
        trainer.train()
        assert trainer.state.epoch == 2
        assert len(calls) == filled
        model.rewards(model.encoding.encode(RANKINGS))
        assert len(calls) == filled  # scoring takes what is kept, too
        frozen.close()
        model.rewards(model.encoding.encode(RANKINGS))
        assert len(calls) > filled  # and runs the whole model again


def test_a_run_trains_the_upper_layers_and_saves_an_ordinary_model(ranked, base, tmp_path):
    run = train(ranked, output=tmp_path / "run", **options(base("llama"), tmp_path))
    before = load_file(base("llama") / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name, weights in after.items():
        if name in before:
            assert torch.equal(weights, before[name]) != bool(re.match(UPPER["llama"], name)), name
    again = load(tmp_path / "run").score("What is 3?", ["fox fox", "dog"])
    assert run.model.score("What is 3?", ["fox fox", "dog"]) == pytest.approx(again, abs=1e-6)
    said = json.loads((tmp_path / "run" / "metrics.json").read_text())["training"]["frozen"]
    assert said["what"] == "the embeddings and 1 of 2 layers"
    assert (said["found"], said["computed"]) == (0, 30)  # to test, too


@pytest.mark.parametrize("gigabytes", [0, 2e-5])
def test_what_is_not_kept_is_computed_anew_with_the_same_result(
    ranked, base, tmp_path, gigabytes, capsys
):
    weights = []
    for name, bound in (("kept", 1), ("not", gigabytes)):
        cache = str(tmp_path / f"features-{name}")
        chosen = options(base("bert"), tmp_path, features_cache=cache, features_cache_gb=bound)
        run = train(ranked, output=tmp_path / name, **chosen)
        weights.append(load_file(tmp_path / name / "model" / "model.safetensors"))
    said = capsys.readouterr().err
    assert "features_cache_gb" in said
    assert run.metrics["training"]["frozen"]["computed"] > 24
    assert (tmp_path / "features-not").exists() == bool(gigabytes)
    for name, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][name], atol=1e-5), name


def test_streamed_rankings_are_computed_when_they_are_first_read(ranked, base, tmp_path):
    chosen = options(base("bert"), tmp_path, streaming=True, max_steps=12)
    run = train(ranked, output=tmp_path / "run", **chosen)
    assert 12 * 4 > 30  # so some are read twice
    assert run.metrics["training"]["frozen"]["computed"] <= 30


def test_resuming_finds_the_features(ranked, base, tmp_path):
    chosen = options(base("bert"), tmp_path)
    train(ranked, output=tmp_path / "run", **chosen)
    expected = load_file(tmp_path / "run" / "model" / "model.safetensors")
    (tmp_path / "run" / "metrics.json").unlink()  # as if it was stopped before its end
    (last,) = (tmp_path / "run" / "checkpoints").glob("checkpoint-6")
    last.rename(tmp_path / "gone")
    run = train(output=tmp_path / "run", resume=True)
    assert run.metrics["training"]["frozen"]["computed"] == 0
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(torch.equal(after[name], weights) for name, weights in expected.items())


def test_features_keep_the_type_that_the_layer_gives_under_autocast(base, tmp_path):
    model = load(base("llama"))
    model.dtype = torch.bfloat16
    seen = []
    layer = model.model.model.layers[0]
    layer.register_forward_hook(lambda _, __, output: seen.append(output))
    frozen = freeze(model, 1)
    frozen.keep(tmp_path, 1)
    (row,) = model.encoding.encode(RANKINGS[:1])
    frozen.fill([row], 10**6)
    (batch,) = frozen.divide([row], 10**6)
    assert torch.equal(batch["features"], seen[-1])
    assert batch["features"].dtype == seen[-1].dtype
    other = load(base("llama"))  # which computes in float32
    other_frozen = freeze(other, 1)
    other_frozen.keep(tmp_path, 1)
    assert len(other_frozen.cache) == 0


def test_lora_adapts_the_layers_above(ranked, base, tmp_path):
    chosen = options(base("llama"), tmp_path, lora_r=4)
    train(ranked, output=tmp_path / "run", **chosen)
    (adapters,) = (tmp_path / "run" / "checkpoints").glob("checkpoint-6/adapter_model.safetensors")
    names = [name for name in load_file(adapters) if "lora_" in name]
    assert names
    assert all(".layers.1." in name for name in names)


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize(
    ("name", "pooling"), [("llama", "last"), ("llama", "mean"), ("bert", "cls")]
)
def test_lora_trains_alike_on_both_layouts(ranked, base, tmp_path, name, pooling, layers):
    rewards = []
    for layout in ("flat", "padded"):
        chosen = options(base(name), tmp_path, lora_r=4, layout=layout, pooling=pooling)
        run = train(ranked, output=tmp_path / layout, **chosen | {"freeze_layers": layers})
        rewards.append(run.model.score("What is 3?", ["fox fox", "dog"]))
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-3)


def test_an_interruption_says_that_what_frozen_layers_gave_is_kept(
    ranked, base, tmp_path, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("plaudit.training.run._train", killed)
    for gigabytes, said in ((1, ", but finds what the frozen layers gave"), (0, "")):
        more = {"freeze_layers": 1, "features_cache_gb": gigabytes}
        run = tmp_path / f"run-{gigabytes}"
        with pytest.raises(KeyboardInterrupt):
            train(ranked, output=run, **options(base("bert"), tmp_path, **more))
        assert what_is_kept(run) == f"there is no checkpoint yet, and --resume begins anew{said}"


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("bert", {"freeze_layers": 3}, "freeze_layers: 3 is more than the 2 layers of BertModel"),
        ("bert", {"freeze_layers": -2}, "freeze_layers: -2 is not a whole number, -1 or more"),
        ("bert", {"freeze_layers": -1, "lora_r": 4}, "-1 leaves LoRA nothing to adapt"),
        ("llama", {"freeze_layers": 2, "lora_r": 4}, "2 leaves LoRA nothing to adapt"),
        ("bert", {"features_cache": "/dev/null"}, "features_cache: /dev/null cannot be written"),
    ],
)
def test_what_cannot_be_frozen_is_said(ranked, base, tmp_path, name, more, said):
    with pytest.raises(PlauditError, match=re.escape(said)):
        train(ranked, output=tmp_path / "run", **options(base(name), tmp_path, **more))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_layers_that_share_more_than_hidden_states_are_refused(base):
    """What the first layer leaves aside for the norm at the end does not come with features."""
    model = load(base("llama"))
    inner, aside = model.model.model, {}
    inner.embed_tokens.register_forward_hook(lambda *_: aside.clear())
    inner.layers[0].register_forward_hook(lambda *_: aside.update(factor=2))
    inner.norm.register_forward_hook(lambda _, __, output: output * aside.get("factor", 1))
    assert_refused(model, 1, r"1 does not suit LlamaModel .*; choose 0 or -1$")


@pytest.mark.parametrize("layers", [0, -2])
def test_no_number_of_layers_is_refused(base, layers):
    assert_refused(load(base("llama")), layers, f"{layers} freezes nothing; choose 1 or more")


def test_a_whole_base_model_that_does_not_suit_is_not_recommended_again(base):
    model = load(base("llama"))
    model.model.model.norm.register_forward_hook(lambda *_: torch.rand(()))  # no hidden states
    assert_refused(model, -1, r"-1 does not suit LlamaModel .*; choose 0$")


def key_of(model, tmp_path):
    frozen = freeze(model, 1)
    frozen.keep(tmp_path, 1)
    return frozen.cache.folder.name


def test_features_are_those_of_all_weights_and_buffers_below(base, tmp_path):
    plain, again, frozen, other, turned, above = (load(base("llama")) for _ in range(6))
    for model in (frozen, other):  # as somebody may have frozen them before
        model.model.model.embed_tokens.requires_grad_(False)
    other.model.model.embed_tokens.weight.data += 1
    turned.model.model.rotary_emb.inv_freq *= 2
    above.model.model.layers[1].mlp.up_proj.weight.data += 1
    key = key_of(plain, tmp_path)
    assert key_of(again, tmp_path) == key_of(frozen, tmp_path) == key_of(above, tmp_path) == key
    assert len({key_of(other, tmp_path), key_of(turned, tmp_path), key}) == 3


def test_training_goes_on_when_the_cache_can_no_longer_be_written(base, tmp_path, capsys):
    model = load(base("llama"))
    frozen = freeze(model, 1)
    rankings = model.encoding.encode(RANKINGS)
    expected, _ = rewards_and_gradients(model, frozen, rankings, 60)
    frozen.keep(tmp_path / "features", 1)
    shutil.rmtree(tmp_path / "features")
    (tmp_path / "features").write_text("")
    for _ in range(2):
        rewards, _ = rewards_and_gradients(model, frozen, rankings, 60)
        assert torch.allclose(rewards, expected, atol=1e-6)
    said = capsys.readouterr().err
    assert said.count(f"{tmp_path / 'features'} cannot be written") == 1
    assert "this run goes on" in said


def test_resuming_may_keep_features_elsewhere(ranked, base, tmp_path):
    train(ranked, output=tmp_path / "run", **options(base("bert"), tmp_path))
    (tmp_path / "run" / "metrics.json").unlink()
    more = {"features_cache": str(tmp_path / "elsewhere"), "features_cache_gb": 2}
    train(output=tmp_path / "run", resume=True, **more)
    assert (tmp_path / "elsewhere").is_dir()


def test_the_report_is_of_all_processes(base):
    frozen = freeze(load(base("bert")), -1)
    frozen.found, frozen.computed, frozen.seconds = 3, 4, 1.5
    other = torch.tensor([[10.0, 20.0, 7.0]])
    report = frozen.report(lambda mine: torch.cat([mine, other]))
    assert (report["found"], report["computed"], report["seconds"]) == (13, 24, 7.0)
