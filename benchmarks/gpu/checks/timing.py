"""Time, memory and arithmetic on a device: what the checks of speed share."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch


def synchronise(device: str) -> None:
    """Wait for all that the device was told to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(device: str, run: Callable[[], Any], repeats: int = 3, warm_up: int = 1) -> list[float]:
    """How long `run` takes, each time, the device's work included."""
    for _ in range(warm_up):
        run()
    taken = []
    for _ in range(repeats):
        synchronise(device)
        started = time.perf_counter()
        run()
        synchronise(device)
        taken.append(time.perf_counter() - started)
    return taken


def product_rate(device: str, size: int = 8192, repeats: int = 10) -> float:
    """FLOP/s of a bfloat16 product of random `[size, size]` matrices: what MFU is a share of."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    taken = seconds(device, lambda: torch.mm(a, b, out=out), repeats, warm_up=3)
    return 2 * size**3 / median(taken)


def reset_peak(device: str) -> None:
    """Begin to watch the device's memory."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: str) -> float:
    """The most memory that was allocated on the device since `reset_peak`; 0 on a CPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0


class Busy:
    """Watches how long a device computes or copies between `start` and `stop`.

    Overlaps count once. On a CPU the operators are watched instead, which means nothing but that
    the same lines run.
    """

    def __init__(self, device: str) -> None:
        self.device = device

    def start(self) -> None:
        """Begin. What the device still does from before counts, so synchronise first."""
        from torch.profiler import ProfilerActivity, profile

        kind = ProfilerActivity.CUDA if self.device == "cuda" else ProfilerActivity.CPU
        self._profiler = profile(activities=[kind])
        self._profiler.start()

    def stop(self) -> float:
        """Wait for the device and end; seconds that it was busy, 0 where nothing was seen of it."""
        from torch.autograd import DeviceType

        synchronise(self.device)
        self._profiler.stop()
        kind = DeviceType.CUDA if self.device == "cuda" else DeviceType.CPU
        # The raw records: a step has tens of thousands, and `events()` makes a tree of them.
        spans = sorted(
            (event.start_ns(), event.start_ns() + event.duration_ns())
            for event in self._profiler.profiler.kineto_results.events()
            # A named range of code spans the gaps between the kernels within it.
            if event.device_type() == kind and not event.is_user_annotation()
        )
        del self._profiler
        total, reached = 0.0, float("-inf")
        for start, end in spans:
            total += max(end - max(start, reached), 0)
            reached = max(reached, end)
        return total / 1e9


def busy_seconds(device: str, run: Callable[[], Any]) -> float:
    """How long the device computes or copies during `run`; see `Busy`."""
    synchronise(device)
    busy = Busy(device)
    busy.start()
    run()
    return busy.stop()


def linear_parameters(model: Any) -> int:
    """Weights that every token is multiplied by: all linear layers but the head of one output."""
    from transformers.pytorch_utils import Conv1D

    return sum(
        m.weight.numel()
        for m in model.modules()
        if isinstance(m, torch.nn.Linear | Conv1D) and min(m.weight.shape) > 1
    )


def flop(model: Any, encoded: Sequence[dict[str, Any]], passes: int) -> float:
    """Operations that no layout can leave out: 2 for each weight and unique token, and attention.

    `passes` is 1 for scoring and 3 for training (the backward pass is two). Attention counts the
    keys that a token sees: all before it in its row for a decoder, all of its row for an encoder,
    there within the window of layers that have one. Activation checkpointing's second forward pass
    does not count.
    """
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    causal = hasattr(model, "score")
    tokens, full, near = 0, 0, 0
    for row in encoded:
        shared = row["shared"]
        tokens += shared + sum(len(ids) - shared for ids in row["input_ids"])
        if causal:
            full += shared * (shared + 1) // 2
            for ids in row["input_ids"]:
                full += (len(ids) * (len(ids) + 1) - shared * (shared + 1)) // 2
        else:
            full += sum(len(ids) ** 2 for ids in row["input_ids"])
    if "sliding_attention" in kinds and not causal:
        side = config.sliding_window  # tokens that are seen on either side
        for length in (len(ids) for row in encoded for ids in row["input_ids"]):
            near += length**2 if length <= side else length * (2 * side + 1) - side * (side + 1)
    seen = sum(near if kind == "sliding_attention" and near else full for kind in kinds)
    return passes * (2.0 * linear_parameters(model) * tokens + 2 * 2 * width * seen)


def all_tokens(encoded: Sequence[dict[str, Any]]) -> int:
    """Tokens of all rows, a shared beginning counted in each."""
    return sum(len(ids) for row in encoded for ids in row["input_ids"])
