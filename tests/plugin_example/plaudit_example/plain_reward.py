"""A peer that sends a question with one answer, and wants a number."""

from typing import Any, ClassVar

from pydantic import BaseModel

from plaudit.serving.asked import Completion, Prompt, Theirs, job_of
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class PlainRequest(Theirs):
    """A question and its answer."""

    texts_field: ClassVar[str] = "answer"

    question: Prompt
    answer: Completion

    def job(self) -> Job:
        """What is to be scored."""
        return job_of(self.question, [self.answer])

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `PlainResponse`."""
        return {"reward": scored.rewards[0]}


class PlainResponse(BaseModel):
    """The reward."""

    reward: float


PROTOCOL = Protocol(("/plain_reward",), PlainRequest, PlainResponse)
