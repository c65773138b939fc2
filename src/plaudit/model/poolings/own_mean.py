"""The mean of the tokens' states, by the head that a model's classifier has for it: for encoders.

ModernBERT's and EuroBERT's classifiers pool so where their configuration says
`classifier_pooling: mean`. Their head has layers of its own before the linear one, so the mean of
scores is not the score of the mean, and `mean` is another pooling.
"""

from torch import Tensor

from plaudit.model.poolings import Pooling
from plaudit.model.states import States


class OwnMean(Pooling):
    """The classifier's own head is given the mean of each row's tokens."""

    kinds = ("encoder",)
    own_head = True

    def vectors(self, states: States) -> Tensor:
        """See `Pooling`."""
        return states.mean()


POOLING = OwnMean()
