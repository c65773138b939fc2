"""Without a network a name that is not here is told of at once, and not tried again and again."""

import os
import socket
import subprocess
import sys
import threading

import httpx
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from plaudit import PlauditError, hub_access
from plaudit.data import rows
from plaudit.model.base_models import Source, loading


@pytest.fixture
def cut_off():
    """The address of a hub that hangs up on everybody, and who asked it so far."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up():
            while True:
                try:
                    connection, address = listening.accept()
                except OSError:  # the test is over
                    return
                asked.append(address)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        listening.shutdown(socket.SHUT_RDWR)


def said_by(*command, folder, hub):
    env = {
        k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    }
    env |= {"HF_ENDPOINT": hub, "HF_HOME": str(folder / "home"), "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-m", "plaudit", *map(str, command)],
        cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("score", "nosuch-model", "rows.jsonl"),
        ("score", "nobody/nosuch", "rows.jsonl"),
        ("train", "rows.jsonl", "--base", "nobody/nosuch"),
        ("inspect", "nobody/nosuch"),
    ],
)
def test_what_is_not_here_is_asked_for_once(command, cut_off, tmp_path):
    rows = '{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n'
    (tmp_path / "rows.jsonl").write_text(rows * 40)
    hub, asked = cut_off
    said = said_by(*command, folder=tmp_path, hub=hub)
    assert "Retry" not in said
    assert "thrown while" not in said
    last = said.strip().splitlines()[-1]
    assert "nosuch" in last
    assert "it was not downloaded before, and the" in last
    assert "check the name and the" in last
    assert len(asked) == 1  # and not six times for each of three files, with pauses of 23 s


@pytest.fixture
def unreached(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_access, "_why_not_reached", lambda: "no route to host")


def of(cause, error):
    error.__cause__ = cause
    return error


BROKEN = ValueError("size mismatch for score.weight")
MISSING = [
    LocalEntryNotFoundError("not in the cache"),
    ConnectionError("offline mode is enabled"),
    of(LocalEntryNotFoundError("not in the cache"), OSError("cannot be found")),
    of(of(ConnectionError("offline mode is enabled"), OSError("a")), ValueError("b")),
]


def test_what_is_at_hand_and_damaged_is_told_as_it_is(unreached):
    with (
        pytest.raises(PlauditError, match=r"downloaded of it before .* \(size mismatch for score"),
        loading(Source("owner/name")),
    ):
        raise BROKEN


@pytest.mark.parametrize("error", MISSING)
def test_what_is_not_at_hand_is_told_with_why_the_hub_is_not_reached(unreached, error):
    with (
        pytest.raises(PlauditError, match=r"was not downloaded before, .* \(no route to host\)"),
        loading(Source("owner/name")),
    ):
        raise error


def load_data(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(PlauditError) as refused:
        list(rows._loaded(rows.named("owner/name"), None).rows())
    return str(refused.value)


def test_a_data_set_at_hand_is_told_of_as_it_is(unreached, monkeypatch):
    said = load_data(monkeypatch, ValueError("Unknown split \"train\". Should be one of ['test']."))
    assert "there is no such split; it has test" in said
    assert "not downloaded" not in said
    for error in MISSING:
        said = load_data(monkeypatch, error)
        assert "was not downloaded before" in said
        assert "no route to host" in said


def test_threads_that_load_beside_each_other_restore_what_was_set(unreached):
    """The first to come is the first to go: the other is still spared, then all is as before."""
    came, over, gone = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def first():
        with hub_access.asking_hub():
            came.set()
            assert over.wait(10)
        gone.set()

    thread = threading.Thread(target=first)
    thread.start()
    assert came.wait(10)
    with hub_access.asking_hub() as why:
        over.set()
        assert gone.wait(10)  # nobody waits for another to have loaded
        seen.append((why, constants.HF_HUB_OFFLINE))
    thread.join(10)
    assert seen == [("no route to host", True)]
    assert constants.HF_HUB_OFFLINE is False


class Hub:
    """A hub that answers, or not, as it is told, and counts how often it was asked."""

    def __init__(self):
        self.asked, self.error = 0, None

    def head(self, *_, **__):
        self.asked += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def hub(monkeypatch):
    answering = Hub()
    monkeypatch.setattr("huggingface_hub.get_session", lambda: answering)
    monkeypatch.setattr(hub_access, "_asked", None)
    return answering


def test_both_answers_are_believed_for_a_minute(hub, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(hub_access.time, "monotonic", lambda: now)
    assert hub_access._why_not_reached() == ""
    hub.error = ConnectionError("no route to host")
    now += hub_access.AGAIN - 1
    assert (hub_access._why_not_reached(), hub.asked) == ("", 1)
    now += 2
    assert (hub_access._why_not_reached(), hub.asked) == ("no route to host", 2)
    hub.error = None
    now += hub_access.AGAIN - 1
    assert (hub_access._why_not_reached(), hub.asked) == ("no route to host", 2)
    now += 2
    assert (hub_access._why_not_reached(), hub.asked) == ("", 3)


@pytest.mark.parametrize(
    ("error", "why"), [(httpx.ReadTimeout("slow"), ""), (httpx.ConnectTimeout("no way"), "no way")]
)
def test_a_slow_hub_is_tried(hub, error, why):
    hub.error = error
    assert hub_access._why_not_reached() == why
