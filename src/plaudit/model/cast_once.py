"""Linear layers whose weights are cast for scoring once, and not in every pass.

Under autocast a pass casts the weights anew, which for a few tokens takes longer than the products.
Within `cast_once` a layer keeps its weights in the type of autocast until they change. Rewards are
the same to the last bit. Memory grows by these copies, so training does without, and so do GPUs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

_on: ContextVar[bool] = ContextVar("cast_once", default=False)


@contextmanager
def cast_once() -> Iterator[None]:
    """Within it, in this thread, the layers of `keeping_casts` keep what they cast."""
    token = _on.set(True)
    try:
        yield
    finally:
        _on.reset(token)


def keeping_casts(model: nn.Module) -> None:
    """Change the classes of the plain linear layers of a model such that `cast_once` works."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = _Linear
        elif type(module) is Conv1D:
            module.__class__ = _Conv1D


class _Kept:
    """What a layer cast, and of what."""

    def __init__(self) -> None:
        self.of: tuple[Any, ...] = ()
        self.tensors: tuple[Tensor, Tensor | None] | None = None

    def cast(self, layer: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Weight and bias in the type; a change in place counts as another weight."""
        of = (dtype, *(_state(p) for p in (layer.weight, layer.bias)))
        if self.tensors is None or self.of != of:
            bias = None if layer.bias is None else layer.bias.to(dtype)
            self.of, self.tensors = of, (layer.weight.to(dtype), bias)
        return self.tensors

    def __deepcopy__(self, _: Any) -> "_Kept":
        return _Kept()

    def __reduce__(self) -> Any:
        return _Kept, ()


def _state(parameter: Tensor | None) -> tuple[int, int, int]:
    """What tells a parameter from another, and from itself with other numbers in it."""
    if parameter is None:
        return 0, 0, 0
    return id(parameter), parameter.data_ptr(), parameter._version


def _kept(layer: nn.Module, input: Tensor) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Input, weight and bias to compute with, where they are kept."""
    place = input.device.type
    if torch.is_grad_enabled() or not _on.get() or not torch.is_autocast_enabled(place):
        return None
    kept = layer.__dict__.setdefault("_cast", _Kept())
    dtype = torch.get_autocast_dtype(place)
    return input.to(dtype), *kept.cast(layer, dtype)


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
