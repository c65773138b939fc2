"""Plackett–Luce: a ranking as one judgement, drawn from best to worst, ties in any order."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from plaudit.data.rankings import PADDING
from plaudit.training.objectives import Objective


def plackett_luce(rewards: Tensor, ranks: Tensor) -> Tensor:
    """Plackett–Luce: −log of the probability that drawing without replacement gives the ranking.

    The next best completion is drawn with probability exp(r_i) / Σ exp(r_j) over those left. A tie
    says that the order within it is unknown, so the probabilities of all its orders add up. For
    completions T tied ahead of the completions W that rank worse, that sum is

        P = ∫₀^∞ e^(−t) ∏_{i ∈ T} (1 − e^(−a_i t)) dt,   a_i = exp(r_i) / Σ_{j ∈ W} exp(r_j),

    the probability that every exponential clock of T rings before the first of W (DeLong, Guirguis
    and So 1994, for ties in Cox's partial likelihood). With t = e^x the integrand is smooth and
    falls off at both ends, so that the trapezoid rule reaches float precision with the nodes below.

    Assumes that a ranking is one judgement of K completions; for K = 2 it is Bradley–Terry. The sum
    is divided by the number of strictly ordered stages, which keeps K = 8 and K = 2 on one scale.

    Source: Plackett 1975; Luce 1959.

    Args:
        rewards: `[R, K]`.
        ranks: `[R, K]`, dense, `PADDING` where there is no completion.

    Returns:
        `[R]`, in nats for each stage; 0 for a ranking that is all one tie.

    >>> plackett_luce(torch.tensor([[1.0, 0.0]]), torch.tensor([[0, 1]]))
    tensor([0.3133])
    """
    present = ranks != PADDING
    levels = torch.arange(ranks.shape[1], device=ranks.device).view(1, -1, 1)  # [1, G, 1]
    drawn = (ranks.unsqueeze(1) == levels) & present.unsqueeze(1)  # [R, G, K]
    worse = (ranks.unsqueeze(1) > levels) & present.unsqueeze(1)
    stage = drawn.any(2) & worse.any(2)  # [R, G]: the last tie has nothing to be drawn ahead of
    # Constants stand where nothing is drawn, so that no infinity meets a zero gradient.
    lowest = torch.finfo(rewards.dtype).min / 4
    rest = rewards.unsqueeze(1).masked_fill(~worse, lowest).logsumexp(2, keepdim=True)
    log_a = torch.where(drawn & stage.unsqueeze(2), rewards.unsqueeze(1) - rest, 0.0)
    # One completion alone: a / (1 + a). Ties are few, and on a CPU the integral is taken for them
    # alone; to pick them out, a GPU would be waited for.
    tie = stage & (drawn.sum(2) > 1)
    log_probability = logsigmoid(log_a.sum(2))
    if rewards.device.type == "cpu":
        together = _log_all_before(log_a[tie], drawn[tie])
        log_probability = log_probability.masked_scatter(tie, together)
    else:
        together = _log_all_before(log_a, drawn & tie.unsqueeze(2))
        log_probability = torch.where(tie, together, log_probability)
    return -torch.where(stage, log_probability, 0.0).sum(1) / stage.sum(1).clamp(min=1)


def _log_all_before(log_a: Tensor, tied: Tensor) -> Tensor:
    """The logarithm of the integral above for `[…, K]` rates, of which those `tied` count."""
    x = torch.arange(-45.0, 5.0 + _STEP, _STEP, dtype=log_a.dtype, device=log_a.device)
    z = log_a.unsqueeze(-1) + x  # […, K, nodes]
    # log(1 − e^(−y)) for y = e^z without cancellation (Mächler 2012); far out it is z, or nothing.
    y = z.clamp(-20, 20).exp()
    rung = torch.where(
        y < 0.693,
        torch.log(-torch.expm1(-y.clamp(max=0.7))),
        torch.log1p(-torch.exp(-y.clamp(min=0.6))),
    )
    rung = torch.where(z < -20, z, rung)
    rung = torch.where(tied.unsqueeze(-1), rung, 0.0).sum(-2)
    return (x - x.exp() + rung).logsumexp(-1) + math.log(_STEP)


_STEP = 0.25


OBJECTIVE = Objective(plackett_luce, probability=True)
