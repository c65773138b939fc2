"""plaudit's own `/rank`: completions in order, the best first."""

from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, Field
from scipy.special import softmax

from plaudit.serving.asked import Completion, Ours, Prompt, best_first, job_of
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class RankRequest(Ours):
    """A prompt and the completions to put in order."""

    texts_field: ClassVar[str] = "completions"

    prompt: Prompt
    completions: list[Completion] = Field(min_length=1)

    def job(self) -> Job:
        """What is to be scored."""
        return job_of(self.prompt, self.completions)

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `RankResponse`."""
        rewards = scored.rewards
        chances = softmax(scale * np.array(rewards)).tolist()
        ranking: list[dict[str, Any]] = []
        for place, index in enumerate(best_first(rewards), start=1):
            tie = bool(ranking) and ranking[-1]["reward"] == rewards[index]
            ranking.append(
                {
                    "index": index,
                    "rank": ranking[-1]["rank"] if tie else place,
                    "reward": rewards[index],
                    "probability": chances[index],
                    "truncated": scored.truncated[index],
                }
            )
        return {"ranking": ranking}


class Ranked(BaseModel):
    """A completion in its place."""

    index: int = Field(description="Its place in the request, from 0.")
    rank: int = Field(description="1 is the best; equal rewards have equal ranks.")
    reward: float
    probability: float = Field(description="Of being the best of them.")
    truncated: bool


class RankResponse(BaseModel):
    """The completions, best first."""

    ranking: list[Ranked]


PROTOCOL = Protocol(
    ("/rank",),
    RankRequest,
    RankResponse,
    example={
        "prompt": "What is a bond?",
        "completions": ["A loan to a company or a state.", "It depends."],
    },
)
