"""vLLM's `/classify`, which verl's reward loop asks for rewards.

The shapes are those of `ClassificationCompletionRequest`, `ClassificationChatRequest` and
`ClassificationResponse` in vLLM's `entrypoints/pooling/classify/protocol.py`. Of a model of one
label vLLM answers the sigmoid unless `use_activation` is false; `activation` is what it was called
before 0.11.2. SGLang has the same at `/v1/classify`, where it answers the softmax of the one label,
1 whatever the row; here that is answered as vLLM does.
"""

import time
from typing import Any

from pydantic import BaseModel, Field

from plaudit.serving.asked import Usage, new_id, scores_of, usage_of
from plaudit.serving.batcher import Scored
from plaudit.serving.protocols import Protocol
from plaudit.serving.protocols._vllm import RowsOrDialogue


class ClassifyRequest(RowsOrDialogue):
    """vLLM's: `input` has whole rows, as somebody laid them out; `messages` is a dialogue, whose
    last message is the completion. verl asks this with `use_activation` false, for rewards."""

    activation: bool | None = Field(default=None, description="The older name of use_activation.")

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `ClassifyResponse`."""
        raw = False in (self.use_activation, self.activation)
        scores = scores_of(scored, scale, raw)
        return {
            "id": new_id("classify"),
            "object": "list",
            "created": int(time.time()),
            "model": model,
            "data": [
                {
                    "index": index,
                    "label": "LABEL_0",
                    "probs": [score],
                    "num_classes": 1,
                }
                for index, score in enumerate(scores)
            ],
            "usage": usage_of(scored),
        }


class Classified(BaseModel):
    """One row's."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class ClassifyResponse(BaseModel):
    """As vLLM answers for a model of one label."""

    id: str
    object: str
    created: int
    model: str
    data: list[Classified]
    usage: Usage


PROTOCOL = Protocol(
    ("/classify", "/v1/classify"),
    ClassifyRequest,
    ClassifyResponse,
    marks=("input", "messages"),
    example={"input": "What is a bond? A loan.", "use_activation": False},
)
