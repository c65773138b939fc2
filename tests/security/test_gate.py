"""Who may ask the service: keys, names, pages of other sites, how often, and how slowly."""

import contextlib
import http.client
import json
import os
import re
import socket
import time
from types import SimpleNamespace

import httpx
import pytest

from plaudit import PlauditError
from plaudit.serving import gate
from plaudit.serving.app import build_app
from plaudit.serving.gate import Rates, address_of
from plaudit.serving.server import _WhileOpen, bounded_http
from plaudit.serving.settings import ServiceSettings, read_keys
from running import inside

BODY = {"prompt": "What is a bond?", "completions": ["A loan.", "A share."]}
HEAD = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def service(reward_model):
    """A running service by its settings."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            inside(build_app(reward_model("bert"), ServiceSettings(**settings)))
        )


def status(client, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/score", json=BODY, headers=headers).status_code


# ---- keys ----


@pytest.mark.parametrize("empty", ["", " ", ",", " , \n"])
def test_a_variable_without_a_key_does_not_open_the_service(monkeypatch, tmp_path, empty):
    monkeypatch.setenv("PLAUDIT_API_KEYS", empty)
    with pytest.raises(PlauditError, match="PLAUDIT_API_KEYS: is set and has no API key"):
        read_keys()
    file = tmp_path / "keys"
    file.write_text("a-key-of-a-file\n")
    with pytest.raises(PlauditError, match="has no API key"):
        read_keys(file)
    monkeypatch.delenv("PLAUDIT_API_KEYS")
    assert read_keys() == ()


def test_keys_are_exchanged_while_it_runs(service, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PLAUDIT_API_KEYS", raising=False)
    monkeypatch.setattr(gate, "LOOKED_AT", 0.0)
    file = tmp_path / "keys"
    file.write_text("the-first-key\n")
    client = service(keys=read_keys(file), keys_file=file)
    assert status(client, x_api_key="the-first-key") == 200
    file.write_text("the-second-key\nthe-third-key\n")
    assert status(client, x_api_key="the-first-key") == 401
    assert status(client, x_api_key="the-second-key") == 200
    new = tmp_path / "new"  # as Kubernetes and careful people do it
    new.write_text("the-fourth-key\n")
    os.replace(new, file)
    assert status(client, x_api_key="the-third-key") == 401
    assert status(client, authorization="Bearer the-fourth-key") == 200
    for spoilt in ("# none\n", "short\n", None):  # never open, and never shut by a slip
        file.unlink() if spoilt is None else file.write_text(spoilt)
        assert status(client) == 401
        assert status(client, x_api_key="short") == 401
        assert status(client, x_api_key="the-fourth-key") == 200
    told = capsys.readouterr().err
    assert told.count("The keys stay as they were") == 3
    assert "key\n" not in told
    assert not re.search(r"\bthe-\w+-key", told)


def test_keys_that_changed_while_the_model_was_loaded_are_those_that_count(
    service, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("PLAUDIT_API_KEYS", raising=False)
    file = tmp_path / "keys"
    file.write_text("the-first-key\n")
    keys = read_keys(file)
    same = service(keys=keys, keys_file=file)
    assert status(same, x_api_key="the-first-key") == 200
    assert "changed" not in capsys.readouterr().err
    file.write_text("the-second-key\n")
    client = service(keys=keys, keys_file=file)
    assert status(client, x_api_key="the-first-key") == 401
    assert status(client, x_api_key="the-second-key") == 200
    assert capsys.readouterr().err.count("changed; the keys") == 1


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("localhost", "http://localhost", 200),
        ("localhost:80", "http://localhost", 200),
        ("localhost:443", "https://localhost", 200),
        ("localhost:443", "http://localhost", 403),
        ("localhost:8000", "http://localhost", 403),
        ("localhost", "http://evil.example", 403),
        ("localhost:80", "null", 403),
    ],
)
def test_an_origin_is_ours_also_where_a_proxy_names_the_usual_port(service, host, origin, expected):
    assert status(service(), host=host, origin=origin) == expected


def test_all_keys_are_compared_at_one_length_whatever_is_given(reward_model, monkeypatch):
    compared = []
    real = gate.hmac.compare_digest
    monkeypatch.setattr(
        gate.hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or real(a, b)
    )
    keys = gate.Keys(ServiceSettings(keys=("the-first-key", "clé-numéro-deux", "k" * 500)))
    for given in (b"", b"the-first-key", b"x" * 10_000, b"\xff\xfe", "clé-numéro-deux".encode()):
        compared.clear()
        fits = keys.fitting(given) is not None
        assert fits == (given in (b"the-first-key", "clé-numéro-deux".encode()))
        assert compared == [(32, 32)] * 3


# ---- names and pages of other sites ----


def test_by_a_foreign_name_it_is_not_called(service):
    client = service(allowed_host=("localhost", "reward.example"))
    for host in ("localhost:1", "REWARD.example", "10.1.2.3:8000", "[::1]:80", "[2001:db8::1]"):
        assert status(client, host=host) == 200
    for host in (
        *("evil.example", "reward.example.evil.example", "evil.example:8000", "[evil]"),
        *("127.0.0.1.evil.example", "localhost@evil.example", "2130706433", "0x7f.1"),
    ):
        answer = client.post("/score", json=BODY, headers={"host": host})
        assert answer.status_code == 421
        assert "--allowed-host" in answer.json()["error"]["message"]
    assert status(service(allowed_host=("*",)), host="any.example") == 200


FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:1"},  # another port is another's page
    {"origin": "http://localhost:8000", "sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},  # a form
    {"sec-fetch-site": "same-site", "origin": "http://localhost:8000"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_what_a_page_of_another_site_asks_is_refused(service, headers):
    client = service()
    host = {"host": "localhost:8000"}
    for path in ("/score", "/label/save", "/rank"):
        answer = client.post(path, json=BODY, headers=host | headers)
        assert answer.status_code == 403
        assert answer.json()["error"]["type"] == "origin"
    # A link is followed, and nothing else may be loaded.
    link = headers.get("sec-fetch-mode") == "navigate"
    assert client.get("/", headers=host | headers).status_code == (200 if link else 403)


def test_its_own_pages_and_programs_may_ask(service):
    client = service()
    for headers in (
        {},
        {"sec_fetch_site": "same-origin", "origin": "https://behind.a.proxy.example"},
        {"sec_fetch_site": "none"},
        {"origin": "http://localhost:8000", "host": "localhost:8000"},
    ):
        assert status(client, **headers) == 200


def test_a_site_that_is_allowed_may_ask_and_read(service):
    site = "https://app.example"
    client = service(allowed_origin=(site,), keys=("a-key-for-all",))
    asked = {"origin": site, "sec-fetch-site": "cross-site"}
    before = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key",
    }
    allowed = client.options("/score", headers=asked | before)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == site
    for key, expected in (("a-key-for-all", 200), ("another-key", 401)):
        answer = client.post("/score", json=BODY, headers=asked | {"x-api-key": key})
        assert answer.status_code == expected
        assert answer.headers["access-control-allow-origin"] == site
    refused = client.options("/score", headers=before | {"origin": "https://evil.example"})
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    for origin in ("*", "app.example", "https://app.example/", "https://*.example"):
        with pytest.raises(PlauditError, match="allowed_origin"):
            ServiceSettings(allowed_origin=(origin,))


# ---- how often ----


def test_who_asks_too_often_waits(service):
    client = service(rate_limit=3, keys=("the-first-key", "the-second-key"))
    assert [status(client, x_api_key="the-first-key") for _ in range(4)] == [200, 200, 200, 429]
    assert status(client, x_api_key="the-second-key") == 200  # each for itself
    # Who tries keys is counted by address, and is stopped before it learns more.
    assert [status(client, x_api_key=f"try-number-{n}") for n in range(4)] == [401, 401, 401, 429]
    answer = client.post("/score", json=BODY, headers={"x-api-key": "the-first-key"})
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    assert answer.json()["error"]["type"] == "rate"
    assert client.get("/health").status_code == client.get("/").status_code == 200


def test_a_minute_has_as_many_as_it_may_and_no_more(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(gate.time, "monotonic", lambda: now[0])
    rates = Rates(30)
    let_in = 0
    for _ in range(10 * 60 * 4):  # ten minutes, four times a second
        let_in += rates.wait(b"a") == 0
        now[0] += 0.25
    assert 30 * 10 <= let_in <= 30 * 10 + 30
    now[0] += 3600
    assert [rates.wait(b"a") for _ in range(30)] == [0.0] * 30
    assert rates.wait(b"a") == pytest.approx(2.0)
    monkeypatch.setattr(gate, "MOST_ASKING", 100)
    for n in range(1000):
        rates.wait(b"%d" % n)
    assert len(rates._used_up) == 100


def test_a_machine_with_a_whole_network_is_one():
    assert address_of({"client": ("2001:db8::1", 1)}) == address_of({"client": ("2001:db8::f", 2)})
    assert address_of({"client": ("10.0.0.1", 1)}) != address_of({"client": ("10.0.0.2", 1)})
    assert address_of({"client": None}) == address_of({})


# ---- how slowly ----


def closed(connection):
    """What comes until the other end hangs up."""
    connection.settimeout(20)
    with contextlib.suppress(ConnectionError):
        return b"".join(iter(lambda: connection.recv(4096), b""))
    return b""


@pytest.mark.parametrize(
    "sent", [b"", b"POST", HEAD, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nPOST"]
)
def test_a_head_that_never_ends_is_hung_up_on(service, sent):
    client = service(head_timeout=0.5, keep_alive=0.5)
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as slow:
        slow.sendall(sent)
        assert closed(slow).count(b"HTTP/1.1") == sent.startswith(b"GET")
    assert status(client) == 200


def test_a_head_that_dribbles_is_hung_up_on(service):
    client = service(head_timeout=0.3)
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as slow:
        slow.settimeout(0.05)
        slow.sendall(HEAD)
        ends = time.monotonic() + 20
        hung_up = False
        while not hung_up and time.monotonic() < ends:  # one header line, and another, …
            with contextlib.suppress(TimeoutError):
                try:
                    slow.sendall(b"X-A: b\r\n")
                    hung_up = slow.recv(1) == b""
                except ConnectionError:
                    hung_up = True
        assert hung_up


def test_a_connection_that_waits_between_requests_is_not_hung_up_on_by_the_head(service):
    client = service(head_timeout=0.6, keep_alive=30)
    connection = http.client.HTTPConnection("127.0.0.1", client.base_url.port)
    connection.connect()
    with connection.sock as first:
        for wait in (0.8, 0.0):
            connection.request("GET", "/health")
            assert connection.getresponse().read() == b'{"status":"ok"}'
            time.sleep(wait)
        assert connection.sock is first


def test_an_answer_that_nobody_reads_does_not_hold_a_connection(service):
    client = service(body_timeout=0.3, keep_alive=600)
    body = json.dumps({"query": "a", "documents": ["a" * 100_000] * 60, "return_documents": True})
    sent = HEAD.replace(b"/score", b"/rerank") + b"Content-Length: %d\r\n\r\n" % len(body)
    before = open_sockets()  # of both ends, which are in this process
    with socket.socket() as unread:
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.connect(("127.0.0.1", client.base_url.port))
        unread.sendall(sent + body.encode())
        ends = time.monotonic() + 30
        while open_sockets() != before + 1 and time.monotonic() < ends:
            time.sleep(0.05)
        assert open_sockets() == before + 1
    assert status(client) == 200


def test_who_reads_one_answer_after_another_is_not_hung_up_on():
    class Wire:
        waiting, aborted = b"", False

        def write(self, data):
            self.waiting += data

        def get_write_buffer_size(self):
            return len(self.waiting)

        def is_closing(self):
            return self.aborted

        def abort(self):
            self.aborted = True

    timers = []
    wire, kind = Wire(), bounded_http()
    connection = kind.__new__(kind)
    connection.transport = _WhileOpen(wire)
    connection.loop = SimpleNamespace(call_later=lambda seconds, *call: timers.append(call))
    connection.transport.write(b"an answer")
    connection._watch_reading()
    wire.waiting = b""  # it is read, and the next one is longer
    connection.transport.write(b"an answer that is longer")
    call, *given = timers.pop()
    call(*given)
    assert not wire.aborted
    call, *given = timers.pop()  # of that nothing is read
    call(*given)
    assert wire.aborted
    assert timers == []


def open_sockets():
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    return found


def test_more_connections_than_are_held_are_hung_up_on(service):
    client = service(max_connections=5)
    address = ("127.0.0.1", client.base_url.port)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(address)) for _ in range(9)]
        extra = [stack.enter_context(socket.create_connection(address)) for _ in range(20)]
        assert all(closed(each) == b"" for each in extra[5:])
        del held
    assert httpx.get(f"{client.base_url}/health").status_code == 200
