"""Which device a machine computes rewards on, and how many tokens at once."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch

Dtype = Literal["auto", "float32", "bfloat16"]

# Tokens of one forward pass, padding included. On a CPU small enough for a laptop and large enough
# to be fast; on a GPU more, since its host takes as long to launch a pass of few as one of many.
MAX_TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 32768}


def best_device() -> str:
    """CUDA, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def dtype_name(dtype: torch.dtype) -> str:
    """What settings and figures call a number type.

    >>> dtype_name(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def free_memory(device: torch.device) -> None:
    """Give back what the allocator keeps, so that it need not be in pieces of the old sizes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def tokens_per_batch(device: torch.device) -> int:
    """How many tokens a forward pass takes at most where nobody says."""
    return MAX_TOKENS_PER_BATCH["cuda" if device.type == "cuda" else "cpu"]


def watch_memory(device: torch.device) -> None:
    """Begin to measure `peak_memory`."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """The most bytes in use since `watch_memory`: of a GPU those of PyTorch's tensors, else those
    of the whole process, which only Linux tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if found := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M):
            return 1024 * int(found[1])
    return None
