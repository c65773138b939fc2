"""SGLang's `/classify`, its endpoint for reward models.

A body is `EmbeddingReqInput` of SGLang 0.5 (`srt/managers/io_struct.py`), and each row is answered
`{"embedding": [reward], "meta_info": …}`: the reward itself, as the clients on the model cards of
Skywork's reward models read it. One text is answered by one such object, a list by a list.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, Field

from plaudit.serving.asked import ROW, Theirs, job_of_rows, listed, new_id
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class SglangClassifyRequest(Theirs):
    """SGLang's: `text` is a whole row, as somebody laid it out, or a list of them."""

    texts_field: ClassVar[str] = "text"

    text: str | list[str] = Field(min_length=1)

    def job(self) -> Job:
        """What is to be scored."""
        return job_of_rows(listed(self.text))

    def reply(self, scored: Scored, scale: float, model: str) -> Any:
        """As `RowReward`, or a list of them."""
        rows = [
            {"embedding": [reward], "meta_info": {"id": new_id("classify")}}
            for reward in scored.rewards
        ]
        return rows[0] if isinstance(self.text, str) else rows


class RowReward(BaseModel):
    """One row's."""

    embedding: list[float] = Field(description="The reward, alone.")
    meta_info: dict[str, str]


PROTOCOL = Protocol(
    ("/classify", "/sglang/classify"),
    SglangClassifyRequest,
    RowReward | list[RowReward],
    marks=("text",),
    example={"text": [ROW]},
)
