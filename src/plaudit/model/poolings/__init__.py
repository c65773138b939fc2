"""Poolings: what the head is given of a completion's tokens. Each is one module of this package.

A module defines `POOLING`, an instance of a subclass of `Pooling`. Its name, that of its file, is
the setting `pooling`, and a saved model's config.json keeps it. Training, scoring, freezing, saving
and loading call what the subclass defines and know no pooling by name. Importing this package does
not import torch.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from plaudit.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from plaudit.model.states import States


class Pooling(ABC):
    """One way to make a completion's tokens into its reward.

    `kinds` are the kinds of base models that it suits, `decoder` or `encoder`. `noted_as` is the
    field of sentence-transformers' `1_Pooling/config.json` that says that a model was pretrained to
    be pooled so.

    A saved model is of a class that gives the same rewards without plaudit. That is transformers'
    own sequence classifier, unless `network` names another one: a `PreTrainedModel` that has the
    base model in `model` and a linear head in `score`, as `modeling_mean` does. The file of that
    class is saved with the model, so it must import nothing but torch and transformers.

    With `of_all_layers` the hidden states are those of the embeddings and of every layer, side by
    side, as `modeling_mean.side_by_side` makes them.

    With `own_head` the classifier's own head does the pooling: it is given rows of hidden states
    and reads the first of each. `vectors` is then asked for flat batches only.
    """

    kinds: ClassVar[tuple[str, ...]]
    noted_as: ClassVar[str] = ""
    network: ClassVar[Any] = None
    own_head: ClassVar[bool] = False
    of_all_layers: ClassVar[bool] = False

    @abstractmethod
    def vectors(self, states: "States") -> "Tensor":
        """`[N, H]`, what the head is given of each completion, on either layout of tokens."""

    def rewards(self, head: "nn.Module", states: "States") -> "Tensor":
        """`[N, 1]` in float32: the head of the vectors, unless another order costs less."""
        return head(self.vectors(states))


POOLINGS = Registry("pooling", __name__, "POOLING", Pooling)  # type: ignore[type-abstract]  # only for isinstance
# Where neither the settings nor the model say how to pool.
DEFAULTS = {"decoder": "last", "encoder": "cls"}


def poolings_for(kind: str) -> list[str]:
    """The poolings that suit a kind of base model.

    >>> set(poolings_for("decoder")) >= {"last", "mean"}
    True
    """
    return [name for name in POOLINGS if kind in POOLINGS.get(name).kinds]
