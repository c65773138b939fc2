"""Which device and which precision a machine computes rewards in, and how many tokens at once."""

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


def free_memory(device: torch.device) -> None:
    """Give back what the allocator keeps, so that it need not be in pieces of the old sizes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def tokens_per_batch(device: torch.device) -> int:
    """How many tokens a forward pass takes at most where nobody says."""
    return MAX_TOKENS_PER_BATCH["cuda" if device.type == "cuda" else "cpu"]


def compute_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """What matrix products run in; `auto` asks the machine for units that make bfloat16 faster.

    A CPU without AMX multiplies bfloat16 slower than float32, even where it has AVX-512 BF16.
    """
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32
