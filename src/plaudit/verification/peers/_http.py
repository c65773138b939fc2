"""What peers that are asked over HTTP share: one question, its answer, and what a refusal is."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from plaudit.client import Address, checked_address, checked_key
from plaudit.errors import PlauditError
from plaudit.model.reward_model import RewardModel
from plaudit.verification.peers import Peer, RefusedError, There
from plaudit.verification.rows import Row

AT_ONCE = 32  # rows of a request, which the strictest servers still take
# What servers answer where a row is the reason, and where they are busy.
OF_A_ROW, BUSY = (400, 413, 422), (429, 502, 503, 504)
TRIES, LONGEST_PAUSE = 6, 30.0


class Service(There):
    """A server; the key in `PLAUDIT_API_KEY` is sent as its bearer token."""

    def __init__(self, http: httpx.Client, url: str, what: str, model: RewardModel) -> None:
        self.url, self.local = url, model
        self.name = f"{what} at {url}"
        self._http = http

    def connect(self) -> None:
        """Find out what must be known before it is asked."""

    def ask(self, path: str, body: Any) -> Any:
        """What it answers to a body that is posted.

        Raises:
            RefusedError: where it does not take what was asked.
            PlauditError: where there is no server, or no such endpoint.
        """
        return self._answer("POST", path, body)

    def model_name(self) -> str:
        """The first model that it lists, as OpenAI's clients ask for them."""
        listed = self._answer("GET", "/v1/models", None)
        return str(self.part(listed, "data", 0, "id"))

    def rewards(self, rows: Sequence[Row]) -> list[float]:
        """See `There`; some rows a request."""
        found: list[float] = []
        for start in range(0, len(rows), AT_ONCE):
            found += self.some(rows[start : start + AT_ONCE])
        return found

    def some(self, rows: Sequence[Row]) -> list[float]:
        """The rewards of rows that are asked for in one request."""
        raise NotImplementedError

    def part(self, answer: Any, *steps: int | str) -> Any:
        """A part of an answer.

        Raises:
            PlauditError: where it has none; it says what is missing.
        """
        for step in steps:
            try:
                answer = answer[step]
            except (KeyError, IndexError, TypeError) as error:
                where = ".".join(map(str, steps))
                raise PlauditError(
                    f"{self.name} answers in another shape than expected, without {where}: is it "
                    "the server that was named?"
                ) from error
        return answer

    def each(self, answer: Any, count: int, *steps: int | str) -> list[Any]:
        """A list in an answer, of which as many are expected as were asked for."""
        found = self.part(answer, *steps)
        if not isinstance(found, list) or len(found) != count:
            got = len(found) if isinstance(found, list) else "no list"
            raise PlauditError(
                f"{self.name} answers {got} for {count} rows: is it the server that was named?"
            )
        return found

    def reward(self, numbers: Any) -> float:
        """The reward of the numbers that it gives for a row: of two labels the second one less the
        first one.

        Raises:
            PlauditError: where there are more.
        """
        count = len(numbers) if isinstance(numbers, list) else 0
        if count not in (1, 2):
            raise PlauditError(
                f"{self.name} gives {count} numbers for a row, and plaudit does not know which is "
                "the reward: serve the folder that `plaudit export --format folder` writes"
            )
        last = self.number(numbers, -1)
        return last - self.number(numbers, 0) if count == 2 else last

    def number(self, answer: Any, *steps: int | str) -> float:
        """A number in an answer."""
        found = self.part(answer, *steps)
        if not isinstance(found, int | float) or isinstance(found, bool):
            where = ".".join(map(str, steps))
            raise PlauditError(
                f"{self.name} answers {where} as {found!r}, not as a number: is it the server that "
                "was named?"
            )
        return float(found)

    def _answer(self, method: str, path: str, body: Any) -> Any:
        for attempt in range(TRIES):
            try:
                answer = self._http.request(method, self.url + path, json=body)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise PlauditError(
                    f"{self.name} cannot be reached ({error}); is it running, and is the address "
                    "right?"
                ) from error
            if answer.status_code not in BUSY or attempt == TRIES - 1:
                break
            asked = answer.headers.get("Retry-After", "")
            time.sleep(min(float(asked) if asked.isdigit() else 2**attempt, LONGEST_PAUSE))
        if answer.status_code == 200:
            try:
                return answer.json()
            except ValueError as error:
                raise PlauditError(
                    f"{self.name}{path} does not answer in JSON: is it the server that was named?"
                ) from error
        told = " ".join(answer.text.split())[:300]
        problem = f"{self.name}{path} answers {answer.status_code}: {told}"
        raise (RefusedError if answer.status_code in OF_A_ROW else PlauditError)(problem)


def address_of(address: str, peer: str) -> Address:
    """The address of a service.

    Raises:
        PlauditError: where there is none.
    """
    if not address:
        example = f"--against {peer}=http://127.0.0.1:8000"
        raise PlauditError(f"{peer}: give the address of the server: {example}")
    return checked_address(address)


def peer_of(kind: type[Service], name: str, what: str) -> Peer:
    """A kind of service as a peer of a name; `what` is what it is called."""

    @contextmanager
    def opened(address: str, _: str, model: RewardModel) -> Iterator[There]:
        place, key = address_of(address, name), checked_key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(timeout=600, headers=headers, auth=place.user, trust_env=False) as http:
            service = kind(http, place.url, what, model)
            service.connect()
            yield service

    return Peer(opened)
