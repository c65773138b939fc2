"""What takes nuisances out of training: what all ways of it have, and what they are fitted to.

The objective sees the rewards plus an offset, and a term may be added to its loss. The ways are in
`expert` (curves, with `two_stage` to fit them otherwise) and in `odin` (a head of the nuisances').
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from plaudit.errors import PlauditError
from plaudit.evaluation.layout import Floats, Layout, lay_out
from plaudit.results import Control as ControlRecord
from plaudit.training.controls import COLUMN

SAMPLE = 5000  # rankings that a control is fitted to


class Encoded(NamedTuple):
    """The nuisances of encoded rankings, all their completions in one row."""

    levels: Floats  # [C, F]
    layout: Layout
    weights: Floats  # [R]


class Control(nn.Module):
    """One way to take F nuisances out of training.

    Attributes:
        method: the setting `control_method` that asks for it.
        rows: of the head that it wants beside the reward's.
        names: of the nuisances.
        strength: how much is taken out at the first step.
        anneal: the share of the strength that is gone by the last step.
    """

    method = ""
    rows = 0

    def __init__(self, names: Sequence[str], strength: float = 1.0, anneal: float = 0.0) -> None:
        super().__init__()
        self.names, self.strength, self.anneal = names, strength, anneal

    def now(self, done: float) -> float:
        """The strength where this share of the training is over."""
        return self.strength * (1 - self.anneal * done)

    def learnt(self) -> dict[str, nn.Parameter]:
        """What is learnt beside the model, by name."""
        return {}

    def offset(
        self, levels: Tensor, ranks: Tensor, done: float = 0.0, others: Tensor | None = None
    ) -> Tensor:
        """What is added to the rewards `[R, K]` that an objective sees.

        Args:
            levels: of the nuisances, `[R, K, F]`.
            ranks: `[R, K]`, `PADDING` where there is no completion.
            done: the share of the training that is over.
            others: what the further rows of the head give, `[R, K, rows]`.
        """
        raise NotImplementedError

    def penalty(
        self,
        rewards: Tensor,
        others: Tensor,
        levels: Tensor,
        ranks: Tensor,
        head: Tensor,
        done: float = 0.0,
    ) -> Tensor | float:
        """A term of the loss; `head[1 + rows, H]` are the weights, those of the reward first."""
        return 0.0

    def describe(self) -> str:
        """What it does, for the log."""
        raise NotImplementedError

    def record(self, validation: Encoded | None) -> ControlRecord:
        """What `metrics.json` says of it."""
        return {
            "method": self.method,
            "strength": self.strength,
            "anneal": self.anneal,
            "weight": "fitted",
            "curves": [],
            "training_accuracy": None,
            "validation_accuracy": None,
        }


def listed(names: Sequence[str]) -> str:
    """Names for a sentence.

    >>> listed(["length", "lists", "bold"])
    'length, lists and bold'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def read_nuisances(rows: Iterable[dict[str, Any]]) -> Encoded:
    """The nuisances of encoded rankings that have an ordered pair."""
    kept = [row for row in rows if len(set(row["ranks"])) > 1]
    return Encoded(
        np.array([level for row in kept for level in row["nuisances"]], dtype=np.float64),
        lay_out([row["ranks"] for row in kept], None),
        np.array([row["weight"] for row in kept], dtype=np.float64),
    )


def sample(rows: Any) -> Encoded:
    """The nuisances of the rankings that a control is fitted to."""
    return read_nuisances(some(rows.select_columns(["ranks", "weight", "nuisances"]), SAMPLE))


def some(rows: Any, count: int) -> Iterator[dict[str, Any]]:
    """So many of the training rankings at most: evenly spaced, of a stream the first."""
    if hasattr(rows, "__len__"):
        rows = rows.select(range(0, len(rows), -(-len(rows) // count)))
    return islice(rows, count)


def check_columns(names: Sequence[str], training: Encoded) -> None:
    """Raise `PlauditError` where a column is the same, or is not there, in all rankings."""
    layout = training.layout
    for name, column in zip(names, training.levels.T, strict=True):
        if name.startswith(COLUMN) and not (column[layout.better] - column[layout.worse]).any():
            raise PlauditError(
                f"control: {name}: no two completions of a training ranking differ in it; name an "
                "attribute that the layout of the data reads, or leave it out"
            )
