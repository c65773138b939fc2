"""Fuzzed requests to every path of the service, as an ASGI server hands them on and as bytes.

`draw_request(seed, number)` draws one; `inside` asks an application of this process,
`over_socket` a running service. Each gives what was answered. `wrong_answer` says what is wrong
with that: a 500, or a refusal that does not say why.
"""

import asyncio
import copy
import gzip
import json
import socket
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote

from faults.drawing import TEXTS, as_bytes, as_json, cut, damage, messages, odd, spoil
from plaudit.serving.protocols import PROTOCOLS

SPOKEN = [PROTOCOLS.get(name) for name in PROTOCOLS]
FIELDS = sorted({field for protocol in SPOKEN for field in protocol.request.model_fields})
FIELDS += ["role", "content", "text", "labels", "type", "output", "tool_calls", "window", "ranks"]
LABEL = {"window": "w", "id": "x", "ranks": [1, 2]}
# What takes no body, or one of its own; of labels nothing is right but by chance.
OTHERS = ["/", "/label", "/static/page.js", "/health", "/ready", "/metrics", "/v1/models",
          "/v1/models/plaudit", "/openapi.json", "/label/state", "/label/next", "/label/save",
          "/label/skip", "/label/undo", "/nothing", "/score/", "//score"]  # fmt: skip
METHODS = ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "POSTS", "CONNECT"]
TYPES = [b"text/plain", b"", b"application/json; charset=utf-16", b"application/JSON", b"\xff",
         b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded"]  # fmt: skip
HEADERS = [
    (b"content-encoding", b"gzip"), (b"content-encoding", b"\xff"), (b"accept", b"text/html"),
    (b"expect", b"100-continue"), (b"authorization", b"Bearer \xff"), (b"x-api-key", b"\0"),
    (b"accept-encoding", b"br;q=x"), (b"content-length", b"-1"), (b"x", b"a" * 5000),
    (b"transfer-encoding", b"gzip"), (b"upgrade", b"websocket"), (b"connection", b"upgrade"),
    (b"content-type", b"application/json"), (b"cookie", b"=;=;"), (b"range", b"bytes=9-1"),
    (b"x-forwarded-for", b"\xe2\x98\x83"), (b"if-none-match", b"*"), (b"te", b"trailers"),
]  # fmt: skip
LATE = 20.0  # seconds that an answer over a socket may take on a busy machine
LATE_ANSWER = 599  # what we call one that does not come


@dataclass
class Request:
    """A request before it is sent; `pieces` are its body as it arrives, which ends early where the
    client is `gone`."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    pieces: list[bytes]
    gone: bool


def draw_request(seed: int, number: int) -> Request:
    """The request of a number."""
    return _request(Random(f"{seed}:{number}"))


def _request(draw: Random) -> Request:
    protocol = draw.choice(SPOKEN)
    path, method = draw.choice(protocol.paths), "POST"
    body: Any = copy.deepcopy(dict(protocol.example or {}))
    if draw.random() < 0.15:
        path = draw.choice(OTHERS)
        body = draw.choice([body, copy.deepcopy(LABEL)])
        method = draw.choice(["GET", "POST", "POST"])
    kind = draw.randrange(10)
    if kind < 5:
        spoil(draw, body, FIELDS)
    elif kind < 7:
        names = draw.sample(FIELDS, draw.randint(0, 4))
        body = {name: draw.choice([odd(draw), messages(draw)]) for name in names}
    elif kind == 7:
        body = draw.choice([odd(draw), body | dict(draw.choice(SPOKEN).example or {})])
    data = as_bytes(as_json(draw, body))
    if kind == 8:
        data = damage(draw, data)
    elif kind == 9:
        recoded = data.decode("utf-8", "replace").encode("utf-16")
        data = draw.choice([cut(draw, data), b"", gzip.compress(data, mtime=0), recoded])
    headers = [(b"content-type", b"application/json")]
    if draw.random() < 0.1:
        headers = [(b"content-type", draw.choice(TYPES))]
    headers += draw.sample(HEADERS, draw.choice([0, 0, 0, 1, 2]))
    if draw.random() < 0.05:
        method = draw.choice(METHODS)
    if draw.random() < 0.05:
        path += draw.choice(["/", "\0", "/..", "/%00", "é", "?x", "#", "a" * 3000, "\ud800", "\n"])
    query = draw.choice([b""] * 9 + [b"%zz&=&a[]=1&window=" + b"x" * draw.choice([1, 500])])
    at = sorted(draw.randint(0, len(data)) for _ in range(draw.choice([0, 0, 0, 3])))
    ends = [*at, len(data)]
    pieces = [data[start:end] for start, end in zip([0, *at], ends, strict=True)]
    gone = draw.random() < 0.05
    return Request(method, path, query, headers, pieces[:-1] if gone else pieces, gone)


# ---- an application of this process ----


async def inside(app: Any, request: Request) -> tuple[int, bytes]:
    """Status and body of what an ASGI application answers; 0 where it answers nothing."""
    path = request.path.encode("utf-8", "surrogatepass")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": request.method.upper(), "scheme": "http", "root_path": "", "state": {},
        "path": path.decode("utf-8", "replace"), "raw_path": quote(path).encode(),
        "query_string": request.query, "headers": [(b"host", b"localhost"), *request.headers],
        "client": ("127.0.0.1", 9), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    left = list(request.pieces)
    found: dict[str, Any] = {"status": 0, "body": b""}

    async def receive() -> dict[str, Any]:
        if left:
            piece = left.pop(0)
            more = bool(left) or request.gone
            return {"type": "http.request", "body": piece, "more_body": more}
        if not request.gone:
            await asyncio.Event().wait()  # the client waits for its answer
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            found["status"] = message["status"]
        found["body"] += message.get("body", b"")

    await app(scope, receive, send)
    return found["status"], found["body"]


# ---- a running service ----


def draw_bytes(seed: int, number: int) -> tuple[bytes, bool]:
    """What goes over a socket for the request of a number, and whether the client then hangs up."""
    draw = Random(f"{seed}:{number}:bytes")
    request = _request(draw)
    target = quote(request.path.encode("utf-8", "surrogatepass"), safe="/%?#")
    if request.query and draw.random() < 0.5:
        target += "?" + request.query.decode()
    target = draw.choice([target] * 9 + [f"http://localhost{target}", target[1:], "*"])
    version = draw.choice(["1.1"] * 9 + ["1.0", "0.9", "2.0", "1.", "9.9"])
    headers = [(b"Host", b"localhost"), *request.headers]
    body = b"".join(request.pieces)
    framing = draw.randrange(8)
    if framing < 5:
        size = len(body) if draw.random() < 0.9 else draw.choice([0, len(body) * 2, 2**63])
        headers.append((b"Content-Length", str(size).encode()))
    if framing >= 4:
        headers.append((b"Transfer-Encoding", draw.choice([b"chunked"] * 3 + [b"chunked, gzip"])))
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in request.pieces if piece]
        body = b"".join(pieces) + draw.choice([b"0\r\n\r\n"] * 3 + [b"", b"0\r\n", b"zz\r\n"])
    if draw.random() < 0.05:
        headers += [(b"X-%d" % n, b"a" * draw.choice([1, 900])) for n in range(200)]
    if draw.random() < 0.1:
        headers.append(draw.choice(headers))
    draw.shuffle(headers)
    head = f"{request.method} {target} HTTP/{version}\r\n".encode("utf-8", "surrogatepass")
    head += b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n"
    sent = head + body
    change = draw.randrange(8)
    if change == 0:
        sent = damage(draw, head) + body
    elif change == 1:
        sent = cut(draw, sent)
    elif change == 2:
        sent = sent * 2
    elif change == 3 and draw.random() < 0.3:
        http2, tls = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\0\x01"
        others = [http2, tls, b"\r\n" * 50 + sent, b"GET /health\r\n\r\n"]
        sent = draw.choice([*others, as_bytes(draw.choice(TEXTS)) * 50])
    return sent, draw.random() < 0.2


def over_socket(port: int, sent: bytes, hang_up: bool = False) -> list[int]:
    """The statuses that a service answers to some bytes, which is none where it hangs up."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=LATE) as connection:
            connection.sendall(sent)
            if hang_up:
                return []
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                answer += piece
    except TimeoutError:
        return [LATE_ANSWER]
    except OSError:  # it hung up on us
        pass
    lines = (line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 "))
    return [int(line.split()[1]) for line in lines]


# ---- what is right ----


def wrong_answer(status: int, body: bytes) -> str:
    """What is wrong with an answer; empty where nothing is."""
    if status >= 500:
        return f"{status}: {body[:200].decode(errors='replace')}"
    if status >= 400:
        try:
            error = json.loads(body)["error"]
        except (ValueError, TypeError, KeyError):
            return f"{status} without a reason: {body[:100]!r}"
        return "" if error["message"] and error["type"] else f"{status} without a reason"
    return ""
