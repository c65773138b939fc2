"""`plaudit serve` under load, beside `plaudit score` and a plain endpoint, on the same requests.

Connections that never rest send requests to the service, then to an endpoint as people write it, a
FastAPI function that scores each request alone. `plaudit score` reads the same requests as rows of
a file. Loading and warming up are not timed. Every answer's rewards are compared with those that
`RewardModel.score` gave beforehand. The load is made on the same machine, and costs the service
what it takes.

A request is one completion (`one`), as a trainer sends them; a prompt with all of its completions
(`ranking`); or one of sixteen completions of a prompt, sent one by one (`best-of-16`).

    python benchmarks/serve_load.py MODEL DATA [--shape one] [--seconds 60] [--json FILE]

`MODEL` is a run or model folder; `DATA` what `plaudit score` reads, rows with `completions`.
"""

import argparse
import asyncio
import itertools
import json
import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SHAPES = ("one", "ranking", "best-of-16")
WARM_UP = 3.0  # seconds
TOLERANCE = 1e-5


class Request(NamedTuple):
    """What is sent, as it goes over the wire, and what must come back."""

    row: dict[str, Any]
    sent: bytes
    rewards: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--shape", action="append", choices=SHAPES, default=[])
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--prompts", type=int, default=256, help="distinct prompts to ask for")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plain-on", type=int, help=argparse.SUPPRESS)  # a port: be the endpoint
    options = parser.parse_args()
    if options.plain_on:
        plain_endpoint(options.model, options.plain_on)
        return
    # Not above: it would make the plain endpoint, which is this file too, hold all of TRL.
    from contenders import machine

    results: dict[str, Any] = {
        "machine": machine("float32", None),
        "options": vars(options),
        "shapes": {},
    }
    for shape in options.shape or SHAPES:
        results["shapes"][shape] = measure(shape, options)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n")


def measure(shape: str, options: argparse.Namespace) -> dict[str, Any]:
    """One shape of requests against all three."""
    from contenders import show

    requests = in_child(make_requests, shape, options.model, options.data, options.prompts)
    completions = sum(len(request.rewards) for request in requests)
    print(f"\n{shape}: {len(requests)} distinct requests, {completions} completions")
    seconds = min(options.seconds, 30.0)
    found: dict[str, Any] = {"score": in_child(score_rate, options.model, requests, seconds)}
    print(f"score: {found['score']['completions_per_second']:.0f} completions/s", flush=True)
    contenders = {
        "serve": [sys.executable, "-m", "plaudit", "serve", options.model, "--dtype", "float32"],
        "plain": [sys.executable, __file__, options.model, options.data],
    }
    for name, command in contenders.items():
        port = free_port()
        flag = "--port" if name == "serve" else "--plain-on"
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen([*command, flag, str(port)], stderr=log, stdout=log)
            try:
                until_ready(process, port, log)
                load = in_child(put_load, port, requests, options.connections, options.seconds)
                load["memory_gib"] = resident_gib(process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
        found[name] = load
        print(f"{name}: {load['completions_per_second']:.0f} completions/s", flush=True)
    rates = {name: row["completions_per_second"] for name, row in found.items()}
    found["of_score"] = rates["serve"] / rates["score"]
    found["of_plain"] = rates["serve"] / rates["plain"]
    rows = [("plaudit score", f"{rates['score']:.0f}", "", "", "", "", "")]
    for name, title in (("serve", "plaudit serve"), ("plain", "plain endpoint")):
        row = found[name]
        rows.append(
            (
                title,
                f"{rates[name]:.0f}",
                f"{row['requests_per_second']:.0f}",
                f"{row['milliseconds']['p50']:.0f} / {row['milliseconds']['p99']:.0f}",
                str(row["errors"]),
                str(row["wrong"]),
                f"{row['memory_gib']:.2f}",
            )
        )
    columns = ("completions/s", "requests/s", "ms p50 / p99", "errors", "wrong", "GiB")
    show(("", *columns), rows)
    print(
        f"serve is {found['of_score']:.2f} of score, {found['of_plain']:.1f} × the plain endpoint"
    )
    return found


# ---- the requests ----


def make_requests(shape: str, model: str, data: str, prompts: int) -> list[Request]:
    """Distinct requests, and the rewards that `RewardModel.score` gives them one by one.

    Prompts of which anything would be truncated are left out: truncation is plaudit's own, and the
    plain endpoint's rewards could not be compared.
    """
    from plaudit import RewardModel
    from plaudit.data.readers import load_rankings

    scorer = RewardModel.load(model, dtype="float32")
    requests: list[Request] = []
    taken = 0
    for ranking in load_rankings(data):
        completions = list(ranking.completions)
        if shape == "best-of-16":  # a row's own completions, and what is left of them when cut
            parts = range(15, 0, -1)
            longer = [text[: len(text) * part // 16] for part in parts for text in completions]
            completions = (completions + [text for text in longer if text.strip()])[:16]
        rewards = scorer.score(ranking.prompt, completions)
        truncated = scorer.truncation.get("truncated")
        scorer.truncation.clear()
        if truncated:
            continue
        singly = [slice(k, k + 1) for k in range(len(rewards))]
        for part in [slice(None)] if shape == "ranking" else singly:
            row = {"prompt": ranking.prompt, "completions": completions[part]}
            requests.append(Request(row, wire(row), rewards[part]))
        taken += 1
        if taken == prompts:
            break
    return requests


def wire(row: dict[str, Any]) -> bytes:
    body = json.dumps(row).encode()
    head = "POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


# ---- what is compared ----


def score_rate(model: str, requests: Sequence[Request], seconds: float) -> dict[str, float]:
    """`plaudit score` on a file of the requests, repeated for about so many seconds."""
    from plaudit import RewardModel
    from plaudit.scoring.score import score_file

    scorer = RewardModel.load(model, dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requests.jsonl"
        rows = [json.dumps(request.row) + "\n" for request in requests]

        def run(times: int) -> float:
            file.write_text("".join(rows * times))
            started = time.perf_counter()
            score_file(scorer, file, Path(folder) / "scored.jsonl", overwrite=True)
            return time.perf_counter() - started

        run(1)
        times = max(math.ceil(seconds / run(1)), 1)
        taken = run(times)
    count = times * sum(len(request.rewards) for request in requests)
    return {"completions_per_second": count / taken, "seconds": taken}


def plain_endpoint(model: str, port: int) -> None:
    """What one writes in twenty lines: each request is tokenised, padded and scored by itself.

    One after another: with a plain `def` forty of them would run at once, each with all of torch's
    threads, and on a few cores hardly any would be answered.
    """
    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = Path(model) / "model" if (Path(model) / "model").is_dir() else Path(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scorer = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    scorer = scorer.float().eval()
    kept = json.loads((folder / "config.json").read_text())["plaudit"]
    chat = kept["template"] == "chat"
    pair = not chat and "token_type_ids" in tokenizer("a", "b")
    app = FastAPI()

    class Body(BaseModel):
        prompt: str
        completions: list[str]

    @app.get("/ready")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/score")
    async def score(body: Body) -> dict[str, list[float]]:
        first, second = [body.prompt] * len(body.completions), body.completions
        if pair:
            texts: tuple[Any, ...] = (first, second)
        elif chat:
            roles = ("user", "assistant")
            chats = [
                [{"role": r, "content": t} for r, t in zip(roles, both, strict=True)]
                for both in zip(first, second, strict=True)
            ]
            texts = (tokenizer.apply_chat_template(chats, tokenize=False),)
        else:
            texts = ([a + kept["separator"] + b for a, b in zip(first, second, strict=True)],)
        batch = tokenizer(
            *texts, padding=True, truncation=True, max_length=kept["max_length"],
            add_special_tokens=not chat, return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            return {"rewards": scorer(**batch).logits[:, 0].tolist()}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


# ---- the load ----


def put_load(
    port: int, requests: Sequence[Request], connections: int, seconds: float
) -> dict[str, Any]:
    """Requests over so many connections, each sending the next as soon as it has its answer."""
    return asyncio.run(_put_load(port, requests, connections, seconds))


async def _put_load(
    port: int, requests: Sequence[Request], connections: int, seconds: float
) -> dict[str, Any]:
    order = itertools.cycle(requests)
    counted: list[tuple[float, int, bool, bool]] = []  # seconds, completions, error, wrong
    began = time.perf_counter() + WARM_UP
    ends = began + seconds

    async def connection() -> None:
        reader = writer = None
        while time.perf_counter() < ends:
            request = next(order)
            started = time.perf_counter()
            error = wrong = False
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request.sent)
                status, body = await answer(reader)
                error = status != 200
                if not error:
                    got = json.loads(body)["rewards"]
                    wrong = len(got) != len(request.rewards) or not np.allclose(
                        got, request.rewards, rtol=TOLERANCE, atol=TOLERANCE
                    )
            except (OSError, asyncio.IncompleteReadError, ValueError):
                error, reader = True, None
            ended = time.perf_counter()
            if began <= ended < ends:
                counted.append((ended - started, len(request.rewards), error, wrong))
        if writer is not None:
            writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))
    if not counted:
        raise SystemExit("not one answer came in time; take more --seconds")
    took = [1000 * one[0] for one in counted]
    good = [one for one in counted if not (one[2] or one[3])]
    return {
        "requests_per_second": len(good) / seconds,
        "completions_per_second": sum(one[1] for one in good) / seconds,
        "milliseconds": {f"p{p}": float(np.percentile(took, p)) for p in (50, 90, 99)},
        "requests": len(counted),
        "errors": sum(one[2] for one in counted),
        "wrong": sum(one[3] for one in counted),
    }


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one answer, which must say how long it is."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    return int(lines[0].split()[1]), await reader.readexactly(int(fields["content-length"]))


# ---- processes ----


def in_child(function: Any, *given: Any) -> Any:
    """The function's result, from a process of its own, so that this one holds no model."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, given)


def until_ready(process: subprocess.Popen[bytes], port: int, log: Any) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            log.seek(0)
            raise SystemExit(log.read().decode())
        try:
            url = f"http://127.0.0.1:{port}/ready"
            urllib.request.urlopen(url, timeout=5).close()  # nosec B310 # always http
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit("the service does not get ready")


def resident_gib(pid: int) -> float:
    """What the process holds in memory now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
