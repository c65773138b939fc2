"""The short form of `long_requests.py`: the same requests, some of them."""

import asyncio
import contextlib
import json

import pytest

import running
from faults import long_requests
from faults.asking import draw_bytes, over_socket, wrong_answer
from faults.long_requests import LIMITS, faults_in
from faults.rows import NOTHING
from plaudit.serving.app import build_app
from plaudit.serving.server import _WhileOpen

SEED = 0
INSIDE, OVER_SOCKETS = 200, 60
GOOD = json.dumps({"prompt": "What is a bond?", "completions": ["A loan.", "It depends."]}).encode()
HEAD = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_a_fuzzed_request_is_answered_or_refused_with_a_reason(reward_model, tmp_path):
    row = long_requests.ask_inside(SEED, INSIDE, reward_model("qwen2"), tmp_path)
    assert (row.how_often, row.lost) == (INSIDE, NOTHING)
    assert "× 422" in row.what
    assert "× 200" in row.what


@pytest.fixture(scope="module")
def client(reward_model):
    with running.inside(build_app(reward_model("qwen2"), LIMITS)) as client:
        yield client


def test_fuzzed_bytes_are_answered_or_refused(client, capsys):
    answered = [
        status
        for number in range(OVER_SOCKETS)
        for status in over_socket(client.base_url.port, *draw_bytes(SEED, number))
    ]
    assert 400 in answered
    assert max(answered) < 500
    assert client.post("/score", json=json.loads(GOOD)).status_code == 200
    assert faults_in(capsys.readouterr().err) == []


@pytest.mark.parametrize("body", [GOOD, b"{}"])
@pytest.mark.parametrize("after", [b"", b"and now for something else\r\n\r\n"])
def test_a_client_that_says_no_more_while_it_is_answered_is_no_fault(client, capsys, body, after):
    sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body + after
    for _ in range(20):
        statuses = over_socket(client.base_url.port, sent)
        assert set(statuses) <= {200, 400, 422}
    assert client.get("/ready").status_code == 200
    assert faults_in(capsys.readouterr().err) == []


def test_what_is_written_to_a_connection_that_closes_is_dropped():
    uvloop = pytest.importorskip("uvloop")

    async def late():
        loop = asyncio.get_running_loop()
        there = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = there.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
        _WhileOpen(transport).write(b"in time")
        transport.abort()
        await asyncio.sleep(0)
        with contextlib.suppress(RuntimeError):  # of uvloop, which is what this is about
            transport.write(b"late")
        _WhileOpen(transport).write(b"late")
        assert _WhileOpen(transport).is_closing()
        there.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(late())


@pytest.mark.parametrize(
    ("status", "body", "wrong"),
    [
        (200, b"anything", ""),
        (422, b'{"error": {"message": "no", "type": "invalid"}}', ""),
        (422, b'{"detail": "no"}', "422 without a reason: "),
        (404, b"Not Found", "404 without a reason: "),
        (500, b'{"error": {"message": "no", "type": "internal"}}', "500: "),
    ],
)
def test_a_wrong_answer_is_seen(status, body, wrong):
    assert wrong_answer(status, body).startswith(wrong)
    assert bool(wrong_answer(status, body)) == bool(wrong)
