"""OpenAI's `/v1/embeddings`, where SGLang answers a reward model's rewards.

verl's reward loop asks SGLang so and reads `data[-1]["embedding"][-1]` (verl's
`experimental/reward_loop/reward_loop.py`): a vector of one number, the reward itself. The shapes
are those of `EmbeddingRequest` and `EmbeddingResponse` in SGLang 0.5's
`srt/entrypoints/openai/protocol.py`. These are no embeddings of texts, and cannot be shortened to
`dimensions`.
"""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from plaudit.serving.asked import (
    ROW,
    Listing,
    Rows,
    Theirs,
    job_of_rows,
    listing_of,
    refuse_set,
    vector_of,
)
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class EmbeddingsRequest(Theirs):
    """OpenAI's, as reward models are asked in SGLang: `input` has whole rows, as somebody laid them
    out; the answer is no embedding but the reward, a vector of one."""

    texts_field: ClassVar[str] = "input"

    input: Rows
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    def job(self) -> Job:
        """What is to be scored."""
        refuse_set(self, {"dimensions": "there is one number, and nothing to cut"})
        return job_of_rows(self.input)

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As a `Listing` of `RowVector`."""
        entries = [
            {"object": "embedding", "embedding": vector_of(reward, self.encoding_format)}
            for reward in scored.rewards
        ]
        return listing_of(entries, scored, model)


class RowVector(BaseModel):
    """One row's: its reward."""

    object: str
    index: int
    embedding: list[float] | str


PROTOCOL = Protocol(
    ("/v1/embeddings", "/sglang/v1/embeddings"),
    EmbeddingsRequest,
    Listing[RowVector],
    marks=("input",),
    example={"input": [ROW]},
)
