"""Objectives: what is learnt from a ranking. Each is one module of this package, found by its name.

A module defines `OBJECTIVE`, an `Objective` whose `loss` is a pure function of padded tensors:
`rewards[R, K]` in float32 and dense `ranks[R, K]` (0 is best, equal ranks are ties, `PADDING` where
a ranking has fewer than K completions). Padded rewards are ignored and get no gradient. It returns
`[R]`; the trainer weights and averages. Importing this package does not import torch.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from plaudit.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

# What the data say of a ranking besides its ranks, as keywords of a loss: `margin[R]` (0 where
# there is none), `strength[R]`, `ratings[R, K]` and `attributes[R, K, A]` (NaN where there are
# none).
DATA = ("margin", "strength", "ratings", "attributes")

DIFFERENCES = "Only differences for one prompt mean something: "
PROBABILITY = f"{DIFFERENCES}σ(r_a − r_b) is the probability that a is preferred to b"


@dataclass(frozen=True)
class Prepared:
    """Keywords of a loss that come from the training data: `fixed` ones, and where `learnt` ones
    begin, which the trainer learns with the model and throws away in the end.

    `attributes` names those that the data have, in their order, where the loss learns from them.
    """

    fixed: "Mapping[str, Tensor]" = field(default_factory=dict)
    learnt: "Mapping[str, Tensor]" = field(default_factory=dict)
    attributes: Sequence[str] = ()


@dataclass(frozen=True)
class Objective:
    """What is learnt from a ranking.

    `loss` takes `rewards[R, K]` and `ranks[R, K]` and returns `[R]`. Options are keywords: a loss
    that has one of `DATA` is given the data's, one that has `label_smoothing` the setting, and
    others what `prepare` makes of the training data. Rankings without what of `DATA` has no default
    are left out.

    `prepare` takes, by name, what it has of `DATA` and `ranks[R, K]`, of all training rankings.

    `meaning` says in a sentence, without a full stop, what rewards mean, for the model card; it is
    given all that `prepare` made, as it is in the end.

    `probability` says that σ(r_a − r_b) is the probability that a is preferred to b and that the
    loss is convex in rewards: then it can be said how uncertain they are (`posteriors`).

    `mix`, given the same, returns `[A]`: the head then has A rows while it is trained, the reward
    is their sum with these weights, and so is the row that is saved. The loss gets the rows as
    `predictions[R, K, A]`; through the rewards they get no gradient.
    """

    loss: "Callable[..., Tensor]"
    prepare: Callable[..., Prepared] | None = None
    meaning: "Callable[[Mapping[str, Tensor]], str]" = lambda options: PROBABILITY
    probability: bool = False
    mix: "Callable[[Mapping[str, Tensor]], Tensor] | None" = None

    def takes(self, option: str) -> bool:
        """Whether the loss has an option, such as `margin` or `label_smoothing`.

        >>> OBJECTIVES.get("bradley-terry").takes("margin")
        True
        >>> OBJECTIVES.get("plackett-luce").takes("margin")
        False
        """
        return option in inspect.signature(self.loss).parameters

    def needs(self) -> list[str]:
        """What of `DATA` a ranking must have.

        >>> OBJECTIVES.get("bradley-terry").needs()
        []
        """
        parameters = inspect.signature(self.loss).parameters
        return [
            n for n in DATA if n in parameters and parameters[n].default is inspect.Parameter.empty
        ]


OBJECTIVES = Registry("objective", __name__, "OBJECTIVE", Objective)
