"""vLLM's `/pooling`: what the head makes of whole rows, a list of one number for each.

The shapes are those of `PoolingRequest` and `PoolingResponse` in vLLM's
`entrypoints/pooling/pooling/protocol.py`. What its tasks other than `classify` give, a vector of
each row or of each token, a reward model served here has not, and neither is there anything to cut
to `dimensions`.
"""

from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from plaudit.serving.asked import DIALOGUE, refuse_set, vector_of
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol
from plaudit.serving.protocols._vllm import RowsOrDialogue, VllmListing, vllm_listing_of


class PoolingRequest(RowsOrDialogue):
    """vLLM's: `input` has whole rows, as somebody laid them out; `messages` is a dialogue, whose
    last message is the completion. `task` is `classify` or left out."""

    task: str | None = None
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] = "float"

    def job(self) -> Job:
        """What is to be scored."""
        if self.task not in (None, "classify"):
            raise PydanticCustomError(
                "unsupported",
                "task: a reward model gives one number for a row: ask for classify, or leave task "
                "out; there are no embeddings here, and no numbers of single tokens",
            )
        refuse_set(self, {"dimensions": "there is one number, and nothing to cut"})
        return super().job()

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As a `VllmListing` of `Pooled`."""
        entries = [
            {"object": "pooling", "data": vector_of(score, self.encoding_format)}
            for score in self.scores(scored, scale)
        ]
        return vllm_listing_of("pooling", entries, scored, model)


class Pooled(BaseModel):
    """One row's."""

    index: int
    object: str
    data: list[float] | str


PROTOCOL = Protocol(
    ("/pooling",),
    PoolingRequest,
    VllmListing[Pooled],
    marks=("input", "messages"),
    example={"messages": DIALOGUE, "task": "classify", "use_activation": False},
)
