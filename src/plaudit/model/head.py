"""A head with more rows than the reward's, while a model is trained.

Training may want more of a completion than its reward: what a nuisance makes of it, or a prediction
for each of its attributes. Each is a further row of the same linear layer, on the same features. In
the end `narrow` leaves one row, so that the saved model is an ordinary one.
"""

from typing import Any

import torch
from torch import Tensor, nn

from plaudit.model.classifier import head_of


def widen(model: Any, rows: int, seed: int) -> None:
    """Give the head so many rows. The first is the one that was there; others are drawn at random,
    with the standard deviation that its weights have.

    >>> from plaudit import RewardModel
    >>> model = RewardModel.load("embedded:minilm")
    >>> widen(model.model, 3, seed=0)
    >>> head_of(model.model).weight.shape
    torch.Size([3, 384])
    """
    head = head_of(model)
    own = head.weight.detach()
    drawn = torch.randn(rows - 1, own.shape[1], generator=torch.Generator().manual_seed(seed))
    others = own.std() * drawn.to(own)
    head.weight = nn.Parameter(torch.cat([own, others]))
    if head.bias is not None:
        head.bias = nn.Parameter(torch.cat([head.bias.detach(), own.new_zeros(rows - 1)]))
    head.out_features = rows


def narrow(model: Any, weights: Tensor) -> None:
    """Leave of a head's rows one: their sum, times `weights[rows]`."""
    head = head_of(model)
    if head.out_features == 1:
        return
    weights = weights.detach().to(head.weight)
    head.weight = nn.Parameter((weights @ head.weight.detach()).unsqueeze(0))
    if head.bias is not None:
        head.bias = nn.Parameter((weights @ head.bias.detach()).unsqueeze(0))
    head.out_features = 1
