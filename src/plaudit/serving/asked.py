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

from plaudit.data.cells import BadCellError, fit, is_messages, read_text
from plaudit.data.rankings import Text
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


def _read(name: str) -> PlainValidator:
    def read(value: Any) -> Text:
        if name == "messages" and isinstance(value, str):
            raise PydanticCustomError("bad_text", "messages are a list, not a text")
        if isinstance(value, list) and len(value) > MAX_MESSAGES:
            raise PydanticCustomError("too_long", f"more than {MAX_MESSAGES} messages")
        try:
            if name == "prompt":
                return read_text(value, name)
            return _read_completion(value, name)
        except BadCellError as error:
            raise PydanticCustomError("bad_text", "{reason}", {"reason": str(error)}) from error

    return PlainValidator(read)


def _read_completion(value: Any, name: str) -> Any:
    """`read_text`, but that the last that is said may be blank: a policy sometimes writes nothing,
    and that too has its reward."""
    if is_blank(value):
        return str(value)
    if is_messages(value) and is_blank(value[-1]["content"]):
        before = read_text(value[:-1], name) if value[1:] else []
        # With a content in its place, for whatever else the message has to be read as ever.
        last: Any = read_text([value[-1] | {"content": "."}], name)
        return [*before, last[0] | {"content": value[-1]["content"]}]
    return read_text(value, name)


def is_blank(value: Any) -> bool:
    """Whether it is a text of nothing but space."""
    return isinstance(value, str) and (not value or value.isspace())


Prompt = Annotated[Any, _read("prompt"), WithJsonSchema(_PROMPT_SCHEMA)]
Completion = Annotated[Any, _read("completion"), WithJsonSchema(_COMPLETION_SCHEMA)]
Messages = Annotated[Any, _read("messages"), WithJsonSchema(_MESSAGES_SCHEMA)]


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
    """Prompt and completions made to fit each other, as `RewardModel.score` does it."""
    try:
        return Job(*fit(prompt, list(completions)))
    except BadCellError as error:
        raise PydanticCustomError("bad_text", "{reason}", {"reason": str(error)}) from error


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
