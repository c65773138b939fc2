"""A running service: in a process of its own, as a user runs it, or in a thread of this one."""

import math
import os
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import uvicorn

import forked
from plaudit.serving.server import bounded_http
from plaudit.serving.settings import ServiceSettings

PROGRAM = """
import sys
from plaudit.model.reward_model import RewardModel
from plaudit.serving.server import serve
from plaudit.serving.settings import ServiceSettings
folder, port, settings = sys.argv[1:]
scorer = RewardModel.load(folder, dtype="float32", device="cpu")
serve(scorer, port=int(port), settings=ServiceSettings(**eval(settings)))
"""


@contextmanager
def service(folder, **settings):
    """A running service: its process and a client of it."""
    port = free_port()
    process = forked.start("-c", PROGRAM, folder, port, repr(settings))
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until_ready(client, process)
            yield process, client
    finally:
        process.kill()


@contextmanager
def inside(app, delay=0.0):
    """An app on a port, served by a thread of this process; gives a client of it.

    With `delay` the client is there at once, and the app answers only after so many seconds.
    """
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    service = getattr(app.state, "service", None)
    settings = service.settings if service else ServiceSettings()
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        http=bounded_http(settings),
        timeout_keep_alive=math.ceil(settings.keep_alive),
    )
    server = uvicorn.Server(config)

    def run():
        time.sleep(delay)
        server.run(sockets=[listening])

    thread = threading.Thread(target=run)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            if not delay:
                until_ready(client)
            yield client
    finally:
        while thread.is_alive() and not server.started:  # before, it would not hear
            time.sleep(0.01)
        server.should_exit = True
        thread.join()


@contextmanager
def at_address(app):
    """The address of a service that runs in a thread, for a browser."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def until_ready(client, process=None):
    for _ in range(1200):
        assert process is None or process.poll() is None, process.stderr
        try:
            if client.get("/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("not ready")


def free_port():
    """A port that nobody has now. A service takes it only later, so no two processes of the suite
    are given the same: each takes ports of its own remainder."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port // 2 % workers == worker % workers:  # Linux gives odd ones
            return port
