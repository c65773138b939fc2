"""A client of `plaudit serve`: rewards of a model that runs elsewhere.

`Client` and `AsyncClient` do the same. What they ask, divide, wait for and count is written once,
as generators of steps, a request to send or seconds to wait. Tasks of asyncio take the steps, for
`Client` on an event loop in a thread of its own: only there can a request be given up at a time,
whatever the service sends by then. They need httpx (the extra `client`) and load no torch.
"""

import asyncio
import json
import math
import os
import random
import re
import threading
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import CancelledError, Future, as_completed
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import chain, count
from typing import Any, NamedTuple, Self, TypeVar, overload
from weakref import WeakKeyDictionary, finalize

from plaudit.console import counted, say
from plaudit.data.cells import excerpt, read_text, said
from plaudit.data.rankings import BadRowError, Text
from plaudit.errors import PlauditError

try:
    import httpx
except ImportError as error:
    raise PlauditError("a client needs httpx: pip install 'plaudit[client]'") from error

URL = "http://127.0.0.1:8000"
KEY_VARIABLE = "PLAUDIT_API_KEY"
# Busy, or a proxy before the service that does not reach it.
PASSING = (429, 502, 503, 504)
# Completions of a request: the service makes its batches of several requests.
PART = 64
# Requests of the most completions, answered in time one after the other, before twice as many are
# tried again.
GROWING = 16
# Seconds before the second try, and at most before another one.
PAUSE, LONGEST_PAUSE = 0.5, 30.0
# Seconds between looks at a service that is starting, at first and at most.
LOOK, LONGEST_LOOK = 0.05, 1.0
BETWEEN_LINES = 10.0  # seconds between lines that say that the service is busy
CONNECTING = 10.0  # seconds that a connection may take at most
# Parts that are read ahead for each that may be in flight.
AHEAD = 2
# A machine reaches itself without a proxy, whatever the environment says.
DIRECT = ("all://127.0.0.1", "all://localhost", "all://[::1]")
# What reading an answer may raise that is not in the form of this service.
OTHERWISE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)

T = TypeVar("T")
# What a generator wants: a request sent, for which it gets the answer or the fault, or to be called
# again after so many seconds.
Step = httpx.Request | float
Steps = Generator[Step, Any, T]
Prompts = Iterable[tuple[Text, Sequence[Text]]]


class ServiceError(PlauditError):
    """Why there is no answer: the message has the address, the status and what the service said.

    `status` is that of HTTP, None where nothing answered; `kind` is the service's own word for
    programs, such as "invalid"; `refused` tells that it does not take these texts, while it may
    take others.
    """

    def __init__(
        self, message: str, status: int | None = None, kind: str = "", *, refused: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.refused = status, kind, refused
        self.of_texts = refused  # whether these texts are the reason
        self.passing = False  # whether another try may succeed
        self.wait = 0.0  # seconds that the service asks for before it

    def but(self, message: str) -> "ServiceError":
        """The same error with more to say."""
        return ServiceError(f"{self}{message}", self.status, self.kind, refused=self.refused)


@dataclass(frozen=True)
class Ranked:
    """A completion in its place, as `/rank` gives it."""

    index: int  # its place among those that were given, from 0
    rank: int  # 1 is the best; equal rewards have equal ranks
    reward: float
    probability: float  # of being the best of them
    truncated: bool


class Address(NamedTuple):
    """Where a service is, in the form that may be shown, and whom a proxy before it lets in."""

    url: str
    user: tuple[str, str] | None  # name and password


class Served(NamedTuple):
    """The model of a service."""

    name: str
    max_length: int  # tokens of the longest row that is not truncated


class _Asking:
    """What both clients share: settings, requests, and what becomes of the answers.

    `truncation` counts completions, and those of them that were truncated, since the last report.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        key: str | None = None,
        timeout: float = 120.0,
        retries: int = 5,
        in_flight: int = 32,
    ) -> None:
        for name, number, least in (("retries", retries, 0), ("in_flight", in_flight, 1)):
            if not isinstance(number, int) or isinstance(number, bool) or number < least:
                raise PlauditError(f"{name}: {number!r} is not a whole number of {least} or more")
        seconds = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        if not (seconds and 0 < timeout < math.inf):
            raise PlauditError(f"timeout: {timeout!r} is not a number of seconds above 0")
        self._again = partial(
            type(self), url, key=key, timeout=timeout, retries=retries, in_flight=in_flight
        )
        self.url, self._user = checked_address(url)
        self.timeout, self.retries, self.in_flight = timeout, retries, in_flight
        key = checked_key(key)
        self._headers = {"Content-Type": "application/json", "User-Agent": "plaudit"}
        # A proxy before the service may have its own use for `Authorization`.
        self._headers |= {"X-API-Key": key} if key else {}
        self.truncation: dict[str, int] = {}
        self._told = False
        # Completions of a request: `_allowed` where the service says that it takes no more, `_most`
        # where more are too large for it or for its time, which may pass.
        self._allowed = self._most = PART
        self._in_time = 0  # requests of `_most` that were answered since it changed
        self._answered = 0
        self._said = -math.inf  # when that a service is busy
        self._counting = threading.Lock()
        self._closed = False
        self._open()

    def _open(self) -> None:
        """Make what holds connections."""
        self._options = _http_options(self._user)
        self._of_loops: _OfLoops = WeakKeyDictionary()

    def _check_open(self) -> None:
        if self._closed:
            raise PlauditError(f"{self.url}: this client is closed; make another one")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> Any:
        return self._again, ()  # with the key if one was given: one of the environment stays there

    def report_truncation(self) -> None:
        """Say how many completions were truncated since the last report, if any were."""
        with self._counting:
            counts, self.truncation = self.truncation, {}
        if truncated := counts.get("truncated"):
            say(
                f"{self.url}: {truncated:,} of {counted(counts['completions'], 'completion')} have "
                "more than the model reads and were truncated"
            )

    # ---- what is asked, step by step ----

    def _parts(self, prompt: Text, completions: Sequence[Text], each: bool) -> list[Steps[Any]]:
        """Requests for the completions of a prompt; with `each`, what is refused is in its place.

        Raises `PlauditError` for completions that are no list.
        """
        _check_list(completions)
        most = self._most
        return [
            self._part(prompt, completions[first : first + most], first, each)
            for first in range(0, len(completions), most)
        ]

    def _part(
        self, prompt: Text, completions: Sequence[Text], first: int, each: bool
    ) -> Steps[list[Any]]:
        """The rewards of completions, of which the first is number `first` of its prompt.

        Where they are too many for the service or for its time, they are asked for in halves; with
        `each` also where one of them is refused, until that one stands alone.
        """
        several = len(completions) > 1
        try:
            body = self._body(prompt, completions, first) | {"preference": False}
            answer = yield from self._ask("POST", "/score", body, several, first)
            rewards = self._rewards_of(answer, len(completions))
            self._grow(len(completions))
            return rewards
        except ServiceError as error:
            ours = error.refused or error.of_texts
            failed = error.but(f"; the prompt is {_quoted(prompt)}") if ours else error
        forbidden = several and failed.kind == "too_many"
        # Of 413 the number is not the reason: the next texts may be shorter.
        too_much = several and failed.status in (413, 504)
        if not (forbidden or too_much or (each and failed.refused)):
            raise failed
        if not several:
            return [failed]
        middle = len(completions) // 2
        if forbidden or too_much:
            self._shrink(middle, forbidden)
        before = yield from self._part(prompt, completions[:middle], first, each)
        after = yield from self._part(prompt, completions[middle:], first + middle, each)
        return before + after

    def _shrink(self, count: int, forbidden: bool) -> None:
        with self._counting:
            if forbidden:
                self._allowed = min(self._allowed, count)
            self._most, self._in_time = min(self._most, count), 0

    def _grow(self, count: int) -> None:
        """Ask for more at a time after an answer to so many: what was slow may be so no more."""
        with self._counting:
            if count < self._most:
                return
            self._most = min(count, self._allowed)
            self._in_time += 1
            if self._in_time >= GROWING:
                self._most, self._in_time = min(2 * self._most, self._allowed), 0

    def _rank(self, prompt: Text, completions: Sequence[Text]) -> Steps[list[Ranked]]:
        _check_list(completions)
        answer = yield from self._ask("POST", "/rank", self._body(prompt, completions))
        try:
            ranking = [
                Ranked(
                    _whole(place["index"]),
                    _whole(place["rank"]),
                    _number(place["reward"]),
                    _number(place["probability"]),
                    _truth(place["truncated"]),
                )
                for place in answer.json()["ranking"]
            ]
            if sorted(place.index for place in ranking) != list(range(len(completions))):
                raise ValueError("other completions than those that were asked for")
        except OTHERWISE as error:
            raise self._not_ours(answer) from error
        self._count([place.truncated for place in ranking])
        return ranking

    def _model(self) -> Steps[Served]:
        answer = yield from self._ask("GET", "/v1/models")
        try:
            (facts,) = answer.json()["data"]
            return Served(str(facts["id"]), _whole(facts["max_model_len"]))
        except OTHERWISE as error:
            raise self._not_ours(answer) from error

    def _readiness(self, timeout: float) -> Steps[None]:
        ends = time.monotonic() + timeout
        pause = LOOK
        while True:
            left = max(ends - time.monotonic(), LOOK)
            answer = yield self._request("GET", "/ready", None, min(left, self.timeout))
            failed = self._failure("/ready", answer)
            if failed is None:
                return
            if not failed.passing or failed.kind == "failed":
                raise failed
            if time.monotonic() + pause > ends:
                raise failed.but(f"; it was not ready within {timeout:g} s")
            yield pause
            pause = min(2 * pause, LONGEST_LOOK)

    def _ask(
        self, method: str, path: str, body: Any = None, divisible: bool = False, first: int = 0
    ) -> Steps[httpx.Response]:
        """The answer, after as many tries as it takes.

        What is `divisible` is not tried again where the service had not the time for it.
        """
        tries = 0
        answered = self._answered
        while True:
            answer = yield self._request(method, path, body, self.timeout)
            failed = self._failure(path, answer, first)
            if failed is None:
                with self._counting:
                    self._answered += 1
                return answer
            if not failed.passing or (divisible and failed.status == 504):
                raise failed
            if failed.status in (429, 503) and self._answered > answered:
                tries = 0  # it is busy with what else we ask
            answered = self._answered
            tries += 1
            if tries > self.retries:
                raise failed.but(f"; tried {counted(tries, 'time')}")
            if failed.wait > self.timeout:
                raise failed.but(f"; it asks to come again in {failed.wait:,.0f} s")
            if tries > 1:
                self._say_now_and_then(f"{failed}; trying again")
            pause = min(PAUSE * 2 ** (tries - 1), LONGEST_PAUSE) / 2
            yield max(failed.wait, pause) + random.uniform(0, pause)

    def _due(self, waiting: "deque[list[Future[Any]]] | deque[list[asyncio.Task[Any]]]") -> bool:
        """Whether the first of those that wait is to be given before another prompt is read."""
        ahead = sum(map(len, waiting))
        return ahead > AHEAD * self.in_flight or all(part.done() for part in waiting[0])

    def _say_now_and_then(self, message: str) -> None:
        """Many requests may wait for the same."""
        with self._counting:
            tell = time.monotonic() - self._said > BETWEEN_LINES
            if tell:
                self._said = time.monotonic()
        if tell:
            say(message)

    def _request(self, method: str, path: str, body: Any, timeout: float) -> httpx.Request:
        limits = httpx.Timeout(timeout, connect=min(timeout, CONNECTING), pool=None)
        return httpx.Request(
            method,
            self.url + path,
            headers=self._headers,
            content=None if body is None else json.dumps(body, ensure_ascii=False).encode(),
            extensions={"timeout": limits.as_dict()},
        )

    def _body(self, prompt: Text, completions: Sequence[Text], first: int = 0) -> dict[str, object]:
        """What is sent: texts as the service will read them. What is none is refused here."""
        named = [("prompt", "prompt", prompt)]
        named += [
            ("completion", f"completions[{place}]", text)
            for place, text in enumerate(completions, start=first)
        ]
        texts = []
        for what, where, text in named:
            try:
                texts.append(read_text(text, what, blank=True))
            except BadRowError as error:
                message = f"{self.url}: not sent: {error} ({where})"
                raise ServiceError(message, kind="invalid", refused=True) from None
        return {"prompt": texts[0], "completions": texts[1:]}

    # ---- how the steps are taken ----

    async def _through(self, steps: Steps[T], in_turn: bool = True) -> T:
        """All steps, in a task of our own; `in_turn` as one of those that may be in flight."""
        self._check_open()
        loop = asyncio.get_running_loop()
        if loop not in self._of_loops:
            self._of_loops[loop] = _Connections([], asyncio.Semaphore(self.in_flight), set())
        own = self._of_loops[loop]
        task = asyncio.current_task()
        assert task is not None
        own.asking.add(task)
        try:
            async with own.turns if in_turn else nullcontext():
                http = own.idle.pop() if own.idle else httpx.AsyncClient(**self._options)
                try:
                    return await _through(http, steps)
                finally:
                    own.idle.append(http)
        finally:
            own.asking.discard(task)

    # ---- what became of it ----

    def _failure(
        self, path: str, answer: httpx.Response | httpx.RequestError, first: int = 0
    ) -> ServiceError | None:
        """Why there is no answer; None where there is one."""
        address = self.url + path
        if isinstance(answer, httpx.RequestError):
            failed = ServiceError(f"{address}: {_fault(answer)}")
            failed.passing = isinstance(answer, httpx.TransportError) and not isinstance(
                answer, httpx.LocalProtocolError | httpx.UnsupportedProtocol
            )
            return failed
        status = answer.status_code
        if status == 200:
            return None
        kind, message, where = _refusal(answer)
        if numbered := re.match(r"completions\[(\d+)\]", where):
            where = f"completions[{int(numbered[1]) + first}]{where[numbered.end() :]}"
        message = f"{address}: {status}{f' {kind}' if kind else ''}: {message}"
        message += f" ({where})" if where else ""
        if status == 401:
            message += f"; give it as `key` or in {KEY_VARIABLE}"
        elif status == 404:
            message += "; the address is that of the service itself, as `plaudit serve` says it"
        elif "location" in answer.headers:
            message += f"; it sends to {answer.headers['location']}: give that address"
        texts = not where or where.startswith(("prompt", "completions"))
        refused = status == 413 or (status == 422 and kind in ("invalid", "too_long") and texts)
        failed = ServiceError(message, status, kind, refused=refused)
        failed.passing = status in PASSING
        failed.wait = _seconds(answer.headers.get("retry-after", ""))
        return failed

    def _not_ours(self, answer: httpx.Response) -> ServiceError:
        return ServiceError(
            f"{answer.url}: this is no answer of plaudit's service: {excerpt(answer.text)}; is the "
            "address right?",
            answer.status_code,
        )

    def _rewards_of(self, answer: httpx.Response, count: int) -> list[float]:
        try:
            content = answer.json()
            rewards = [_number(reward) for reward in content["rewards"]]
            truncated = [_truth(known) for known in content["truncated"]]
            if not len(rewards) == len(truncated) == count:
                raise ValueError(f"{len(rewards)} rewards of {count} completions")
        except OTHERWISE as error:
            raise self._not_ours(answer) from error
        if not all(map(math.isfinite, rewards)):
            failed = ServiceError(
                f"{answer.url}: the model's reward of a completion is not a finite number: the "
                "model has diverged or its numbers overflow; serve it with --dtype float32, or "
                "train it with a lower learning rate",
                answer.status_code,
            )
            failed.of_texts = True
            raise failed
        self._count(truncated)
        return rewards

    def _count(self, truncated: Sequence[bool]) -> None:
        with self._counting:
            for name, number in (("completions", len(truncated)), ("truncated", sum(truncated))):
                self.truncation[name] = self.truncation.get(name, 0) + number
            tell = any(truncated) and not self._told
            self._told = self._told or tell
        if tell:
            say(
                f"{self.url}: a completion has more than the model reads and was truncated; "
                "`truncation` counts them"
            )


class Client(_Asking):
    """A reward model that `plaudit serve` runs, with the methods of one that is loaded here.

    Args:
        url: the address of the service.
        key: an API key; by default that of the environment variable `PLAUDIT_API_KEY`, if any.
        timeout: seconds that an answer may take, from the request to its last byte. The service
            itself gives up after 60, unless told otherwise.
        retries: how often a request is sent again where the service is busy (429, 503), where a
            proxy does not reach it (502, 504), or the connection fails; after pauses that grow, and
            not before the time that the service names. Other refusals are final.
        in_flight: requests of `score_all` at a time.

    Threads may share a client; it keeps its connections. A copy in another process, pickled or
    forked, has its own. What is truncated is counted in `truncation`, and said.

    Raises `ServiceError`, a `PlauditError`, with the address, the status and what the service said.

    >>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
    ...     client.wait_until_ready(timeout=300)
    ...     client.score("What is 2 + 2?", ["4", "5"])
    [1.25, -0.5]
    """

    _process: int
    _loop: asyncio.AbstractEventLoop | None
    _thread: threading.Thread
    _leave: "finalize[..., Any]"

    @overload
    def score(self, prompt: Text, completions: str) -> float: ...  # type: ignore[overload-overlap]
    @overload
    def score(self, prompt: Text, completions: Sequence[Text]) -> list[float]: ...

    def score(self, prompt: Text, completions: str | Sequence[Text]) -> float | list[float]:
        """The reward of each completion of `prompt`; a number for one string, a list for a list."""
        if isinstance(completions, str):
            return self.score(prompt, [completions])[0]
        parts = self._parts(prompt, completions, each=False)
        if len(parts) == 1:
            return self._take(parts[0])
        return next(self.score_all([(prompt, completions)]))

    def score_all(self, prompts: Prompts) -> Iterator[list[float]]:
        """Rewards for a stream of (prompt, completions), in order, with flat memory."""
        return self._scored(prompts, each=False)

    def score_each(self, prompts: Prompts) -> Iterator[list[float | ServiceError]]:
        """`score_all` where a completion that is refused has the error in the place of its reward.

        One is refused when it cannot be read, when it is too long for the service, or when the
        model's chat template or tokenizer does not take the dialogue. Any other error is raised.
        """
        return self._scored(prompts, each=True)

    def rank(self, prompt: Text, completions: Sequence[Text]) -> list[Ranked]:
        """The completions, best first, with the probability of each being the best of them.

        They go in one request: the service says how many it takes.
        """
        return self._take(self._rank(prompt, completions))

    def model(self) -> Served:
        """The name of the model, and how many tokens it reads."""
        return self._take(self._model())

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Return when the service takes requests.

        Raises `ServiceError` after `timeout` seconds, or at once where it never will.
        """
        self._take(self._readiness(timeout))

    def close(self) -> None:
        """Close the connections, and say how many completions were truncated.

        Whoever asks it then, or waits for an answer in another thread, gets `PlauditError`.
        """
        self._closed = True
        if self._process == os.getpid():  # a fork leaves its parent's connections alone
            with self._opening:
                loop, self._loop = self._loop, None
            if loop is not None:
                self._leave()
                self._thread.join()
        self.report_truncation()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _scored(self, prompts: Prompts, each: bool) -> Iterator[list[Any]]:
        waiting: deque[list[Future[list[Any]]]] = deque()
        try:
            for prompt, completions in map(_pair, count(), _iterated(prompts)):
                parts = self._parts(prompt, completions, each)
                waiting.append([self._submit(part) for part in parts])
                while waiting and self._due(waiting):
                    yield self._row(waiting[0])
                    waiting.popleft()
            while waiting:
                yield self._row(waiting[0])
                waiting.popleft()
        finally:
            for part in chain.from_iterable(waiting):
                part.cancel()

    def _row(self, parts: list[Future[list[Any]]]) -> list[Any]:
        """What the parts have found; the first that fails ends it."""
        try:
            for part in as_completed(parts):
                part.result()
            return [reward for part in parts for reward in part.result()]
        except CancelledError:
            self._check_open()
            raise

    def _take(self, steps: Steps[T]) -> T:
        """Of each thread that asks one at a time: none takes another's turn."""
        found = self._submit(steps, in_turn=False)
        try:
            return found.result()
        except CancelledError:
            self._check_open()
            raise
        finally:
            found.cancel()  # where this thread was interrupted

    def _submit(self, steps: Steps[T], in_turn: bool = True) -> Future[T]:
        if self._process != os.getpid():
            self._open()  # a fork has no threads of its parent's, and locks that they may have held
        with self._opening:
            self._check_open()
            if self._loop is None:
                self._loop = self._started()
            return asyncio.run_coroutine_threadsafe(self._through(steps, in_turn), self._loop)

    def _open(self) -> None:
        super()._open()
        self._opening, self._counting = threading.Lock(), threading.Lock()
        self._loop = None
        self._process = os.getpid()

    def _started(self) -> asyncio.AbstractEventLoop:
        """An event loop that runs in a thread, until this client is closed or gone."""
        loop = asyncio.new_event_loop()
        # At the end of the process the thread ends with it.
        self._thread = threading.Thread(target=_run, args=(loop,), name=repr(self), daemon=True)
        self._thread.start()
        self._leave = finalize(self, _leave, loop, self._of_loops, self._process)
        self._leave.atexit = False
        return loop


class AsyncClient(_Asking):
    """`Client` for asyncio: the same settings and methods, to be awaited.

    `score_all` and `score_each` are asynchronous generators, and take a stream that is one as well.
    Event loops that share a client have connections of their own.

    >>> async def main():
    ...     async with AsyncClient("http://127.0.0.1:8000") as client:
    ...         return await client.score("What is 2 + 2?", ["4", "5"])
    >>> asyncio.run(main())  # doctest: +SKIP
    [1.25, -0.5]
    """

    @overload
    async def score(self, prompt: Text, completions: str) -> float: ...  # type: ignore[overload-overlap]
    @overload
    async def score(self, prompt: Text, completions: Sequence[Text]) -> list[float]: ...

    async def score(self, prompt: Text, completions: str | Sequence[Text]) -> float | list[float]:
        """The reward of each completion of `prompt`; a number for one string, a list for a list."""
        if isinstance(completions, str):
            return (await self.score(prompt, [completions]))[0]
        async with aclosing(self._scored([(prompt, completions)], each=False)) as rows:
            return await anext(rows)

    def score_all(
        self, prompts: Prompts | AsyncIterable[tuple[Text, Sequence[Text]]]
    ) -> AsyncIterator[list[float]]:
        """Rewards for a stream of (prompt, completions), in order, with flat memory."""
        return self._scored(prompts, each=False)

    def score_each(
        self, prompts: Prompts | AsyncIterable[tuple[Text, Sequence[Text]]]
    ) -> AsyncIterator[list[float | ServiceError]]:
        """`score_all` where a completion that is refused has the error in the place of its reward;
        see `Client.score_each`."""
        return self._scored(prompts, each=True)

    async def rank(self, prompt: Text, completions: Sequence[Text]) -> list[Ranked]:
        """The completions, best first, with the probability of each being the best of them."""
        return await self._take(self._rank(prompt, completions))

    async def model(self) -> Served:
        """The name of the model, and how many tokens it reads."""
        return await self._take(self._model())

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Return when the service takes requests; see `Client.wait_until_ready`."""
        await self._take(self._readiness(timeout), in_turn=False)

    async def close(self) -> None:
        """Close the connections, and say how many completions were truncated.

        Whoever asks then, or waits for an answer, gets `PlauditError`, in every event loop.
        """
        self._closed = True
        here = asyncio.get_running_loop()
        for loop in list(self._of_loops):
            if loop is not here and loop.is_running():
                asyncio.run_coroutine_threadsafe(_hang_up(self._of_loops), loop)
        await _hang_up(self._of_loops)
        self.report_truncation()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _scored(
        self, prompts: Prompts | AsyncIterable[tuple[Text, Sequence[Text]]], each: bool
    ) -> AsyncGenerator[list[Any], None]:
        waiting: deque[list[asyncio.Task[list[Any]]]] = deque()
        try:
            place = count()
            async for asked in _streamed(prompts):
                parts = self._parts(*_pair(next(place), asked), each)
                waiting.append([asyncio.create_task(self._through(part)) for part in parts])
                while waiting and self._due(waiting):
                    yield await self._row(waiting[0])
                    waiting.popleft()
            while waiting:
                yield await self._row(waiting[0])
                waiting.popleft()
        finally:
            await _ended(chain.from_iterable(waiting))

    async def _row(self, parts: list[asyncio.Task[list[Any]]]) -> list[Any]:
        """What the parts have found; the first that fails ends it."""
        return [reward for found in await self._found(parts) for reward in found]

    async def _take(self, steps: Steps[T], in_turn: bool = True) -> T:
        task = asyncio.create_task(self._through(steps, in_turn))
        try:
            return (await self._found([task]))[0]
        finally:
            await _ended([task])

    async def _found(self, tasks: list[asyncio.Task[T]]) -> list[T]:
        try:
            return await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if asking is None or asking.cancelling():
                raise  # it is the caller who does not want it
            self._check_open()
            raise


class _Connections(NamedTuple):
    """What an event loop has: idle connections, turns for those that may be in flight, and tasks.

    Each connection is a client of httpx, whose own pool looks at all connections for each request:
    with 32 in one pool a third as many requests get through.
    """

    idle: list[httpx.AsyncClient]
    turns: asyncio.Semaphore
    asking: set[asyncio.Task[Any]]


_OfLoops = WeakKeyDictionary[asyncio.AbstractEventLoop, _Connections]


async def _through(http: httpx.AsyncClient, steps: Steps[T]) -> T:
    given: httpx.Response | httpx.RequestError | None = None
    while True:
        try:
            step = steps.send(given)
        except StopIteration as done:
            return done.value
        if not isinstance(step, httpx.Request):
            await asyncio.sleep(step)
            continue
        try:
            # httpx's own limit is for each read: a service that sends a byte now and then keeps it.
            async with asyncio.timeout(step.extensions["timeout"]["read"]):
                given = await http.send(step)
        except httpx.RequestError as fault:
            given = fault
        except TimeoutError:
            given = httpx.ReadTimeout("", request=step)


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Return when none of the tasks runs any more."""
    left = list(tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _hang_up(of_loops: _OfLoops) -> None:
    """End what the running loop asks, and close its connections."""
    if own := of_loops.pop(asyncio.get_running_loop(), None):
        await _ended(own.asking)
        for http in own.idle:
            await http.aclose()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """The thread of a `Client`."""
    try:
        loop.run_forever()
    finally:
        loop.close()


def _leave(loop: asyncio.AbstractEventLoop, of_loops: _OfLoops, process: int) -> None:
    """End the thread of a `Client`, which is not waited for: the last use may be in that thread."""

    async def leave() -> None:
        await _hang_up(of_loops)
        loop.stop()

    if process == os.getpid():  # a fork has the loop, but not the thread
        asyncio.run_coroutine_threadsafe(leave(), loop)


def checked_address(url: str) -> Address:
    """The address of a service, without the name and the password that it may have.

    Raises:
        PlauditError: for what is no address; the message repeats no password.

    >>> checked_address("https://me:secret@models.example/first/")
    Address(url='https://models.example/first', user=('me', 'secret'))
    """
    if not isinstance(url, str):
        raise PlauditError(f"url: {url!r} is no address; give one such as {URL}")
    before, at, after = url.rpartition("@")
    scheme = before.partition("://")[0] + "://" if "://" in before else ""
    shown = f"{scheme}…@{after}" if at else url
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        why = "" if at else f": {error}"
        raise PlauditError(f"url: {shown!r} is no address{why}; give one such as {URL}") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise PlauditError(f"url: {shown!r} is no address; give one such as {URL}")
    if address.query or address.fragment:
        raise PlauditError(
            f"url: {shown!r} has a query or a fragment after the path (? or #); leave that out"
        )
    user = (address.username, address.password) if address.userinfo else None
    return Address(str(address.copy_with(userinfo=b"")).rstrip("/"), user)


def checked_key(key: str | None = None) -> str:
    """An API key; where none is given, that of `PLAUDIT_API_KEY`, or "" without one.

    Raises:
        PlauditError: for one that no header can hold; the message does not repeat it.

    >>> checked_key("first-key")
    'first-key'
    """
    name = KEY_VARIABLE if key is None else "key"
    key = os.environ.get(KEY_VARIABLE, "") if key is None else key
    if not isinstance(key, str):
        raise PlauditError(
            f"{name}: an API key is a text, and this one is of type {type(key).__name__}"
        )
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        raise PlauditError(
            f"{name}: an API key has only printable ASCII characters, and no white space before or "
            "after them; correct it"
        )
    return key


def _http_options(user: tuple[str, str] | None) -> dict[str, Any]:
    """What httpx's clients are made with."""
    return {
        "auth": user,
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=1),
        "mounts": dict.fromkeys(DIRECT),
        "verify": httpx.create_ssl_context(),  # takes longer to make than all the rest
    }


def _quoted(prompt: Text) -> str:
    """The beginning of a prompt, which may be anything."""
    try:
        words = said(read_text(prompt, "prompt", blank=True))
    except BadRowError:
        words = repr(prompt)
    return f'"{excerpt(words)}"'


async def _streamed(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in _iterated(items):
            yield item


def _iterated(prompts: Iterable[T]) -> Iterator[T]:
    try:
        return iter(prompts)
    except TypeError:
        raise PlauditError(
            f"prompts: {_shown(prompts)} is no list or stream; give pairs (prompt, completions)"
        ) from None


def _pair(place: int, asked: Any) -> tuple[Text, Sequence[Text]]:
    """A prompt and its completions; a dictionary or a text of two would come apart, too."""
    if not isinstance(asked, tuple | list) or len(asked) != 2:
        raise PlauditError(
            f"prompts[{place}]: {_shown(asked)} is no pair (prompt, completions); give a prompt "
            "and the list of its completions"
        )
    prompt, completions = asked
    return prompt, completions


def _check_list(completions: Any) -> None:
    """An array or a column is as good as a list; a set has no order for the rewards."""
    if isinstance(completions, str):
        raise PlauditError(
            f'completions: "{excerpt(completions)}" is one text; give a list for each prompt'
        )
    listed = hasattr(completions, "__len__") and hasattr(completions, "__getitem__")
    if not listed or isinstance(completions, Mapping):
        raise PlauditError(f"completions: {_shown(completions)} is no list; give a list of texts")


def _shown(value: object) -> str:
    return f"{excerpt(repr(value))} ({type(value).__name__})"


def _fault(fault: httpx.RequestError) -> str:
    """What went wrong with a request that was not answered."""
    why = str(fault) or type(fault).__name__
    if isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout):
        return f"cannot connect ({why}); is `plaudit serve` running there?"
    if isinstance(fault, httpx.TimeoutException):
        return f"no answer within {fault.request.extensions['timeout']['read']:.3g} s"
    return f"the connection broke ({why})"


def _refusal(answer: httpx.Response) -> tuple[str, str, str]:
    """The kind of a refusal, its message, and where in the request it is."""
    try:
        error = answer.json()["error"]
        kind, message, where = error["type"], error["message"], error.get("where") or ""
        if all(isinstance(word, str) for word in (kind, message, where)):
            return kind, message, where
    except OTHERWISE:
        pass
    return "", excerpt(answer.text) or answer.reason_phrase, ""  # a proxy's


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _seconds(retry_after: str) -> float:
    """What a `Retry-After` says, in seconds from now; 0 where it says nothing.

    >>> _seconds("5"), _seconds("Wed, 21 Oct 2015 07:28:00 GMT"), _seconds("")
    (5.0, 0.0, 0.0)
    """
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max((then - datetime.now(UTC)).total_seconds(), 0.0) if then.tzinfo else 0.0
