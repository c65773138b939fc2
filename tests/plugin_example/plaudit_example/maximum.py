"""The largest value of each hidden dimension over a completion's tokens."""

from torch import Tensor

from plaudit.model.poolings import Pooling
from plaudit.model.states import States
from plaudit_example.modeling_maximum import MaximumForSequenceClassification


class Maximum(Pooling):
    """For any base model; the class that is saved gives the same rewards without plaudit."""

    kinds = ("decoder", "encoder")
    noted_as = "pooling_mode_max_tokens"
    network = MaximumForSequenceClassification

    def vectors(self, states: States) -> Tensor:
        """`[N, H]`: what stands where no token is must not count."""
        hidden, present = states.rows()  # [N, L, H], [N, L]
        return hidden.masked_fill(~present.unsqueeze(2), float("-inf")).amax(1)


POOLING = Maximum()
