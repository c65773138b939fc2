"""One ranking that is larger than a pass, run by some of its completions at a time.

A ranking's loss needs all its rewards, while each reward comes from its own completion alone. So
the gradient of the whole is had by parts: the rewards are computed without a graph, the loss is
differentiated with regard to them, and each part runs again, forward and backward, with the
derivatives of its own rewards. It is exact: Gao et al. 2021, "Scaling Deep Contrastive Learning
Batch Size under Memory Limited Setup" (arXiv:2101.06983). The price is one more forward pass of all
parts but one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from plaudit.model.batches import Batch


def losses_by_parts(
    parts: Sequence[Batch],
    forward: Callable[[Batch], Tensor],
    loss: Callable[[Tensor], Tensor],
    further: Callable[[Batch], Tensor],
    device: torch.device,
) -> Iterator[Tensor]:
    """For each part a loss whose backward pass is to be run before the next one is asked for.

    Their values add up to the loss of the whole, and their gradients to its gradient. One part's
    graph is in memory at a time.

    Args:
        parts: of a ranking, as `by_completions` makes them.
        forward: gives what the head makes of a part, `[N, rows]`. It is called twice for all parts
            but the first, with the same random numbers.
        loss: of what the head makes of the whole, `[K, rows]`: one number.
        further: a term of the loss that the part which was run last has for itself.
        device: whose random numbers they are, besides the CPU's.

    >>> weight = torch.tensor(2.0, requires_grad=True)
    >>> parts = [{"input_ids": torch.tensor(x)} for x in ([[1.0], [3.0]], [[4.0]])]
    >>> losses = losses_by_parts(
    ...     parts,
    ...     forward=lambda part: weight * part["input_ids"],
    ...     loss=torch.prod,
    ...     further=lambda _: torch.zeros(()),
    ...     device=weight.device,
    ... )
    >>> for each in losses:
    ...     each.backward()
    >>> weight.grad  # of 12 · weight³
    tensor(144.)
    """
    first, *others = parts
    random, rewards = [], []
    with torch.no_grad():
        for part in others:
            random.append(_random_state(device))
            rewards.append(forward(part))
    rewards = [each.requires_grad_() for each in rewards]
    yield loss(torch.cat([forward(first), *rewards])) + further(first)
    for part, state, reward in zip(others, random, rewards, strict=True):
        with _drawn_again(state, device):
            again = forward(part)
        assert reward.grad is not None, "the loss before was not run backward"
        # Nothing in value, which has been counted.
        yield ((again - again.detach()) * reward.grad).sum() + further(part)


def _generators(device: torch.device) -> list[Any]:
    """The modules that draw random numbers for a model on this device."""
    return [torch] if device.type == "cpu" else [torch, torch.get_device_module(device)]


def _random_state(device: torch.device) -> list[Tensor]:
    return [module.get_rng_state() for module in _generators(device)]


@contextmanager
def _drawn_again(state: list[Tensor], device: torch.device) -> Iterator[None]:
    """Within it the random numbers are those that came after `state`; afterwards those that would
    have come without."""
    now = _random_state(device)
    try:
        for module, of_module in zip(_generators(device), state, strict=True):
            module.set_rng_state(of_module)
        yield
    finally:
        for module, of_module in zip(_generators(device), now, strict=True):
            module.set_rng_state(of_module)
