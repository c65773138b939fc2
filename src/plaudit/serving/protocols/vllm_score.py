"""vLLM's `/score`: pairs of texts, of which the first is the prompt and the second the completion.

The shapes are those of `ScoreRequest` and `ScoreResponse` in vLLM's
`entrypoints/pooling/scoring/protocol.py`: four names for the same two fields. One prompt goes with
all completions, several with one each.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from plaudit.serving.asked import Documents, Queries, job_of, job_of_pairs
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol
from plaudit.serving.protocols._vllm import Activated, VllmListing, vllm_listing_of

PAIRS = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))


class VllmScoreRequest(Activated):
    """vLLM's: `text_1` has the prompt and `text_2` the completions, or as many prompts as
    completions. `queries` and `documents` or `items`, `data_1` and `data_2` are the same."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [*p]} for p in PAIRS]})
    texts_field: ClassVar[str] = "text_2"

    text_1: Queries | None = None
    text_2: Documents | None = None
    queries: Queries | None = None
    documents: Documents | None = None
    items: Documents | None = None
    data_1: Queries | None = None
    data_2: Documents | None = None

    @model_validator(mode="after")
    def _one_pair(self) -> "VllmScoreRequest":
        names = {name for pair in PAIRS for name in pair}
        given = {name for name in names if getattr(self, name) is not None}
        if given not in map(set, PAIRS):
            raise PydanticCustomError(
                "fields", "give text_1 and text_2, or queries and documents (or items)"
            )
        return self

    def job(self) -> Job:
        """What is to be scored."""
        prompts = self.text_1 or self.queries or self.data_1 or []
        completions = self.text_2 or self.documents or self.items or self.data_2 or []
        if len(prompts) == 1:
            return job_of(prompts[0], completions)
        if len(prompts) != len(completions):
            raise PydanticCustomError(
                "fields", "give one prompt for all completions, or as many prompts as completions"
            )
        return job_of_pairs(zip(prompts, completions, strict=True))

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As a `VllmListing` of `PairScore`."""
        entries = [{"object": "score", "score": score} for score in self.scores(scored, scale)]
        return vllm_listing_of("score", entries, scored, model)


class PairScore(BaseModel):
    """One pair's."""

    index: int
    object: str
    score: float


PROTOCOL = Protocol(
    ("/score", "/v1/score"),
    VllmScoreRequest,
    VllmListing[PairScore],
    marks=("text_1", "queries", "data_1"),
    example={
        "text_1": "What is a bond?",
        "text_2": ["A loan to a company or a state.", "It depends."],
    },
)
