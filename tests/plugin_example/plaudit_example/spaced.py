"""A peer for `plaudit verify`: the model itself, of completions that end in a space."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from plaudit.model.reward_model import RewardModel
from plaudit.verification.peers import Peer, There
from plaudit.verification.rows import Row


class Spaced(There):
    """What makes no difference to a tokenizer that drops white space."""

    name = "the model on completions that end in a space"
    normalised = True

    def __init__(self, model: RewardModel) -> None:
        self._score = model.score

    def rewards(self, rows: Sequence[Row]) -> list[float]:
        """See `There`."""
        return [self._score(row.prompt, f"{row.completion} ") for row in rows]


@contextmanager
def open_peer(address: str, name: str, model: RewardModel) -> Iterator[There]:
    """See `Peer`."""
    yield Spaced(model)


PEER = Peer(open_peer)
