"""Peers that are asked over HTTP, against a running service of plaudit's, which speaks for them."""

import pytest
import torch

import plaudit
import running
from plaudit import RewardModel
from plaudit.errors import PlauditError
from plaudit.model.classifier import head_of
from plaudit.model.normalisation import Normalisation
from plaudit.serving.app import build_app
from plaudit.serving.settings import ServiceSettings

KEY = "a-key-for-the-tests"


@pytest.fixture
def saved(reward_model, tmp_path):
    def folder(name):
        reward_model(name).save(tmp_path / name)
        return tmp_path / name

    return folder


@pytest.fixture
def serve():
    """Serves a model in a thread, and gives the address."""
    opened = []

    def at(model, **settings):
        running_app = running.inside(build_app(model, ServiceSettings(**settings)))
        client = running_app.__enter__()
        opened.append(running_app)
        return str(client.base_url).rstrip("/")

    yield at
    for each in opened:
        each.__exit__(None, None, None)


def verified(folder, peer, **options):
    found = plaudit.verify(folder, against=[peer], **options)
    return found, found.record["peers"][0]


@pytest.mark.parametrize("name", ["bert", "qwen2", "llama"])
def test_plaudits_own_service_gives_the_same_rewards(saved, serve, monkeypatch, name):
    folder = saved(name)
    model = RewardModel.load(folder, dtype="float32")
    model.normalisation = Normalisation(3.0, 2.0, 10, ["x"])
    model.save(folder)
    url = serve(RewardModel.load(folder, dtype="float32"), keys=(KEY,))
    monkeypatch.setenv("PLAUDIT_API_KEY", KEY)
    found, peer = verified(folder, f"http={url}")
    assert found.passed, str(found)
    assert peer["largest"] < 1e-5
    monkeypatch.setenv("PLAUDIT_API_KEY", "another")
    with pytest.raises(PlauditError, match=r"401.*no valid API key"):
        verified(folder, f"http={url}")


def test_what_another_service_serves_is_told_from_the_model(saved, serve, reward_model):
    folder = saved("bert")
    other = RewardModel.load(folder, dtype="float32", max_length=24)
    found, peer = verified(folder, f"http={serve(other)}")
    assert not found.passed
    assert 0 < peer["parted"] < peer["rows"]  # those that are longer


def test_rows_that_are_refused_there_fail(saved, serve):
    url = serve(RewardModel.load(saved("bert"), dtype="float32"), max_characters=100)
    found, peer = verified(saved("bert"), f"http={url}")
    assert not found.passed
    assert peer["refused"] > 0
    assert peer["parted"] == 0
    assert "more than 100 characters" in peer["examples"][0]["refused"]


@pytest.mark.parametrize(
    ("peer", "message"),
    [
        ("http", "give the address of the server: --against http=http://127.0.0.1:8000"),
        ("http=http://127.0.0.1:1", "http://127.0.0.1:1.*: "),
        ("vlm=http://127.0.0.1:1", "there is no peer vlm; the nearest is vllm"),
    ],
)
def test_a_peer_that_is_not_there_is_named(saved, peer, message):
    with pytest.raises(PlauditError, match=message):
        verified(saved("bert"), peer)


@pytest.mark.parametrize(
    ("peer", "name"),
    [(peer, name) for peer in ("vllm", "sglang", "tei") for name in ("qwen2", "bert")],
)
def test_servers_of_other_programs_are_asked_as_their_protocols_say(saved, serve, peer, name):
    folder = saved(name)
    below = "/sglang" if peer == "sglang" else ""  # where the service speaks SGLang's dialect
    url = serve(RewardModel.load(folder, dtype="float32"))
    found, record = verified(folder, f"{peer}={url}{below}")
    assert found.passed, str(found)
    assert record["largest"] < 1e-5
    with torch.no_grad():
        other = RewardModel.load(folder, dtype="float32")
        for weight in head_of(other.model).parameters():
            weight.mul_(-1)
    found, record = verified(folder, f"{peer}={serve(other)}{below}")
    assert not found.passed
    assert [cause["name"] for cause in record["causes"]] == ["label order"]
