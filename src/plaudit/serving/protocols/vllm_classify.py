"""vLLM's `/classify`, which verl's reward loop asks for rewards.

The shapes are those of `ClassificationCompletionRequest`, `ClassificationChatRequest` and
`ClassificationResponse` in vLLM's `entrypoints/pooling/classify/protocol.py`. Of a model of one
label vLLM answers the sigmoid unless `use_activation` is false; `activation` is what it was called
before 0.11.2. SGLang has the same at `/v1/classify`, where it answers the softmax of the one label,
1 whatever the row; here that is answered as vLLM does.
"""

import time
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from plaudit.serving.asked import (
    Job,
    Messages,
    Rows,
    Theirs,
    Usage,
    job_of_dialogue,
    new_id,
    scores_of,
    usage_of,
)
from plaudit.serving.batcher import Scored
from plaudit.serving.protocols import Protocol


class ClassifyRequest(Theirs):
    """vLLM's: `input` has whole rows, as somebody laid them out; `messages` is a dialogue, whose
    last message is the completion. verl asks this with `use_activation` false, for rewards."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["input"]}, {"required": ["messages"]}]}
    )
    texts_field: ClassVar[str] = "input"

    input: Rows | None = None
    messages: Messages = None
    use_activation: bool | None = Field(
        default=None, description="Rewards themselves where false, else σ(scale · reward)."
    )
    activation: bool | None = Field(default=None, description="Its older name.")

    @model_validator(mode="after")
    def _one_of_two(self) -> "ClassifyRequest":
        if (self.input is None) == (self.messages is None):
            raise PydanticCustomError("fields", "give input or messages")
        return self

    def job(self) -> Job:
        """What is to be scored."""
        if self.messages is not None:
            return job_of_dialogue(self.messages)
        return Job(None, self.input or [])

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
