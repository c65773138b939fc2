"""What the service writes down has nothing of what it is asked, nor a key, unless that is asked
for: neither of what is answered, nor of what is refused, nor of what fails."""

import json
import logging
import socket

import pytest

from plaudit.serving.app import build_app
from plaudit.serving.protocols import PROTOCOLS
from plaudit.serving.settings import ServiceSettings
from running import inside

SECRET = "tadpole-syllogism"  # which is in no message of ours


def with_secret(value):
    """A body with the secret in place of every text in it."""
    if isinstance(value, dict):
        return {key: with_secret(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_secret(each) for each in value]
    return f"{SECRET} {value}" if isinstance(value, str) and len(value) > 12 else value


@pytest.mark.parametrize("fails", [False, True])
def test_no_text_and_no_key_is_written_down(reward_model, capfd, caplog, monkeypatch, fails):
    settings = ServiceSettings(
        log_requests=True, keys=(f"key-{SECRET}",), max_body_bytes=3000, max_completions=3
    )
    model = reward_model("qwen2")
    if fails:

        def fail(*_, **__):
            raise ValueError(SECRET)

    key = {"x-api-key": f"key-{SECRET}"}
    caplog.set_level(logging.DEBUG)
    for client_of_the_test in ("httpx", "httpcore"):  # it logs its addresses, others print that
        caplog.set_level(logging.WARNING, client_of_the_test)
    with inside(build_app(model, settings)) as client:
        if fails:
            monkeypatch.setattr(type(model), "encode", fail)
        for name in PROTOCOLS:
            protocol = PROTOCOLS.get(name)
            body = with_secret(dict(protocol.example))
            for path in protocol.paths:
                client.post(path, json=body, headers=key)
                client.post(path, json=body | {SECRET: SECRET}, headers=key)
                client.post(path, json=dict.fromkeys(body, SECRET), headers=key)
        asked = {"prompt": SECRET, "completions": [SECRET]}
        for headers in (
            {"authorization": f"Bearer {SECRET}"},
            key | {"host": SECRET},
            key | {"origin": SECRET},
            key | {"content-type": SECRET},
            key | {"cookie": SECRET, "user-agent": SECRET, "x-forwarded-for": SECRET},
        ):
            client.post("/score", content=json.dumps(asked), headers=headers)
        for body in (f'{{"{SECRET}": {SECRET}', f'"{SECRET}"' * 500, SECRET, f'["{SECRET}"]'):
            client.post("/score", content=body, headers=key | {"content-type": "application/json"})
        client.post("/score", json=asked | {"completions": [SECRET] * 10}, headers=key)
        client.get(f"/metrics?{SECRET}={SECRET}", headers=key)
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as odd:
            odd.sendall(f"{SECRET} {SECRET} {SECRET}\r\n\r\n".encode())
            odd.recv(1000)
    out, err = capfd.readouterr()
    written = out + err + caplog.text
    assert "POST /score" in err
    assert "httpx" not in err
    assert [line for line in written.splitlines() if SECRET in line] == []
