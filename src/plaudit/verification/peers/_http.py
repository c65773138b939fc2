"""What peers that are asked over HTTP share: one question, its answer, and what a refusal is."""

import os
from collections.abc import Sequence
from typing import Any

import httpx

from plaudit.errors import PlauditError
from plaudit.model.reward_model import RewardModel
from plaudit.verification.peers import RefusedError, There
from plaudit.verification.rows import Row

AT_ONCE = 32  # rows of a request, which the strictest servers still take
KEY = "PLAUDIT_API_KEY"
# What servers answer where a row is the reason.
OF_A_ROW = (400, 413, 422)


class Service(There):
    """A server at `url`; `PLAUDIT_API_KEY` is sent as its bearer token."""

    def __init__(self, url: str, what: str, model: RewardModel) -> None:
        self.url = url.rstrip("/")
        self.name = f"{what} at {self.url}"
        self.local = model
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=600, headers=headers, trust_env=False)

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
        return str(_part(listed, self, "data", 0, "id"))

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
        """A part of an answer; an error that says what is missing where it has none."""
        return _part(answer, self, *steps)

    def number(self, answer: Any, *steps: int | str) -> float:
        """A number in an answer."""
        found = _part(answer, self, *steps)
        if not isinstance(found, int | float):
            where = ".".join(map(str, steps))
            raise PlauditError(f"{self.name} answers {where} as {found!r}, not as a number")
        return float(found)

    def _answer(self, method: str, path: str, body: Any) -> Any:
        try:
            answer = self._client.request(method, self.url + path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PlauditError(
                f"{self.name} cannot be reached ({error}); is it running, and is the address right?"
            ) from error
        if answer.status_code == 200:
            try:
                return answer.json()
            except ValueError as error:
                raise PlauditError(f"{self.name}{path} does not answer in JSON") from error
        told = " ".join(answer.text.split())[:300]
        problem = f"{self.name}{path} answers {answer.status_code}: {told}"
        raise (RefusedError if answer.status_code in OF_A_ROW else PlauditError)(problem)


def _part(answer: Any, service: Service, *steps: int | str) -> Any:
    for step in steps:
        try:
            answer = answer[step]
        except (KeyError, IndexError, TypeError) as error:
            where = ".".join(map(str, steps))
            raise PlauditError(
                f"{service.name} answers in another shape than expected: there is no {where}"
            ) from error
    return answer


def checked_address(address: str, peer: str) -> str:
    """The address of a service.

    Raises:
        PlauditError: where there is none.
    """
    if not address.startswith(("http://", "https://")):
        example = f"--against {peer}=http://127.0.0.1:8000"
        raise PlauditError(f"{peer}: give the address of the server: {example}")
    return address
