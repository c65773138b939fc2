"""plaudit's own `/score`: rewards of completions, and the probability of each being the best."""

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from scipy.special import expit, softmax

from plaudit.serving.asked import Completion, Messages, Ours, Prompt, job_of, job_of_dialogue
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol

# The preference of each over each is K² numbers: beyond this many completions they are asked for.
PREFERENCE_UP_TO = 32


class ScoreRequest(Ours):
    """A prompt with `completions`, a list, or `completion`, one; or a whole dialogue in `messages`,
    whose last message is the completion."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["prompt", "completions"]},
                {"required": ["prompt", "completion"]},
                {"required": ["messages"]},
            ]
        }
    )
    texts_field: ClassVar[str] = "completions"

    prompt: Prompt = None
    completions: Annotated[list[Completion] | None, Field(min_length=1)] = None
    completion: Completion = None
    messages: Messages = None
    preference: bool | None = Field(
        default=None,
        description="Whether to answer the preference of each over each; by default up to "
        f"{PREFERENCE_UP_TO} completions.",
    )

    @model_validator(mode="after")
    def _one_of_three(self) -> "ScoreRequest":
        names = ("prompt", "completions", "completion", "messages")
        given = {name for name in names if getattr(self, name) is not None}
        if given not in ({"prompt", "completions"}, {"prompt", "completion"}, {"messages"}):
            raise PydanticCustomError(
                "fields", "give prompt and completions, prompt and completion, or messages"
            )
        return self

    def job(self) -> Job:
        """What is to be scored."""
        if self.messages is not None:
            return job_of_dialogue(self.messages)
        return job_of(self.prompt, self.completions or [self.completion])

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `ScoreResponse`, or `RewardResponse` for one."""
        rewards = scored.rewards
        if self.completions is None:
            return {"reward": rewards[0], "truncated": scored.truncated[0]}
        reply: dict[str, Any] = {
            "rewards": rewards,
            "probabilities": softmax(scale * np.array(rewards)).tolist(),
            "truncated": scored.truncated,
        }
        wanted = self.preference
        if wanted or (wanted is None and len(rewards) <= PREFERENCE_UP_TO):
            each = scale * np.array(rewards)
            reply["preference"] = expit(each[:, None] - each).tolist()
        return reply


class ScoreResponse(BaseModel):
    """Rewards of the completions in their order."""

    rewards: list[float]
    probabilities: list[float] = Field(
        description="Of each being the best of them: softmax of scale · reward (Plackett–Luce)."
    )
    truncated: list[bool] = Field(description="Whether more was said than the model can read.")
    preference: list[list[float]] | None = Field(
        default=None, description="[i][j]: the probability that i is preferred to j."
    )


class RewardResponse(BaseModel):
    """The reward of the one completion."""

    reward: float
    truncated: bool


PROTOCOL = Protocol(
    ("/score",),
    ScoreRequest,
    ScoreResponse | RewardResponse,
    marks=("prompt", "completions", "completion", "messages"),
    example={
        "prompt": "What is a bond?",
        "completions": ["A loan to a company or a state.", "It depends."],
    },
)
