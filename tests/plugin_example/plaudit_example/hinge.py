"""The hinge loss over all ordered pairs of a ranking."""

from torch import Tensor

from plaudit.training.objectives import Objective
from plaudit.training.pairs import mean_over, ordered_pairs


def hinge(rewards: Tensor, ranks: Tensor) -> Tensor:
    """The mean over ordered pairs of max(0, 1 − (r_better − r_worse)): `[R]` of `[R, K]`."""
    difference, better = ordered_pairs(rewards, ranks)
    return mean_over((1 - difference).clamp(min=0), better)


OBJECTIVE = Objective(hinge)
