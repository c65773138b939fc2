"""The mean of the tokens' scores: for any base model, by the class of `modeling_mean`.

The head is linear and has no bias, so the mean of scores is the score of the mean.
"""

from typing import ClassVar

from torch import Tensor, nn

from plaudit.model.modeling_mean import MeanScoreForSequenceClassification
from plaudit.model.poolings import Pooling
from plaudit.model.states import States


class Mean(Pooling):
    """Every token is scored once, whatever the number of completions that it belongs to."""

    kinds: ClassVar[tuple[str, ...]] = ("decoder", "encoder")
    noted_as = "pooling_mode_mean_tokens"
    network = MeanScoreForSequenceClassification

    def vectors(self, states: States) -> Tensor:
        """See `Pooling`; in float32."""
        return states.mean()

    def rewards(self, head: nn.Module, states: States) -> Tensor:
        """See `Pooling`."""
        return states.mean(head(states.hidden))


POOLING = Mean()
