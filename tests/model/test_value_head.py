"""Decoders whose head another trainer saved under a name of its own: that trainer's rewards."""

import json
import re
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

import tiny
from plaudit import PlauditError, RewardModel, normalise

PROMPT, COMPLETIONS = "What is a bond?", ["A loan.", "It depends on a good many things.", "x"]
WEIGHT, BIAS = torch.linspace(-1, 1, 32)[None], torch.tensor([0.75])


def head_of_last(backbone, ours, weight=WEIGHT):
    """`weight` of the last token's state, for the rows that ours reads."""
    rows = ours.encode([(PROMPT, COMPLETIONS)])[0]["input_ids"]
    with torch.no_grad():
        states = [backbone(torch.tensor([row])).last_hidden_state[0, -1] for row in rows]
    return torch.stack(states) @ weight[0]


def add(folder, weights, file="model.safetensors"):
    before = load_file(folder / file) if (folder / file).exists() else {}
    save_file(before | weights, folder / file, metadata={"format": "pt"})


def configure(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def load(folder, **options):
    return RewardModel.load(folder, dtype="float32", device="cpu", **options)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("file", ["model.safetensors", "value_head.safetensors", "value_head.bin"])
def test_a_value_head_with_its_bias(name, file, tmp_path):
    """As TRL's PPO saves it in the model's file, LLaMA-Factory in one beside it."""
    tiny.make(name, tmp_path)
    weights = {"v_head.summary.weight": WEIGHT, "v_head.summary.bias": BIAS}
    if file.endswith(".bin"):
        torch.save(weights, tmp_path / file)
    else:
        add(tmp_path, weights, file)
    ours = load(tmp_path)
    expected = head_of_last(AutoModel.from_pretrained(tmp_path).eval(), ours) + BIAS
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected.tolist(), abs=1e-5)
    assert not ours.new_head
    raw = load(tmp_path, normalised=False).score(PROMPT, COMPLETIONS)
    assert raw == pytest.approx((expected - BIAS).tolist(), abs=1e-5)


def test_it_is_saved_with_its_bias(tmp_path):
    tiny.make("llama", tmp_path / "theirs")
    weights = {"v_head.summary.weight": WEIGHT, "v_head.summary.bias": BIAS}
    add(tmp_path / "theirs", weights)
    ours = load(tmp_path / "theirs")
    ours.save(tmp_path / "ours")
    again = load(tmp_path / "ours").score(PROMPT, COMPLETIONS)
    assert again == pytest.approx(ours.score(PROMPT, COMPLETIONS), abs=1e-6)
    assert "as in model.safetensors" in str(ours.normalisation)


def test_it_is_found_in_shards(tmp_path):
    tiny.make("llama", tmp_path)
    add(tmp_path, {"v_head.summary.weight": WEIGHT})
    expected = load(tmp_path).score(PROMPT, COMPLETIONS)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    names = sorted(weights)
    halves = [names[::2], names[1::2]]
    index = {"metadata": {"total_size": 1}, "weight_map": {}}
    for number, half in enumerate(halves, start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        add(tmp_path, {name: weights[name] for name in half}, file)
        index["weight_map"] |= dict.fromkeys(half, file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load(tmp_path).score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("prefix", ["score", "value_head", "reward_layer"])
@pytest.mark.parametrize("normalised", [False, True])
def test_openrlhf_s_reward_model(prefix, normalised, tmp_path):
    """The class that OpenRLHF makes: a base model, a layer of that name, a mean and a deviation."""
    tiny.make("qwen2", tmp_path)
    head = nn.Linear(32, 1, bias=False)
    whole = nn.ModuleDict({"model": AutoModel.from_pretrained(tmp_path), prefix: head})
    with torch.no_grad():
        head.weight.copy_(WEIGHT)
    weights = {name: weight.contiguous() for name, weight in whole.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    configure(tmp_path, architectures=["RewardModel"], normalize_reward=normalised)
    configure(tmp_path, mean=0.5, std=2.0)
    if prefix != "score":
        configure(tmp_path, value_head_prefix=prefix)
    ours = load(tmp_path)
    expected = head_of_last(whole["model"].eval(), ours)
    if normalised:
        expected = (expected - 0.5) / 2.0
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected.tolist(), abs=1e-5)


def test_an_adapter_with_a_value_head_beside_it(base, tmp_path):
    """As LLaMA-Factory saves a reward model that was trained with LoRA."""
    torch.manual_seed(2)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base("llama")), LoraConfig(task_type="CAUSAL_LM", r=4)
    )
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.3)
    model.save_pretrained(tmp_path)
    with pytest.raises(PlauditError, match=r"LoRA adapter of .* without a head"):
        load(tmp_path)
    weights = {"v_head.summary.weight": WEIGHT, "v_head.summary.bias": BIAS}
    add(tmp_path, weights, "value_head.safetensors")
    ours = load(tmp_path)
    backbone = model.eval().base_model.model.model
    expected = head_of_last(backbone, ours) + BIAS
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_head_of_another_width_is_named(base, tmp_path):
    shutil.copytree(base("llama"), tmp_path, dirs_exist_ok=True)
    add(tmp_path, {"v_head.summary.weight": torch.ones(1, 16)}, "value_head.safetensors")
    with pytest.raises(PlauditError, match=r"\(1, 16\) and this model needs \(1, 32\)"):
        load(tmp_path)


def test_a_damaged_file_is_named(base, tmp_path):
    shutil.copytree(base("llama"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "value_head.safetensors").write_bytes(b"nothing")
    with pytest.raises(PlauditError, match=r"cannot be loaded: is it a model folder"):
        load(tmp_path)


def test_it_can_be_normalised_where_it_lies(tmp_path):
    folder = tiny.make("llama", tmp_path / "theirs")
    add(folder, {"v_head.summary.weight": WEIGHT, "v_head.summary.bias": BIAS})
    before = load(folder).score(PROMPT, COMPLETIONS)
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", prompts=4)
    fitted = normalise(folder, data, dtype="float32")
    after = load(folder).score(PROMPT, COMPLETIONS)
    raw = [reward - 0.75 for reward in before]
    assert after == pytest.approx([fitted.apply(reward) for reward in raw], abs=1e-4)


def test_a_head_with_two_rows_is_named(base, tmp_path):
    shutil.copytree(base("llama"), tmp_path, dirs_exist_ok=True)
    two = {"v_head.summary.weight": torch.ones(2, 32), "v_head.summary.bias": torch.ones(2)}
    add(tmp_path, two, "value_head.safetensors")
    with pytest.raises(PlauditError, match=r"shape \(2, 32\); one that gives a reward has one row"):
        load(tmp_path)


def test_a_head_beside_an_encoder_is_not_left_aside(base, tmp_path):
    shutil.copytree(base("bert"), tmp_path, dirs_exist_ok=True)
    add(tmp_path, {"v_head.summary.weight": WEIGHT}, "value_head.safetensors")
    with pytest.raises(PlauditError, match="is an encoder with a value head beside it"):
        load(tmp_path)


def test_its_bias_is_found_in_another_shard(tmp_path):
    tiny.make("llama", tmp_path)
    expected = load_file(tmp_path / "model.safetensors")
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    shards = [{"v_head.summary.weight": WEIGHT} | expected, {"v_head.summary.bias": BIAS}]
    (tmp_path / "model.safetensors").unlink()
    where = {}
    for file, shard in zip(files, shards, strict=True):
        add(tmp_path, shard, file)
        where |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    ours = load(tmp_path)
    rewards = head_of_last(AutoModel.from_pretrained(tmp_path).eval(), ours) + BIAS
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(rewards.tolist(), abs=1e-5)


@pytest.mark.parametrize("name", ["score.bias", "gating.0.weight", "v_head.summary.weight"])
def test_a_weight_that_is_left_over_in_a_model_of_ours_is_named(name, base, tmp_path):
    load(base("qwen2")).save(tmp_path)
    before = load(tmp_path).score(PROMPT, COMPLETIONS)
    add(tmp_path, {name: torch.full((1,), 3.0)})
    with pytest.raises(PlauditError, match=f"weights that .* does not use: {re.escape(name)}"):
        load(tmp_path)
    load(tmp_path, new_head=True)
    if name == "score.bias":  # of 0 it is written for SGLang
        add(tmp_path, {name: torch.zeros(1)})
        assert load(tmp_path).score(PROMPT, COMPLETIONS) == before
