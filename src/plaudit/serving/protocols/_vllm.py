"""What vLLM's protocols share: what asks for the raw number, whole rows or a dialogue, the answer.

Of a model of one label vLLM answers the sigmoid unless `use_activation` is false, a field of
`ClassifyRequestMixin` in its `entrypoints/pooling/base/protocol.py`. `softmax` and then
`activation` are what it was called before 0.11.2, and were taken beside it until 0.15.
"""

import time
from collections.abc import Sequence
from typing import Any, ClassVar, Generic

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from plaudit.serving.asked import (
    Entry,
    Listing,
    Messages,
    Rows,
    Theirs,
    job_of_dialogue,
    job_of_rows,
    listing_of,
    new_id,
    refuse_set,
    scores_of,
)
from plaudit.serving.batcher import Job, Scored

AS_IN_TRAINING = "messages are laid out as in training, by the model's own chat template"


class Activated(Theirs):
    """Any of vLLM's requests: its scores are σ(scale · reward), or rewards where one asks so."""

    use_activation: bool | None = Field(
        default=None, description="Rewards themselves where false, else σ(scale · reward)."
    )
    activation: bool | None = Field(default=None, description="The older name of use_activation.")
    softmax: bool | None = Field(default=None, description="The oldest name of use_activation.")

    @model_validator(mode="after")
    def _one_answer(self) -> "Activated":
        if {True, False} <= {self.use_activation, self.activation, self.softmax}:
            raise PydanticCustomError(
                "fields", "use_activation and its older names contradict each other: give one"
            )
        return self

    def scores(self, scored: Scored, scale: float) -> list[float]:
        """What is answered of each text, in their order."""
        raw = False in (self.use_activation, self.activation, self.softmax)
        return scores_of(scored, scale, raw)


class RowsOrDialogue(Activated):
    """Either of the two. A dialogue is laid out as in training; what asks for another way is
    refused."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["input"]}, {"required": ["messages"]}]}
    )
    texts_field: ClassVar[str] = "input"

    input: Rows | None = None
    messages: Messages = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool = False
    continue_final_message: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> "RowsOrDialogue":
        if (self.input is None) == (self.messages is None):
            raise PydanticCustomError("fields", "give input or messages")
        return self

    def job(self) -> Job:
        """What is to be scored."""
        if self.messages is None:
            return job_of_rows(self.input or [])
        names = (
            "chat_template",
            "chat_template_kwargs",
            "add_generation_prompt",
            "continue_final_message",
        )
        refuse_set(self, dict.fromkeys(names, AS_IN_TRAINING))
        return job_of_dialogue(self.messages)


class VllmListing(Listing[Entry], Generic[Entry]):
    """As vLLM answers for a model of one label."""

    id: str
    created: int


def vllm_listing_of(
    kind: str, entries: Sequence[dict[str, Any]], scored: Scored, model: str
) -> dict[str, Any]:
    """As `VllmListing`, of entries without their index; `kind` is what its id begins with."""
    facts = {"id": new_id(kind), "created": int(time.time())}
    return facts | listing_of(entries, scored, model)
