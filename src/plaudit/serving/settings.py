"""What can be set of the service: its limits, who may ask, and what it writes down.

Limits are there so that no request, whoever sends it, can take the service down or hold up others
for long; each refusal names the limit. Keys come from a file or the environment, never from the
command line, where every process on the machine could read them.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from plaudit.errors import PlauditError

KEYS_VARIABLE = "PLAUDIT_API_KEYS"
LEAST_KEY = 8  # characters; a shorter one is soon guessed


def _flag(default: Any, help: str) -> Any:
    """A field that is a flag of the command line too."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Settings of `plaudit serve`.

    Args:
        name: what `/v1/models` calls the model.
        keys: API keys; where there are any, every request but of `/health`, `/ready` and the page
            itself must bring one.
        hosts: names by which clients may call the service, without a port (`Host` of a request);
            this machine's own are allowed too while it listens on loopback. Without any, every
            name is allowed while it does not.
        max_body_bytes: the largest body of a request.
        max_completions: completions of one request.
        max_characters: characters of one text (of messages: of all that they say).
        max_queue: completions that may wait at a time; a request beyond is refused with 503 and
            `Retry-After`.
        timeout: seconds a request may take; then 504, and what of it has not begun is dropped.
        body_timeout: seconds that a body may take to arrive; then 408.
        max_connections: connections at a time; further ones get 503.
        keep_alive: seconds that a connection may stay idle between requests.
        batch_tokens: about how many tokens are gathered before the model works on them; larger
            ones merge more completions of a prompt, smaller ones answer sooner.
        log_requests: whether to write a line for each request: method, path, status, ms.
        log_text: whether what is scored may be written to the log too, with its rewards.

    Raises:
        PlauditError: for a number that is not above 0, or a key that is too short.
    """

    name: str = _flag("plaudit", "what /v1/models calls the model")
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = _flag(
        (), "another name by which the service may be called (Host); may be repeated"
    )
    max_body_bytes: int = _flag(8 * 2**20, "the largest body of a request, in bytes")
    max_completions: int = _flag(1024, "completions of a request")
    max_characters: int = _flag(200_000, "characters of a text")
    max_queue: int = _flag(4096, "completions that may wait; 503 beyond")
    timeout: float = _flag(60.0, "seconds that a request may take; then 504")
    body_timeout: float = _flag(20.0, "seconds that a body may take to arrive; then 408")
    max_connections: int = _flag(1000, "connections at a time; 503 beyond")
    keep_alive: float = _flag(15.0, "seconds that a connection may be idle")
    batch_tokens: int = _flag(4096, "tokens gathered before the model works on them")
    log_requests: bool = _flag(False, "write a line for each request")
    log_text: bool = _flag(False, "write what is scored, with its rewards")

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if type(value) in (int, float) and not 0 < value < float("inf"):
                raise PlauditError(f"{one.name}: {value} is not a number above 0")
        if self.max_queue < self.max_completions:
            raise PlauditError(
                f"max_queue: {self.max_queue} completions may wait, but one request may have "
                f"{self.max_completions}; raise max_queue or lower max_completions"
            )
        for key in self.keys:
            if len(key) < LEAST_KEY:
                raise PlauditError(f"a key has fewer than {LEAST_KEY} characters; take longer ones")


def read_keys(path: str | Path | None = None) -> tuple[str, ...]:
    """The API keys of a file (one on a line, `#` begins a comment) and of `PLAUDIT_API_KEYS`
    (separated by commas or white space).

    Raises `PlauditError` when the file cannot be read or has no key: whoever gives one wants the
    service closed, not open to all.

    >>> os.environ["PLAUDIT_API_KEYS"] = "first-key, second-key"
    >>> read_keys()
    ('first-key', 'second-key')
    """
    found = os.environ.get(KEYS_VARIABLE, "").replace(",", " ").split()
    if path is not None:
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            raise PlauditError(f"{path}: {reason}; it is to hold API keys, one a line") from error
        keys = list(_without_comments(lines))
        if not keys:
            raise PlauditError(f"{path}: has no API key; write them one a line")
        found += keys
    return tuple(dict.fromkeys(found))


def _without_comments(lines: Iterable[str]) -> Iterable[str]:
    bare = (re.split(r"(?:^|\s)#", line)[0].strip() for line in lines)
    return (line for line in bare if line)
