"""Peers: whatever else gives a model's rewards. Each is one module of this package.

A module defines `PEER`, a `Peer`; its name, that of its file, is what `plaudit verify --against`
takes, before `=` and an address where the peer has one. A peer is asked as its users ask it, with
prompts and completions, and knows nothing of how plaudit lays them out. Importing this package does
not import torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plaudit.errors import PlauditError
from plaudit.plugins import Registry

if TYPE_CHECKING:
    from plaudit.model.reward_model import RewardModel
    from plaudit.verification.rows import Row


class RefusedError(PlauditError):
    """A peer does not take some row."""


class There(ABC):
    """A peer that has been reached.

    `name` is what it is called in results. With `normalised` it gives rewards as `score` does,
    normalised where the model is; else as the weights give them.
    """

    name: str
    normalised: bool = False

    @abstractmethod
    def rewards(self, rows: "Sequence[Row]") -> list[float]:
        """The rewards of rows that are asked for at once.

        Raises:
            RefusedError: where it does not take one of them.
            PlauditError: where it does not answer as it should.
        """

    def tokens(self, rows: "Sequence[Row]") -> list[list[int]] | None:
        """The tokens that it reads of each row; None where it does not tell."""
        return None

    @property
    def model(self) -> Any:
        """transformers' model, where it runs in this process."""
        return None

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, where it runs in this process."""
        return None


@dataclass(frozen=True)
class Peer:
    """How a peer is reached: `open` takes what stands after `=`, or "", the model's name and the
    model, and returns what is asked until its block ends."""

    open: "Callable[[str, str, RewardModel], AbstractContextManager[There]]"


PEERS = Registry("peer", __name__, "PEER", Peer)
