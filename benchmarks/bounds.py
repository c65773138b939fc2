"""Two bounds of the time that a step of training, or scoring, takes on this machine.

*Matrix products*: the time that the products of the model's linear layers alone take on the unique
tokens, each timed by itself at its own shape and in the type that plaudit computes in. Training
has three of each layer (forward, backward to its input and to its weight), scoring one. Attention's
own products, norms, activations, the loss and the optimiser are not in it.

*Memory traffic*: the bytes that even a fused step has to move, divided by the machine's bandwidth.
With P trained numbers, W numbers in the weights of linear layers, b bytes in a number of the type
computed in, and rows × inputs of each tensor that linear layers read (one that several read, as
queries, keys and values do, counts once), a step of training moves

    4 · 8 · P                   gradients written; AdamW reads p, g, m, v and writes p, m, v
    + 2 · b · W                 weights read, forward and backward
    + b · W  if b < 4           their copy in that type, written
    + 2 · b · Σ rows · inputs   what the backward pass needs, written and read

and scoring moves b · W, the weights read once. A layer that runs on its own rows twice counts its
weights once. The bandwidth is that of STREAM's triad, a = b + s · c, on arrays of four times the
last-level cache, counted as STREAM does: three arrays, though a processor may also read a before it
writes it.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from contenders import Case, classifier
from transformers.pytorch_utils import Conv1D

from plaudit import Ranking

PROBE = 11  # tokens of a row, a number that no model's size is
TIMES_EACH, TIME_EACH = 3, 0.01  # at least, the time in seconds
STATE_BYTES = 4 * 8  # of each trained number; see above
LEAST_ARRAY = 2**27  # bytes, for a machine that does not say how large its cache is

# Rows are a number, or what they grow with.
Rows = int | str
Sizes = dict[str, int]  # "tokens" and "rows"


@dataclass
class Layers:
    """What one forward pass runs of linear layers, without the head of one output."""

    shapes: Counter[tuple[Rows, int, int]] = field(default_factory=Counter)  # rows, inputs, outputs
    inputs: Counter[tuple[Rows, int]] = field(default_factory=Counter)  # of distinct tensors
    weights: int = 0  # numbers in the layers that ran
    trained: int = 0  # numbers in the whole model


@dataclass(frozen=True)
class Bound:
    """What cannot be done in less time, in seconds."""

    products: float
    memory: float
    operations: float  # floating point, of the products
    traffic: float  # bytes


class Bounds:
    """Measures the bounds of one case, in a process of its own that is idle otherwise."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.layers = linear_layers(classifier(case.start).eval())

    def measure(self, rankings: Sequence[Ranking], dtype: str, training: bool) -> Bound:
        """Both bounds of a step over these rankings, or of scoring them."""
        sizes = {
            "tokens": self.case.unique_tokens(rankings),
            "rows": sum(len(r.completions) for r in rankings),
        }
        number = getattr(torch, dtype)
        seconds = operations = 0.0
        for (rows, inputs, outputs), times in self.layers.shapes.items():
            shape = (_rows(rows, sizes), inputs, outputs)
            seconds += times * product_seconds(*shape, number, training)
            operations += times * (6.0 if training else 2.0) * shape[0] * inputs * outputs
        moved = number.itemsize * self.layers.weights
        if training:
            moved = training_bytes(self.layers, sizes, number.itemsize)
        return Bound(seconds, moved / bandwidth(), operations, moved)


@torch.inference_mode()
def linear_layers(model: Any) -> Layers:
    """What the model does with a probe of one row."""
    layers = Layers(trained=sum(p.numel() for p in model.parameters() if p.requires_grad))
    given: list[torch.Tensor] = []  # kept, so that no two have the same identity
    ran: list[Any] = []

    def see(layer: Any, inputs: tuple, output: torch.Tensor) -> None:
        if output.shape[-1] == 1:
            return
        rows = output.numel() // output.shape[-1]
        grows: Rows = {PROBE: "tokens", 1: "rows"}.get(rows, rows)
        layers.shapes[grows, inputs[0].shape[-1], output.shape[-1]] += 1
        if not any(inputs[0] is seen for seen in given):
            given.append(inputs[0])
            layers.inputs[grows, inputs[0].shape[-1]] += 1
        if layer not in ran:
            ran.append(layer)
            layers.weights += layer.weight.numel()

    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear | Conv1D):
            layer.register_forward_hook(see)
    model(torch.arange(PROBE).unsqueeze(0) + 10, attention_mask=torch.ones(1, PROBE))
    return layers


def training_bytes(layers: Layers, sizes: Sizes, itemsize: int) -> int:
    """What a step moves at least; see above.

    >>> training_bytes(Layers(inputs=Counter({("tokens", 8): 1}), trained=100), {"tokens": 5}, 4)
    3520
    """
    saved = sum(
        times * _rows(rows, sizes) * inputs for (rows, inputs), times in layers.inputs.items()
    )
    copies = 3 if itemsize < 4 else 2
    return STATE_BYTES * layers.trained + itemsize * (copies * layers.weights + 2 * saved)


def _rows(rows: Rows, sizes: Sizes) -> int:
    return rows if isinstance(rows, int) else sizes[rows]


def product_seconds(
    rows: int, inputs: int, outputs: int, dtype: torch.dtype, training: bool
) -> float:
    """The shortest time of y = x wᵀ; in training with the gradient of x and that of w."""
    x = torch.randn(rows, inputs, dtype=dtype)
    w = torch.randn(outputs, inputs, dtype=dtype)
    y = torch.randn(rows, outputs, dtype=dtype)
    products = [(x, w.t(), torch.empty_like(y))]
    if training:
        products += [(y, w, torch.empty_like(x)), (y.t(), x, torch.empty_like(w))]
    return sum(_shortest(partial(torch.mm, a, b, out=out)) for a, b, out in products)


def bandwidth() -> float:
    """Bytes a second of the triad, with as many threads as torch takes."""
    size = max(4 * last_level_cache(), LEAST_ARRAY) // 4
    b, c, a = torch.ones(size), torch.ones(size), torch.empty(size)
    return 3 * 4 * size / _shortest(lambda: torch.add(b, c, alpha=0.5, out=a))


def last_level_cache() -> int:
    """Bytes, as Linux says; 0 where it does not."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    found = [re.fullmatch(r"(\d+)K", size.read_text().strip()) for size in sizes]
    return max((int(size[1]) * 1024 for size in found if size), default=0)


def _shortest(call: Callable[[], Any]) -> float:
    taken: list[float] = []
    while len(taken) < TIMES_EACH or sum(taken) < TIME_EACH:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken)
