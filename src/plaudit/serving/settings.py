"""What can be set of the service: its limits, who may ask, and what it writes down.

Limits are there so that no request, whoever sends it, can take the service down or hold up others
for long; each refusal names the limit. Keys come from a file or the environment, never from the
command line, where every process on the machine could read them.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from plaudit.errors import PlauditError
from plaudit.settings import AboveZero, Count, Help

KEYS_VARIABLE = "PLAUDIT_API_KEYS"
LEAST_KEY = 8  # characters; a shorter one is soon guessed
ORIGIN = re.compile(r"https?://[^/\s*?#]+")


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Settings of `plaudit serve`; `keys` are what every request must bring one of, but those of
    `/health`, `/ready` and the page itself; when `keys_file` changes, they are what `read_keys`
    then reads. By a name that is not one of `allowed_host` the service may not be called; without
    any it may by all, but `serve` puts there what suits the address.

    Raises:
        PlauditError: for a number that is not above 0, a key that is too short, or an origin that
            is none.
    """

    name: Annotated[str, Help("what /v1/models calls the model")] = "plaudit"
    keys: tuple[str, ...] = ()
    keys_file: str | Path | None = None
    allowed_host: Annotated[
        tuple[str, ...],
        Help("a name by which the service may be called (Host), or *; may be repeated", "NAME"),
    ] = ()
    allowed_origin: Annotated[
        tuple[str, ...],
        Help("a site whose pages may ask (CORS): https://app.example; may be repeated", "ORIGIN"),
    ] = ()
    rate_limit: Annotated[
        Count | None,
        Help("requests a minute of each key, or of each address where no key fits; 429 beyond"),
    ] = None
    max_body_bytes: Annotated[Count, Help("the largest body of a request, in bytes")] = 8 * 2**20
    max_completions: Annotated[Count, Help("completions of a request")] = 1024
    max_characters: Annotated[
        Count, Help("characters of a text; of messages, of all that they say")
    ] = 200_000
    max_queue: Annotated[Count, Help("completions that may wait; 503 beyond")] = 4096
    timeout: Annotated[AboveZero, Help("seconds that a request may take; then 504")] = 60.0
    head_timeout: Annotated[
        AboveZero,
        Help(
            "seconds until a request's line and headers must be there, from the connection or the "
            "first byte of a later request; then hung up"
        ),
    ] = 10.0
    body_timeout: Annotated[
        AboveZero,
        Help(
            "seconds that a request's body may take after its headers, then 408; and that a client "
            "may leave an answer unread, then hung up"
        ),
    ] = 20.0
    max_connections: Annotated[Count, Help("connections at a time; 503 beyond")] = 1000
    keep_alive: Annotated[AboveZero, Help("seconds that a connection may be idle")] = 15.0
    batch_tokens: Annotated[
        Count,
        Help("tokens gathered before the model works on them; fewer answer sooner"),
    ] = 4096
    log_requests: Annotated[
        bool, Help("write a line for each request: method, path, status, milliseconds")
    ] = False
    log_text: Annotated[bool, Help("write what is scored, with its rewards")] = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) in (int, float) and not 0 < value < float("inf"):
                raise PlauditError(f"{field.name}: {value} is not a number above 0")
        if self.max_queue < self.max_completions:
            raise PlauditError(
                f"max_queue: {self.max_queue} completions may wait, but one request may have "
                f"{self.max_completions}; raise max_queue or lower max_completions"
            )
        check_keys(self.keys)
        for origin in self.allowed_origin:
            if not ORIGIN.fullmatch(origin):
                raise PlauditError(
                    f"allowed_origin: {origin} is no origin; write https://app.example, with the "
                    "port where it has one, and nothing after it"
                )


def read_keys(path: str | Path | None = None) -> tuple[str, ...]:
    """The API keys of a file (one on a line, `#` begins a comment) and of `PLAUDIT_API_KEYS`
    (separated by commas or white space).

    Raises `PlauditError` when the file cannot be read, or it or the variable is there and has no
    key: whoever gives one wants the service closed, not open to all.

    >>> os.environ["PLAUDIT_API_KEYS"] = "first-key, second-key"
    >>> read_keys()
    ('first-key', 'second-key')
    """
    variable = os.environ.get(KEYS_VARIABLE)
    given = (variable or "").replace(",", " ").split()
    if variable is not None and not given:
        raise PlauditError(
            f"{KEYS_VARIABLE}: is set and has no API key; unset it to serve without keys"
        )
    if path is not None:
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            raise PlauditError(
                f"{path}: {reason}; --keys needs a file with API keys, one a line"
            ) from error
        keys = list(_without_comments(lines))
        if not keys:
            raise PlauditError(f"{path}: has no API key; write them one a line")
        given += keys
    return tuple(dict.fromkeys(given))


def check_keys(keys: Iterable[str]) -> None:
    """Raise `PlauditError` for a key that is too short."""
    if any(len(key) < LEAST_KEY for key in keys):
        raise PlauditError(
            f"keys: an API key has fewer than {LEAST_KEY} characters; take a longer one"
        )


def _without_comments(lines: Iterable[str]) -> Iterable[str]:
    bare = (re.split(r"(?:^|\s)#", line)[0].strip() for line in lines)
    return (line for line in bare if line)
