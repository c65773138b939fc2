"""slime's remote reward model: `--rm-type remote_rm --rm-url http://…/remote_rm`.

For each sample it sends `prompt`, `response` and `label` (slime's `rollout/rm_hub/__init__.py`) and
takes the answer's JSON for the reward itself: a number, not to be unpacked by `--reward-key`.
"""

from typing import Any, ClassVar

from pydantic import Field

from plaudit.serving.asked import Prompt, Theirs, job_of, job_of_rows
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class RemoteRmRequest(Theirs):
    """slime's: `prompt` is messages, or a text as its chat template laid it out or as it is;
    `response` is the completion. `label`, which it sends too, is not looked at."""

    texts_field: ClassVar[str] = "response"

    prompt: Prompt
    response: str
    label: Any = Field(default=None, description="Not looked at.")

    def job(self) -> Job:
        """What is to be scored."""
        if isinstance(self.prompt, str):
            return job_of_rows([self.prompt + self.response], [self.prompt])
        return job_of(self.prompt, [self.response])

    def reply(self, scored: Scored, scale: float, model: str) -> float:
        """The reward."""
        return scored.rewards[0]


PROTOCOL = Protocol(
    ("/remote_rm",),
    RemoteRmRequest,
    float,
    marks=("response",),
    example={"prompt": "What is a bond?", "response": "A loan.", "label": None},
)
