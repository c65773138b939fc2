"""Bradley–Terry where some labels are turned round, and how many is learnt from the data."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from plaudit.training.objectives import DIFFERENCES, Objective, Prepared
from plaudit.training.pairs import mean_over, ordered_pairs


def noisy_labels(rewards: Tensor, ranks: Tensor, *, flip_logit: Tensor | float = 0.0) -> Tensor:
    """Noisy labels: the mean over ordered pairs of −log((1 − ε) σ(d) + ε σ(−d)).

    d = r_better − r_worse. A pair that the model holds to be labelled the wrong way round pulls
    less the surer the model is, where in Bradley–Terry it pulls all the harder. Label smoothing,
    whose ε is the same, bounds rewards and lets such pairs pull on.

    Assumes that a share ε < ½ of the labels is turned round by chance, whatever the pair. ε is
    learnt with the model and begins at 0.1. Only pairs that would be sure without it say how large
    it is: with little data it stays about where it begins.

    Source: Bootkrajang and Kabán 2012, "Label-Noise Robust Logistic Regression and Its
    Applications", eq. 4, with one rate for both directions; Patrini et al. 2017, "Making Deep
    Neural Networks Robust to Label Noise", the forward correction.

    Args:
        rewards: `[R, K]`.
        ranks: `[R, K]`, `PADDING` where there is no completion.
        flip_logit: x in ε = σ(x) / 2.

    Returns:
        `[R]`, in nats; 0 for a ranking without an ordered pair.

    >>> noisy_labels(torch.tensor([[0.0, 4.0]]), torch.tensor([[0, 1]]), flip_logit=-1.386)
    tensor([2.1680])
    """
    difference, better = ordered_pairs(rewards, ranks)
    flip = torch.sigmoid(torch.as_tensor(flip_logit, dtype=rewards.dtype)).to(rewards.device) / 2
    right = torch.log1p(-flip) + logsigmoid(difference)
    wrong = torch.log(flip) + logsigmoid(-difference)
    return mean_over(-torch.logaddexp(right, wrong), better)


def prepare() -> Prepared:
    """See `Objective`: ε begins at 0.1."""
    return Prepared(learnt={"flip_logit": torch.tensor(0.2).logit()})


def meaning(options: Mapping[str, Tensor]) -> str:
    """See `Objective`."""
    flip = torch.sigmoid(options["flip_logit"]).item() / 2
    return (
        f"{DIFFERENCES}σ(r_a − r_b) is the probability that a is truly preferred to b, where a "
        f"label is turned round with the probability {flip:.3f}, as estimated"
    )


OBJECTIVE = Objective(noisy_labels, prepare, meaning)
