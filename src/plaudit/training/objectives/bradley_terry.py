"""Bradley–Terry over all ordered pairs of a ranking."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from plaudit.training.objectives import Objective
from plaudit.training.pairs import mean_over, ordered_pairs


def bradley_terry(
    rewards: Tensor,
    ranks: Tensor,
    *,
    margin: Tensor | float = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Bradley–Terry: the mean over ordered pairs of −log σ(r_better − r_worse − margin).

    Assumes nothing of the data: pairs are rankings of two, ties make no pair. `margin[R]` is the
    reward difference that a better completion should have at least (Touvron et al. 2023, Llama 2,
    eq. 2). `label_smoothing` ε in [0, 0.5) is the share of pairs thought to be labelled the wrong
    way round: (1 − ε) · −log σ(d) + ε · −log σ(−d).

    Source: Bradley and Terry 1952; the mean over all pairs of a ranking is InstructGPT's (Ouyang et
    al. 2022, eq. 1).

    Args:
        rewards: `[R, K]`.
        ranks: `[R, K]`, `PADDING` where there is no completion.
        margin: `[R]` or one number, in units of reward.
        label_smoothing: ε, in [0, 0.5).

    Returns:
        `[R]`, in nats; 0 for a ranking without an ordered pair.

    >>> import torch
    >>> bradley_terry(torch.tensor([[1.0, 0.0]]), torch.tensor([[0, 1]]))
    tensor([0.3133])
    """
    difference, better = ordered_pairs(rewards, ranks)
    if isinstance(margin, Tensor):
        margin = margin.view(-1, 1, 1)
    difference = difference - margin
    loss = -(1 - label_smoothing) * logsigmoid(difference)
    if label_smoothing:
        loss = loss - label_smoothing * logsigmoid(-difference)
    return mean_over(loss, better)


OBJECTIVE = Objective(bradley_terry, probability=True)
