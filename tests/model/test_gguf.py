"""GGUF files: the head that is in one is read, and none is drawn in its place without a word."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from plaudit import PlauditError, RewardModel

gguf = pytest.importorskip("gguf")

PROMPT, COMPLETIONS = "What is a bond?", ["A loan.", "It depends on a good many things.", "x"]


def written(folder, file, more, labels=None):
    """A model's folder as a GGUF file, with further tensors, as llama.cpp's converter makes it."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer, config = AutoTokenizer.from_pretrained(folder), model.config
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    if labels:
        writer.add_classifier_output_labels(labels)
    stored = json.loads((folder / "tokenizer.json").read_text())
    special = {token["content"] for token in stored["added_tokens"]}
    numbers = tokenizer.get_vocab()
    tokens = sorted(numbers, key=numbers.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges([" ".join(pair) for pair in stored["model"]["merges"]])
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), weight.numpy())
    for name, weight in more.items():
        writer.add_tensor(name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model.eval()


def test_the_head_in_a_file_gives_the_rewards(base, tmp_path):
    torch.manual_seed(2)
    head = {"cls.output.weight": torch.randn(1, 32), "cls.output.bias": torch.tensor([0.7])}
    model = written(base("qwen2"), tmp_path / "reward.gguf", head)
    ours = RewardModel.load(tmp_path / "reward.gguf", dtype="float32", device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(base("qwen2"))
    expected = []
    for completion in COMPLETIONS:
        turns = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": completion}]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            last = model.model(ids["input_ids"]).last_hidden_state[0, -1]
        expected.append((head["cls.output.weight"] @ last).item() + 0.7)
    assert not ours.new_head
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    ours.save(tmp_path / "saved")
    again = RewardModel.load(tmp_path / "saved", dtype="float32", device="cpu")
    assert again.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)


def test_a_file_without_a_head_is_a_base_model(base, tmp_path):
    written(base("qwen2"), tmp_path / "base.gguf", {})
    assert RewardModel.load(tmp_path / "base.gguf", device="cpu").new_head


def test_a_head_that_cannot_be_read_is_named(base, tmp_path):
    two = {"cls.output.weight": torch.randn(2, 32)}
    written(base("qwen2"), tmp_path / "two.gguf", two, labels=["yes", "no"])
    with pytest.raises(PlauditError, match=r"gives 2 numbers for a text \(yes, no\)"):
        RewardModel.load(tmp_path / "two.gguf", device="cpu")
    dense = {"cls.weight": torch.randn(32, 32), "cls.output.weight": torch.randn(1, 32)}
    written(base("qwen2"), tmp_path / "dense.gguf", dense)
    with pytest.raises(PlauditError, match=r"has a head with the weights cls\.weight"):
        RewardModel.load(tmp_path / "dense.gguf", device="cpu")
    assert RewardModel.load(tmp_path / "dense.gguf", device="cpu", new_head=True).new_head


def test_a_folder_of_such_files_is_to_name_one(base, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    written(base("qwen2"), folder / "a.gguf", {})
    with pytest.raises(PlauditError, match=r"has no config\.json, but a GGUF file: .*a\.gguf"):
        RewardModel.load(folder)
    with pytest.raises(PlauditError, match=r"name one: owner/name-GGUF/FILE\.gguf"):
        RewardModel.load("owner/name-GGUF")
    with pytest.raises(PlauditError, match=r"owner/name@v1/q4\.gguf cannot be loaded"):
        RewardModel.load("owner/name@v1/q4.gguf")
    (folder / "b.gguf").write_bytes(b"GGUF, but not one")
    with pytest.raises(PlauditError, match=r"b\.gguf cannot be loaded"):
        RewardModel.load(folder / "b.gguf")
