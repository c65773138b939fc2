"""Without a network a name that is not here is told of at once, and not tried again and again."""

import os
import socket
import subprocess
import sys
import threading

import pytest


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
