"""Linear layers whose weights are cast for scoring once, and not in every pass.

Under autocast a pass casts the weights anew, which for a few tokens takes longer than the products.
Within `cast_once` layers keep what they cast in a dict that the caller has, and holds no longer
than weights are sure to stay as they are. Rewards are the same to the last bit. Memory grows by
these copies, so training does without, and so do GPUs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

Cast = tuple[Tensor, Tensor | None]  # weight and bias
Casts = dict[tuple[nn.Module, torch.dtype], Cast]

_casts: ContextVar[Casts | None] = ContextVar("casts", default=None)


@contextmanager
def cast_once(casts: Casts) -> Iterator[None]:
    """Within it, in this thread, the layers of `keeping_casts` keep what they cast in `casts`."""
    token = _casts.set(casts)
    try:
        yield
    finally:
        _casts.reset(token)


def keeping_casts(model: nn.Module) -> None:
    """Change the classes of the plain linear layers of a model such that `cast_once` works."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = _Linear
        elif type(module) is Conv1D:
            module.__class__ = _Conv1D


def _kept(layer: "_Linear | _Conv1D", input: Tensor) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Input, weight and bias to compute with, where casts are kept."""
    place = input.device.type
    # Gradients first: a compiler can follow that, and not the rest.
    if torch.is_grad_enabled() or not torch.is_autocast_enabled(place):
        return None
    if (casts := _casts.get()) is None:
        return None
    dtype = torch.get_autocast_dtype(place)
    if (cast := casts.get((layer, dtype))) is None:
        bias = None if layer.bias is None else layer.bias.to(dtype)
        cast = casts[layer, dtype] = layer.weight.to(dtype), bias
    return input.to(dtype), *cast


class _Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        if (cast := _kept(self, input)) is None:
            return super().forward(input)
        return linear(*cast)


class _Conv1D(Conv1D):
    def forward(self, x: Tensor) -> Tensor:
        if (cast := _kept(self, x)) is None:
            output: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return output
        inputs, weight, bias = cast
        assert bias is not None  # a Conv1D has one
        flat = torch.addmm(bias, inputs.reshape(-1, inputs.shape[-1]), weight)
        return flat.view(*inputs.shape[:-1], weight.shape[1])
