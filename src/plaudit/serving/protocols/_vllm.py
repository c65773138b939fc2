"""What vLLM's `/classify` and `/pooling` are asked with: whole rows, or a dialogue."""

from typing import Any, ClassVar

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from plaudit.serving.asked import Job, Messages, Rows, Theirs, job_of_dialogue, refuse_set

AS_IN_TRAINING = "messages are laid out as in training, by the model's own chat template"


class RowsOrDialogue(Theirs):
    """Either of the two. A dialogue is laid out as in training; what asks for another way is
    refused."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["input"]}, {"required": ["messages"]}]}
    )
    texts_field: ClassVar[str] = "input"

    input: Rows | None = None
    messages: Messages = None
    use_activation: bool | None = Field(
        default=None, description="Rewards themselves where false, else σ(scale · reward)."
    )
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
            return Job(None, self.input or [])
        names = (
            "chat_template",
            "chat_template_kwargs",
            "add_generation_prompt",
            "continue_final_message",
        )
        refuse_set(self, dict.fromkeys(names, AS_IN_TRAINING))
        return job_of_dialogue(self.messages)
