"""The rerank endpoint of Text Embeddings Inference (TEI).

The shapes are those of `RerankRequest` and `Rank` in TEI 1.9's `router/src/http/types.rs`: a bare
list, best first. A score is the sigmoid unless `raw_scores`. `truncate` and `truncation_direction`
are not looked at: what is too long is truncated as in training.
"""

from typing import Any, ClassVar

from pydantic import BaseModel

from plaudit.serving.asked import Documents, Query, Theirs, best_first, job_of, scores_of
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class TeiRerankRequest(Theirs):
    """TEI's: `query` is the prompt and `texts` are the completions."""

    texts_field: ClassVar[str] = "texts"

    query: Query
    texts: Documents
    raw_scores: bool = False
    return_text: bool = False

    def job(self) -> Job:
        """What is to be scored."""
        return job_of(self.query, self.texts)

    def reply(self, scored: Scored, scale: float, model: str) -> list[dict[str, Any]]:
        """A list as of `TeiRank`."""
        scores = scores_of(scored, scale, self.raw_scores)
        return [
            {"index": index, "score": scores[index]}
            | ({"text": self.texts[index]} if self.return_text else {})
            for index in best_first(scored.rewards)
        ]


class TeiRank(BaseModel):
    """A text in its place, best first."""

    index: int
    score: float
    text: str | None = None


PROTOCOL = Protocol(
    ("/rerank",),
    TeiRerankRequest,
    list[TeiRank],
    marks=("texts",),
    example={
        "query": "What is a bond?",
        "texts": ["A loan to a company or a state.", "It depends."],
        "raw_scores": True,
    },
)
