"""10,000 fuzzed requests over all protocols: refused with a reason, or answered, never a 500.

Most go to the application in this process, as a server hands them on, sixteen at a time; the rest
go as bytes over sockets to a service in a process of its own. In between, right requests are
answered as before, and nothing that is said is a traceback.
"""

import asyncio
import contextlib
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import running
import tiny
from faults.asking import (
    SPOKEN,
    Request,
    draw_bytes,
    draw_request,
    inside,
    over_socket,
    wrong_answer,
)
from faults.rows import NOTHING, Row
from plaudit import RewardModel
from plaudit.labelling.labelling import Labelling
from plaudit.serving.app import build_app
from plaudit.serving.settings import ServiceSettings

INSIDE, OVER_SOCKETS = 8_000, 2_000
AT_ONCE = 16
TOLERANCE = 1e-5
LIMITS = ServiceSettings(
    max_body_bytes=64 * 1024, max_completions=32, max_characters=5000, body_timeout=1.0
)


def run(seed: int) -> list[Row]:
    """The rows of the table; what is wrong is said as it is found."""
    with tempfile.TemporaryDirectory() as folder:
        base = tiny.make("qwen2", Path(folder) / "base")
        model = RewardModel.load(base, dtype="float32", device="cpu")
        model.save(Path(folder) / "model")
        model.new_head = False
        return [
            ask_inside(seed, INSIDE, model, Path(folder)),
            ask_over_sockets(seed, OVER_SOCKETS, Path(folder) / "model"),
        ]


def ask_inside(seed: int, count: int, model: RewardModel, folder: Path) -> Row:
    """So many requests to the application in this process."""
    data = folder / "to_label.jsonl"
    rows = [{"prompt": f"{n}?", "completions": ["Yes.", "No."]} for n in range(5)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labelling = Labelling(model, data, folder / "labels.csv")
    app = build_app(model, LIMITS, labelling)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        statuses, wrong = asyncio.run(_ask_inside(app, seed, count))
    wrong += faults_in(said.getvalue())
    return _row(f"fuzzed requests to all {_paths()} paths of protocols and pages, in one process",
                count, statuses, wrong)  # fmt: skip


async def _ask_inside(app: Any, seed: int, count: int) -> tuple[Counter[int], list[str]]:
    statuses: Counter[int] = Counter()
    wrong: list[str] = []

    async def one(number: int) -> None:
        try:
            status, body = await inside(app, draw_request(seed, number))
        except Exception as error:
            wrong.append(f"request {number}: {repr(error)[:200]}")
            return
        statuses[status] += 1
        if problem := wrong_answer(status, body):
            wrong.append(f"request {number}: {problem}")

    async with app.router.lifespan_context(app):
        while (await inside(app, get("/ready")))[0] != 200:
            await asyncio.sleep(0.05)
        before = await right_answers(app)
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count))
            await asyncio.gather(*map(one, numbers))
            if start % (AT_ONCE * 25) == 0:
                if await right_answers(app) != before:
                    wrong.append(f"after request {start}: a right request is answered otherwise")
                # Not to stderr, which is what is looked at.
                print(f"{start:,} of {count:,} in one process", file=sys.__stderr__, flush=True)
        if await right_answers(app) != before:
            wrong.append("at the end a right request is answered otherwise")
    return statuses, wrong


def get(path: str) -> Request:
    """A right request for what is no protocol's."""
    return Request("GET", path, b"", [], [b""], False)


async def right_answers(app: Any) -> list[Any]:
    """What the example of each protocol is answered at each path, to a few digits."""
    found = []
    for protocol in SPOKEN:
        for path in protocol.paths:
            body = json.dumps(protocol.example).encode()
            headers = [(b"content-type", b"application/json")]
            status, answer = await inside(app, Request("POST", path, b"", headers, [body], False))
            found.append((path, status, settled(json.loads(answer))))
    return found


def settled(value: Any) -> Any:
    """An answer without what differs each time, its numbers rounded."""
    if isinstance(value, dict):
        return {k: settled(v) for k, v in value.items() if k not in ("id", "created")}
    if isinstance(value, list):
        return [settled(each) for each in value]
    if isinstance(value, str) and value.startswith("reward:"):
        return round(float(value.removeprefix("reward:")), 3)
    return round(value, 3) if isinstance(value, float) else value


def ask_over_sockets(seed: int, count: int, model: Path) -> Row:
    """So many requests, as bytes, to a service in a process of its own."""
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    good = {"prompt": "What is a bond?", "completions": ["A loan.", "It depends."]}
    with running.service(model, **asdict(LIMITS)) as (process, client):
        port = client.base_url.port
        assert port is not None
        before = settled(client.post("/score", json=good).json())

        def one(number: int) -> tuple[int, list[int]]:
            return number, over_socket(port, *draw_bytes(seed, number))

        with ThreadPoolExecutor(AT_ONCE) as threads:
            for number, answered in threads.map(one, range(count)):
                statuses.update(answered or [0])
                if any(status >= 500 for status in answered):
                    wrong.append(f"bytes {number}: {answered}")
                if number % 200 == 0:
                    if settled(client.post("/score", json=good).json()) != before:
                        wrong.append(f"after bytes {number}: a right request is answered otherwise")
                    print(f"{number:,} of {count:,} over sockets", file=sys.stderr, flush=True)
        if settled(client.post("/score", json=good).json()) != before:
            wrong.append("at the end a right request is answered otherwise")
        if process.poll() is not None:
            wrong.append("the service died")
        wrong += faults_in(process.stderr)
    return _row("fuzzed bytes over sockets, of HTTP and nearly HTTP", count, statuses, wrong)


def faults_in(said: str) -> list[str]:
    """The lines of a log that tell of a fault of the service's own."""
    marks = ("Traceback", "a fault of our own", "Exception in")
    return [line for line in said.splitlines() if any(mark in line for mark in marks)]


def _paths() -> int:
    return len({path for protocol in SPOKEN for path in protocol.paths})


def _row(what: str, count: int, statuses: Counter[int], wrong: list[str]) -> Row:
    names: Callable[[int], str] = lambda status: str(status or "no answer")  # noqa: E731
    each = ", ".join(f"{times:,} × {names(status)}" for status, times in sorted(statuses.items()))
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
    lost = NOTHING if not wrong else f"{len(wrong):,} wrong, the first: {wrong[0]}"
    return Row(f"{what}: {each}; right ones in between were answered as before", count, lost)
