"""Bradley–Terry with a margin that is the larger the more strongly a completion was preferred."""

from collections.abc import Mapping

import torch
from torch import Tensor

from plaudit.errors import PlauditError
from plaudit.training.objectives import DIFFERENCES, Objective, Prepared
from plaudit.training.objectives.bradley_terry import bradley_terry


def strength_margin(
    rewards: Tensor,
    ranks: Tensor,
    *,
    strength: Tensor,
    greatest: Tensor | float = 1.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Bradley–Terry whose margin is the data's preference strength, divided by the greatest one.

    So a completion that was preferred most strongly should be ahead by 1 at least.

    Assumes that strength is on a scale on which 0 is none and twice as much is twice as strong. It
    goes for all pairs of a ranking. The data's `margin` is not used.

    Source: Touvron et al. 2023, Llama 2, section 3.2.2 and table 27, the small margins.

    Args:
        rewards: `[R, K]`.
        ranks: `[R, K]`, `PADDING` where there is no completion.
        strength: `[R]`, on the data's scale; NaN where there is none.
        greatest: of the training data.
        label_smoothing: see `bradley_terry`.

    Returns:
        `[R]`, in nats; 0 for a ranking without an ordered pair or without strength.

    >>> one = torch.tensor([[2.0, 0.0]]), torch.tensor([[0, 1]])
    >>> strength_margin(*one, strength=torch.tensor([3.0]), greatest=3.0)
    tensor([0.3133])
    """
    margin = strength.nan_to_num() / greatest
    losses = bradley_terry(rewards, ranks, margin=margin, label_smoothing=label_smoothing)
    return torch.where(strength.isnan(), 0.0, losses)


def known_strength(strength: Tensor) -> Tensor:
    """The strengths that there are.

    Raises:
        PlauditError: where one is negative, or all are 0.
    """
    known = strength[~strength.isnan()]
    if known.min() < 0 or known.max() == 0:
        raise PlauditError("strength: must be 0 or more in the training data, and not 0 everywhere")
    return known


def prepare(strength: Tensor) -> Prepared:
    """See `Objective`."""
    return Prepared(fixed={"greatest": known_strength(strength).max()})


def meaning(options: Mapping[str, Tensor]) -> str:
    """See `Objective`."""
    return (
        f"{DIFFERENCES}σ(r_a − r_b) is more than the probability that a is preferred to b, since "
        f"what was preferred with strength {options['greatest'].item():.4g} was to be ahead by 1, "
        "and by less with less"
    )


OBJECTIVE = Objective(strength_margin, prepare, meaning)
