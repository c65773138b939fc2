"""What every request passes: is it for us, may it ask, is it too much, how did it go.

Refusals have one shape, `{"error": {"message", "type", "where", "examples"}}`, and say why; none
repeats what the user wrote, but for the name of a field that is unknown. Nor do logs, unless that
is asked for.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import math
import os
import time
import traceback
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from plaudit import json_text
from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.serving.metrics import Metrics
from plaudit.serving.settings import ServiceSettings, check_keys, read_keys

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Of a body that is too large so many bytes more are read and thrown away, for the client to get to
# the answer: most write all of a body before they read.
DISCARDED = 64 * 2**20
GONE = 499  # what is counted where the client went away, and nobody gets
LOOKED_AT = 1.0  # seconds after which a file of keys is looked at again
MOST_ASKING = 100_000  # keys and addresses whose rates are known
SHOWN = 80  # characters of a path or a field's name that fit into a line


class RefusedError(Exception):
    """A request that is not answered: `kind` tells programs why, `message` tells people, and
    `examples` are bodies, by protocol, that would be."""

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        where: str = "",
        examples: Mapping[str, Any] | None = None,
        **headers: str,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.where = status, kind, message, where
        self.examples = examples
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> Response:
        """The answer that says so."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind}
        if self.where:
            error["where"] = self.where
        if self.examples:
            error["examples"] = self.examples
        return json_response({"error": error}, self.status, self.headers)


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """An answer in JSON."""
    return Response(to_json(content), status, headers, media_type="application/json")


class Keys:
    """The keys that open the service, as hashes; those of a file are read anew when it changes.

    A file that then cannot be read, or has no key, leaves the keys as they were.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.path = settings.keys_file
        self._hashes = [_hash(key.encode()) for key in settings.keys]
        # The file may have changed while the model was loaded: the first request looks.
        self._state: tuple[int, ...] | None = None
        self._looked = -math.inf

    def fitting(self, given: bytes) -> bytes | None:
        """The hash of the key that this is, if it is one."""
        if self.path is not None and time.monotonic() > self._looked + LOOKED_AT:
            self._read_if_changed()
        asked = _hash(given)
        # All are compared, also after one that fits, and all are of one length: the time tells
        # nothing.
        fits = [hmac.compare_digest(asked, each) for each in self._hashes]
        return asked if any(fits) else None

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self.path) if self.path is not None else None
        except OSError:
            return ()
        return found and (found.st_mtime_ns, found.st_size, found.st_ino)

    def _read_if_changed(self) -> None:
        self._looked = time.monotonic()
        state = self._look()
        if state == self._state:
            return
        self._state = state
        try:
            keys = read_keys(self.path)
            check_keys(keys)
        except PlauditError as error:
            say(f"{error}. The keys stay as they were")
            return
        hashes = [_hash(key.encode()) for key in keys]
        if hashes == self._hashes:
            return
        self._hashes = hashes
        say(f"{self.path}: changed; the keys are those that it has now")


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class Rates:
    """Requests a minute of each who asks: so many at once, and then as they come round again."""

    def __init__(self, most: int) -> None:
        self.seconds = 60 / most
        self._used_up: OrderedDict[bytes, float] = OrderedDict()  # until when, if asked no more

    def wait(self, who: bytes) -> float:
        """Count a request; or the seconds after which there is room for it."""
        now = time.monotonic()
        until = max(self._used_up.get(who, now), now) + self.seconds
        if until > now + 60 + self.seconds / 2:
            return until - now - 60
        self._used_up[who] = until
        self._used_up.move_to_end(who)
        if len(self._used_up) > MOST_ASKING:
            self._used_up.popitem(last=False)
        return 0.0


def address_of(scope: Message) -> bytes:
    """Who asks, where no key tells: an address, or of IPv6 the network that one machine may have.

    >>> address_of({"client": ("2001:db8::1", 1)}) == address_of({"client": ("2001:db8::2", 1)})
    True
    """
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.encode()
    return address.packed[:8] if address.version == 6 else address.packed


class Gate:
    """The outermost layer of the service: an ASGI application around another."""

    def __init__(
        self,
        app: Any,
        settings: ServiceSettings,
        metrics: Metrics,
        endpoints: frozenset[str],
        public: tuple[str, ...],
    ) -> None:
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self.endpoints = endpoints
        self.public = {path for path in public if not path.endswith("/") or path == "/"}
        self.public_below = tuple(path for path in public if path.endswith("/") and path != "/")
        self.keys = Keys(settings)
        self.hosts = {host.lower() for host in settings.allowed_host}
        self.rates = Rates(settings.rate_limit) if settings.rate_limit else None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it; count it either way."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            headers = dict(scope["headers"])
            self._check_host(headers)
            self._check_origin(scope["method"], headers)
            self._check_key(scope, headers)
            # HEAD, as some health checks ask, is GET without a body, which the server leaves out.
            asked = dict(scope) | {"method": "GET"} if scope["method"] == "HEAD" else scope
            await self.app(asked, self._within_limits(receive), noting)
        except RefusedError as refused:
            await refused.response()(scope, receive, noting)
        except ClientDisconnect:
            status = GONE
        except Exception as error:
            report_fault(error, self.settings.log_text)
            if not status:
                ours = RefusedError(500, "internal", "the service's own fault; its log says more")
                await ours.response()(scope, receive, noting)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        """Refuse a `Host` that is not ours: a foreign web page could point a name of its own at
        this machine and have the browser ask (DNS rebinding). An address is no name."""
        if not self.hosts or "*" in self.hosts:
            return
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name, _, port = host.rpartition(":")
        name = name if port.isdigit() else host
        if name not in self.hosts and not _is_address(name):
            raise RefusedError(
                421,
                "host",
                "this service does not answer to that name (Host); `plaudit serve --allowed-host "
                "NAME` lets it",
            )

    def _check_origin(self, method: str, headers: dict[bytes, bytes]) -> None:
        """Refuse what a page of another site has a browser ask (CSRF). Browsers say where from, and
        no page can make them say otherwise; what says nothing is no browser."""
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if site in (b"same-origin", b"none") or (site is None and origin is None):
            return
        if origin is not None:
            where = origin.decode("latin-1")
            if where in self.settings.allowed_origin:
                return
            scheme, _, host = where.lower().partition("://")
            usual = {"http": ":80", "https": ":443"}.get(scheme, "")  # which a proxy may name
            called = headers.get(b"host", b"").decode("latin-1").lower()
            if site is None and called in (host, f"{host}{usual}"):
                return  # of a browser that is old, or that asks without TLS
        elif method in ("GET", "HEAD") and headers.get(b"sec-fetch-mode") == b"navigate":
            return  # a link to one of our pages
        raise RefusedError(
            403,
            "origin",
            "a page of another site may not ask this service; `plaudit serve --allowed-origin "
            "ORIGIN` lets it",
        )

    def _check_key(self, scope: Message, headers: dict[bytes, bytes]) -> None:
        """Refuse who has no key where one is needed, and who asks too often."""
        path = scope["path"]
        if path in self.public or path.startswith(self.public_below):
            return
        key = None
        if self.keys:
            given = headers.get(b"x-api-key", b"")
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() == b"bearer":
                given = token.strip()
            key = self.keys.fitting(given)
        if self.rates and (wait := self.rates.wait(key or address_of(scope))):
            after = math.ceil(wait)
            raise RefusedError(
                429,
                "rate",
                f"more than {self.settings.rate_limit:,} requests a minute; try again in {after} s",
                retry_after=str(after),
            )
        if self.keys and key is None:
            raise RefusedError(
                401,
                "key",
                "no valid API key: send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                www_authenticate="Bearer",
            )

    def _within_limits(self, receive: Receive) -> Receive:
        """`receive`, refusing a body that is too large, however it is sent, or too slow."""
        size = 0
        complete = False
        ends = asyncio.get_running_loop().time() + self.settings.body_timeout

        async def limited() -> Message:
            nonlocal size, complete
            if complete:  # what comes now is that the client goes
                return await receive()
            try:
                async with asyncio.timeout_at(ends):
                    while True:
                        message = await receive()
                        size += len(message.get("body", b""))
                        complete = not message.get("more_body", False)
                        if size <= self.settings.max_body_bytes:
                            return message
                        if complete or size > self.settings.max_body_bytes + DISCARDED:
                            break
            except TimeoutError:
                complete = True
                raise RefusedError(
                    408,
                    "timeout",
                    f"the body did not arrive within {self.settings.body_timeout:g} s",
                    connection="close",
                ) from None
            raise RefusedError(
                413,
                "too_large",
                f"the body has more than {self.settings.max_body_bytes:,} bytes; send several "
                "requests",
                connection="close",
            )

        return limited

    def _note(self, scope: Message, status: int, seconds: float) -> None:
        """Count a request, and write its line where lines are asked for."""
        path = scope["path"]
        endpoint = path if path in self.endpoints else "other"
        self.metrics.requests.labels(endpoint, str(status)).inc()
        self.metrics.seconds.labels(endpoint).observe(seconds)
        if self.settings.log_requests:
            method = printable(scope["method"])
            line = f"{method} {printable(path)} {status} {1000 * seconds:.0f} ms"
            if "completions" in scope:
                line += f", completions: {scope['completions']}"
            say(line)


def _is_address(name: str) -> bool:
    """Whether a host is an address, with brackets where it is one of IPv6."""
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True


def report_fault(error: BaseException, log_text: bool) -> None:
    """Say where it happened, without what a message may quote of a user's text."""
    lines = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
    what = repr(error) if log_text else type(error).__name__
    say(f"a fault of our own: {what}\n{lines.rstrip()}")


async def read_json(request: Request) -> Any:
    """The JSON of a request's body."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(415, "content_type", "send JSON, with `Content-Type: application/json`")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "content_encoding", "send the body as it is, not compressed")
    try:
        body = await request.body()
        value = from_json(body, allow_inf_nan=False)
        json_text.from_json(body.decode())  # in which no key stands twice
        return value
    except ValueError as error:
        raise RefusedError(400, "json", f"the body is not JSON: {error}") from None


def invalid(error: ValidationError, examples: Mapping[str, Any] | None = None) -> RefusedError:
    """Why a request is not one of its protocol: the first fault, where it is, and right ones."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return RefusedError(422, "invalid", _plain(error), _path(first["loc"]), examples)


# What pydantic finds, by its name for that, as whoever sent the request would say it.
PLAINLY = {
    "extra_forbidden": "there is no such field",
    "missing": "is missing",
    "list_type": "is no list",
    "string_type": "is no text",
    "bool_type": "is neither true nor false",
    "int_type": "is no whole number",
    "int_from_float": "is no whole number",
    "float_type": "is no number",
    "finite_number": "is no finite number",
    "dict_type": "is no object",
    "model_type": "is no object",
    "model_attributes_type": "is no object",
    "literal_error": "is not one of {expected}",
    "too_short": "has {actual_length} entries, and {min_length} is the least",
    "too_long": "has more than {max_length} entries",
    "string_too_short": "has fewer than {min_length} characters",
    "string_too_long": "has more than {max_length} characters",
    "greater_than": "is not above {gt}",
    "greater_than_equal": "is less than {ge}",
    "less_than": "is not below {lt}",
    "less_than_equal": "is more than {le}",
}


def _plain(error: ValidationError) -> str:
    """What is wrong first, in words of no library."""
    first = error.errors(include_url=False, include_input=False)[0]
    if known := PLAINLY.get(first["type"]):
        return known.format(**first.get("ctx", {}))
    return first["msg"].removeprefix("Value error, ")


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for step in loc:
        shown = f"[{step}]" if isinstance(step, int) else printable(step)
        path += shown if isinstance(step, int) or not path else f".{shown}"
    return path


def printable(name: str) -> str:
    """A path or a name of the client's, fit to be written on one line.

    >>> printable("/score\\n2026 all is well")
    '/score?2026 all is well'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in name[:SHOWN])
