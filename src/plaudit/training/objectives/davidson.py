"""Davidson's model of pairs with ties: a tie says that two completions are about equally good."""

from collections.abc import Mapping

import torch
from torch import Tensor

from plaudit.training.objectives import PROBABILITY, Objective, Prepared
from plaudit.training.pairs import compared_pairs, mean_over, tie_share


def davidson(rewards: Tensor, ranks: Tensor, *, log_tie: Tensor | float = 0.0) -> Tensor:
    """Davidson: the mean over all pairs of −log of the probability of "better" or of "tied".

    With d = r_i − r_j and Z = e^(d/2) + e^(−d/2) + ν,

        P(i better) = e^(d/2) / Z,    P(tied) = ν / Z.

    Equal rewards tie with the probability ν / (2 + ν). Where a pair is not tied, σ(d) is the
    probability that i is the better one, as in Bradley–Terry, to which ν = 0 comes down.

    Assumes that ties are judgements, and not what is left where nobody judged. ν is learnt with the
    model; it begins where equal rewards tie as often as the training data do.

    Source: Davidson 1970, "On Extending the Bradley-Terry Model to Accommodate Ties in Paired
    Comparison Experiments", eq. 2.3.

    Args:
        rewards: `[R, K]`.
        ranks: `[R, K]`, `PADDING` where there is no completion.
        log_tie: log ν.

    Returns:
        `[R]`, in nats.

    >>> davidson(torch.tensor([[1.0, 0.0]]), torch.tensor([[0, 1]]))
    tensor([0.6803])
    """
    difference, better, tied = compared_pairs(rewards, ranks)
    tie = torch.as_tensor(log_tie, dtype=rewards.dtype, device=rewards.device).expand_as(difference)
    total = torch.stack([difference / 2, -difference / 2, tie]).logsumexp(0)
    return mean_over(total - torch.where(better, difference / 2, tie), better | tied)


def prepare(ranks: Tensor) -> Prepared:
    """See `Objective`: ν / (2 + ν) is the share of ties."""
    share = tie_share(ranks)
    return Prepared(learnt={"log_tie": torch.log(2 * share / (1 - share))})


def meaning(options: Mapping[str, Tensor]) -> str:
    """See `Objective`."""
    tie = options["log_tie"].exp().item()
    return (
        f"{PROBABILITY} where they are not tied; equal rewards are tied with the probability "
        f"{tie / (2 + tie):.2f}"
    )


OBJECTIVE = Objective(davidson, prepare, meaning, probability=True)
