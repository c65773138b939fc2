"""The ordered pairs of a ranking, which several objectives are made of."""

import torch
from torch import Tensor

from plaudit.data.rankings import PADDING


def ordered_pairs(rewards: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """Reward differences of all completions and which of them are strictly ordered pairs.

    Returns `difference[R, K, K]`, entry (i, j) being r_i − r_j where completion i ranks
    strictly better than completion j and 0 elsewhere, and `better[R, K, K]`, true where it does.

    >>> difference, better = ordered_pairs(torch.tensor([[2.0, 0.5]]), torch.tensor([[0, 1]]))
    >>> difference[better]
    tensor([1.5000])
    """
    present = ranks != PADDING
    better = ranks.unsqueeze(2) < ranks.unsqueeze(1)
    better = better & present.unsqueeze(2) & present.unsqueeze(1)
    # Masked here, too: a loss that overflows on a pair that is none would have gradients of NaN.
    return torch.where(better, rewards.unsqueeze(2) - rewards.unsqueeze(1), 0.0), better


def reward_centring(rewards: Tensor, ranks: Tensor) -> Tensor:
    """The mean over ordered pairs of (r_better + r_worse)², which draws rewards to mean zero.

    A term to add to a loss, times `center_rewards_coefficient`. Source: Eisenstein et al. 2023,
    "Helping or Herding?", eq. 2; the same as in TRL.

    Returns:
        `[R]`, in squared units of reward.

    >>> reward_centring(torch.tensor([[2.0, 1.0]]), torch.tensor([[0, 1]]))
    tensor([9.])
    """
    _, better = ordered_pairs(rewards, ranks)
    return mean_over((rewards.unsqueeze(2) + rewards.unsqueeze(1)) ** 2, better)


def mean_over(values: Tensor, better: Tensor) -> Tensor:
    """The mean of `values[R, K, K]` over the pairs in `better[R, K, K]`: `[R]`, 0 for none."""
    return torch.where(better, values, 0.0).sum((1, 2)) / better.sum((1, 2)).clamp(min=1)


def compared_pairs(rewards: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of completions that a ranking compares, each once, for losses that learn from ties.

    Returns `difference[R, K, K]`, r_i − r_j; `better[R, K, K]`, true where i ranks strictly better
    than j; and `tied[R, K, K]`, true where they tie and i < j. The difference is 0 elsewhere.

    >>> _, better, tied = compared_pairs(torch.zeros(1, 3), torch.tensor([[0, 1, 1]]))
    >>> better.sum().item(), tied.sum().item()
    (2, 1)
    """
    present = ranks != PADDING
    tied = (ranks.unsqueeze(2) == ranks.unsqueeze(1)) & present.unsqueeze(2)
    tied = tied.triu(1)  # present_i and equal ranks: then j is present, too
    ordered, better = ordered_pairs(rewards, ranks)
    difference = torch.where(tied, rewards.unsqueeze(2) - rewards.unsqueeze(1), ordered)
    return difference, better, tied


def tie_share(ranks: Tensor) -> Tensor:
    """Which share of the pairs in `ranks[R, K]` is tied: (t + ½) / (n + 1), never none or all.

    >>> tie_share(torch.tensor([[0, 1, 1]]))
    tensor(0.3750)
    """
    _, better, tied = compared_pairs(torch.zeros(ranks.shape), ranks)
    return (tied.sum() + 0.5) / (tied.sum() + better.sum() + 1)
