"""The rerank endpoint, as Jina, Cohere and vLLM have it; vLLM's clients may ask for raw scores.

TEI's, which has `texts` in the place of `documents`, is `tei_rerank`; SGLang's, which asks with the
same fields and is answered in another shape, `sglang_rerank`.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, Field

from plaudit.serving.asked import (
    Documents,
    Query,
    Usage,
    best_first,
    job_of,
    new_id,
    usage_of,
)
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol
from plaudit.serving.protocols._vllm import Activated


class RerankRequest(Activated):
    """`query` is the prompt and `documents` are the completions."""

    texts_field: ClassVar[str] = "documents"

    query: Query
    documents: Documents
    top_n: int | None = Field(default=None, ge=0, description="How many to answer; 0: all.")
    return_documents: bool | None = None

    def job(self) -> Job:
        """What is to be scored."""
        return job_of(self.query, self.documents)

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `RerankResponse`."""
        results = []
        scores = self.scores(scored, scale)
        for index in best_first(scored.rewards)[: self.top_n or None]:
            result: dict[str, Any] = {
                "index": index,
                "relevance_score": scores[index],
                "reward": scored.rewards[index],
            }
            if self.return_documents is not False:
                result["document"] = {"text": self.documents[index]}
            results.append(result)
        return {
            "id": new_id("rerank"),
            "model": model,
            "results": results,
            "usage": usage_of(scored),
        }


class RerankResult(BaseModel):
    """A document in its place."""

    index: int
    relevance_score: float = Field(
        description="σ(scale · reward): in the order of the rewards and between 0 and 1, but with "
        "a zero of the model's own; the reward itself where use_activation is false. Only "
        "comparable within one query."
    )
    reward: float
    document: dict[str, str] | None = None


class RerankResponse(BaseModel):
    """The documents, best first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: Usage


PROTOCOL = Protocol(
    ("/rerank", "/v1/rerank", "/v2/rerank"),
    RerankRequest,
    RerankResponse,
    marks=("documents",),
    example={
        "query": "What is a bond?",
        "documents": ["A loan to a company or a state.", "It depends."],
        "top_n": 1,
    },
)
