"""The margin hinge over all ordered pairs of a ranking: a support vector machine that ranks."""

from collections.abc import Mapping

from torch import Tensor

from plaudit.training.objectives import DIFFERENCES, Objective
from plaudit.training.pairs import mean_over, ordered_pairs


def hinge(rewards: Tensor, ranks: Tensor, *, margin: Tensor | float = 0.0) -> Tensor:
    """Hinge: the mean over ordered pairs of max(0, 1 + margin − (r_better − r_worse)).

    Assumes nothing of the data; ties make no pair. A pair whose better completion is ahead by 1, or
    by 1 and the data's `margin[R]`, is learnt and pulls no more. That makes it blind to how sure an
    order is: rewards have no probability, and one wrong label pulls no harder than another.

    Source: Herbrich, Graepel and Obermayer 2000, "Large Margin Rank Boundaries for Ordinal
    Regression"; Joachims 2002, "Optimizing Search Engines using Clickthrough Data".

    Args:
        rewards: `[R, K]`.
        ranks: `[R, K]`, `PADDING` where there is no completion.
        margin: `[R]` or one number, in units of reward.

    Returns:
        `[R]`, in units of reward; 0 for a ranking without an ordered pair.

    >>> import torch
    >>> hinge(torch.tensor([[1.0, 0.75]]), torch.tensor([[0, 1]]))
    tensor([0.7500])
    """
    difference, better = ordered_pairs(rewards, ranks)
    if isinstance(margin, Tensor):
        margin = margin.view(-1, 1, 1)
    return mean_over((1 + margin - difference).clamp(min=0), better)


def meaning(options: Mapping[str, Tensor]) -> str:
    """See `Objective`."""
    return (
        f"{DIFFERENCES}a better completion was to be ahead by 1, and how far it is ahead gives no "
        "probability"
    )


OBJECTIVE = Objective(hinge, meaning=meaning)
