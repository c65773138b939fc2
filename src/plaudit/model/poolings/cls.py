"""The first token of a row, by the head that transformers' classifier has for it: for encoders.

Such heads have layers of their own (BERT's pooler, RoBERTa's dense layer) before the linear one.
"""

from torch import Tensor

from plaudit.model.poolings import Pooling
from plaudit.model.states import States


class Cls(Pooling):
    """The classifier's own head is given the first token of each row."""

    kinds = ("encoder",)
    own_head = True

    def vectors(self, states: States) -> Tensor:
        """See `Pooling`."""
        return states.first()


POOLING = Cls()
