"""What the protocols of the service are made of: the texts they take, and what is to be scored.

Texts are read as `plaudit score` reads them, so that a reward is the same here and there. A
protocol's request is an `Ours`, which refuses fields that it does not know, since a misspelt one
would be lost without a word; or a `Theirs`, another program's, which ignores what it has no use
for, since clients send it.
"""

import base64
import struct
import uuid
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError
from scipy.special import expit

from plaudit.data.cells import read_text
from plaudit.data.layouts import Given
from plaudit.data.parse import make_ranking
from plaudit.data.rankings import BadRowError, Text
from plaudit.serving.batcher import Job, Scored

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


def job_of(prompt: Text, completions: Sequence[Text]) -> Job:
    """Prompt and completions through the door that all rows take."""
    try:
        given = Given(prompt=prompt, completions=tuple(completions), empty_prompt=True)
        ranking = make_ranking(given, order=False)
    except BadRowError as error:
        raise bad_text(error) from error
    return Job([ranking.prompt] * len(ranking.completions), ranking.completions)


def job_of_pairs(pairs: Iterable[tuple[Text | None, Text]]) -> Job:
    """A completion for each prompt, through the same door; a text without a prompt is a whole row.

    >>> job_of_pairs([("2+2?", "4"), (None, "2+2? 4"), ("3+3?", "6")]).prompts
    ['2+2?', None, '3+3?']
    """
    jobs = [
        job_of_rows([text]) if prompt is None else job_of(prompt, [text]) for prompt, text in pairs
    ]
    return Job(
        [prompt for job in jobs for prompt in job.prompts],
        [text for job in jobs for text in job.texts],
    )


def job_of_rows(rows: Sequence[Any], begins: Sequence[str | None] | None = None) -> Job:
    """Whole rows, with what each begins with where the client says it."""
    return Job([None] * len(rows), rows, begins)


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
    def reply(self, scored: Scored, scale: float, model: str) -> Any:
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


def _one_or_list(of: dict[str, Any], least: int) -> WithJsonSchema:
    """The schema of what is a list or one of it."""
    return WithJsonSchema({"anyOf": [of, {"type": "array", "items": of, "minItems": least}]})


# A whole row as examples show it, in ChatML's layout: what it begins with, and the whole.
ROW_BEGINS = "<|im_start|>user\nWhat is a bond?<|im_end|>\n<|im_start|>assistant\n"
ROW = f"{ROW_BEGINS}A loan.<|im_end|>\n"
# The same as messages, which are laid out here.
DIALOGUE = [
    {"role": "user", "content": "What is a bond?"},
    {"role": "assistant", "content": "A loan."},
]
# Whole rows, prompt and completion as some other program laid them out.
Rows = Annotated[
    list[str],
    BeforeValidator(listed),
    Field(min_length=1),
    _one_or_list({"type": "string"}, 1),
]
# The same of clients that may have none left for this server.
RowsOrNone = Annotated[list[str], BeforeValidator(listed), _one_or_list({"type": "string"}, 0)]


def _read_document(value: Any, blank: bool = True) -> str:
    """A string; of Jina's and Cohere's documents the `text`, of vLLM's the parts in `content`."""
    if isinstance(value, dict):
        value = value.get("text", value.get("content"))
    if isinstance(value, list):
        value = join_parts(value, "document")
    if not isinstance(value, str):
        raise PydanticCustomError("bad_text", "the document is not text")
    read(value, "document" if blank else "query", blank)
    return value


def join_parts(parts: Any, name: str) -> str:
    """The text of a content that is in parts.

    Raises:
        PydanticCustomError: where it has a part that is not text.
    """
    if not isinstance(parts, list) or not all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts
    ):
        raise PydanticCustomError("bad_text", f"the {name} has a part that is not text")
    return "".join(part["text"] for part in parts)


def _document_schema(text: dict[str, Any]) -> dict[str, Any]:
    keyed = {"type": "object", "required": ["text"], "properties": {"text": text}}
    return {"anyOf": [text, keyed]}


_QUERY_SCHEMA = _document_schema({"type": "string", "minLength": 1})
_DOCUMENT_SCHEMA = _document_schema({"type": "string"})
# What rerankers call a prompt and a completion.
_read_query = PlainValidator(lambda value: _read_document(value, blank=False))
Query = Annotated[Any, _read_query, WithJsonSchema(_QUERY_SCHEMA)]
Document = Annotated[Any, PlainValidator(_read_document), WithJsonSchema(_DOCUMENT_SCHEMA)]
# A list of them, or one.
Queries = Annotated[
    list[Query], BeforeValidator(listed), Field(min_length=1), _one_or_list(_QUERY_SCHEMA, 1)
]
Documents = Annotated[
    list[Document], BeforeValidator(listed), Field(min_length=1), _one_or_list(_DOCUMENT_SCHEMA, 1)
]


def scores_of(scored: Scored, scale: float, raw: bool = False) -> list[float]:
    """What a server of classifiers gives for a model of one label: its sigmoid, σ(scale · reward),
    or the rewards themselves where `raw`."""
    return scored.rewards if raw else [float(expit(scale * reward)) for reward in scored.rewards]


def vector_of(reward: float, encoding_format: str) -> list[float] | str:
    """A reward where a vector is asked for: a list of one, or base64 of one float32, which OpenAI's
    client asks for and reads.

    >>> vector_of(1.5, "float"), vector_of(1.5, "base64")
    ([1.5], 'AADAPw==')
    """
    if encoding_format == "base64":
        return base64.b64encode(struct.pack("<f", reward)).decode()
    return [reward]


def refuse_set(asked: Asked, reasons: Mapping[str, str]) -> None:
    """Refuse what would change the answer elsewhere and is not served here.

    Args:
        asked: a request.
        reasons: why not, for each field that may be neither given nor true.

    Raises:
        PydanticCustomError: for the first of them that is.
    """
    for name, reason in reasons.items():
        if getattr(asked, name):
            raise PydanticCustomError("unsupported", f"{name}: {reason}")


class Usage(BaseModel):
    """Tokens that the model worked on; those of a prompt that is shared count once."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int


def usage_of(scored: Scored) -> dict[str, int]:
    """As `Usage`."""
    return {
        "prompt_tokens": scored.tokens,
        "total_tokens": scored.tokens,
        "completion_tokens": 0,
    }


Entry = TypeVar("Entry", bound=BaseModel)


class Listing(BaseModel, Generic[Entry]):
    """OpenAI's form of an answer that has an entry for each text, in their order."""

    object: str
    model: str
    data: list[Entry]
    usage: Usage


def listing_of(entries: Sequence[dict[str, Any]], scored: Scored, model: str) -> dict[str, Any]:
    """As `Listing`, of entries without their index."""
    data = [{"index": index} | entry for index, entry in enumerate(entries)]
    return {"object": "list", "model": model, "data": data, "usage": usage_of(scored)}


def best_first(rewards: Sequence[float]) -> list[int]:
    """Indices by falling reward; those of equal rewards in their order.

    >>> best_first([0.5, 2.0, 0.5])
    [1, 0, 2]
    """
    return sorted(range(len(rewards)), key=lambda index: -rewards[index])


def job_of_dialogue(messages: Text) -> Job:
    """All but the last message as the prompt, the last as its completion."""
    # Models call what writes a completion by names of their own; these write none.
    if messages[-1]["role"] in ("user", "system", "developer", "tool"):  # type: ignore[index]
        raise PydanticCustomError(
            "bad_text", "the last message must be the completion, with the role assistant"
        )
    return job_of(messages[:-1], [messages[-1:]])


def new_id(kind: str) -> str:
    """An id for an answer, such as `rerank-0f…`."""
    return f"{kind}-{uuid.uuid4().hex}"
