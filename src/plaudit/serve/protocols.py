"""The protocols: what each endpoint takes, what of it is to be scored, and the shape of its answer.

Ours (`/score`, `/rank`) refuse fields they do not know, since a misspelt one would be lost without
a word. Those of other programs ignore what they have no use for, since clients send it. Texts are
read as `plaudit score` reads them, so that a reward is the same here and there.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError
from scipy.special import expit, softmax

from plaudit.data.cells import BadCellError, fit, is_messages, read_text
from plaudit.data.rankings import Text
from plaudit.serve.batcher import Scored

# The preference of each over each is K² numbers: beyond this many completions they are asked for.
PREFERENCE_UP_TO = 32
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
    if _is_blank(value):
        return str(value)
    if is_messages(value) and _is_blank(value[-1]["content"]):
        before = read_text(value[:-1], name) if value[1:] else []
        # With a content in its place, for whatever else the message has to be read as ever.
        last: Any = read_text([value[-1] | {"content": "."}], name)
        return [*before, last[0] | {"content": value[-1]["content"]}]
    return read_text(value, name)


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and (not value or value.isspace())


Prompt = Annotated[Any, _read("prompt"), WithJsonSchema(_PROMPT_SCHEMA)]
Completion = Annotated[Any, _read("completion"), WithJsonSchema(_COMPLETION_SCHEMA)]
Messages = Annotated[Any, _read("messages"), WithJsonSchema(_MESSAGES_SCHEMA)]


@dataclass(frozen=True)
class Job:
    """What is to be scored: completions of a prompt; where it is None, rows laid out elsewhere, and
    in `begins`, where that is told, the prompt that each of them begins with."""

    prompt: Text | None
    texts: Sequence[Any]
    begins: Sequence[str] | None = None


def job_of(prompt: Text, completions: Sequence[Text]) -> Job:
    """Prompt and completions made to fit each other, as `RewardModel.score` does it."""
    try:
        return Job(*fit(prompt, list(completions)))
    except BadCellError as error:
        raise PydanticCustomError("bad_text", "{reason}", {"reason": str(error)}) from error


def _listed(given: Any) -> Any:
    """One text is a list of one, in the protocols that take either."""
    return [given] if isinstance(given, (str, dict)) else given


class _Ours(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Theirs(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


# ---- /score and /rank ----


class ScoreRequest(_Ours):
    """A prompt with `completions`, a list, or `completion`, one; or a whole dialogue in `messages`,
    whose last message is the completion."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["prompt", "completions"]},
                {"required": ["prompt", "completion"]},
                {"required": ["messages"]},
            ]
        }
    )
    texts_field: ClassVar[str] = "completions"

    prompt: Prompt = None
    completions: Annotated[list[Completion] | None, Field(min_length=1)] = None
    completion: Completion = None
    messages: Messages = None
    preference: bool | None = Field(
        default=None,
        description="Whether to answer the preference of each over each; by default up to "
        f"{PREFERENCE_UP_TO} completions.",
    )

    @model_validator(mode="after")
    def _one_of_three(self) -> "ScoreRequest":
        names = ("prompt", "completions", "completion", "messages")
        given = {name for name in names if getattr(self, name) is not None}
        if given not in ({"prompt", "completions"}, {"prompt", "completion"}, {"messages"}):
            raise PydanticCustomError(
                "fields", "give prompt and completions, prompt and completion, or messages"
            )
        return self

    def job(self) -> Job:
        """What is to be scored."""
        if self.messages is not None:
            return job_of_dialogue(self.messages)
        return job_of(self.prompt, self.completions or [self.completion])

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `ScoreResponse`, or `RewardResponse` for one."""
        rewards = scored.rewards
        if self.completions is None:
            return {"reward": rewards[0], "truncated": scored.truncated[0]}
        reply: dict[str, Any] = {
            "rewards": rewards,
            "probabilities": softmax(scale * np.array(rewards)).tolist(),
            "truncated": scored.truncated,
        }
        wanted = self.preference
        if wanted or (wanted is None and len(rewards) <= PREFERENCE_UP_TO):
            each = scale * np.array(rewards)
            reply["preference"] = expit(each[:, None] - each).tolist()
        return reply


class ScoreResponse(BaseModel):
    """Rewards of the completions in their order."""

    rewards: list[float]
    probabilities: list[float] = Field(
        description="Of each being the best of them: softmax of scale · reward (Plackett–Luce)."
    )
    truncated: list[bool] = Field(description="Whether more was said than the model can read.")
    preference: list[list[float]] | None = Field(
        default=None, description="[i][j]: the probability that i is preferred to j."
    )


class RewardResponse(BaseModel):
    """The reward of the one completion."""

    reward: float
    truncated: bool


class RankRequest(_Ours):
    """A prompt and the completions to put in order."""

    texts_field: ClassVar[str] = "completions"

    prompt: Prompt
    completions: list[Completion] = Field(min_length=1)

    def job(self) -> Job:
        """What is to be scored."""
        return job_of(self.prompt, self.completions)

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `RankResponse`."""
        rewards = scored.rewards
        chances = softmax(scale * np.array(rewards)).tolist()
        ranking: list[dict[str, Any]] = []
        for place, index in enumerate(best_first(rewards), start=1):
            tie = bool(ranking) and ranking[-1]["reward"] == rewards[index]
            ranking.append(
                {
                    "index": index,
                    "rank": ranking[-1]["rank"] if tie else place,
                    "reward": rewards[index],
                    "probability": chances[index],
                    "truncated": scored.truncated[index],
                }
            )
        return {"ranking": ranking}


class Ranked(BaseModel):
    """A completion in its place."""

    index: int = Field(description="Its place in the request, from 0.")
    rank: int = Field(description="1 is the best; equal rewards have equal ranks.")
    reward: float
    probability: float = Field(description="Of being the best of them.")
    truncated: bool


class RankResponse(BaseModel):
    """The completions, best first."""

    ranking: list[Ranked]


# Whole rows, prompt and completion as some other program laid them out.
Rows = Annotated[
    list[str],
    BeforeValidator(_listed),
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


# ---- OpenRLHF ----


class GetRewardRequest(_Theirs):
    """OpenRLHF's: `query` has whole rows, prompt and completion as its policy wrote them, `prompts`
    what each begins with. `labels`, which it sends too, are not looked at."""

    texts_field: ClassVar[str] = "query"

    query: Rows
    prompts: Annotated[list[str], BeforeValidator(_listed)] | None = Field(
        default=None,
        description="Where they are given, row and prompt are taken apart and laid out as in "
        "training, unless the prompt was laid out by a chat template already.",
    )

    @model_validator(mode="after")
    def _one_prompt_for_each(self) -> "GetRewardRequest":
        if self.prompts and len(self.prompts) != len(self.query):
            raise PydanticCustomError(
                "fields", "query and prompts are of different length: give each row its prompt"
            )
        return self

    def job(self) -> Job:
        """What is to be scored."""
        return Job(None, self.query, self.prompts or None)

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `GetRewardResponse`."""
        return {
            "rewards": scored.rewards,
            "scores": scored.rewards,
            "extra_logs": {"truncated_by_reward_model": list(map(float, scored.truncated))},
        }


class GetRewardResponse(BaseModel):
    """Rewards to train on, scores to filter by (the same here), and what it logs with them."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


# ---- rerank, as Jina, Cohere and vLLM have it ----


def _read_document(value: Any, blank: bool = True) -> str:
    """A string; of Jina's and Cohere's documents the `text`, of vLLM's the parts in `content`."""
    if isinstance(value, dict):
        value = value.get("text", value.get("content"))
    if isinstance(value, list):
        parts = value
        if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in parts):
            raise PydanticCustomError("bad_text", "the document has a part that is not text")
        value = "".join(part["text"] for part in parts)
    if blank and _is_blank(value):
        return str(value)
    try:
        return str(read_text(value, "document" if blank else "query"))
    except BadCellError as error:
        raise PydanticCustomError("bad_text", "{reason}", {"reason": str(error)}) from error


def _document_schema(text: dict[str, Any]) -> WithJsonSchema:
    keyed = {"type": "object", "required": ["text"], "properties": {"text": text}}
    return WithJsonSchema({"anyOf": [text, keyed]})


Document = Annotated[Any, PlainValidator(_read_document), _document_schema({"type": "string"})]
Query = Annotated[
    Any,
    PlainValidator(lambda value: _read_document(value, blank=False)),
    _document_schema({"type": "string", "minLength": 1}),
]


class RerankRequest(_Theirs):
    """`query` is the prompt and `documents` are the completions."""

    texts_field: ClassVar[str] = "documents"

    query: Query
    documents: Annotated[list[Document], BeforeValidator(_listed), Field(min_length=1)]
    top_n: int | None = Field(default=None, ge=0, description="How many to answer; 0: all.")
    return_documents: bool | None = None

    def job(self) -> Job:
        """What is to be scored."""
        return Job(self.query, self.documents)

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `RerankResponse`."""
        results = []
        for index in best_first(scored.rewards)[: self.top_n or None]:
            reward = scored.rewards[index]
            result: dict[str, Any] = {
                "index": index,
                "relevance_score": float(expit(scale * reward)),
                "reward": reward,
            }
            if self.return_documents is not False:
                result["document"] = {"text": self.documents[index]}
            results.append(result)
        usage = {"prompt_tokens": scored.tokens, "total_tokens": scored.tokens}
        return {"id": _new_id("rerank"), "model": model, "results": results, "usage": usage}


class RerankResult(BaseModel):
    """A document in its place."""

    index: int
    relevance_score: float = Field(
        description="σ(scale · reward): in the order of the rewards and between 0 and 1, but with "
        "a zero of the model's own. Only comparable within one query."
    )
    reward: float
    document: dict[str, str] | None = None


class Usage(BaseModel):
    """Tokens that the model worked on; those of a prompt that is shared count once."""

    prompt_tokens: int
    total_tokens: int


class RerankResponse(BaseModel):
    """The documents, best first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: Usage


# ---- vLLM's classify ----


class ClassifyRequest(_Theirs):
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
        return {
            "id": _new_id("classify"),
            "object": "list",
            "created": int(time.time()),
            "model": model,
            "data": [
                {
                    "index": index,
                    "label": "LABEL_0",
                    "probs": [reward if raw else float(expit(scale * reward))],
                    "num_classes": 1,
                }
                for index, reward in enumerate(scored.rewards)
            ],
            "usage": {
                "prompt_tokens": scored.tokens,
                "total_tokens": scored.tokens,
                "completion_tokens": 0,
            },
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


Request = ScoreRequest | RankRequest | GetRewardRequest | RerankRequest | ClassifyRequest


# ---- what they share ----


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


def _new_id(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex}"
