"""vLLM's `/classify`, which verl's reward loop asks for rewards.

The shapes are those of `ClassificationCompletionRequest`, `ClassificationChatRequest` and
`ClassificationResponse` in vLLM's `entrypoints/pooling/classify/protocol.py`. SGLang has the same
at `/v1/classify`, where it answers the softmax of the one label, 1 whatever the row; here that is
answered as vLLM does.
"""

from typing import Any

from pydantic import BaseModel

from plaudit.serving.asked import DIALOGUE
from plaudit.serving.batcher import Scored
from plaudit.serving.protocols import Protocol
from plaudit.serving.protocols._vllm import RowsOrDialogue, VllmListing, vllm_listing_of


class ClassifyRequest(RowsOrDialogue):
    """vLLM's: `input` has whole rows, as somebody laid them out; `messages` is a dialogue, whose
    last message is the completion. verl asks this with `use_activation` false, for rewards."""

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As a `VllmListing` of `Classified`."""
        entries = [
            {"label": "LABEL_0", "probs": [score], "num_classes": 1}
            for score in self.scores(scored, scale)
        ]
        return vllm_listing_of("classify", entries, scored, model)


class Classified(BaseModel):
    """One row's."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


PROTOCOL = Protocol(
    ("/classify", "/v1/classify"),
    ClassifyRequest,
    VllmListing[Classified],
    marks=("input", "messages"),
    example={"messages": DIALOGUE, "use_activation": False},
)
