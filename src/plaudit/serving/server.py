"""Runs the service: a socket, uvicorn, and what happens between the first signal and the end.

The first SIGTERM or SIGINT lets the service refuse what is new (503), finish what it took and end;
a second one ends it at once.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from plaudit.console import counted, say
from plaudit.errors import PlauditError
from plaudit.labelling.labelling import Labelling
from plaudit.model.devices import dtype_name
from plaudit.model.scorer import Scorer
from plaudit.serving.app import build_app
from plaudit.serving.settings import ServiceSettings

# How a machine calls itself.
LOCAL = ("localhost", "127.0.0.1", "[::1]")
# Bytes before a request's body: its line and headers.
MAX_HEAD = 64 * 1024
# Seconds at the end beyond those of a body, for the last answers to be read.
READING = 2.0
# Beyond so many times the connections that are served, who comes is hung up on without an answer.
HELD = 2
# What a shell expects of a program that was interrupted.


def serve(
    scorer: Scorer,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    settings: ServiceSettings | None = None,
    labelling: Labelling | None = None,
) -> None:
    """Serve a reward model, or an ensemble, until a signal says to stop.

    Args:
        scorer: what gives rewards.
        host: the address to listen on; the default is reached from this machine alone.
        port: 0 takes one that is free. The line that says that the service is ready names it.
        settings: limits, keys and the rest.
        labelling: what the labelling page hands out.

    Raises:
        PlauditError: when the address cannot be listened on, or the model does not work.

    >>> from plaudit import RewardModel
    >>> serve(RewardModel.load("runs/first"), port=8000)  # doctest: +SKIP
    """
    settings = settings or ServiceSettings()
    listening = _listen(host, port)
    local = _is_loopback(listening)
    if not local and not settings.keys:
        say(
            "anybody who reaches this address can use the service: set keys with --keys FILE; "
            "until then it answers to its address, to another name only with --allowed-host NAME"
        )
    # With keys a page that found its way here by a name of its own has nothing to ask.
    if local or not settings.keys or settings.allowed_host:
        own = (*LOCAL, host, *(() if local else (socket.gethostname(),)))
        settings = replace(settings, allowed_host=(*own, *settings.allowed_host))
    scorer.warn_if_untrained()
    app = build_app(scorer, settings, labelling)
    # Its warnings say no more than that somebody sent what is no HTTP, as often as they do.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=round(settings.keep_alive),
        limit_concurrency=settings.max_connections,
        http=bounded_http(settings),
        ws="none",
        lifespan="on",
    )
    url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    where = url if labelling is None else f"{url}, to label at {url}/label"
    server = _Server(config, app.state.service, where)
    server.run(sockets=[listening])
    if server.failed is not None:
        raise PlauditError(f"the model does not work: {server.failed}") from server.failed


def described(scorer: Scorer, settings: ServiceSettings) -> str:
    """What a service computes, and what it lets through, in a line.

    >>> from plaudit import RewardModel
    >>> described(RewardModel.load("runs/first", dtype="float32"), ServiceSettings())
    'in float32, pooling ..., no keys; of a request 1,024 completions at most, in 60 s (--timeout)'
    """
    models = getattr(scorer, "members", [scorer])
    types = dict.fromkeys(dtype_name(model.dtype) for model in models if hasattr(model, "dtype"))
    poolings = dict.fromkeys(encoding.pooling for encoding in scorer.encodings)
    keys = counted(len(settings.keys), "key") if settings.keys else "no keys"
    rate = f", {settings.rate_limit:,} requests a minute" if settings.rate_limit else ""
    return (
        f"in {', '.join(types) or 'its own type'}, pooling {', '.join(poolings)}, {keys}{rate}; of "
        f"a request {settings.max_completions:,} completions at most, in {settings.timeout:g} s "
        "(--timeout)"
    )


class _Server(uvicorn.Server):
    """uvicorn's server with an end that finishes what was taken, and a word when it is ready."""

    def __init__(self, config: uvicorn.Config, service: Any, where: str) -> None:
        super().__init__(config)
        self.service = service
        self.where = where
        self.failed: BaseException | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._watching = asyncio.ensure_future(self._say_when_ready())

    async def _say_when_ready(self) -> None:
        batcher = self.service.batcher
        while not batcher.warm and not self.should_exit:
            if batcher.failed is not None:
                self.failed, self.should_exit = batcher.failed, True
                return
            await asyncio.sleep(0.02)
        if not self.should_exit:
            say(f"serving {self.service.settings.name} at {self.where} (Ctrl+C stops it)")
            say(described(self.service.scorer, self.service.settings))

    async def _drain(self) -> None:
        await self.service.batcher.drained()
        self.should_exit = True
        # By then every body has come or was given up: who is left does not read the answer.
        await asyncio.sleep(self.service.settings.body_timeout + READING)
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()

    def _stop(self, number: int) -> None:
        if self.service.draining:
            say("stopped at once")
            os._exit(128 + number)  # as shells have it
        self.service.draining = True
        say("stopping: finishing what was taken; a second signal stops at once")
        self._draining = asyncio.ensure_future(self._drain())

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def bounded_http(settings: ServiceSettings | None = None) -> type[HttpToolsProtocol]:
    """The protocol of connections with bounds that uvicorn has none for: the bytes of a request's
    head, the seconds that it may take, and those that an answer may lie unread."""
    limits = settings or ServiceSettings()

    class Bounded(HttpToolsProtocol):
        head = 0  # bytes so far of one that is not complete
        in_body = False
        moved = False  # whether a head or a body was completed by what came last
        timer: asyncio.TimerHandle | None = None  # of a head that is awaited

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            open_only: Any = _WhileOpen(transport)
            super().connection_made(open_only)
            if len(self.connections) > HELD * limits.max_connections:
                transport.abort()
                return
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._have_head()
            super().connection_lost(exc)

        def on_headers_complete(self) -> None:
            self.in_body = self.moved = True
            self._have_head()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self.in_body, self.moved = False, True
            super().on_message_complete()

        def data_received(self, data: bytes) -> None:
            self.moved = False
            super().data_received(data)
            self.head = 0 if self.in_body or self.moved else self.head + len(data)
            if self.transport.is_closing():
                return
            if self.head > MAX_HEAD:
                self.send_400_response("The head of the request is too large.")
            elif self.head and self.timer is None:
                self._await_head()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch_reading()

        def _await_head(self) -> None:
            self.timer = self.loop.call_later(limits.head_timeout, self._hang_up)

        def _have_head(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

        def _hang_up(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._await_head()  # of the request after the one that is being answered
            else:
                self.transport.abort()

        def _watch_reading(self) -> None:
            if self.transport.get_write_buffer_size():
                self.loop.call_later(limits.body_timeout, self._hang_up_if_unread, self._taken())

        def _hang_up_if_unread(self, before: int) -> None:
            if self.transport.get_write_buffer_size() and self._taken() == before:
                self.transport.abort()
            else:
                self._watch_reading()

        def _taken(self) -> int:
            """Bytes of all answers of this connection that have left for the client."""
            wire: Any = self.transport
            written: int = wire.written
            return written - self.transport.get_write_buffer_size()

    return Bounded


class _WhileOpen:
    """A transport that drops what is written to it while it closes: the client is gone, and uvicorn
    hears of it only after that. uvloop's own raises, which would look like a fault of ours."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written = 0  # bytes

    def write(self, data: bytes) -> None:
        """As `asyncio.Transport` has it."""
        if not self._transport.is_closing():
            self._transport.write(data)
            self.written += len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise PlauditError(f"port: {port} is not one of 0 to {2**16 - 1}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PlauditError(
            f"cannot listen on {host} port {port}: {reason}; choose others with --host and --port"
        ) from error
    return listening


def _is_loopback(listening: socket.socket) -> bool:
    address = listening.getsockname()[0]
    return address.startswith("127.") or address == "::1"
