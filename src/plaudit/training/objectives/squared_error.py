"""Regression on ratings: the reward is to be the rating itself, standardised."""

from collections.abc import Mapping

import torch
from torch import Tensor

from plaudit.data.rankings import PADDING
from plaudit.errors import PlauditError
from plaudit.training.objectives import Objective, Prepared


def squared_error(
    rewards: Tensor,
    ranks: Tensor,
    *,
    ratings: Tensor,
    mean: Tensor | float = 0.0,
    deviation: Tensor | float = 1.0,
) -> Tensor:
    """Squared error: the mean over completions of (r − (rating − mean) / deviation)².

    Mean and standard deviation are those of the training ratings, so that rewards are of the size
    that a new head gives, whatever the scale.

    Assumes that ratings mean the same for all prompts and that their steps are equal: 1 to 2 is as
    much as 4 to 5. Of ranks only the padding is used.

    Source: least squares; for reward models Wang et al. 2024, "HelpSteer2: Open-source dataset for
    training top-performing reward models", section 3.

    Args:
        rewards: `[R, K]`.
        ranks: `[R, K]`, `PADDING` where there is no completion.
        ratings: `[R, K]`, on the data's scale; NaN where there is none.
        mean: of the training ratings.
        deviation: of the training ratings.

    Returns:
        `[R]`, in squared deviations; 0 for a ranking without ratings.

    >>> one = torch.tensor([[1.0, 0.0]]), torch.tensor([[0, 1]])
    >>> squared_error(*one, ratings=torch.tensor([[5.0, 2.0]]), mean=3.0, deviation=2.0)
    tensor([0.1250])
    """
    rated = (ranks != PADDING) & ~ratings.isnan()
    target = (ratings.nan_to_num() - mean) / deviation
    error = torch.where(rated, rewards - target, 0.0)
    return (error**2).sum(1) / rated.sum(1).clamp(min=1)


def prepare(ratings: Tensor) -> Prepared:
    """See `Objective`."""
    known = ratings[~ratings.isnan()]
    deviation = known.std(correction=0)
    if deviation == 0:
        raise PlauditError("ratings: are all the same in the training data; choose another loss")
    return Prepared(fixed={"mean": known.mean(), "deviation": deviation})


def meaning(options: Mapping[str, Tensor]) -> str:
    """See `Objective`."""
    mean, deviation = options["mean"].item(), options["deviation"].item()
    return (
        f"It estimates the rating, which is {mean:.4g} + {deviation:.4g} · reward on the scale of "
        "the training data; differences of rewards give no probability"
    )


OBJECTIVE = Objective(squared_error, prepare, meaning)
