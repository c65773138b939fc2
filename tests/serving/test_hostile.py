"""Malformed, oversized, truncated, wrongly typed and hostile requests: each is refused with a
reason or answered, none is a fault of ours, and the service answers as before.

They go to every path of every protocol, and between them right requests must be answered as before.

`PLAUDIT_HOSTILE_REQUESTS=10300 pytest tests/serving/test_hostile.py -s` makes 10,000 or more (where
hypothesis runs out of what is different, it stops before), to a service in a process of its own,
whose memory it watches. Each run has another seed, which it prints; `PLAUDIT_HOSTILE_SEED` takes
one to repeat it.
"""

import collections
import contextlib
import copy
import json
import math
import os
import random
import re
import socket
import time
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

import running
from plaudit.serving.app import build_app
from plaudit.serving.protocols import PROTOCOLS, by_path
from plaudit.serving.settings import ServiceSettings

ASKED = os.environ.get("PLAUDIT_HOSTILE_REQUESTS")
REQUESTS = int(ASKED or "600")
SEED = int(os.environ.get("PLAUDIT_HOSTILE_SEED") or random.SystemRandom().randrange(2**32))
LIMITS = ServiceSettings(
    max_body_bytes=64 * 1024, max_completions=32, max_characters=5000, body_timeout=0.5
)
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
GOOD = {"prompt": "What is a bond?", "completions": ["A loan.", "It depends."]}
PATHS = by_path()
SPOKEN = [PROTOCOLS.get(name) for name in PROTOCOLS]
FIELDS = sorted({field for protocol in SPOKEN for field in protocol.request.model_fields})
FIELDS += ["role", "content", "text", "labels", "type", "output", "tool_calls", "arguments"]

texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["", " ", "\0", "\u202e", "<|im_end|>", "{{ 7 * 7 }}", "a" * 6000, "\ufffe"]),
)
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
values = st.recursive(
    odd,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.text(max_size=5)), inner, max_size=4),
    ),
    max_leaves=12,
)
messages = st.lists(st.fixed_dictionaries({"role": texts, "content": values}), max_size=4)
bodies = st.dictionaries(
    st.sampled_from(FIELDS), st.one_of(values, messages, st.lists(texts, max_size=40)), max_size=4
)


def places(value):
    """Every dict and list within a body, with each of its keys or indices."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@st.composite
def spoilt(draw):
    """A path and a right body of one of its protocols, with a few things wrong."""
    protocol = draw(st.sampled_from(SPOKEN))
    body = copy.deepcopy(dict(protocol.example))
    for _ in range(draw(st.integers(1, 4))):
        change = draw(st.integers(0, 5))
        found = list(places(body))
        if change == 0 or not found:
            body[draw(st.sampled_from(FIELDS))] = draw(values)
        elif change == 1:  # two protocols in one
            body |= copy.deepcopy(dict(draw(st.sampled_from(SPOKEN)).example))
        else:
            where, key = draw(st.sampled_from(found))
            if change == 2:
                del where[key]
            elif change == 3:
                where[key] = [where[key]] * draw(st.integers(0, 40))
            else:
                where[key] = draw(st.one_of(values, messages, texts))
    return draw(st.sampled_from(protocol.paths)), body


@st.composite
def wire(draw):
    """Bytes that are nearly JSON."""
    right = st.sampled_from([dict(protocol.example) for protocol in SPOKEN])
    body = bytearray(json.dumps(draw(st.one_of(bodies, right))).encode())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        piece = st.one_of(
            st.binary(max_size=6),
            st.sampled_from([b"\\ud800", b"NaN", b"[" * 500, b"1e999", b'"a":1,', b"\xef\xbb\xbf"]),
        )
        body[at : at + draw(st.integers(0, 8))] = draw(piece)
    return bytes(body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body)


headers = st.dictionaries(
    st.sampled_from(["content-type", "content-encoding", "x-api-key", "accept", "expect"]),
    st.sampled_from(["application/json", "text/plain", "gzip", "", "*/*", "multipart/form-data"]),
    max_size=2,
)


@pytest.fixture(scope="module")
def running_service(base, reward_model):
    """A client of a service, and the service's process."""
    if ASKED:
        with running.service(base("qwen2"), **asdict(LIMITS)) as (process, client):
            yield client, process.pid
    else:
        with running.inside(build_app(reward_model("qwen2"), LIMITS)) as client:
            yield client, os.getpid()


@pytest.fixture
def client(running_service):
    return running_service[0]


@pytest.fixture(scope="module")
def seen():
    """Statuses that were answered, printed at the end."""
    counts = collections.Counter()
    yield counts
    print(f"\n{sum(counts.values())} hostile requests: {dict(sorted(counts.items()))}")


@pytest.fixture(autouse=True)
def _it_answers_after_as_before_and_has_not_grown(running_service):
    client, process = running_service
    print(f"PLAUDIT_HOSTILE_SEED={SEED}")
    before = answers(client)
    memory = resident_mib(process)
    yield
    assert answers(client) == approximately(before)
    print(f"memory: {memory:.0f} MiB before, {resident_mib(process):.0f} MiB after")
    # In this process there is also hypothesis, which remembers what it tried.
    assert resident_mib(process) < memory + (50 if ASKED else 200)


def answers(client):
    """What each protocol's example is answered at each path."""
    found = {}
    for protocol in SPOKEN:
        for path in protocol.paths:
            response = client.post(path, json=dict(protocol.example))
            assert response.status_code == 200
            found[path, str(protocol.example)] = without_ids(response.json())
    return found


def without_ids(value):
    """An answer without what differs each time, and the reward in a chat's text as a number."""
    if isinstance(value, dict):
        return {k: without_ids(v) for k, v in value.items() if k not in ("id", "created")}
    if isinstance(value, str) and value.startswith("reward:"):
        return float(value.removeprefix("reward:"))
    return [without_ids(each) for each in value] if isinstance(value, list) else value


def approximately(value):
    if isinstance(value, dict):
        return {key: approximately(each) for key, each in value.items()}
    if isinstance(value, list):
        return [approximately(each) for each in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value


def resident_mib(process):
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def check(response, seen):
    """Answered, or refused with a reason."""
    seen[response.status_code] += 1
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        error = response.json()["error"]
        assert error["message"]
        assert error["type"]


@pytest.fixture(scope="module")
def right(running_service):
    """The rewards of a right request, before any other."""
    return pytest.approx(running_service[0].post("/score", json=GOOD).json()["rewards"], abs=1e-5)


@pytest.fixture
def ask(client, seen, right):
    """Makes a hostile request, and now and then a right one after it."""

    def one(path, **given):
        check(client.post(path, **given), seen)
        if seen.total() % 20 == 0:
            assert client.post("/score", json=GOOD).json()["rewards"] == right

    return one


def test_bodies_of_any_fields(ask):
    @seed(SEED)
    @settings(max_examples=math.ceil(REQUESTS / 4), **QUIET)
    @given(st.sampled_from([*PATHS]), bodies)
    def every(path, body):
        ask(path, json=body)

    every()


def test_bodies_that_are_nearly_right(ask):
    @seed(SEED)
    @settings(max_examples=math.ceil(REQUESTS / 4), **QUIET)
    @given(spoilt())
    def every(request):
        path, body = request
        ask(path, json=body)

    every()


def test_bytes_that_are_nearly_json(ask):
    @seed(SEED)
    @settings(max_examples=math.ceil(REQUESTS / 4), **QUIET)
    @given(st.sampled_from([*PATHS]), wire(), headers)
    def every(path, body, headers):
        headers = {"content-type": "application/json"} | headers
        ask(path, content=body, headers=headers)

    every()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_its_own_description_suggests(client, seen, mode):
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    operations = [result.ok() for result in schema.get_all_operations()]
    # What takes nothing can be given nothing wrong.
    operations = [one for one in operations if one.body or mode == GenerationMode.POSITIVE]
    count = math.ceil(REQUESTS / 8 / len(operations))
    for operation in operations:
        strategy = operation.as_strategy(generation_mode=mode)

        @seed(SEED)
        @settings(max_examples=count, **QUIET)
        @given(case=strategy)
        def every(case):
            check(case.call(base_url=str(client.base_url)), seen)

        every()


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 50\r\n\r\n{",
        b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"pro\r\n',
    ],
)
def test_a_body_that_never_ends_is_given_up(client, sent):
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as slow:
        slow.settimeout(10)
        slow.sendall(sent)
        answer = b"".join(iter(lambda: slow.recv(4096), b""))
    assert b" 408 " in answer.splitlines()[0]
    assert b"did not arrive" in answer


def answered(client):
    """How many requests to /score ended with each status so far, as /metrics counts them."""
    lines = re.findall(
        r'_total{endpoint="/score",status="(\d+)"} (\d+)', client.get("/metrics").text
    )
    return collections.Counter({status: int(count) for status, count in lines})


@pytest.mark.parametrize("hung_up", [b"", b'{"prompt": "a"', None])
def test_clients_that_hang_up_are_counted_as_gone_and_are_no_fault(client, hung_up):
    head = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = json.dumps(GOOD).encode()
    before = answered(client)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as gone:
            sent = body if hung_up is None else hung_up
            gone.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + sent)
    ends = time.monotonic() + 10
    while (after := answered(client) - before).total() < 20 and time.monotonic() < ends:
        time.sleep(0.02)
    # A whole request may be answered before the service sees that nobody is there.
    assert set(after) <= ({"200", "499"} if hung_up is None else {"499"})
    assert after.total() == 20


def test_bodies_beyond_the_limit(client, seen):
    def endless():
        for _ in range(200):
            yield b"[" * 1000

    for content in (b"x" * 10**6, endless(), b"[" * 70_000):
        response = client.post(
            "/score", content=content, headers={"content-type": "application/json"}
        )
        assert response.status_code == 413
        check(response, seen)


@pytest.mark.parametrize(
    ("path", "field", "entry"),
    [("/score", "completions", 1), ("/get_reward", "query", 1), ("/rerank", "documents", {})],
)
def test_a_body_full_of_faults_holds_up_nobody(reward_model, path, field, entry):
    with running.inside(build_app(reward_model("bert"), ServiceSettings())) as client:
        before = resident_mib(os.getpid())
        started = time.monotonic()
        response = client.post(path, json={"prompt": "a", field: [entry] * 300_000})
        assert response.json()["error"]["type"] == "too_many"
        assert time.monotonic() - started < 1  # each looked at, it is five
        assert resident_mib(os.getpid()) < before + 100


def test_the_head_of_a_request_is_bounded(client):
    for head in (b"X: " + b"a" * 2**20, b"X: a\r\n" * 2**18):
        answer = b""
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as long:
            long.settimeout(10)
            with contextlib.suppress(ConnectionError):  # it hangs up
                long.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n")
                answer = long.recv(4096)
        assert answer[:12] in (b"", b"HTTP/1.1 400")


def test_a_large_body_and_requests_that_follow_each_other_are_not_taken_for_a_head(client):
    body = json.dumps(GOOD | {"preference": None}).ljust(60 * 1024).encode()
    head = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    one = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
        connection.settimeout(10)
        connection.sendall(one * 5)
        answers = b""
        while answers.count(b"preference") < 5:
            answers += connection.recv(65536)
    assert answers.count(b"HTTP/1.1 200") == 5


def test_many_connections_that_say_nothing(client):
    idle = [socket.create_connection(("127.0.0.1", client.base_url.port)) for _ in range(100)]
    assert httpx.post(f"{client.base_url}/score", json=GOOD).status_code == 200
    for connection in idle:
        connection.close()
