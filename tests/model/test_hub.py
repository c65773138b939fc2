"""Models of the hub: every file of the revision and the folder that are asked for.

The cache of the hub is written as huggingface_hub would, so that its own code reads it, offline.
"""

import base64
import json
import re
import shutil
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    dynamic_module_utils,
)
from transformers.models.llama import modeling_llama

import plaudit
import tiny
from plaudit import PlauditError, RewardModel
from plaudit.cli import main
from plaudit.model.base_models import locate
from plaudit.model.hub import short_card, usage
from plaudit.model.poolings import poolings_for

PROMPT, COMPLETIONS = "What is a bond?", ["A loan.", "It depends on a good many things."]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function that puts a folder into the cache as a revision of a repository."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    # Or code that was copied there, of a repository and a commit of these names, would be run.
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])

    def put(name, revision, folder, within=""):
        repo = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        commit = f"{sum(map(ord, revision)):040x}"
        shutil.copytree(folder, repo / "snapshots" / commit / within, dirs_exist_ok=True)
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / revision).write_text(commit)

    return put


def classifier(base, folder, seed, name="llama"):
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base(name), num_labels=1)
    model.config.pad_token_id = AutoTokenizer.from_pretrained(base(name)).eos_token_id
    with torch.no_grad():
        model.score.weight.normal_()
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(base(name))
    # A template that differs says which tokenizer was read.
    turn = f"{seed}: " + "{{ m['content'] }}"
    tokenizer.chat_template = "{% for m in messages %}" + turn + "{% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


def rewards(name, **options):
    model = RewardModel.load(name, dtype="float32", device="cpu", **options)
    return model.score(PROMPT, COMPLETIONS)


def test_a_revision_is_that_of_every_file(base, hub, tmp_path):
    first, second = (classifier(base, tmp_path / f"{seed}", seed) for seed in (1, 2))
    hub("owner/name", "main", first)
    hub("owner/name", "v2", second)
    expected = [rewards(folder) for folder in (first, second)]
    assert expected[0] != expected[1]
    assert rewards("owner/name") == expected[0]
    assert rewards("owner/name", revision="v2") == expected[1]
    assert rewards("owner/name@v2") == expected[1]
    assert rewards("https://huggingface.co/owner/name/tree/v2") == expected[1]
    assert rewards("hf://owner/name") == expected[0]
    template = RewardModel.load("owner/name@v2", device="cpu").encoding.tokenizer.chat_template
    assert "2: " in template
    both = RewardModel.load(["owner/name", "owner/name@v2"], dtype="float32", device="cpu")
    assert both.score(PROMPT, COMPLETIONS) == pytest.approx(
        [sum(pair) / 2 for pair in zip(*expected, strict=True)], abs=1e-6
    )


def test_a_subfolder_holds_every_file(base, hub, tmp_path):
    folder = classifier(base, tmp_path / "one" / "inner", 1)
    hub("owner/name", "main", folder, within="inner")
    expected = rewards(folder)
    assert rewards("owner/name", subfolder="inner") == expected
    assert rewards(tmp_path / "one", subfolder="inner") == expected
    with pytest.raises(PlauditError, match="has no folder outer"):
        rewards(tmp_path / "one", subfolder="outer")


def test_what_lies_beside_the_weights_is_of_that_revision(base, hub, tmp_path):
    """Such as the pooling that sentence-transformers notes."""
    shutil.copytree(base("bert"), tmp_path / "mean")
    (tmp_path / "mean" / "1_Pooling").mkdir()
    (tmp_path / "mean" / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_mean_tokens": true}'
    )
    hub("owner/bert", "main", base("bert"))
    hub("owner/bert", "st", tmp_path / "mean")
    assert RewardModel.load("owner/bert", device="cpu").pooling == "cls"
    assert RewardModel.load("owner/bert@st", device="cpu").pooling == "mean"


def test_an_adapter_of_the_hub_is_merged_into_its_base(base, hub, tmp_path):
    start = classifier(base, tmp_path / "base", 1)
    hub("owner/base", "v1", start)
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(start, num_labels=1)
    adapted = get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, r=4, revision="v1"))
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.3)
    adapted.peft_config["default"].base_model_name_or_path = "owner/base"
    adapted.save_pretrained(tmp_path / "adapter")
    hub("owner/adapter", "main", tmp_path / "adapter")
    ours = RewardModel.load("owner/adapter", dtype="float32", device="cpu")
    rows = ours.encode([(PROMPT, COMPLETIONS)])[0]["input_ids"]
    with torch.no_grad():
        expected = [adapted.eval()(torch.tensor([row])).logits.item() for row in rows]
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)


OWN = """
from torch import nn
from transformers import LlamaModel, LlamaPreTrainedModel


class Own(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None):
        states = self.model(input_ids, attention_mask=attention_mask)[0]
        return TIMES * self.score(states[:, 0])
"""


def test_code_of_the_repository_is_of_that_revision(base, hub, tmp_path):
    folder = classifier(base, tmp_path / "one", 1)
    config = json.loads((folder / "config.json").read_text())
    own = {"architectures": ["Own"], "auto_map": {"AutoModel": "modeling_own.Own"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    for revision, times in (("main", "1"), ("v2", "-2")):
        (folder / "modeling_own.py").write_text(OWN.replace("TIMES", times))
        hub("owner/own", revision, folder)
    commit = f"{sum(map(ord, 'v2')):040x}"
    said = f"an? Own, a class of its own code: modeling_own.py of owner/own at revision {commit}"
    with pytest.raises(PlauditError, match=said):
        rewards("owner/own@v2")
    first = rewards("owner/own", trust_remote_code=True)
    assert first[0] == pytest.approx(first[1], abs=1e-5)  # the first token is that of every row
    assert abs(first[0]) > 0.1
    second = rewards("owner/own@v2", trust_remote_code=True)
    assert second == pytest.approx([-2 * reward for reward in first], abs=1e-5)


def test_code_of_another_repository_is_its_newest_whatever_the_revision(base, hub, tmp_path):
    folder = classifier(base, tmp_path / "one", 1)
    config = json.loads((folder / "config.json").read_text())
    for_4 = "from transformers.models.llama.modeling_llama import LLAMA_OF_HUB_DOCSTRING\n"
    (folder / "modeling_own.py").write_text(for_4 + OWN.replace("TIMES", "2"))
    own = {"architectures": ["Own"], "auto_map": {"AutoModel": "me/model--modeling_own.Own"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    hub("me/model", "main", folder)
    hub("me/model", "v2", folder)
    commit = f"{sum(map(ord, 'v2')):040x}"
    with pytest.raises(PlauditError, match=f"modeling_own.py of me/model at revision {commit}"):
        rewards("me/model@v2")  # its own, by its whole name
    expected = rewards("me/model@v2", trust_remote_code=True)
    (tmp_path / "code").mkdir()
    (folder / "modeling_own.py").rename(tmp_path / "code" / "modeling_own.py")
    own["auto_map"]["AutoModel"] = "other/repo--modeling_own.Own"
    (folder / "config.json").write_text(json.dumps(config | own))
    hub("me/apart", "v2", folder)
    hub("other/repo", "main", tmp_path / "code")
    del modeling_llama.LLAMA_OF_HUB_DOCSTRING  # a text that transformers 4 had
    with pytest.raises(PlauditError, match="the repository other/repo, at its newest revision;"):
        rewards("me/apart@v2")
    assert rewards("me/apart@v2", trust_remote_code=True) == expected


def test_a_revision_that_there_is_not_is_named(base, hub, tmp_path):
    hub("owner/name", "main", classifier(base, tmp_path / "one", 1))
    with pytest.raises(PlauditError, match=r"owner/name@v9 cannot be loaded: .*the revision"):
        rewards("owner/name@v9")
    with pytest.raises(PlauditError, match="names a revision, and v1 is another one"):
        rewards("owner/name@v2", revision="v1")
    with pytest.raises(PlauditError, match="on this disk, where a model has no revisions"):
        rewards(tmp_path / "one", revision="v2")
    with pytest.raises(PlauditError, match="name each as owner/name@REVISION"):
        rewards(["owner/name", "owner/other"], revision="v2")


def test_an_address_is_no_revision():
    assert locate("owner/name@v2").options == {"revision": "v2"}
    assert locate("./folder@v2").options == {}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_may_be_one_of_transformers(attention, base, tmp_path):
    classifier(base, tmp_path, 1)
    model = RewardModel.from_pretrained(
        tmp_path, attn_implementation=attention, dtype=torch.float32, device_map={"": "cpu"}
    )
    assert model.model.config._attn_implementation == attention
    assert model.score(PROMPT, COMPLETIONS) == pytest.approx(rewards(tmp_path), abs=1e-5)
    with pytest.raises(PlauditError, match=f"layout: flat .* its attention is to be {attention}"):
        RewardModel.load(tmp_path, attn_implementation=attention, layout="flat")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device_map": {"model": 0, "score": 1}}, "names several devices"),
        ({"device_map": "cpu", "device": "cpu"}, "says the same as device"),
        ({"device_map": "balanced"}, "'balanced' is no device"),
        ({"dtype": torch.float16}, "no torch.float16; choose auto, float32, bfloat16"),
    ],
)
def test_what_it_is_put_on_and_computes_in_is_checked(options, said, base):
    with pytest.raises(PlauditError, match=said):
        RewardModel.from_pretrained(base("llama"), **options)


# ---- to the hub ----


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload asks for; every file is to be sent in the commit."""

    def do_POST(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else b"".join(self._chunks())
        server, path = self.server, self.path.partition("?")[0]
        server.asked.append((path, self.headers.get("Authorization")))
        if path in server.refused:
            return self._answer({"error": "no"}, server.refused[path])
        if path == "/api/repos/create":
            server.made.append(json.loads(body))
            return self._answer({"url": f"{constants.ENDPOINT}/owner/name"})
        if "/preupload/" in path:
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            return self._answer({"files": [{"path": file} | modes for file in files]})
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    server.files[value["path"]] = base64.b64decode(value["content"])
            answer = {
                "commitUrl": f"{constants.ENDPOINT}/owner/name/commit/abc",
                "commitOid": "abc",
            }
            return self._answer(answer | {"pullRequestUrl": None})
        return self._answer({})  # of a branch, and whether the card's metadata are good

    def do_GET(self):
        self._answer({"id": "owner/name", "siblings": []})

    def _chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()

    def _answer(self, given, status=200):
        text = json.dumps(given).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def upload(monkeypatch):
    """A hub on this machine: the requests it got, the files it has."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.made, server.files, server.refused = [], [], {}, {}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def unpacked(files, folder):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_what_is_pushed_loads_and_says_where_it_is_from(base, upload, tmp_path):
    folder = classifier(base, tmp_path / "theirs", 1)
    model = RewardModel.load(folder, dtype="float32", device="cpu")
    address = model.push_to_hub(
        "owner/name", private=True, revision="draft", commit_message="First", token="hf_abc"
    )
    assert address == f"{constants.ENDPOINT}/owner/name/commit/abc"
    [made] = upload.made
    assert (made["organization"], made["name"]) == ("owner", "name")
    assert made.get("private") or made["visibility"] == "private"  # older and newer clients
    paths = [path for path, _ in upload.asked]
    assert "/api/models/owner/name/branch/draft" in paths
    assert "/api/models/owner/name/commit/draft" in paths
    assert {given for _, given in upload.asked} <= {"Bearer hf_abc", None}
    card = upload.files["README.md"].decode()
    assert "Loaded from theirs and saved by" in card
    assert not [name for name, text in upload.files.items() if str(tmp_path).encode() in text]
    assert "Nothing was measured on the way" in card
    ours = unpacked(upload.files, tmp_path / "fetched")
    assert rewards(ours) == model.score(PROMPT, COMPLETIONS)
    theirs = AutoModelForSequenceClassification.from_pretrained(ours)
    row = model.encode([(PROMPT, COMPLETIONS)])[0]["input_ids"][0]
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor([row])).logits.item()
    assert rewards(ours)[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [("owner/name@v2", "owner/name@v2"), ("memory", "memory"), (__file__, "test_hub.py"),
     ("/gone/by/now/reward", "reward"), (".", None)],
)  # fmt: skip
def test_a_card_says_no_path_of_this_disk(name, said, reward_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = reward_model("bert")
    card = short_card(name, model.encoding, model.pooling)
    assert f"Loaded from {said or tmp_path.name} and saved" in card
    assert str(tmp_path) not in card


def test_a_run_is_pushed_with_the_card_that_it_wrote(base, upload, tmp_path, capsys):
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", prompts=12)
    run = plaudit.train(
        data, output=tmp_path / "run", base=str(base("bert")), max_steps=1, dtype="float32",
        max_length=48, pooling="mean", stress=0, report=False,
    )  # fmt: skip
    assert main(["push", str(tmp_path / "run"), "owner/name"]) == 0
    assert capsys.readouterr().out == f"{constants.ENDPOINT}/owner/name/commit/abc\n"
    card = (tmp_path / "run" / "model" / "README.md").read_bytes()
    assert upload.files["README.md"] == card
    assert "modeling_mean.py" in upload.files
    upload.files.clear()
    run.model.push_to_hub("owner/name")
    assert upload.files["README.md"] == card


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "log in with `hf auth login`"), (403, "may not write there"), (400, "answered 400")],
)
def test_what_the_hub_refuses_is_told(status, said, base, upload, tmp_path, monkeypatch):
    model = RewardModel.load(classifier(base, tmp_path / "theirs", 1), device="cpu")
    upload.refused["/api/models/owner/name/preupload/main"] = status
    with pytest.raises(PlauditError, match=f"push: owner/name: .*{said}"):
        model.push_to_hub("owner/name")


def test_what_cannot_be_pushed_is_told(base, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PlauditError, match="push: this model has no trained reward head"):
        RewardModel.load(base("llama"), device="cpu").push_to_hub("owner/name")
    model = RewardModel.load(classifier(base, tmp_path, 1), device="cpu")
    with pytest.raises(PlauditError, match=r"push: owner/name: .*offline"):
        model.push_to_hub("owner/name")
    with pytest.raises(PlauditError, match="push: a/b/c: "):
        model.push_to_hub("a/b/c")


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        (name, pooling)
        for name, kind in (("bert", "encoder"), ("qwen2", "decoder"))
        for pooling in poolings_for(kind)
        if pooling != "own-mean"  # of classes that pool so themselves, which these two are not
    ],
)
def test_what_the_card_says_of_transformers_gives_the_same_rewards(base, tmp_path, name, pooling):
    model = RewardModel.load(base(name), pooling=pooling, dtype="float32", device="cpu")
    model.save(tmp_path / "saved")
    card = usage(model.encoding, pooling)
    [call] = re.findall(r"`(AutoModelForSequenceClassification[^`]+)`", card)
    [row] = re.findall(r"```python\n(tokenizer.+?)\n```", card, re.DOTALL)
    known = {"folder": tmp_path / "saved", "tokenizer": model.encoding.tokenizer}
    known |= {"prompt": "What is 1?", "completion": "a fox"}
    known["AutoModelForSequenceClassification"] = AutoModelForSequenceClassification
    theirs = eval(call, known).eval()
    encoded = eval(row, known)
    given = encoded if isinstance(encoded, Mapping) else {"input_ids": encoded}
    given = {name: torch.tensor([values]).reshape(1, -1) for name, values in given.items()}
    [expected] = model.score("What is 1?", ["a fox"])
    with torch.no_grad():
        assert theirs(**given).logits.item() == pytest.approx(expected, abs=1e-5)
