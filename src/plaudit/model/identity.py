"""A digest of a model's weights, by which an output that is resumed knows its model again.

Of each tensor about a thousand elements count, evenly spaced: training changes all of a tensor, and
to hash all of a large model would take as long as to load it.
"""

import hashlib
import json
from typing import Any

import torch

SAMPLE = 1024  # elements of each tensor that are looked at; a head has fewer, or hardly more


def weights_digest(model: torch.nn.Module, more: Any) -> str:
    """A hash of some elements of every tensor, and of `more`, plain JSON."""
    digest = hashlib.blake2b(json.dumps(more).encode(), digest_size=16)
    for name, tensor in model.state_dict().items():
        some = tensor.detach().flatten()[:: max(tensor.numel() // SAMPLE, 1)].cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(some.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
