"""The rerank endpoint, as Jina, Cohere and vLLM have it."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from scipy.special import expit

from plaudit.serving.asked import Job, Theirs, Usage, best_first, job_of, listed, new_id, read
from plaudit.serving.batcher import Scored
from plaudit.serving.protocols import Protocol


def _read_document(value: Any, blank: bool = True) -> Any:
    """A string; of Jina's and Cohere's documents the `text`, of vLLM's the parts in `content`."""
    if isinstance(value, dict):
        value = value.get("text", value.get("content"))
    if isinstance(value, list):
        parts = value
        if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in parts):
            raise PydanticCustomError("bad_text", "the document has a part that is not text")
        value = "".join(part["text"] for part in parts)
    read(value, "document" if blank else "query", blank)
    return value


def _document_schema(text: dict[str, Any]) -> WithJsonSchema:
    keyed = {"type": "object", "required": ["text"], "properties": {"text": text}}
    return WithJsonSchema({"anyOf": [text, keyed]})


Document = Annotated[Any, PlainValidator(_read_document), _document_schema({"type": "string"})]
Query = Annotated[
    Any,
    PlainValidator(lambda value: _read_document(value, blank=False)),
    _document_schema({"type": "string", "minLength": 1}),
]


class RerankRequest(Theirs):
    """`query` is the prompt and `documents` are the completions."""

    texts_field: ClassVar[str] = "documents"

    query: Query
    documents: Annotated[list[Document], BeforeValidator(listed), Field(min_length=1)]
    top_n: int | None = Field(default=None, ge=0, description="How many to answer; 0: all.")
    return_documents: bool | None = None

    def job(self) -> Job:
        """What is to be scored."""
        return job_of(self.query, self.documents)

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
        return {"id": new_id("rerank"), "model": model, "results": results, "usage": usage}


class RerankResult(BaseModel):
    """A document in its place."""

    index: int
    relevance_score: float = Field(
        description="σ(scale · reward): in the order of the rewards and between 0 and 1, but with "
        "a zero of the model's own. Only comparable within one query."
    )
    reward: float
    document: dict[str, str] | None = None


class RerankResponse(BaseModel):
    """The documents, best first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: Usage


PROTOCOL = Protocol(("/rerank", "/v1/rerank", "/v2/rerank"), RerankRequest, RerankResponse)
