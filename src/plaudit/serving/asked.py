"""What the protocols of the service are made of: the texts they take, and what is to be scored.

Texts are read as `plaudit score` reads them, so that a reward is the same here and there. A
protocol's request is an `Ours`, which refuses fields that it does not know, since a misspelt one
would be lost without a word; or a `Theirs`, another program's, which ignores what it has no use
for, since clients send it.
"""

import uuid
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from plaudit.data.cells import read_text
from plaudit.data.layouts import Given
from plaudit.data.parse import make_ranking
from plaudit.data.rankings import BadRowError, Text
from plaudit.serving.batcher import Scored

MAX_MESSAGES = 1000

_MESSAGES_SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_MESSAGES,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"type": "string"},
            "content": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["text"],
                            "properties": {
                                "type": {"const": "text"},
                                "text": {"type": "string"},
                            },
                        },
                    },
                ]
            },
        },
    },
}
_PROMPT_SCHEMA = {"anyOf": [{"type": "string", "minLength": 1}, _MESSAGES_SCHEMA]}
_COMPLETION_SCHEMA = {"anyOf": [{"type": "string"}, _MESSAGES_SCHEMA]}


def bad_text(error: BadRowError) -> PydanticCustomError:
    """The refusal of a request for what the door for rows refuses."""
    return PydanticCustomError("bad_text", "{reason}", {"reason": str(error)})


def read(value: Any, name: str, blank: bool = False) -> Text:
    """A text of a request, as a file's is read.

    Raises:
        PydanticCustomError: for what is no text.
    """
    if isinstance(value, list) and len(value) > MAX_MESSAGES:
        raise PydanticCustomError("too_long", f"more than {MAX_MESSAGES} messages")
    try:
        return read_text(value, name, blank)
    except BadRowError as error:
        raise bad_text(error) from error


def _read_messages(value: Any) -> Text:
    if isinstance(value, str):
        raise PydanticCustomError("bad_text", "messages are a list, not a text")
    return read(value, "messages", blank=True)


Prompt = Annotated[
    Any, PlainValidator(lambda value: read(value, "prompt")), WithJsonSchema(_PROMPT_SCHEMA)
]
Completion = Annotated[
    Any,
    PlainValidator(lambda value: read(value, "completion", blank=True)),
    WithJsonSchema(_COMPLETION_SCHEMA),
]
Messages = Annotated[Any, PlainValidator(_read_messages), WithJsonSchema(_MESSAGES_SCHEMA)]


@dataclass(frozen=True)
class Job:
    """What is to be scored: completions of `prompt`.

    Where that is None, each text is a whole row, as another program laid it out; `begins` then has
    the prompt that each row begins with, if the client sent it.
    """

    prompt: Text | None
    texts: Sequence[Any]
    begins: Sequence[str] | None = None


def job_of(prompt: Text, completions: Sequence[Text]) -> Job:
    """Prompt and completions through the door that all rows take."""
    try:
        given = Given(prompt=prompt, completions=tuple(completions), empty_prompt=True)
        ranking = make_ranking(given, order=False)
    except BadRowError as error:
        raise bad_text(error) from error
    return Job(ranking.prompt, ranking.completions)


def listed(given: Any) -> Any:
    """One text is a list of one, in the protocols that take either."""
    return [given] if isinstance(given, (str, dict)) else given


class Asked(BaseModel):
    """A request: fields to be validated, what of them is to be scored, and the answer."""

    texts_field: ClassVar[str]  # the field that an error about one of the texts names

    @abstractmethod
    def job(self) -> Job:
        """What is to be scored.

        Raises:
            PydanticCustomError: for what cannot be.
        """

    @abstractmethod
    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """The answer as plain JSON.

        Args:
            scored: rewards of the job's texts, in their order.
            scale: σ(scale · (r_a − r_b)) is the probability that a is preferred to b.
            model: the name that the service gives its model.
        """


class Ours(Asked):
    """A request on a protocol of plaudit's own."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Theirs(Asked):
    """A request on a protocol of another program's."""

    model_config = ConfigDict(extra="ignore", strict=True)


# Whole rows, prompt and completion as some other program laid them out.
Rows = Annotated[
    list[str],
    BeforeValidator(listed),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        }
    ),
]


class Usage(BaseModel):
    """Tokens that the model worked on; those of a prompt that is shared count once."""

    prompt_tokens: int
    total_tokens: int


def best_first(rewards: Sequence[float]) -> list[int]:
    """Indices by falling reward; those of equal rewards in their order.

    >>> best_first([0.5, 2.0, 0.5])
    [1, 0, 2]
    """
    return sorted(range(len(rewards)), key=lambda index: -rewards[index])


def job_of_dialogue(messages: Text) -> Job:
    """All but the last message as the prompt, the last as its completion."""
    if messages[-1]["role"] in ("user", "system"):  # type: ignore[index]
        raise PydanticCustomError(
            "bad_text", "the last message is to be the completion, but is not the assistant's"
        )
    return job_of(messages[:-1], [messages[-1:]])


def new_id(kind: str) -> str:
    """An id for an answer, such as `rerank-0f…`."""
    return f"{kind}-{uuid.uuid4().hex}"
