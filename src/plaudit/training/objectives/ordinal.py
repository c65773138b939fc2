"""Ordinal regression on ratings: levels in an order, whose distances are learnt."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from plaudit.data.rankings import PADDING
from plaudit.errors import PlauditError
from plaudit.training.objectives import Objective, Prepared

MOST_LEVELS = 10


def ordinal(
    rewards: Tensor, ranks: Tensor, *, ratings: Tensor, bounds: Tensor, cuts: Tensor
) -> Tensor:
    """Proportional odds: the mean over completions of −log of the probability of their level.

    Ratings between two `bounds` are of one level, m = 0 … M − 1, and

        P(level ≥ m) = σ(r − c_m),    c_1 < … < c_{M−1},
        P(level = m) = σ(r − c_m) − σ(r − c_{m+1})
                     = σ(r − c_m) σ(c_{m+1} − r) (1 − e^(c_m − c_{m+1})).

    Assumes that levels mean the same for all prompts, but nothing of how far they are apart: the
    cuts c are learnt with the model, beginning where equal rewards give the levels' shares in the
    training data. Where these have more than ten different ratings, ten about equally frequent
    levels are made of them.

    Source: McCullagh 1980, "Regression Models for Ordinal Data", section 2.

    Args:
        rewards: `[R, K]`.
        ranks: `[R, K]`, `PADDING` where there is no completion.
        ratings: `[R, K]`, on the data's scale; NaN where there is none.
        bounds: `[M − 1]`, in order; a rating above bounds[m − 1] is of level m or higher.
        cuts: `[M − 1]`: c_1, then log(c_2 − c_1), log(c_3 − c_2), …

    Returns:
        `[R]`, in nats; 0 for a ranking without ratings.

    >>> one = torch.tensor([[1.0, 0.0]]), torch.tensor([[0, 1]])
    >>> three = {"bounds": torch.tensor([1.5, 2.5]), "cuts": torch.tensor([0.0, 0.0])}
    >>> ordinal(*one, ratings=torch.tensor([[3.0, 2.0]]), **three)
    tensor([1.0791])
    """
    rated = (ranks != PADDING) & ~ratings.isnan()
    level = torch.bucketize(ratings.nan_to_num(), bounds.to(ratings))
    at = _cuts(cuts.to(rewards.dtype))
    # The lowest level has no cut below it and the highest none above: constants stand there.
    below = at[(level - 1).clamp(min=0)]
    above = at[level.clamp(max=len(at) - 1)]
    not_lowest, not_highest = level > 0, level < len(at)
    gap = torch.where(not_lowest & not_highest, above - below, 1.0)
    log_probability = (
        torch.where(not_lowest, logsigmoid(rewards - below), 0.0)
        + torch.where(not_highest, logsigmoid(above - rewards), 0.0)
        + torch.where(not_lowest & not_highest, torch.log(-torch.expm1(-gap)), 0.0)
    )
    return -torch.where(rated, log_probability, 0.0).sum(1) / rated.sum(1).clamp(min=1)


def _cuts(cuts: Tensor) -> Tensor:
    """c_1 … c_{M−1} of what is learnt."""
    return cuts[0] + torch.cat([torch.zeros_like(cuts[:1]), cuts[1:].exp()]).cumsum(0)


def prepare(ratings: Tensor) -> Prepared:
    """See `Objective`."""
    known = ratings[~ratings.isnan()].sort().values
    values = known.unique()
    if len(values) < 2:
        raise PlauditError("ratings: are all the same in the training data; choose another loss")
    if len(values) <= MOST_LEVELS:
        bounds = (values[1:] + values[:-1]) / 2
    else:
        tenths = torch.arange(1, MOST_LEVELS) * len(known) // MOST_LEVELS
        bounds = known[tenths].unique()
        bounds = bounds[bounds < known[-1]]
    count = torch.bincount(torch.bucketize(known, bounds), minlength=len(bounds) + 1) + 0.5
    at = (count.cumsum(0)[:-1] / count.sum()).logit()
    return Prepared(fixed={"bounds": bounds}, learnt={"cuts": torch.cat([at[:1], at.diff().log()])})


def meaning(options: Mapping[str, Tensor]) -> str:
    """See `Objective`."""
    at = zip(_cuts(options["cuts"]).tolist(), options["bounds"].tolist(), strict=True)
    which = ", ".join(f"{cut:.2f} for {bound:.4g}" for cut, bound in at)
    return f"σ(r − c) is the probability of a rating above a bound, where c is {which}"


OBJECTIVE = Objective(ordinal, prepare, meaning)
