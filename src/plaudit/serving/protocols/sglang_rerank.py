"""SGLang's rerank, under a prefix of its own: `/sglang/v1/rerank`.

It is asked with the fields of Jina's and Cohere's, so that a body does not tell which is meant, but
answered with a bare list. Clients of SGLang's take `/sglang` into their base URL; its other
endpoints answer there, too. The shapes are those of `V1RerankReqInput` and `RerankResponse` in
SGLang 0.5's `srt/entrypoints/openai/protocol.py`; of a classifier of one label a score is the raw
output, unless the model's own configuration says otherwise: the reward.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, Field

from plaudit.serving.asked import Documents, Query, Theirs, best_first, job_of
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class SglangRerankRequest(Theirs):
    """SGLang's: `query` is the prompt and `documents` are the completions."""

    texts_field: ClassVar[str] = "documents"

    query: Query
    documents: Documents
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool = True

    def job(self) -> Job:
        """What is to be scored."""
        return job_of(self.query, self.documents)

    def reply(self, scored: Scored, scale: float, model: str) -> list[dict[str, Any]]:
        """A list as of `SglangRerankResult`."""
        results = []
        for index in best_first(scored.rewards)[: self.top_n]:
            result: dict[str, Any] = {"score": scored.rewards[index], "index": index}
            if self.return_documents:
                result["document"] = self.documents[index]
            results.append(result)
        return results


class SglangRerankResult(BaseModel):
    """A document in its place, best first."""

    score: float
    index: int
    document: str | None = None


PROTOCOL = Protocol(
    ("/sglang/v1/rerank",),
    SglangRerankRequest,
    list[SglangRerankResult],
    marks=("documents",),
    example={
        "query": "What is a bond?",
        "documents": ["A loan to a company or a state.", "It depends."],
    },
)
