"""The short form of `long_requests.py`: the same requests, some of them."""

import json

import pytest

import running
from faults import long_requests
from faults.asking import draw_bytes, over_socket, wrong_answer
from faults.long_requests import LIMITS, faults_in
from faults.rows import NOTHING
from plaudit.serving.app import build_app

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
