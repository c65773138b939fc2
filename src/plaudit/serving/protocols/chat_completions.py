"""`/v1/chat/completions` as NVIDIA's services of reward models answer it.

The messages end with the assistant's answer, which is not continued but judged. The reward is in
the content, `reward:-3.25`, as NVIDIA's endpoint of llama-3.1-nemotron-70b-reward gives it, and in
the log-probability of the token `reward`, where those of the Nemotron models' attributes are read
by clients such as CAMEL's `NemotronRewardModel`. The shape is otherwise OpenAI's. Nothing is
generated: what asks for several answers or a stream is refused, and options of sampling are not
looked at.
"""

import time
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from plaudit.serving.asked import (
    Messages,
    Theirs,
    Usage,
    job_of_dialogue,
    new_id,
    refuse_set,
    usage_of,
)
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class ChatCompletionRequest(Theirs):
    """OpenAI's, as NVIDIA's reward models are asked: `messages` is a dialogue, whose last message
    is the completion to be judged."""

    texts_field: ClassVar[str] = "messages"

    messages: Messages
    stream: bool | None = None
    n: Literal[1] | None = None

    def job(self) -> Job:
        """What is to be scored."""
        refuse_set(self, {"stream": "the reward comes in one piece; ask without"})
        return job_of_dialogue(self.messages)

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `ChatCompletionResponse`."""
        (reward,) = scored.rewards
        token = {"token": "reward", "logprob": reward, "bytes": None, "top_logprobs": []}
        return {
            "id": new_id("chatcmpl"),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": f"reward:{reward}"},
                    "logprobs": {"content": [token]},
                    "finish_reason": "stop",
                }
            ],
            "usage": usage_of(scored),
        }


class RewardToken(BaseModel):
    """The reward as the log-probability of a token."""

    token: str
    logprob: float
    bytes: None
    top_logprobs: list[float]


class Logprobs(BaseModel):
    """Of the one token."""

    content: list[RewardToken]


class RewardMessage(BaseModel):
    """The reward as a text."""

    role: str
    content: str


class RewardChoice(BaseModel):
    """The only one."""

    index: int
    message: RewardMessage
    logprobs: Logprobs
    finish_reason: str


class ChatCompletionResponse(BaseModel):
    """The reward where an answer is expected."""

    id: str
    object: str
    created: int
    model: str
    choices: list[RewardChoice]
    usage: Usage


PROTOCOL = Protocol(
    ("/v1/chat/completions",),
    ChatCompletionRequest,
    ChatCompletionResponse,
    marks=("messages",),
    example={
        "messages": [
            {"role": "user", "content": "What is a bond?"},
            {"role": "assistant", "content": "A loan to a company or a state."},
        ]
    },
)
