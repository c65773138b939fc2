"""Bradley–Terry in which a pair counts the more, the more strongly its better one was preferred."""

from collections.abc import Mapping

from torch import Tensor

from plaudit.training.objectives import PROBABILITY, Objective, Prepared
from plaudit.training.objectives.bradley_terry import bradley_terry
from plaudit.training.objectives.strength_margin import known_strength


def strength_weight(
    rewards: Tensor,
    ranks: Tensor,
    *,
    strength: Tensor,
    mean: Tensor | float = 1.0,
    margin: Tensor | float = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Bradley–Terry times the data's preference strength, whose mean counts as 1.

    Assumes that strength is on a scale on which 0 is none and twice as much is twice as strong, as
    if the pair had been judged so many times. It goes for all pairs of a ranking.

    Source: Wang et al. 2024, "HelpSteer2-Preference: Complementing Ratings with Preferences", the
    scaled Bradley–Terry, which did better there than margins.

    Args:
        rewards: `[R, K]`.
        ranks: `[R, K]`, `PADDING` where there is no completion.
        strength: `[R]`, on the data's scale; NaN where there is none.
        mean: of the training data.
        margin: see `bradley_terry`.
        label_smoothing: see `bradley_terry`.

    Returns:
        `[R]`, in nats; 0 for a ranking without an ordered pair or without strength.

    >>> import torch
    >>> one = torch.tensor([[1.0, 0.0]]), torch.tensor([[0, 1]])
    >>> strength_weight(*one, strength=torch.tensor([3.0]), mean=1.5)
    tensor([0.6265])
    """
    losses = bradley_terry(rewards, ranks, margin=margin, label_smoothing=label_smoothing)
    return losses * strength.nan_to_num() / mean


def prepare(strength: Tensor) -> Prepared:
    """See `Objective`."""
    return Prepared(fixed={"mean": known_strength(strength).mean()})


def meaning(options: Mapping[str, Tensor]) -> str:
    """See `Objective`."""
    return f"{PROBABILITY}, where strong preferences count for more"


OBJECTIVE = Objective(strength_weight, prepare, meaning, probability=True)
