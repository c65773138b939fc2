"""What takes nuisances out of training: the trainer's side of it, whatever the method.

The objective sees the rewards plus an offset, and a term may be added to its loss. Both stand in
`expert` (curves, with `two_stage` to fit them otherwise) and in `odin` (a head of the nuisances').
"""

from typing import Protocol

from torch import Tensor, nn

from plaudit.results import Control as ControlRecord
from plaudit.settings import Settings
from plaudit.training.expert import Encoded, Expert, check_columns, make_expert
from plaudit.training.odin import Odin


class Control(Protocol):
    """One way to take F nuisances out of training.

    Attributes:
        rows: of the head that it wants beside the reward's.
    """

    rows: int

    def learnt(self) -> dict[str, nn.Parameter]:
        """What is learnt beside the model, by name."""
        ...

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
        ...

    def penalty(
        self, rewards: Tensor, others: Tensor, levels: Tensor, ranks: Tensor, head: Tensor
    ) -> Tensor | float:
        """A term of the loss; `head[1 + rows, H]` are the weights, those of the reward first."""
        ...

    def describe(self) -> str:
        """What it does, for the log."""
        ...

    def record(self, validation: Encoded | None) -> ControlRecord:
        """What `metrics.json` says of it."""
        ...


def make_control(settings: Settings, training: Encoded) -> Expert | Odin:
    """The control that the settings ask for, as it begins. Raises as `check_columns` does."""
    check_columns(settings.control, training)
    if settings.control_method == "odin":
        return Odin(settings.control, settings.control_strength, settings.control_anneal)
    return make_expert(settings, training)
