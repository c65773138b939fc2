"""Objectives: what is learnt from a ranking. Each is one module of this package, found by its name.

A module defines `OBJECTIVE`, an `Objective` whose `loss` is a pure function of padded tensors:
`rewards[R, K]` in float32 and dense `ranks[R, K]` (0 is best, equal ranks are ties, `PADDING` where
a ranking has fewer than K completions). Padded rewards are ignored and get no gradient. It returns
`[R]`; the trainer weights and averages. Importing this package does not import torch.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plaudit.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """What is learnt from a ranking.

    `loss` takes `rewards[R, K]` and `ranks[R, K]` and returns `[R]`, 0 for a ranking without an
    ordered pair. Options are keywords:
    a loss that has `margin` is given the data's, `margin[R]`; one that has `label_smoothing` the
    setting.
    """

    loss: "Callable[..., Tensor]"

    def takes(self, option: str) -> bool:
        """Whether the loss has an option, such as `margin` or `label_smoothing`.

        >>> OBJECTIVES.get("bradley-terry").takes("margin")
        True
        >>> OBJECTIVES.get("plackett-luce").takes("margin")
        False
        """
        return option in inspect.signature(self.loss).parameters


OBJECTIVES = Registry("objective", __name__, "OBJECTIVE", Objective)
