"""The client against a running service, and against one that is busy, broken or somebody else's."""

import asyncio
import itertools
import json
import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer

import httpx
import pytest

from plaudit import AsyncClient, Client, PlauditError, ServiceError
from plaudit.client import checked_address
from plaudit.serving.app import build_app
from plaudit.serving.settings import ServiceSettings
from running import free_port, inside

PROMPT = "What is two plus two?"
ANSWERS = ["Two plus two is four.", "No 🙂", "", "The lazy dog " * 4]
MESSAGES = [{"role": "user", "content": PROMPT}]
TURN = [{"role": "assistant", "content": "Four."}]
HALF = "half \ud83d"  # a lone surrogate, which no JSON in UTF-8 can hold


class Blocking:
    """An `AsyncClient` whose methods wait, on an event loop of its own."""

    def __init__(self, url, **options):
        self.runner = asyncio.Runner()
        self.client = AsyncClient(url, **options)

    def __getattr__(self, name):
        found = getattr(self.client, name)
        if name in ("score_all", "score_each"):
            return lambda prompts: self.stream(found(prompts))
        if asyncio.iscoroutinefunction(found):
            return lambda *args, **options: self.runner.run(found(*args, **options))
        return found

    def stream(self, found):
        try:
            while True:
                yield self.runner.run(anext(found))
        except StopAsyncIteration:
            return
        finally:
            self.runner.run(found.aclose())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.fixture(params=[Client, Blocking], ids=["Client", "AsyncClient"])
def connect(request):
    return request.param


@contextmanager
def serving(model, **settings):
    with inside(build_app(model, ServiceSettings(**settings))) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def model(reward_model):
    return reward_model("qwen2")


@pytest.fixture(scope="module")
def url(model):
    with serving(model, name="runs/first") as url:
        yield url


# ---- a running service ----


def test_rewards_are_those_of_score(connect, url, model):
    expected = pytest.approx(model.score(PROMPT, ANSWERS), abs=1e-5)
    with connect(url) as client:
        assert client.score(PROMPT, ANSWERS) == expected
        assert client.score(PROMPT, ANSWERS[0]) == pytest.approx(expected.expected[0], abs=1e-5)
        assert client.score(MESSAGES, [TURN, "Four."]) == pytest.approx(
            model.score(MESSAGES, [TURN, "Four."]), abs=1e-5
        )
        assert client.score(PROMPT, []) == []


def test_the_best_comes_first(connect, url, model):
    rewards = model.score(PROMPT, ANSWERS)
    with connect(url) as client:
        ranking = client.rank(PROMPT, ANSWERS)
    order = sorted(range(4), key=lambda index: -rewards[index])
    assert [place.index for place in ranking] == order
    assert [place.rank for place in ranking] == [1, 2, 3, 4]
    assert [place.reward for place in ranking] == pytest.approx(
        [rewards[i] for i in order], abs=1e-5
    )
    assert sum(place.probability for place in ranking) == pytest.approx(1)


def test_the_model_has_its_name(connect, url, model):
    with connect(url) as client:
        assert client.model() == ("runs/first", model.max_length)


@pytest.mark.parametrize(
    "limits", [{"max_completions": 7}, {"max_body_bytes": 900}], ids=["completions", "bytes"]
)
def test_a_stream_is_scored_in_order_whatever_the_service_takes_at_a_time(connect, model, limits):
    prompts = [(f"What is {n}?", [f"{n} is {k}." for k in range(k)])
               for n, k in enumerate((1, 40, 2, 0, 3, 130))]  # fmt: skip
    with serving(model, **limits) as url, connect(url, in_flight=4) as client:
        found = list(client.score_all(iter(prompts)))
        one = client.score(*prompts[-1])
    expected = list(model.score_all(pair for pair in prompts if pair[1]))
    expected.insert(3, [])
    assert [len(row) for row in found] == [1, 40, 2, 0, 3, 130]
    for row, wanted in zip([*found, one], [*expected, expected[-1]], strict=True):
        assert row == pytest.approx(wanted, abs=1e-5)


def test_what_is_refused_stands_in_its_place(connect, url, model):
    texts = [f"{n}." for n in range(70)]
    texts[68] = HALF
    with connect(url) as client:
        first, second, third = client.score_each([(PROMPT, texts), ("  ", ["a"]), (PROMPT, ["b"])])
        with pytest.raises(ServiceError, match=r"half a character.*completions\[68\]"):
            list(client.score_all([(PROMPT, texts)]))
    assert third == pytest.approx(model.score(PROMPT, ["b"]), abs=1e-5)
    expected = model.score(PROMPT, [text for text in texts if text != HALF])
    assert [*first[:68], first[69]] == pytest.approx(expected, abs=1e-5)
    assert first[68].refused
    assert 'completions[68]); the prompt is "What is two plus two?"' in str(first[68])
    assert second[0].refused
    assert second[0].status == 422
    assert f"{url}/score: 422 invalid: the prompt is blank (prompt)" in str(second[0])


def test_the_number_of_a_refused_completion_is_that_of_the_caller(connect, model):
    texts = ["Four."] * 66 + ["x" * 500]
    with serving(model, max_characters=400) as url, connect(url) as client:
        with pytest.raises(ServiceError, match=r"422 too_long: .* \(completions\[66\]\)"):
            client.score(PROMPT, texts)
        (found,) = client.score_each([(PROMPT, texts)])
    assert [isinstance(reward, float) for reward in found] == [True] * 66 + [False]


@pytest.mark.parametrize(
    ("completions", "problem"),
    [
        (["Four.", 4], r"not text: int \(completions\[1\]\)"),
        (None, r"completions: None \(NoneType\) is no list"),
        ({"Four."}, r"completions: {'Four.'} \(set\) is no list"),
        ({"Four.": 1}, r"completions: {'Four.': 1} \(dict\) is no list"),
        ((text for text in ["Four."]), r"completions: .* \(generator\) is no list"),
    ],
)
def test_completions_that_are_no_list_of_texts_are_said(connect, url, completions, problem):
    with connect(url) as client:
        for ask in (client.score, client.rank):
            with pytest.raises(PlauditError, match=problem):
                ask(PROMPT, completions)


@pytest.mark.parametrize(
    ("prompts", "problem"),
    [
        ([(PROMPT, "Four.")], "give a list for each prompt"),
        (
            [("a", ["b"]), ("a", ["b"], 1)],
            r"prompts\[1\]: \('a', \['b'\], 1\) \(tuple\) is no pair",
        ),
        ([{"prompt": "a", "completions": ["b"]}], r"prompts\[0\]: .* \(dict\) is no pair"),
        (["ab"], r"prompts\[0\]: 'ab' \(str\) is no pair"),
        (7, r"prompts: 7 \(int\) is no list or stream"),
    ],
)
def test_prompts_that_are_no_pairs_are_said(connect, url, prompts, problem):
    with connect(url) as client, pytest.raises(PlauditError, match=problem):
        list(client.score_all(prompts))


def test_truncation_is_counted_and_said(connect, base, capsys):
    from plaudit import RewardModel

    model = RewardModel.load(base("qwen2"), max_length=16, device="cpu", dtype="float32")
    with serving(model) as url, connect(url) as client:
        for _ in range(2):
            client.score(PROMPT, ["Four.", "The lazy dog " * 20])
        assert client.truncation["truncated"] >= 2
        assert client.truncation["completions"] == 4
        told = capsys.readouterr().err
        assert told.count("more than the model reads and was truncated") == 1
    assert f"{url}: " in (said := capsys.readouterr().err)
    assert "of 4 completions have more than the model reads" in said


def test_a_key_is_needed_and_found(connect, model, monkeypatch):
    with serving(model, keys=("secret-key",)) as url:
        with (
            connect(url) as client,
            pytest.raises(ServiceError, match=r"401 key: .*PLAUDIT_API_KEY"),
        ):
            client.score(PROMPT, ["a"])
        with connect(url, key="secret-key") as client:
            assert len(client.score(PROMPT, ["a"])) == 1
        monkeypatch.setenv("PLAUDIT_API_KEY", "secret-key")
        with connect(url) as client:
            assert len(client.score(PROMPT, ["a"])) == 1
        monkeypatch.setenv("PLAUDIT_API_KEY", "secret\nkey")
        with pytest.raises(PlauditError, match="PLAUDIT_API_KEY: an API key has"):
            Client(url)


def test_threads_share_a_client(url, model):
    expected = {n: model.score(f"{n}?", ["a", "b"]) for n in range(8)}
    with Client(url) as client, ThreadPoolExecutor(8) as threads:
        work = [(n, threads.submit(client.score, f"{n}?", ["a", "b"])) for n in [*range(8)] * 3]
        streams = [
            threads.submit(
                lambda: list(client.score_all([(f"{n}?", ["a", "b"]) for n in range(8)]))
            )
            for _ in range(2)
        ]
        for n, found in work:
            assert found.result() == pytest.approx(expected[n], abs=1e-5)
        for stream in streams:
            for n, row in enumerate(stream.result()):
                assert row == pytest.approx(expected[n], abs=1e-5)


def test_event_loops_share_a_client(url, model):
    client = AsyncClient(url)

    async def stream():
        for n in range(3):
            yield f"{n}?", ["a"]

    async def rewards():
        return [row async for row in client.score_all(stream())]

    expected = list(model.score_all([(f"{n}?", ["a"]) for n in range(3)]))
    for _ in range(2):
        for row, wanted in zip(asyncio.run(rewards()), expected, strict=True):
            assert row == pytest.approx(wanted, abs=1e-5)


def test_a_copy_works_in_another_process(url, model):
    with Client(url, timeout=30) as client:
        expected = pytest.approx(client.score(PROMPT, ANSWERS), abs=1e-6)
        copy = pickle.loads(pickle.dumps(client))
        assert copy.timeout == 30
        assert copy.score(PROMPT, ANSWERS) == expected
        copy.close()
        fork = multiprocessing.get_context("fork")
        given, taken = fork.Pipe()
        process = fork.Process(target=lambda: taken.send(client.score(PROMPT, ANSWERS)))
        process.start()
        assert given.poll(60)
        assert given.recv() == expected
        process.join()
        assert client.score(PROMPT, ANSWERS) == expected


def test_a_proxy_for_the_world_is_not_asked_for_this_machine(connect, url, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with connect(url, retries=0) as client:
        assert len(client.score(PROMPT, ["a"])) == 1


def test_it_waits_for_a_service_that_is_starting(connect, model):
    with inside(build_app(model), delay=1.0) as starting, connect(str(starting.base_url)) as client:
        client.wait_until_ready(30)
        assert len(client.score(PROMPT, ["a"])) == 1


def test_no_service_is_said(connect):
    url = f"http://127.0.0.1:{free_port()}"
    with connect(url, retries=1) as client:
        with pytest.raises(ServiceError, match=r"/ready: cannot connect.*not ready within 0.3 s"):
            client.wait_until_ready(0.3)
        with pytest.raises(ServiceError, match=r"/score: cannot connect.*tried 2 times") as raised:
            client.score(PROMPT, ["a"])
    assert raised.value.status is None
    assert not raised.value.refused


def test_a_client_loads_no_torch():
    code = "import sys, plaudit; plaudit.Client(); assert not {'torch', 'numpy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"url": "127.0.0.1:8000"}, "url: .* is no address"),
        ({"url": "http://127.0.0.1:8000/score?a=b"}, "url: .* has a query or a fragment"),
        ({"retries": -1}, "retries: -1 is not"),
        ({"timeout": 0}, "timeout: 0 is not"),
        ({"in_flight": 0}, "in_flight: 0 is not"),
        ({"timeout": "60"}, "timeout: '60' is not"),
        ({"retries": True}, "retries: True is not"),
        ({"url": None}, "url: None is no address"),
        ({"key": 7}, "key: an API key is a text"),
        ({"key": "schlüssel"}, "key: .* only printable ASCII"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, problem):
    with pytest.raises(PlauditError, match=problem):
        Client(**options)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:pass-word@127.0.0.1:8000/score?a=b",
        "http://me:pass-word@127.0.0.1:no-port",
        "ftp://me:pass-word@127.0.0.1",
        "me:pass-word@127.0.0.1:8000",
        "http://me:pass-word@",
    ],
)
def test_a_password_in_an_address_is_not_repeated(url):
    with pytest.raises(PlauditError) as raised:
        checked_address(url)
    assert "pass-word" not in str(raised.value)
    shown, user = checked_address("http://me:pass-word@127.0.0.1:8000/")
    assert (shown, user) == ("http://127.0.0.1:8000", ("me", "pass-word"))


# ---- one that is busy, broken, or somebody else's ----


@contextmanager
def scripted(answer):
    """A server for which `answer(body)` gives status, content and headers, or None to hang up.

    Gives its address and the list of what it was asked, with the connection that it came by.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null")
            asked.append((body, self.client_address))
            found = answer(body)
            if found is None:
                self.close_connection = True
                return
            status, content, headers = found
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": len(content)} | headers).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_):
            pass  # a client went away

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def scored(body):
    """The length of each text as its reward."""
    rewards = [len(text) for text in body["completions"]]
    return 200, {"rewards": rewards, "truncated": [False] * len(rewards)}, {}


def refusal(status, kind, **headers):
    error = {"error": {"message": "why not", "type": kind}}
    return status, error, {name.replace("_", "-"): value for name, value in headers.items()}


BUSY = [
    refusal(503, "queue_full", retry_after=1),
    refusal(503, "stopping"),
    refusal(429, "rate"),
    (502, b"<html>Bad gateway</html>", {}),
    refusal(504, "timeout"),
    None,
]


@pytest.mark.parametrize("busy", BUSY, ids=["queue", "stopping", "rate", "502", "504", "hangs up"])
def test_what_passes_is_tried_again(connect, busy):
    turns = itertools.count()
    with scripted(lambda body: scored(body) if next(turns) else busy) as (url, asked):
        started = time.monotonic()
        with connect(url) as client:
            assert client.score("q", ["abc"]) == [3]
        waited = time.monotonic() - started
    assert len(asked) == 2
    assert waited > (1 if busy and "retry-after" in busy[2] else 0.2)


def raised(connect, answer, completions=("abc",), **options):
    """The error of a question that has this answer, and how often it was asked."""
    with scripted(lambda body: answer) as (url, asked), connect(url, **options) as client:
        with pytest.raises(ServiceError) as found:
            client.score("q", completions)
        return found.value, str(found.value).replace(url, "URL"), len(asked)


def test_it_gives_up_in_the_end_and_says_what_it_was_told(connect, capsys):
    error, message, times = raised(connect, refusal(503, "queue_full"), retries=2)
    assert times == 3
    assert message == "URL/score: 503 queue_full: why not; tried 3 times"
    assert (error.status, error.kind, error.refused) == (503, "queue_full", False)
    assert "/score: 503 queue_full: why not; trying again\n" in capsys.readouterr().err


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 415, 421, 422, 499, 500, 501])
def test_what_is_final_is_asked_once(connect, status):
    _, message, times = raised(connect, refusal(status, "kind"), ["abc", "d"])
    assert message.startswith(f"URL/score: {status} kind: why not")
    assert times == 1


def test_nobody_waits_longer_than_an_answer_may_take(connect):
    answer = refusal(503, "stopping", retry_after=3600)
    _, message, times = raised(connect, answer, timeout=5)
    assert "asks to come again in 3,600 s" in message
    assert times == 1


def test_a_service_that_is_busy_with_us_is_not_given_up(connect, capsys):
    """Half of what is asked finds it full, more often in all than one request is tried."""
    turns = itertools.count()

    def answer(body):
        return scored(body) if next(turns) % 2 else refusal(503, "queue_full")

    with scripted(answer) as (url, _), connect(url, retries=1, in_flight=8) as client:
        found = list(client.score_all([(str(n), ["x" * n]) for n in range(16)]))
    assert found == [[n] for n in range(16)]
    assert capsys.readouterr().err.count("trying again") <= 1  # many wait, and one line says so


def test_what_takes_too_long_is_asked_in_halves(connect):
    def answer(body):
        return scored(body) if len(body["completions"]) <= 3 else refusal(504, "timeout")

    with scripted(answer) as (url, asked), connect(url, retries=0) as client:
        assert client.score("q", ["x" * n for n in range(10)]) == list(range(10))
        first = len(asked)
        assert client.score("q", ["x" * n for n in range(4)]) == list(range(4))
    assert len(asked) - first == 2  # it knows by now


def test_after_an_outage_as_much_is_asked_at_a_time_as_before(connect, monkeypatch):
    monkeypatch.setattr("plaudit.client.PAUSE", 0.001)
    out = True
    texts = ["x" * n for n in range(64)]
    with (
        scripted(lambda body: refusal(504, "timeout") if out else scored(body)) as (url, asked),
        connect(url, retries=0) as client,
    ):
        with pytest.raises(ServiceError, match="504"):
            client.score("q", texts)
        out = False
        for _ in range(20):
            assert client.score("q", texts) == list(range(64))
        asked.clear()
        assert client.score("q", texts) == list(range(64))
    assert len(asked) == 1


def test_what_a_service_does_not_take_is_not_tried_again(connect):
    def answer(body):
        return scored(body) if len(body["completions"]) <= 5 else refusal(422, "too_many")

    with scripted(answer) as (url, asked), connect(url) as client:
        client.score("q", ["x"] * 64)
        asked.clear()
        for _ in range(3):
            client.score("q", ["x"] * 40)
    assert {len(body["completions"]) for body, _ in asked} == {4}


def test_after_texts_that_are_too_large_as_much_is_asked_at_a_time_as_before(connect):
    def answer(body):
        return scored(body) if sum(map(len, body["completions"])) < 100 else refusal(413, "size")

    texts = ["x"] * 64
    with scripted(answer) as (url, asked), connect(url, in_flight=1) as client:
        (found,) = client.score_each([("q", [*texts[:20], "x" * 100, *texts[21:]])])
        assert [n for n, reward in enumerate(found) if not isinstance(reward, float)] == [20]
        for _ in range(20):
            client.score("q", texts)
        asked.clear()
        assert client.score("q", texts) == [1] * 64
    assert len(asked) == 1


def test_a_closed_client_says_that_it_is(connect):
    with scripted(scored) as (url, asked):
        with connect(url) as client:
            assert client.score("q", ["abc"]) == [3]
            stream = client.score_all([("q", ["x" * n]) for n in range(300)])
            assert next(stream) == [0]
            if isinstance(client, Blocking):
                client.runner.run(client.client.close())
            else:
                client.close()
            closed = "this client is closed; make another one"
            with pytest.raises(PlauditError, match=closed):
                list(stream)
            count = -1
            while count != len(asked):  # what was on its way when the client was closed arrives
                count = len(asked)
                time.sleep(0.3)
            for ask in (
                lambda: client.score("q", ["abc"]),
                lambda: client.score("q", ["abc"] * 100),
                lambda: list(client.score_each([("q", ["abc"])])),
                lambda: client.rank("q", ["abc"]),
                lambda: client.model(),
                lambda: client.wait_until_ready(5),
            ):
                with pytest.raises(PlauditError, match=closed):
                    ask()
            assert len(asked) == count
        copy = pickle.loads(pickle.dumps(client if isinstance(client, Client) else client.client))
        assert copy.url == url  # and is open


def test_closing_ends_what_waits_in_another_thread():
    busy = refusal(503, "queue_full", retry_after=20)
    with scripted(lambda body: busy) as (url, asked), ThreadPoolExecutor(2) as threads:
        client = Client(url)
        waiting = [
            threads.submit(client.score, "q", ["abc"]),
            threads.submit(lambda: list(client.score_all([("q", ["abc"])]))),
        ]
        until(lambda: len(asked) == 2)
        started = time.monotonic()
        client.close()
        for one in waiting:
            with pytest.raises(PlauditError, match="this client is closed"):
                one.result()
        assert time.monotonic() - started < 5


def until(true):
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_a_client_that_is_closed_while_it_asks_ends_in_words():
    go_on = threading.Event()

    def answer(body):
        go_on.wait(20)
        return scored(body)

    with scripted(answer) as (url, asked), ThreadPoolExecutor(1) as threads:
        client = Client(url)
        asking = threads.submit(client.score, "q", ["abc"])
        until(lambda: asked)
        client.close()
        go_on.set()
        found = asking.exception(20)
    assert isinstance(found, PlauditError)
    assert "closed" in str(found)


def test_connections_in_flight_are_closed_with_the_client(monkeypatch):
    go_on = threading.Event()
    made = []
    make = httpx.AsyncClient

    def remembered(**options):
        made.append(make(**options))
        return made[-1]

    def answer(body):
        go_on.wait(20)
        return scored(body)

    async def main(url, asked):
        client = AsyncClient(url, in_flight=2)
        asking = [asyncio.create_task(client.score("q", ["x" * n])) for n in range(5)]
        while len(asked) < 2:
            await asyncio.sleep(0.005)
        await client.close()
        go_on.set()
        return await asyncio.gather(*asking, return_exceptions=True)

    monkeypatch.setattr("httpx.AsyncClient", remembered)
    with scripted(answer) as (url, asked):
        found = asyncio.run(main(url, asked))
    assert all(isinstance(one, PlauditError) and "closed" in str(one) for one in found)
    assert len(asked) == 2
    assert [http.is_closed for http in made] == [True, True]


def test_an_answer_that_does_not_come_is_not_waited_for(connect):
    turns = itertools.count()

    def answer(body):
        if not next(turns):
            time.sleep(1)
        return scored(body)

    with scripted(answer) as (url, asked), connect(url, timeout=0.3, retries=0) as client:
        with pytest.raises(ServiceError, match=r"no answer within 0\.3 s"):
            client.score("q", ["abc"])
        assert client.score("q", ["abc"]) == [3]
    assert len(asked) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"<html>Welcome to nginx!</html>",
        {"rewards": [1.0], "truncated": [False]},
        {"scores": [1.0, 2.0]},
        [1.0, 2.0],
        {"rewards": ["a", "b"], "truncated": [False, False]},
        {"rewards": [1.0, True], "truncated": [False, False]},
        {"rewards": [1.0, 10**400], "truncated": [False, False]},
        {"rewards": [1.0, 2.0], "truncated": [False, None]},
        {"rewards": [1.0, 2.0], "truncated": ["no", "no"]},
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_of_ours_is_said(connect, content):
    _, message, _ = raised(connect, (200, content, {}), ["a", "b"])
    assert message.startswith("URL/score: this is no answer of plaudit's service: ")


@pytest.mark.parametrize(
    "content",
    [
        {"error": {"type": "invalid", "message": "why not", "where": 5}},
        {"error": {"type": None, "message": None}},
        b"[" * 100_000,
    ],
    ids=["where", "null", "deep"],
)
def test_a_refusal_in_no_form_of_ours_is_shown(connect, content):
    beginning = content if isinstance(content, bytes) else json.dumps(content).encode()
    _, message, _ = raised(connect, (422, content, {}))
    assert message.startswith(f"URL/score: 422: {beginning[:40].decode()}")


def test_a_ranking_of_other_completions_is_no_answer(connect):
    place = {"index": 0, "rank": 1, "reward": 1.0, "probability": 0.5, "truncated": False}
    for ranking in ([place], [place, place], [place, place | {"index": 1, "rank": "2"}]):
        with (
            scripted(lambda body, found=ranking: (200, {"ranking": found}, {})) as (url, _),
            connect(url) as client,
            pytest.raises(ServiceError, match="this is no answer"),
        ):
            client.rank("q", ["a", "b"])


def test_a_reward_that_is_no_number_is_an_error(connect):
    content = {"rewards": [float("nan")], "truncated": [False]}
    message = raised(connect, (200, content, {}))[1]
    assert "not a finite number" in message
    assert message.endswith('; the prompt is "q"')


def test_a_prompt_is_named_only_where_the_texts_are_the_reason(connect):
    assert raised(connect, refusal(422, "too_long"))[1].endswith('; the prompt is "q"')
    for status, kind in ((401, "key"), (404, "path"), (500, "internal")):
        assert "prompt" not in raised(connect, refusal(status, kind))[1]
    with (
        connect(f"http://127.0.0.1:{free_port()}", retries=0) as client,
        pytest.raises(ServiceError, match=r"cannot connect") as found,
    ):
        client.score("q", ["a"])
    assert "prompt" not in str(found.value)


# ---- one that takes its time ----


@contextmanager
def dripping(head):
    """A server that sends a byte every 0.1 s, of the head of its answer or of the body."""
    over = threading.Event()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n"

    class Handler(BaseRequestHandler):
        def handle(self):
            self.request.recv(65536)
            self.request.sendall(answer + (b"X-Slow: " if head else b"\r\n"))
            while not over.wait(0.1):
                self.request.sendall(b" ")

    class Server(ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass  # the client went away

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            over.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("head", [True, False], ids=["head", "body"])
def test_an_answer_that_drips_is_not_waited_for(connect, head):
    with dripping(head) as url, connect(url, timeout=0.4, retries=0) as client:
        started = time.monotonic()
        with pytest.raises(ServiceError, match=r"/score: no answer within 0\.4 s"):
            client.score("q", ["abc"])
        with pytest.raises(ServiceError, match=r"/ready: .*not ready within 0\.2 s"):
            client.wait_until_ready(0.2)
        assert time.monotonic() - started < 2


def test_whoever_leaves_after_an_error_waits_for_nobody(connect):
    """The others were told to come again in a minute."""

    def answer(body):
        later = refusal(503, "queue_full", retry_after=60)
        return refusal(422, "invalid") if body["completions"] == ["bad"] else later

    started = time.monotonic()
    with (
        scripted(answer) as (url, _),
        pytest.raises(ServiceError, match="422"),
        connect(url) as client,
    ):
        list(client.score_all([("q", ["bad"]), *[("q", ["abc"])] * 5]))
    # Of the parts of one prompt the first that fails ends the others' waiting, too.
    with (
        scripted(answer) as (url, asked),
        pytest.raises(ServiceError, match="422"),
        connect(url) as client,
    ):
        client.score("q", [*["abc"] * 64, "bad"])
    assert len(asked) == 2
    assert time.monotonic() - started < 5


def test_an_async_client_leaves_no_task_behind():
    """Neither after an error nor once it is closed; a caller's own task gets an error."""

    def answer(body):
        first = body["completions"][0] == "0"
        return refusal(500, "internal") if first else refusal(503, "queue_full", retry_after=60)

    async def main(url):
        async with AsyncClient(url) as client:
            with pytest.raises(ServiceError, match="500"):
                await client.score("q", [str(n) for n in range(300)])
            after_error = len(asyncio.all_tasks())
            waiting = asyncio.create_task(client.score("q", ["1"]))
            while len(asked) < 6:
                await asyncio.sleep(0.01)
        with pytest.raises(PlauditError, match="this client is closed"):
            await asyncio.wait_for(waiting, 5)
        return after_error, len(asyncio.all_tasks())

    with scripted(answer) as (url, asked):
        assert asyncio.run(main(url)) == (1, 1)


def test_a_client_that_is_gone_has_no_thread():
    with scripted(scored) as (url, _):
        client = Client(url)
        assert client.score("q", ["abc"]) == [3]
        name = repr(client)
        assert name in {thread.name for thread in threading.enumerate()}
        del client
        ends = time.monotonic() + 5
        while name in {thread.name for thread in threading.enumerate()}:
            assert time.monotonic() < ends
            time.sleep(0.01)


def test_another_address_is_named(connect):
    moved = (308, b"", {"Location": "https://models.example/score"})
    message = raised(connect, moved)[1]
    assert "it sends to https://models.example/score: give that address" in message


def test_a_service_that_has_failed_is_not_waited_for(connect):
    failed = refusal(503, "failed")
    with scripted(lambda body: failed) as (url, asked), connect(url) as client:
        with pytest.raises(ServiceError, match="503 failed"):
            client.wait_until_ready(30)
        assert len(asked) == 1


def test_connections_are_kept(connect):
    with scripted(scored) as (url, asked), connect(url, in_flight=3) as client:
        for n in range(10):
            client.score("q", ["x" * n])
        assert len({connection for _, connection in asked}) == 1
        list(client.score_all([("q", ["x" * n]) for n in range(30)]))
        assert len({connection for _, connection in asked}) <= 4


def test_a_stream_is_read_as_it_is_scored(connect):
    """Many at a time and no more than asked for; nothing is read that is far ahead."""
    together, most, lock = 0, 0, threading.Lock()

    def answer(body):
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.02)
        with lock:
            together -= 1
        return scored(body)

    read = 0

    def prompts():
        nonlocal read
        for n in range(1000):
            read = n + 1
            yield "q", ["x" * n]

    with scripted(answer) as (url, _), connect(url, in_flight=5) as client:
        found = client.score_all(prompts())
        assert [next(found) for _ in range(20)] == [[n] for n in range(20)]
        found.close()
    assert most == 5
    assert 20 <= read <= 40


def test_an_error_ends_the_stream_where_it_is(connect):
    def answer(body):
        return refusal(422, "invalid") if body["prompt"] == "7" else scored(body)

    with scripted(answer) as (url, _), connect(url, in_flight=4) as client:
        stream = client.score_all([(str(n), ["x" * n]) for n in range(100)])
        assert [next(stream) for _ in range(7)] == [[n] for n in range(7)]
        with pytest.raises(ServiceError, match='422 invalid: why not; the prompt is "7"'):
            next(stream)
        each = client.score_each([(str(n), ["x" * n, "y"]) for n in range(9)])
        assert [isinstance(row[0], float) for row in each] == [True] * 7 + [False, True]
