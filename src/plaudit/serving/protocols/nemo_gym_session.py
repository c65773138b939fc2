"""NeMo Gym's `/seed_session`, with which an agent begins each rollout.

A reward model keeps nothing of a rollout, so that there is nothing to begin: the answer is empty,
as that of `SimpleResourcesServer` in NeMo Gym's `nemo_gym/base_resources_server.py`.
"""

from typing import Any, ClassVar

from pydantic import BaseModel

from plaudit.serving.asked import Theirs
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class SeedSessionRequest(Theirs):
    """NeMo Gym's, an object whose fields are not looked at."""

    texts_field: ClassVar[str] = ""

    def job(self) -> Job:
        """Nothing."""
        return Job([], [])

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `SeedSessionResponse`."""
        return {}


class SeedSessionResponse(BaseModel):
    """Nothing."""


PROTOCOL = Protocol(("/seed_session",), SeedSessionRequest, SeedSessionResponse, example={})
