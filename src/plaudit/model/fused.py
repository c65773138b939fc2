"""A decoder's norms, gates and rotary embeddings, each compiled into one loop for training.

transformers computes them one operation after another, and every operation reads and writes all
tokens. Where a CPU multiplies bfloat16 fast, that takes longer than the products. `fuse` finds them
by what they are made of, and has PyTorch compile them; its kernels stay in PyTorch's own cache on
disk. They are used where gradients are wanted, under autocast on a CPU, and nowhere else: rewards
are computed as ever, and do not depend on a compiler. Assumes a C++ compiler.
"""

import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from plaudit.errors import PlauditError

# Tokens of the trial: neither one, of which a kernel of its own would be made, nor many.
TOKENS = 33
# Of the largest number, by which a trial may differ: bfloat16 rounds by 2⁻⁹.
TOLERANCE = 2**-5
ROTARY = "apply_rotary_pos_emb"  # what transformers calls it, in the file of each model


def compiler() -> str | None:
    """The C++ compiler that PyTorch would call; None where there is none."""
    return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))


def fusible(model: nn.Module) -> bool:
    """Whether there is anything in a model that PyTorch does not compute at once already."""
    return any(True for _ in _chains(model))


def fuse(model: nn.Module) -> int:
    """Compile what can be of a model, and try it; returns how many of its modules that is.

    Takes about half a minute the first time on a machine, and then a few seconds.

    Raises:
        PlauditError: where there is no compiler, or what was compiled does not run here or gives
            other numbers. Then the model is as it was.
    """
    if compiler() is None:
        named = os.environ.get("CXX")
        raise PlauditError(
            "no C++ compiler is there; install g++, or name one by CXX"
            if named is None
            else f"CXX is {named!r}, which is no program here; name a C++ compiler by it"
        )
    chains = list(_chains(model))
    # What an MLP is given comes from a norm, compiled or PyTorch's own, as that leaves it.
    given = torch.bfloat16 if any(map(_is_norm, chains)) else torch.float32
    tried: set[tuple[type, tuple[torch.Size, ...]]] = set()
    draw = torch.Generator().manual_seed(0)  # of its own: training's numbers stay as they are
    try:
        for module in chains:
            own: Any = type(module)
            alike = own, tuple(weight.shape for weight in module.parameters())
            inputs = torch.randn(2, 1, TOKENS, _width(module), generator=draw)
            inputs = inputs if _is_norm(module) else inputs.to(given)
            before = None if alike in tried else _outcome(module, inputs)
            module.__class__ = _fused(own)
            if before is not None and not _agree(before, _outcome(module, inputs)):
                raise PlauditError(f"compiled, {own.__name__} gives other numbers here")
            tried.add(alike)
    except Exception as error:  # whatever a compiler says
        for module in chains:
            if hasattr(module, "_plain"):
                module.__class__ = type(module)._plain  # type: ignore[attr-defined]
        if isinstance(error, PlauditError):
            raise
        said = " ".join(str(error).split())
        raise PlauditError(f"PyTorch cannot compile here: {said[:300]}") from error
    for place, plain in _rotary(model) if chains else ():
        setattr(place, ROTARY, _fused_rotary(plain))
    return len(chains)


def unfuse(model: nn.Module) -> None:
    """Put the functions back that `fuse` has changed for all models of this one's kind.

    So a run does not depend on what another one of the same process has compiled.
    """
    for place, plain in _rotary(model):
        setattr(place, ROTARY, plain)


def _chains(model: nn.Module) -> Iterator[nn.Module]:
    """Norms that are not PyTorch's own, which is one loop already, and gated MLPs."""
    for module in model.modules():
        if _is_norm(module) or _is_mlp(module):
            yield module


def _is_norm(module: nn.Module) -> bool:
    """A module without others whose only parameters are a number for each feature."""
    theirs = type(module).__module__.startswith("torch.")
    weights = list(module.parameters())
    return bool(
        type(module).__name__.endswith("Norm")
        and not theirs
        and not list(module.children())
        and weights
        and all(weight.dim() == 1 for weight in weights)
    )


def _is_mlp(module: nn.Module) -> bool:
    """A module of linear layers, at least two, and what has no parameters, at least one; dropout
    stays PyTorch's, whose numbers a compiled one would not draw."""
    inner = list(module.children())
    linear = [one for one in inner if isinstance(one, nn.Linear | Conv1D)]
    others = [one for one in inner if not isinstance(one, nn.Linear | Conv1D)]
    return (
        type(module).__name__.endswith("MLP")
        and len(linear) > 1
        and bool(others)
        and not any(list(one.parameters()) or list(one.children()) for one in others)
        and not any(isinstance(one, nn.Dropout) and one.p for one in others)
        and len(list(module.parameters(recurse=False))) == 0
    )


def _width(module: nn.Module) -> int:
    """Features of a chain's input."""
    for one in module.children():
        if isinstance(one, nn.Linear):
            return one.in_features
        if isinstance(one, Conv1D):
            return one.weight.shape[0]
    return next(module.parameters()).shape[0]


def wanted() -> bool:
    """Whether compiled code is used: where gradients are, under autocast to bfloat16 on a CPU."""
    return (
        torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


@functools.cache
def _fused(own: type[nn.Module]) -> type[nn.Module]:
    """A class of modules that is `own`, but for what `wanted` says."""

    def chain(module: nn.Module, x: Tensor) -> Tensor:
        # What comes next casts it, and each linear layer by itself: here it costs nothing.
        return own.forward(module, x).to(torch.bfloat16)

    # All classes share this code, and beyond Dynamo's limit it runs uncompiled, without a word.
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, 64)
    compiled = torch.compile(chain, dynamic=True)

    def forward(module: nn.Module, x: Tensor) -> Tensor:
        return compiled(module, x) if wanted() else own.forward(module, x)

    return type(own.__name__, (own,), {"forward": forward, "_plain": own})


def _rotary(model: nn.Module) -> Iterator[tuple[Any, Callable[..., Any]]]:
    """The Python modules of a model that have a function which rotates queries and keys, with that
    function as it is uncompiled."""
    for file in {type(module).__module__ for module in model.modules()}:
        place = sys.modules.get(file)
        if (rotate := getattr(place, ROTARY, None)) is not None:
            yield place, getattr(rotate, "_plain", rotate)


@functools.cache
def _fused_rotary(plain: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is `plain`, but for what `wanted` says."""
    compiled = torch.compile(plain, dynamic=True)

    @functools.wraps(plain)
    def rotate(*args: Any, **options: Any) -> Any:
        return (compiled if wanted() else plain)(*args, **options)

    rotate._plain = plain  # type: ignore[attr-defined]
    return rotate


def _outcome(module: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Output and gradients of a chain as in training: what goes in, and what comes back."""
    leaf = inputs[0].clone().requires_grad_()
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        output = module(leaf).float()
    return [output.detach(), *torch.autograd.grad((output * inputs[1]).sum(), [leaf, *weights])]


def _agree(plain: list[Tensor], fused: list[Tensor]) -> bool:
    """Whether they are the same but for bfloat16's rounding."""
    return all(
        (a - b).abs().max() <= TOLERANCE * a.abs().max() for a, b in zip(plain, fused, strict=True)
    )
