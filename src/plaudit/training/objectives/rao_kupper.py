"""Rao and Kupper's model of pairs with ties: what differs by less than a threshold looks equal."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from plaudit.training.objectives import DIFFERENCES, Objective, Prepared
from plaudit.training.pairs import compared_pairs, mean_over, tie_share


def rao_kupper(rewards: Tensor, ranks: Tensor, *, log_threshold: Tensor | float = 0.0) -> Tensor:
    """Rao–Kupper: the mean over all pairs of −log of the probability of "better" or of "tied".

    A judge sees the difference d = r_i − r_j with logistic noise, and calls it a tie within ± η:

        P(i better) = σ(d − η),    P(tied) = (e^(2η) − 1) σ(d − η) σ(−d − η).

    Equal rewards tie with the probability tanh(η / 2); η = 0 is Bradley–Terry. The source's θ is
    e^η.

    Assumes that ties are judgements, and not what is left where nobody judged. η is learnt with the
    model; it begins where equal rewards tie as often as the training data do.

    Source: Rao and Kupper 1967, "Ties in Paired-Comparison Experiments: A Generalization of the
    Bradley-Terry Model".

    Args:
        rewards: `[R, K]`.
        ranks: `[R, K]`, `PADDING` where there is no completion.
        log_threshold: log η, η in units of reward.

    Returns:
        `[R]`, in nats.

    >>> rao_kupper(torch.tensor([[1.0, 0.0]]), torch.tensor([[0, 1]]))
    tensor([0.6931])
    """
    difference, better, tied = compared_pairs(rewards, ranks)
    log_threshold = torch.as_tensor(log_threshold, dtype=rewards.dtype, device=rewards.device)
    threshold = log_threshold.exp()
    ahead = logsigmoid(difference - threshold)
    # log(e^(2η) − 1), which does not overflow.
    width = 2 * threshold + torch.log(-torch.expm1(-2 * threshold))
    tie = width + ahead + logsigmoid(-difference - threshold)
    return mean_over(-torch.where(better, ahead, tie), better | tied)


def prepare(ranks: Tensor) -> Prepared:
    """See `Objective`: tanh(η / 2) is the share of ties."""
    return Prepared(learnt={"log_threshold": torch.log(2 * torch.atanh(tie_share(ranks)))})


def meaning(options: Mapping[str, Tensor]) -> str:
    """See `Objective`."""
    threshold = options["log_threshold"].exp().item()
    return (
        f"{DIFFERENCES}σ(r_a − r_b − {threshold:.2f}) is the probability that a is preferred to b, "
        f"σ(r_b − r_a − {threshold:.2f}) that b is; else they are tied"
    )


OBJECTIVE = Objective(rao_kupper, prepare, meaning)
