"""The exponential loss over all ordered pairs of a ranking, as RankBoost has it."""

from torch import Tensor

from plaudit.training.objectives import Objective
from plaudit.training.pairs import mean_over, ordered_pairs


def exponential(rewards: Tensor, ranks: Tensor) -> Tensor:
    """The mean over ordered pairs of exp(r_worse − r_better): `[R]` of `[R, K]`."""
    difference, better = ordered_pairs(rewards, ranks)
    return mean_over((-difference).exp(), better)


OBJECTIVE = Objective(exponential)
