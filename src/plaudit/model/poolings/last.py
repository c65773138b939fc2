"""The last token of a completion, which has read all before it: for decoders.

It is found by the attention mask. transformers' own classifier finds it by the pad token's id, and
agrees because no row that plaudit encodes ends with that token.
"""

from torch import Tensor

from plaudit.model.poolings import Pooling
from plaudit.model.states import States


class Last(Pooling):
    """The head is given the last token of each row."""

    kinds = ("decoder",)

    def vectors(self, states: States) -> Tensor:
        """See `Pooling`."""
        return states.last()


POOLING = Last()
