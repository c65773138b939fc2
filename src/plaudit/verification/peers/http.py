"""plaudit's own service, or whatever speaks its `/score`: `--against http=URL`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from plaudit.model.reward_model import RewardModel
from plaudit.verification.peers import Peer, There
from plaudit.verification.peers._http import Service, checked_address
from plaudit.verification.rows import Row


class Plaudit(Service):
    """`POST /score`, a prompt with its completions a request."""

    normalised = True

    def rewards(self, rows: Sequence[Row]) -> list[float]:
        """See `There`."""
        prompts: dict[int, list[Row]] = {}
        for row in rows:
            prompts.setdefault(row.prompt_number, []).append(row)
        found: dict[int, float] = {}
        for of in prompts.values():
            completions = [row.completion for row in of]
            answer = self.ask("/score", {"prompt": of[0].prompt, "completions": completions})
            for place, row in enumerate(of):
                found[row.number] = self.number(answer, "rewards", place)
        return [found[row.number] for row in rows]


@contextmanager
def open_peer(address: str, name: str, model: RewardModel) -> Iterator[There]:
    """See `Peer`."""
    service = Plaudit(checked_address(address, "http"), "plaudit", model)
    service.model_name()  # so that it is known to be there
    yield service


PEER = Peer(open_peer)
