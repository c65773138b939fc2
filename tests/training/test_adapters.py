"""Adapters of a run: their kinds, and one that is saved by itself, in plaudit and in peft."""

import json
import sys

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, PeftConfig, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

import tiny
from plaudit import PlauditError, RewardModel, train

PROMPT, COMPLETIONS = "What is a bond?", ["A loan.", "It depends on a good many things.", "x"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_rankings(tmp_path_factory.mktemp("data") / "ranked.jsonl", prompts=16)


def run(data, base, folder, name="llama", **options):
    """A short run with an adapter that moves by much."""
    given = {
        "base": str(base(name)), "recipe": "plain", "dtype": "float32", "max_length": 48, "seed": 1,
        "lora_r": 4, "lora_target_modules": "all-linear", "max_steps": 3, "learning_rate": 0.05,
        "warmup_steps": 0, "metric_for_best_model": "last", "stress": 0, "report": False,
        "validation_fraction": 0, "save_adapter": True,
    }  # fmt: skip
    return train(data, output=folder, **(given | options))


def by_peft(model, encoded):
    """The rewards of a `PeftModel` for encoded rows, one at a time."""
    model.eval()
    names = [name for name in ("input_ids", "token_type_ids") if encoded.get(name) is not None]
    rewards = []
    for row in zip(*(encoded[name] for name in names), strict=True):
        given = {name: torch.tensor([ids]) for name, ids in zip(names, row, strict=True)}
        with torch.no_grad():
            rewards.append(model(**given).logits.item())
    return rewards


@pytest.mark.parametrize("more", [{}, {"use_dora": True}, {"use_rslora": True}], ids=str)
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_a_saved_adapter_gives_the_rewards_of_the_merged_model(data, base, tmp_path, name, more):
    made = run(data, base, tmp_path / "run", name, **more)
    folder = tmp_path / "run" / "adapter"
    expected = made.model.score(PROMPT, COMPLETIONS)
    start = RewardModel.load(base(name), dtype="float32", device="cpu", seed=1)
    assert start.score(PROMPT, COMPLETIONS) != pytest.approx(expected, abs=0.05)

    loaded = RewardModel.load(folder, dtype="float32", device="cpu")
    assert loaded.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5, rel=2e-5)
    assert (loaded.pooling, loaded.max_length) == (made.model.pooling, 48)

    plain = AutoModelForSequenceClassification.from_pretrained(base(name), num_labels=1)
    encoded = loaded.encode([(PROMPT, COMPLETIONS)])[0]
    onto = PeftModel.from_pretrained(plain, folder)
    assert by_peft(onto, encoded) == pytest.approx(expected, abs=1e-5, rel=2e-5)
    auto = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    assert by_peft(auto, encoded) == pytest.approx(expected, abs=1e-5, rel=2e-5)

    config = PeftConfig.from_pretrained(folder)
    kind = {"use_dora": config.use_dora, "use_rslora": config.use_rslora}
    assert kind == {"use_dora": False, "use_rslora": False} | more
    weights = load_file(folder / "adapter_model.safetensors")
    assert any("magnitude" in name for name in weights) == bool(more.get("use_dora"))
    sizes = [
        sum(x.stat().st_size for x in f.glob("*.safetensors"))
        for f in (folder, folder.parent / "model")
    ]
    assert sizes[0] < sizes[1]


def test_trl_trains_a_saved_adapter_further(data, base, tmp_path):
    run(data, base, tmp_path / "run")
    folder = tmp_path / "run" / "adapter"
    plain = AutoModelForSequenceClassification.from_pretrained(base("llama"), num_labels=1)
    model = PeftModel.from_pretrained(plain, folder, is_trainable=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    from datasets import Dataset

    pairs = Dataset.from_dict({"chosen_ids": [[5, 6, 7]] * 4, "rejected_ids": [[5, 8, 9, 10]] * 4})
    config = RewardConfig(
        output_dir=str(tmp_path / "trl"), max_steps=1, bf16=False, report_to=[], save_strategy="no",
        gradient_checkpointing=False, max_length=None, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = RewardTrainer(
        model=model, args=config, train_dataset=pairs, processing_class=tokenizer
    )
    assert trainer.train().training_loss > 0


def test_the_head_of_a_saved_adapter_is_one_row(data, base, tmp_path):
    """Where training had more: what took the length is thrown away."""
    made = run(data, base, tmp_path / "run", control=["length"], control_method="odin")
    folder = tmp_path / "run" / "adapter"
    weights = load_file(folder / "adapter_model.safetensors")
    [head] = [weight for name, weight in weights.items() if name.endswith("score.weight")]
    assert head.shape[0] == 1
    expected = made.model.score(PROMPT, COMPLETIONS)
    loaded = RewardModel.load(folder, dtype="float32", device="cpu")
    assert loaded.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5, rel=2e-5)


def test_a_saved_adapter_is_trained_further(data, base, tmp_path):
    run(data, base, tmp_path / "first")
    adapter = tmp_path / "first" / "adapter"
    again = run(
        data, lambda _: adapter, tmp_path / "second", save_adapter=False, learning_rate=1e-9
    )
    first = RewardModel.load(adapter, dtype="float32", device="cpu")
    assert again.model.score(PROMPT, COMPLETIONS) == pytest.approx(
        first.score(PROMPT, COMPLETIONS), abs=1e-4
    )
    with pytest.raises(PlauditError, match=r"save_adapter: .* is itself an adapter"):
        run(data, lambda _: adapter, tmp_path / "third")


def test_what_no_adapter_can_be_saved_of(data, base, tmp_path):
    with pytest.raises(PlauditError, match=r"save_adapter: needs LoRA; set lora_r"):
        run(data, base, tmp_path / "a", lora_r=0)
    with pytest.raises(PlauditError, match=r"save_adapter: the pooling has a class .* last or cls"):
        run(data, base, tmp_path / "b", pooling="mean")
    assert not (tmp_path / "b" / "metrics.json").exists()


def test_four_bits_without_bitsandbytes_say_what_to_install(data, base, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as where it is not installed
    with pytest.raises(PlauditError, match=r"load_in_4bit: needs bitsandbytes: run `pip install"):
        run(data, base, tmp_path / "run", load_in_4bit=True, save_adapter=False)


def test_without_save_adapter_there_is_none(data, base, tmp_path):
    run(data, base, tmp_path / "run", save_adapter=False)
    assert not (tmp_path / "run" / "adapter").exists()
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
