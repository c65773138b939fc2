"""The service under load: memory stays flat, too much is shed, a shutdown finishes what it took.

The model is a small encoder with random weights that takes far longer than HTTP does. Load comes
from this machine, and takes its share of it.
"""

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import httpx
import numpy as np

import running
import tiny
from faults.long_requests import faults_in
from faults.rows import NOTHING, Row
from plaudit import RewardModel

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

from serve_load import answer, resident_gib, wire

SIZES = {"hidden_size": 192, "num_hidden_layers": 4, "intermediate_size": 768}
REQUESTS, FIRST = 5_000, 1_000
GROWTH = 0.05  # of the memory after the first thousand
TIMES = 2  # the capacity
SECONDS = 30.0
MIXED = (1,) * 9 + (64,)  # completions of requests from many programs
KNOWN = 40  # requests under load whose rewards are compared
TIMEOUT = 2.0  # seconds that the service may take for an answer; what would take longer is shed
WAITING = 40  # requests that wait when the service is told to stop
TOLERANCE = 1e-4
SHED = (429, 503)
GONE = 0  # for a status, where there is no connection any more


class Asked(NamedTuple):
    """A request, and its rewards where they were computed beforehand."""

    row: dict[str, Any]
    rewards: Sequence[float] | None


class Answered(NamedTuple):
    """How a request went: its status, 0 where the connection failed, the seconds that it took, and
    whether the rewards were right."""

    status: int
    seconds: float
    right: bool


def run(seed: int) -> list[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as folder:
        base = tiny.make("bert", Path(folder) / "base", **SIZES)
        RewardModel.load(base, dtype="float32", device="cpu").save(Path(folder) / "model")
        model = Path(folder) / "model"
        return [
            *memory(seed, model, REQUESTS, FIRST),
            *overload(seed, model, SECONDS, [4], "4 completions"),
            *overload(seed, model, SECONDS, MIXED, "one completion, and one in ten of 64,"),
            *shutdown(seed, model, WAITING),
        ]


def request(draw: Random, completions: int) -> dict[str, Any]:
    """A prompt that no other request has, and long completions."""
    words = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "reward", "better"]
    text = " ".join(draw.choices(words, k=60))
    return {
        "prompt": f"{text} {draw.random()}?",
        "completions": [" ".join(draw.choices(words, k=40)) for _ in range(completions)],
    }


async def ask(port: int, row: dict[str, Any], rewards: Sequence[float] | None) -> Answered:
    """One request over a connection of its own; `rewards` are the right ones, where known."""
    began = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(wire(row))
            status, body = await answer(reader)
        finally:
            writer.close()
    except (OSError, asyncio.IncompleteReadError):
        return Answered(0, time.monotonic() - began, False)
    taken = time.monotonic() - began
    got = json.loads(body).get("rewards") if status == 200 else None
    right = got is not None and len(got) == len(row["completions"])
    if right and rewards is not None:
        right = bool(np.allclose(got, rewards, rtol=TOLERANCE, atol=TOLERANCE))
    return Answered(status, taken, right)


async def one_after_another(
    port: int, rows: Sequence[dict[str, Any]], at_once: int
) -> list[Answered]:
    """All of them, so many at a time."""
    left = list(rows)
    found: list[Answered] = []

    async def some() -> None:
        while left:
            found.append(await ask(port, left.pop(), None))

    await asyncio.gather(*(some() for _ in range(at_once)))
    return found


def memory(seed: int, model: Path, requests: int, first: int) -> list[Row]:
    """What the service holds after the first requests, and after all."""
    draw = Random(seed)
    rows = [{"prompt": f"What is {draw.random()}?", "completions": ["A number."]}
            for _ in range(requests)]  # fmt: skip
    with running.service(model) as (process, client):
        port = client.base_url.port
        assert port is not None
        found = asyncio.run(one_after_another(port, rows[:first], 8))
        before = resident_gib(process.pid) * 1024
        found += asyncio.run(one_after_another(port, rows[first:], 8))
        after = resident_gib(process.pid) * 1024
        wrong = faults_in(process.stderr)
    wrong += [f"status {one.status}" for one in found if not one.right]
    if after > before * (1 + GROWTH):
        wrong.append(f"{after - before:.0f} MiB more")
    what = (
        f"requests, each of another prompt, one after another on 8 connections: {before:.0f} MiB "
        f"after the first {first:,}, {after:.0f} MiB after all"
    )
    return [_row(what, requests, wrong)]


def overload(
    seed: int, model: Path, seconds: float, sizes: Sequence[int], completions: str
) -> list[Row]:
    """How much the service answers at most; then twice as much arrives, whatever it answers.

    A request has as many completions as one of `sizes`, drawn anew for each, and `completions` says
    so. No two are alike: the service computes what it is asked twice once. Where some requests are
    far larger than others, a few of these that come together are more than can be done in time, at
    any load; else nothing may be shed up to what the service answers.
    """
    draw = Random(seed)

    def requests(count: float) -> list[Asked]:
        return [Asked(request(draw, draw.choice(sizes)), None) for _ in range(max(int(count), 1))]

    scorer = RewardModel.load(model, dtype="float32", device="cpu")
    known = [
        Asked(row, scorer.score(row["prompt"], row["completions"]))
        for row in (request(draw, draw.choice(sizes)) for _ in range(KNOWN))
    ]
    with running.service(model, timeout=TIMEOUT) as (process, client):
        port = client.base_url.port
        assert port is not None
        asyncio.run(one_after_another(port, [one.row for one in requests(60)], 16))  # warm
        rows = [one.row for one in requests(10 * seconds)]
        began = time.monotonic()
        alone = asyncio.run(one_after_another(port, rows, 16))
        capacity = sum(a.status == 200 for a in alone) / (time.monotonic() - began)
        half = asyncio.run(arriving(port, requests(capacity * seconds / 4), capacity / 2))
        many = [*requests(TIMES * capacity * seconds - len(known)), *known]
        draw.shuffle(many)
        twice = asyncio.run(arriving(port, many, TIMES * capacity))
        after = asyncio.run(arriving(port, requests(capacity / 2), capacity / 4))
        wrong = faults_in(process.stderr)
    usual = (200,) if len(set(sizes)) == 1 else (200, *SHED)
    wrong += [f"status {a.status}" for a in alone + half + after if a.status not in usual]
    wrong += [f"status {a.status} under load" for a in twice if a.status not in (200, *SHED)]
    every = half + twice + after
    wrong += ["a wrong reward" for a in every if a.status == 200 and not a.right]
    if not any(a.status in SHED for a in twice):
        wrong.append("nothing was shed")
    statuses = Counter(a.status for a in twice)
    each = ", ".join(f"{count:,} × {status}" for status, count in sorted(statuses.items()))
    what = (
        f"requests of {completions} arriving at {TIMES * capacity:.0f} a second, twice what the "
        f"service answers: {each}; answered in {_times(twice, 200)}, shed in {_times(twice, *SHED)}"
        f"; at half of that capacity {sum(a.status == 200 for a in half):,} of {len(half):,} "
        f"answered in {_times(half, 200)}"
    )
    return [_row(what, len(twice), wrong)]


async def arriving(port: int, requests: Sequence[Asked], rate: float) -> list[Answered]:
    """So many requests a second, none of which waits for another's answer."""
    began = time.monotonic()
    tasks = []
    for number, (row, rewards) in enumerate(requests):
        if (pause := began + number / rate - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(ask(port, row, rewards)))
    return list(await asyncio.gather(*tasks))


def shutdown(seed: int, model: Path, waiting: int) -> list[Row]:
    """SIGTERM while requests wait: all are answered, a new one is refused, it ends with 0."""
    draw = Random(seed)
    rows = [request(draw, 16) for _ in range(waiting)]
    scorer = RewardModel.load(model, dtype="float32", device="cpu")
    rewards = [scorer.score(row["prompt"], row["completions"]) for row in rows]
    with running.service(model) as (process, client):
        port = client.base_url.port
        assert port is not None
        found, late = asyncio.run(_stopped(port, process, rows, rewards))
        code = process.wait(120)
        wrong = faults_in(process.stderr)
    wrong += [f"status {a.status}" for a in found if not a.right]
    wrong += [f"a new request was answered with {late}"] if late not in (*SHED, GONE) else []
    wrong += [f"it ended with {code}"] if code else []
    what = (
        f"requests of 16 completions that wait at SIGTERM: {sum(a.right for a in found)} answered "
        f"rightly, a new one refused with {late or 'no connection'}, and the service ends with "
        f"{code}"
    )
    return [_row(what, waiting, wrong)]


async def _stopped(
    port: int, process: Any, rows: Sequence[dict[str, Any]], rewards: Sequence[Sequence[float]]
) -> tuple[list[Answered], int]:
    pairs = zip(rows, rewards, strict=True)
    tasks = [asyncio.create_task(ask(port, row, right)) for row, right in pairs]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        # Until the last of them is in the queue: the first may be answered by then.
        wanted = sum(len(row["completions"]) for row in rows)
        while await _taken(client) < wanted and not all(task.done() for task in tasks):
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        try:
            while (await client.get("/ready")).status_code == 200:
                await asyncio.sleep(0.01)
            late = (await client.post("/score", json=rows[0])).status_code
        # It had answered all, and was gone.
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
            late = GONE
    return list(await asyncio.gather(*tasks)), late


async def _taken(client: httpx.AsyncClient) -> float:
    """How many completions the service has scored, has at work, or has waiting: not less."""
    lines = (await client.get("/metrics")).text.splitlines()
    names = ("plaudit_completions_total ", "plaudit_queue_completions ")
    return sum(float(line.split()[1]) for line in lines if line.startswith(names))


def _times(found: Sequence[Answered], *statuses: int) -> str:
    """The middle and the 99th percentile of the seconds that those of some statuses took."""
    seconds = [one.seconds for one in found if one.status in statuses]
    if not seconds:
        return "no time: there are none"
    p50, p99 = np.percentile(seconds, (50, 99))
    return f"{p50:.2f} s (p50), {p99:.2f} s (p99)"


def _row(what: str, count: int, wrong: Sequence[str]) -> Row:
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
    lost = NOTHING if not wrong else f"{len(wrong):,} wrong, the first: {wrong[0]}"
    return Row(what, count, lost)
