"""plaudit's own service, or whatever speaks its `/score`: `--against http=URL`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from plaudit.client import Client, ServiceError
from plaudit.model.reward_model import RewardModel
from plaudit.verification.peers import Peer, RefusedError, There
from plaudit.verification.peers._http import address_of
from plaudit.verification.rows import Row


class Plaudit(There):
    """A service that is asked by plaudit's own client, a prompt with its completions a request."""

    normalised = True

    def __init__(self, client: Client, url: str) -> None:
        self.name = f"plaudit at {url}"
        self._client = client

    def rewards(self, rows: Sequence[Row]) -> list[float]:
        """See `There`."""
        prompts: dict[int, list[Row]] = {}
        for row in rows:
            prompts.setdefault(row.prompt_number, []).append(row)
        asked = [(of[0].prompt, [row.completion for row in of]) for of in prompts.values()]
        found: dict[int, float] = {}
        for of, rewards in zip(prompts.values(), self._client.score_each(asked), strict=True):
            for row, reward in zip(of, rewards, strict=True):
                if isinstance(reward, ServiceError):
                    raise RefusedError(str(reward)) from reward
                found[row.number] = reward
        return [found[row.number] for row in rows]


@contextmanager
def open_peer(address: str, name: str, model: RewardModel) -> Iterator[There]:
    """See `Peer`."""
    place = address_of(address, "http")
    with Client(address) as client:
        client.model()  # so that it is known to be there
        yield Plaudit(client, place.url)


PEER = Peer(open_peer)
