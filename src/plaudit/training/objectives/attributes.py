"""Several attributes, each predicted by a row of the head, and a mix of them as the reward."""

from collections.abc import Mapping

import torch
from torch import Tensor

from plaudit.data.rankings import PADDING
from plaudit.errors import PlauditError
from plaudit.training.objectives import PROBABILITY, Objective, Prepared
from plaudit.training.objectives.bradley_terry import bradley_terry


def attributes(
    rewards: Tensor,
    ranks: Tensor,
    *,
    attributes: Tensor,
    predictions: Tensor,
    mean: Tensor | float = 0.0,
    deviation: Tensor | float = 1.0,
    log_mix: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Attributes: Bradley–Terry of their mix, plus the squared error of each.

        mean_pairs −log σ(r_better − r_worse) + mean_a (p_a − (x_a − mean_a) / deviation_a)²,
        r = Σ_a w_a p_a,    w_a = exp(log_mix_a) > 0,

    x being the attributes.

    The preferences teach the mix alone, and
    the attributes the predictions p: each stays what it is named. An attribute of which more is not
    better, such as verbosity, ends with a small weight. The saved head is the one row Σ_a w_a p_a.

    Assumes that an attribute means the same for all prompts, and that its steps are equal.

    Source: Wang et al. 2024, "Interpretable Preferences via Multi-Objective Reward Modeling and
    Mixture-of-Experts" (ArmoRM), arXiv:2406.12845, with one mix for all prompts in place of its
    gate, so that the reward stays one linear head.

    Args:
        rewards: `[R, K]`, the mix, with no gradient to the predictions.
        ranks: `[R, K]`, `PADDING` where there is no completion.
        attributes: `[R, K, A]`, on the data's scale; NaN where there is none.
        predictions: `[R, K, A]`, standardised.
        mean: `[A]`, of the training data.
        deviation: `[A]`, of the training data.
        log_mix: `[A]`; used by `mix`.
        label_smoothing: see `bradley_terry`.

    Returns:
        `[R]`.

    >>> pair, two = torch.tensor([[1.0, 0.0]]), torch.tensor([[[2.0, 1.0], [0.0, 1.0]]])
    >>> attributes(pair, torch.tensor([[0, 1]]), attributes=two, predictions=two / 2)
    tensor([0.6883])
    """
    known = (ranks != PADDING).unsqueeze(-1) & ~attributes.isnan()
    target = (attributes.nan_to_num() - mean) / deviation
    errors = torch.where(known, predictions - target, 0.0) ** 2
    error = errors.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    return bradley_terry(rewards, ranks, label_smoothing=label_smoothing) + error


def prepare(attributes: Tensor) -> Prepared:
    """See `Objective`: the mix begins as a mean."""
    known = ~attributes.isnan()
    count = known.sum((0, 1)).clamp(min=1)
    mean = attributes.nansum((0, 1)) / count
    deviation = (((attributes - mean) ** 2).nansum((0, 1)) / count).sqrt()
    if not deviation.any():
        raise PlauditError(
            "attributes: each is the same for all completions of the training data; choose "
            "another loss"
        )
    deviation = torch.where(deviation > 0, deviation, 1.0)
    start = torch.full_like(mean, -float(torch.tensor(len(mean)).log()))
    return Prepared(fixed={"mean": mean, "deviation": deviation}, learnt={"log_mix": start})


def mix(options: Mapping[str, Tensor]) -> Tensor:
    """See `Objective`: the weights `[A]`."""
    return options["log_mix"].exp()


def meaning(options: Mapping[str, Tensor]) -> str:
    """See `Objective`."""
    return f"{PROBABILITY}; it is a mix of {len(options['mean'])} predicted attributes"


OBJECTIVE = Objective(attributes, prepare, meaning, mix=mix)
