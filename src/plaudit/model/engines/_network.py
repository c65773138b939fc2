"""An exported network in the place of transformers' classifier: tokens in, logits out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from plaudit.model.engines import Session

CHUNK = 1 << 20  # bytes


class EngineNetwork(nn.Module):
    """What `RewardModel` calls for logits `[N, 1]`, computed by an engine.

    It has no weights but a digest of the files, by which `weights_digest` tells exports apart.
    """

    digest: Tensor

    def __init__(self, run: Session, files: Sequence[Path]) -> None:
        super().__init__()
        self._run = run
        content = hashlib.blake2b(digest_size=16)
        for path in files:
            with path.open("rb") as file:
                while part := file.read(CHUNK):
                    content.update(part)
        self.register_buffer("digest", torch.tensor(list(content.digest()), dtype=torch.uint8))

    def forward(self, **tokens: Any) -> SequenceClassifierOutput:
        """Logits `[N, 1]` of tokens `[N, L]`, padded on the right."""
        return SequenceClassifierOutput(logits=self._run(tokens).unsqueeze(1))
