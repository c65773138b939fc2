"""Exported files give the model's rewards, appear whole or not at all, and run no code."""

import builtins
import dataclasses
import functools
import json
import pickle
import re
import resource
import sys

import numpy as np
import openvino
import pytest
import torch
from torch import nn
from transformers import AutoTokenizer

import tiny
from plaudit.errors import PlauditError
from plaudit.model.batches import Padded, model_inputs
from plaudit.model.engines import onnx as onnx_engine
from plaudit.model.engines import openvino as openvino_engine
from plaudit.model.export import export
from plaudit.model.exports import _checked as checking
from plaudit.model.exports import onnx as exporting
from plaudit.model.exports import openvino as openvino_format
from plaudit.model.pt_file import unpacked
from plaudit.model.reward_model import RewardModel

PROMPTS = [
    ("What is two plus two?", ["four", "Two plus two is four.", "🙂"]),
    ("", ["yes, it is!", "no"]),
    ("Is that so? " * 40, ["Yes.", "talk and talk " * 60]),
]

# What is said of how a text is laid out, by base model.
_READS = "it reads 128 tokens at most, of rows padded on the right: "
_TURNS = '{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}'
LAID_OUT = {
    "gpt2": _READS + r"tokenizer(prompt + '\n\n' + completion)",
    "llama": _READS + r"tokenizer(prompt + '\n\n' + completion)",
    "qwen2": _READS + f"tokenizer.apply_chat_template([ {_TURNS}, ])",
    "bert": _READS + "tokenizer(prompt, completion)",
    "deberta-v2": _READS + "tokenizer(prompt, completion)",
}
# What runs an exported model: tokens in, rewards out.
EXPORTS_RUN = {"onnx": onnx_engine.session, "openvino": openvino_engine.session}


def flat(rewards):
    return [reward for of_prompt in rewards for reward in of_prompt]


def one_batch(model, prompts):
    """All completions of some prompts in one padded batch, by the names that a model takes."""
    rows = model.encoding.encode_texts(prompts)
    padded = Padded(model.encoding.tokenizer.pad_token_id)
    return model_inputs(padded.collate(rows, range(len(rows))))


def raised(match):
    """A PlauditError of one line that says `match`."""
    return pytest.raises(PlauditError, match=re.compile(rf"\A[^\n]*{match}[^\n]*\Z"))


# ---- pt ----


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("gpt2", "last"),
        ("qwen2", "last"),
        ("mistral", "mean"),
        ("bert", "cls"),
        ("deberta-v2", "mean"),
    ],
)
def test_a_pt_gives_the_same_rewards(reward_model, name, pooling, tmp_path):
    model = reward_model(name, pooling)
    path = tmp_path / "model.pt"
    export(model, path, "pt")
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]
    again = RewardModel.load(path, dtype="float32", device="cpu")
    assert again.pooling == pooling
    assert again.encoding.encode_texts(PROMPTS) == model.encoding.encode_texts(PROMPTS)
    assert again.encoding.tokenizer.chat_template == model.encoding.tokenizer.chat_template
    assert flat(again.score_all(PROMPTS)) == flat(model.score_all(PROMPTS))


def test_a_pt_is_plain_containers_that_torch_reads_by_itself(reward_model, tmp_path):
    model = reward_model("gpt2", "mean")
    export(model, tmp_path / "model.pt", "pt")
    packed = torch.load(tmp_path / "model.pt", weights_only=True)
    assert set(packed) == {"format", "version", "config", "state_dict", "tokenizer"}
    assert (packed["format"], packed["version"]) == ("plaudit", 1)
    assert packed["config"]["plaudit"]["pooling"] == "mean"
    assert "tokenizer.json" in packed["tokenizer"]
    ours = model.model.state_dict()
    assert packed["state_dict"].keys() == ours.keys()
    assert all(torch.equal(packed["state_dict"][name], ours[name]) for name in ours)


def test_the_unpacked_folder_is_a_model_folder_and_then_gone(reward_model, tmp_path):
    export(reward_model("bert"), tmp_path / "model.pt", "pt")
    reward_model("bert").save(tmp_path / "saved")
    with unpacked(tmp_path / "model.pt") as folder:
        names = {file.name for file in folder.iterdir()}
        assert names == {file.name for file in (tmp_path / "saved").iterdir()}
        for name in names - {"config.json", "model.safetensors"}:
            assert (folder / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()
    assert not folder.exists()


class Evil:
    """A pickle that opens a file for writing when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (builtins.open, (self.path, "w"))


@pytest.mark.parametrize("how", ["pickle", "torch", "inside"])
def test_code_in_a_pt_is_not_run(tmp_path, how):
    path, ran = tmp_path / "model.pt", tmp_path / "ran"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Evil(ran)))
    elif how == "torch":
        torch.save(Evil(ran), path)
    else:
        torch.save({"format": "plaudit", "version": 1, "config": Evil(ran)}, path)
    with raised("model.pt: is damaged, or not a model that plaudit exported"):
        RewardModel.load(path)
    assert not ran.exists()


@pytest.fixture(scope="module")
def packed(reward_model, tmp_path_factory):
    """What a sound .pt holds, and its bytes."""
    path = tmp_path_factory.mktemp("pt") / "model.pt"
    export(reward_model("gpt2"), path, "pt")
    return torch.load(path, weights_only=True), path.read_bytes()


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "flipped"])
def test_a_damaged_pt_is_named(packed, tmp_path, damage):
    content = packed[1]
    path = tmp_path / "model.pt"
    middle = content.index(b"tokenizer.json")
    path.write_bytes(
        {
            "empty": b"",
            "garbage": b"\x80\x02" + bytes(range(256)),
            "cut": content[: len(content) // 2],
            "flipped": content[:middle] + b"\xff" * 12 + content[middle + 12 :],
        }[damage]
    )
    with raised("model.pt: is damaged"):
        RewardModel.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "another"}, "is not a model that plaudit exported"),
        ({"version": 2}, "has version 2 of the format and this plaudit reads 1: update plaudit"),
        ({"config": None}, "is damaged"),
        ({"state_dict": {"a": 1}}, "is damaged"),
        ({"tokenizer": {"tokenizer.json": 3}}, "is damaged"),
    ],
)
def test_a_pt_of_another_shape_is_named(packed, tmp_path, change, message):
    torch.save(packed[0] | change, tmp_path / "model.pt")
    with raised(message):
        RewardModel.load(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "name",
    ["../out.txt", "/tmp/out.txt", "a/b", "..", ".", "", "..\\out.txt", "C:out", "config.json"],
)
def test_no_file_of_a_pt_leaves_its_folder(packed, tmp_path, name):
    torch.save(packed[0] | {"tokenizer": {name: b"x"}}, tmp_path / "model.pt")
    with raised("is damaged"), unpacked(tmp_path / "model.pt"):
        pass


@pytest.mark.parametrize(
    "change", [{"config": {"a": torch.zeros(1)}}, {"tokenizer": {"nul\0": b"x"}}]
)
def test_a_pt_that_cannot_be_written_out_is_named(packed, tmp_path, change):
    torch.save(packed[0] | change, tmp_path / "model.pt")
    with raised("model.pt: cannot be unpacked"), unpacked(tmp_path / "model.pt"):
        pass


def test_a_pt_that_lacks_weights_is_refused(packed, tmp_path):
    weights = {k: v for k, v in packed[0]["state_dict"].items() if k != "score.weight"}
    torch.save(packed[0] | {"state_dict": weights}, tmp_path / "model.pt")
    with raised("lacks the weights score.weight"):
        RewardModel.load(tmp_path / "model.pt")


def test_a_checkpoint_of_somebody_else_is_refused(tmp_path):
    torch.save(nn.Linear(2, 1).state_dict(), tmp_path / "model.pt")
    with raised("model.pt: is not a model that plaudit exported"):
        RewardModel.load(tmp_path / "model.pt")


# ---- onnx ----


def run_onnx(path, model, prompts):
    """Rewards by onnxruntime, all completions in one batch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    batch = one_batch(model, prompts)
    (rewards,) = session.run(["reward"], {name: t.numpy() for name, t in batch.items()})
    assert rewards.dtype == np.float32
    assert rewards.shape == (len(batch["input_ids"]),)
    return rewards.tolist(), session


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("gpt2", "last"),
        ("llama", "mean"),
        ("bert", "cls"),
        ("deberta-v2", "mean"),
    ],
)
def test_an_onnx_gives_the_same_rewards(reward_model, name, pooling, tmp_path, capfd):
    model = reward_model(name, pooling)
    path = tmp_path / "model.onnx"
    export(model, path, "onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]  # no weights beside it
    out, err = capfd.readouterr()
    assert not out
    assert err.splitlines() == [exporting.ONNX_TAKES_A_WHILE, LAID_OUT[name]]
    for prompts in (PROMPTS, PROMPTS[:1], [("", ["four"])]):
        rewards, session = run_onnx(path, model, prompts)
        assert rewards == pytest.approx(flat(model.score_all(prompts)), abs=1e-4, rel=1e-4)
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (name in ("bert", "deberta-v2"))
    assert [given.name for given in session.get_inputs()] == inputs
    assert all(given.type == "tensor(int64)" for given in session.get_inputs())
    kept = json.loads(session.get_modelmeta().custom_metadata_map["plaudit"])
    assert kept["pooling"] == pooling


def test_an_onnx_that_differs_from_pytorch_is_not_written(reward_model, base, tmp_path):
    """Compare one model's ONNX with a model under another head."""
    model = reward_model("bert")
    path = tmp_path / "model.onnx"
    export(model, path, "onnx")
    other = RewardModel.load(base("bert"), seed=9, dtype="float32", device="cpu")
    run = functools.partial(onnx_engine.session, path.read_bytes())
    checking.check(run, checking.Network(model), model, path, "onnxruntime")
    with raised(
        "the rewards of BertForSequenceClassification in onnxruntime differ from PyTorch's by"
    ):
        checking.check(run, checking.Network(other), model, path, "onnxruntime")


class Wilful(nn.Module):
    """A network whose road depends on what it reads, which a graph cannot express."""

    def forward(self, input_ids, attention_mask):
        if input_ids.sum().item() % 2:
            return input_ids
        return attention_mask


def test_what_onnx_cannot_express_is_named_and_not_written(base, tmp_path):
    model = RewardModel.load(base("gpt2"), dtype="float32", device="cpu")
    model.model = Wilful()
    with raised("model.onnx: Wilful cannot be exported to ONNX; choose pt"):
        export(model, tmp_path / "model.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_it_says_what_to_install(reward_model, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with raised(rf"format: onnx needs {package}: run `pip install 'plaudit\[onnx\]'`"):
        export(reward_model("gpt2"), tmp_path / "model.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


# ---- openvino ----


@pytest.mark.parametrize(("name", "pooling"), [("qwen2", "last"), ("bert", "layers")])
def test_an_openvino_folder_gives_the_same_rewards(reward_model, name, pooling, tmp_path, capfd):
    model = reward_model(name, pooling)
    path = tmp_path / "model"
    export(model, path, "openvino")
    out, err = capfd.readouterr()
    assert not out
    assert err.splitlines() == [openvino_format.OPENVINO_TAKES_A_WHILE, LAID_OUT[name]]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    network = openvino.Core().read_model(path / "openvino_model.xml")
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (name == "bert")
    assert [given.any_name for given in network.inputs] == inputs
    assert all(given.element_type == openvino.Type.i64 for given in network.inputs)
    assert [str(given.partial_shape) for given in network.outputs] == ["[?]"]
    kept = json.loads(network.get_rt_info("plaudit").value)
    assert kept["pooling"] == pooling
    compiled = openvino.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert tokenizer.chat_template == model.encoding.tokenizer.chat_template
    for prompts in (PROMPTS, [("", ["four"])]):
        batch = one_batch(model, prompts)
        rewards = compiled({name: tokens.numpy() for name, tokens in batch.items()})["reward"]
        expected = flat(model.score_all(prompts))
        assert rewards.tolist() == pytest.approx(expected, abs=1e-4, rel=1e-4)
        session = openvino_engine.session(path)
        assert session(batch).tolist() == pytest.approx(expected, abs=1e-4, rel=1e-4)


def test_padding_beyond_a_window_gives_the_same_rewards(tmp_path):
    """There a token attends to nothing, of which OpenVINO by itself makes NaN."""
    folder = tiny.make("mistral", tmp_path / "base", sliding_window=4)
    model = RewardModel.load(folder, dtype="float32", device="cpu")
    export(model, tmp_path / "model", "openvino")
    session = openvino_engine.session(tmp_path / "model")
    prompts = [("a", ["b"]), ("Is that so? " * 9, ["Yes, it is!"])]
    expected = flat(model.score_all(prompts))
    assert session(one_batch(model, prompts)).tolist() == pytest.approx(
        expected, abs=1e-4, rel=1e-4
    )


def test_an_openvino_folder_needs_its_extra(reward_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with raised(r"format: openvino needs openvino: run `pip install 'plaudit\[openvino\]'`"):
        export(reward_model("gpt2"), tmp_path / "model", "openvino")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_what_no_runtime_reads_is_named(tmp_path, format):
    (tmp_path / "file").write_text("nothing of the kind")
    with raised("file: (onnxruntime|OpenVINO) cannot read it"):
        EXPORTS_RUN[format](tmp_path / "file")


# ---- all ----


@pytest.mark.parametrize("format", ["pt", "onnx", "openvino"])
def test_a_failed_export_leaves_what_stood_there(reward_model, tmp_path, format):
    path, taken = tmp_path / "model", tmp_path / "file"
    path.mkdir()
    taken.write_text("not a folder")
    with raised("cannot be replaced by"):
        export(reward_model("gpt2"), taken if format == "openvino" else path, format)
    with raised("cannot be written"):
        export(reward_model("gpt2"), taken / "model.pt", "pt")
    assert taken.read_text() == "not a folder"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "model"]


def test_a_full_disk_is_named_and_leaves_nothing(reward_model, tmp_path):
    model = reward_model("gpt2")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with raised("model.pt: cannot be written: .*"):
            export(model, tmp_path / "model.pt", "pt")
        with raised("folder: cannot be written: .*"):
            model.save(tmp_path / "folder")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_named(reward_model, tmp_path):
    with raised("format: there is no tflite; choose folder or onnx or openvino or pt"):
        export(reward_model("gpt2"), tmp_path / "model", "tflite")


def test_exporting_leaves_the_model_as_it_was(reward_model, tmp_path):
    model = reward_model("qwen2")
    before = flat(model.score_all(PROMPTS))
    export(model, tmp_path / "model.pt", "pt")
    assert flat(model.score_all(PROMPTS)) == before
    assert model.encoding.tokenizer.chat_template == tiny.CHAT_TEMPLATE


def test_a_network_alone_says_what_labels_its_reward_is_made_of(reward_model):
    made_of = {"help": 0.65, "length": -0.2}
    model = dataclasses.replace(reward_model("bert"), attributes=made_of)
    assert json.loads(checking.described(model))["attributes"] == made_of
    assert "attributes" not in json.loads(checking.described(reward_model("bert")))
