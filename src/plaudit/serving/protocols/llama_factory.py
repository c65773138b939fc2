"""LLaMA-Factory's scores: what its PPO asks with `reward_model_type: api`.

`get_rewards_from_server` in its `train/ppo/ppo_utils.py` sends whole rows, special tokens included,
to the URL in `reward_model`, and reads `scores`: the rewards themselves. The path and the answer
are those of its own API server (`ScoreEvaluationRequest` and `ScoreEvaluationResponse` in its
`api/protocol.py`).
"""

from typing import Any, ClassVar

from pydantic import BaseModel

from plaudit.serving.asked import ROW, RowsOrNone, Theirs, job_of_rows, new_id
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class ScoreEvaluationRequest(Theirs):
    """LLaMA-Factory's: `messages` has whole rows, prompt and completion as its policy wrote
    them."""

    texts_field: ClassVar[str] = "messages"

    messages: RowsOrNone

    def job(self) -> Job:
        """What is to be scored."""
        return job_of_rows(self.messages)

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `ScoreEvaluationResponse`."""
        return {
            "id": new_id("scoreval"),
            "object": "score.evaluation",
            "model": model,
            "scores": scored.rewards,
        }


class ScoreEvaluationResponse(BaseModel):
    """The rewards in the order of the rows."""

    id: str
    object: str
    model: str
    scores: list[float]


PROTOCOL = Protocol(
    ("/v1/score/evaluation",),
    ScoreEvaluationRequest,
    ScoreEvaluationResponse,
    marks=("messages",),
    example={"model": "model", "messages": [ROW]},
)
