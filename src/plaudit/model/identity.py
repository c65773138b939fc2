"""What tells whether two scorers give the same rewards: weights, tokens, settings."""

import hashlib
import json
from typing import Any

import torch

from plaudit.model.ensemble import Ensemble
from plaudit.model.reward_model import RewardModel, stored_settings
from plaudit.model.scorer import Scorer

SAMPLE = 1024  # elements of each tensor that are looked at; a head has fewer, or hardly more


def identity(scorer: Scorer) -> dict[str, Any]:
    """What an output that is resumed must still be made with, as plain JSON.

    Weights are told by a hash of about a thousand elements of each tensor, evenly spaced: training
    changes all of a tensor, and to hash all of a large model would take as long as to load it.

    >>> from plaudit import RewardModel
    >>> identity(RewardModel.load("runs/first"))
    {'weights': '...', 'dtype': 'torch.float32', ...}
    """
    if isinstance(scorer, Ensemble):
        how = {"combine": scorer.combine, "spread": scorer.spread}
        return {"members": [identity(member) for member in scorer.members], **how}
    if not isinstance(scorer, RewardModel):
        raise TypeError(f"nothing is known of a {type(scorer).__name__}")
    tokenizer = scorer.encoding.tokenizer
    return {
        "weights": weights_digest(scorer.model, (len(tokenizer), tokenizer.chat_template)),
        "dtype": str(scorer.dtype),
        "length_penalty": scorer.length_penalty,
        "max_tokens_per_batch": scorer.max_tokens_per_batch,
        **stored_settings(scorer.encoding, scorer.pooling, scorer.normalisation),
    }


def weights_digest(model: torch.nn.Module, more: Any) -> str:
    """A hash of some elements of every tensor, and of `more`, plain JSON."""
    digest = hashlib.blake2b(json.dumps(more).encode(), digest_size=16)
    for name, tensor in model.state_dict().items():
        some = tensor.detach().flatten()[:: max(tensor.numel() // SAMPLE, 1)].cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(some.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
