"""QLoRA: what is trained on a base model in 4 bits, and the ordinary model that comes out."""

import json

import pytest
import torch
from peft import (
    LoraConfig,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)

import tiny
from plaudit import PlauditError, RewardModel, train
from plaudit.model.classifier import head_of
from plaudit.model.four_bit import compute_in, pack, unpack, with_adapters

bitsandbytes = pytest.importorskip("bitsandbytes")
PROMPT, COMPLETIONS = "What is a bond?", ["A loan.", "It depends on a good many things.", "x"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_rankings(tmp_path_factory.mktemp("data") / "ranked.jsonl", prompts=16)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A base model in which a block of 64 weights does not span several rows."""
    sizes = {"hidden_size": 64, "intermediate_size": 128}
    return tiny.make("llama", tmp_path_factory.mktemp("wide") / "llama", **sizes)


def run(data, base, folder, **options):
    """A short run on a base model in 4 bits, whose adapters move by much."""
    given = {
        "base": str(base), "recipe": "plain", "dtype": "float32", "max_length": 48, "seed": 1,
        "lora_r": 4, "lora_target_modules": "all-linear", "max_steps": 4, "learning_rate": 0.01,
        "save_steps": 1, "stress": 0, "report": False, "validation_fraction": 0.2,
        "metric_for_best_model": "log_loss", "load_in_4bit": True,
    }  # fmt: skip
    return train(data, output=folder, **(given | options))


def test_unpacked_layers_have_the_values_that_were_packed(wide):
    loaded = RewardModel.load(wide, dtype="float32", device="cpu", seed=1)
    before = loaded.model.model.layers[0].mlp.up_proj.weight.detach().clone()
    in_float = loaded.score(PROMPT, COMPLETIONS)
    pack(loaded.model, torch.device("cpu"), torch.float32)
    layer = loaded.model.model.layers[0].mlp.up_proj
    assert layer.weight.dtype == torch.uint8
    assert layer.weight.numel() == before.numel() // 2
    in_four_bits = loaded.score(PROMPT, COMPLETIONS)
    assert in_four_bits != pytest.approx(in_float, abs=0.01)
    unpack(loaded.model)
    after = loaded.model.model.layers[0].mlp.up_proj.weight
    # NF4's widest gap between two values is 0.304 of a block's largest weight.
    widest = before.flatten().view(-1, 64).abs().amax(1, keepdim=True)
    assert ((after - before).flatten().view(-1, 64).abs() <= 0.153 * widest).all()
    assert loaded.score(PROMPT, COMPLETIONS) == pytest.approx(in_four_bits, abs=1e-5)
    assert type(head_of(loaded.model).weight) is torch.nn.Parameter


def test_a_packed_model_computes_in_the_type_that_all_processes_take(wide):
    loaded = RewardModel.load(wide, dtype="float32", device="cpu", seed=1)
    pack(loaded.model, torch.device("cpu"), torch.bfloat16)
    in_bfloat16 = loaded.score(PROMPT, COMPLETIONS)
    compute_in(loaded.model, torch.float32)
    again = RewardModel.load(wide, dtype="float32", device="cpu", seed=1)
    pack(again.model, torch.device("cpu"), torch.float32)
    assert loaded.score(PROMPT, COMPLETIONS) == again.score(PROMPT, COMPLETIONS) != in_bfloat16


@pytest.mark.parametrize("more", [{}, {"use_dora": True}, {"head_epochs": 2}], ids=str)
def test_the_saved_model_is_an_ordinary_one_with_the_rewards_of_training(
    data, wide, tmp_path, more
):
    """Validation is scored in between, after which a packed layer must still have gradients."""
    made = run(data, wide, tmp_path / "run", **more)
    loaded = RewardModel.load(tmp_path / "run", dtype="float32", device="cpu")
    expected = made.model.score(PROMPT, COMPLETIONS)
    assert loaded.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    names = [name for name, _ in loaded.model.named_parameters()]
    assert not any("lora" in name or "absmax" in name for name in names)
    measured = made.metrics["validation"]["log_loss"]["value"]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    best = min(row["eval_log_loss"] for row in log if "eval_log_loss" in row)
    assert measured == pytest.approx(best, abs=1e-4)


def test_what_it_does_not_go_with(data, base, wide, tmp_path):
    with pytest.raises(PlauditError, match=r"load_in_4bit: needs LoRA"):
        run(data, wide, tmp_path / "a", lora_r=0)
    with pytest.raises(PlauditError, match=r"save_adapter: does not go with load_in_4bit"):
        run(data, wide, tmp_path / "b", save_adapter=True)
    with pytest.raises(PlauditError, match=r"load_in_4bit: GPT2Model has no linear layers"):
        run(data, base("gpt2"), tmp_path / "c")


def test_gradients_are_those_on_the_unpacked_base_though_it_has_scored(wide):
    """On a CPU bitsandbytes lays a layer that has scored out anew, and then they would not be."""
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=4, target_modules="all-linear", init_lora_weights=False
    )
    models = [RewardModel.load(wide, dtype="float32", device="cpu", seed=1) for _ in range(2)]
    for model in models:
        pack(model.model, torch.device("cpu"), torch.float32)
        model.score(PROMPT, COMPLETIONS)
    unpack(models[1].model)
    packed, plain = with_adapters(models[0].model, config), get_peft_model(models[1].model, config)
    set_peft_model_state_dict(plain, get_peft_model_state_dict(packed))
    ids = torch.tensor([models[0].encode([(PROMPT, COMPLETIONS)])[0]["input_ids"][1]])
    found = []
    for model in (packed, plain):
        model(input_ids=ids).logits.sum().backward()
        named = model.named_parameters()
        found.append({name: p.grad for name, p in named if "lora" in name})
    assert found[0].keys() == found[1].keys()
    assert max(gradient.abs().max() for gradient in found[1].values()) > 1e-2
    for name, gradient in found[1].items():
        assert torch.allclose(found[0][name], gradient, rtol=1e-4, atol=1e-4), name
