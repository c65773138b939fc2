"""OpenRLHF's remote reward model: `/get_reward`.

The shapes are those of `SingleTurnAgentExecutor` in OpenRLHF's `openrlhf/utils/agent.py` and of
its `openrlhf/cli/serve_rm.py`, version 0.11. Before 0.11.2 it divides its rows over its servers so
that some may get none; such a request has an empty answer. The trainer learns from `rewards`. With
`--algo.dynamic_filtering_enable` it drops prompts whose mean of `scores` is not within
`--algo.dynamic_filtering_range`, (0, 1) unless it is set. A score is σ(scale · reward), so that by
itself no prompt is dropped, and `0.1 0.9` drops those whose completions are all good or all bad.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from plaudit.serving.asked import (
    ROW,
    ROW_BEGINS,
    RowsOrNone,
    Theirs,
    job_of_rows,
    listed,
    scores_of,
)
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class GetRewardRequest(Theirs):
    """OpenRLHF's: `query` has whole rows, prompt and completion as its policy wrote them, `prompts`
    what each begins with. `labels`, which it sends too, are not looked at."""

    texts_field: ClassVar[str] = "query"

    query: RowsOrNone
    prompts: Annotated[list[str], BeforeValidator(listed)] | None = Field(
        default=None,
        description="Where they are given, row and prompt are taken apart and laid out as in "
        "training, unless the prompt was laid out by a chat template already.",
    )

    @model_validator(mode="after")
    def _one_prompt_for_each(self) -> "GetRewardRequest":
        if self.prompts and len(self.prompts) != len(self.query):
            raise PydanticCustomError(
                "fields", "query and prompts are of different length: give each row its prompt"
            )
        return self

    def job(self) -> Job:
        """What is to be scored."""
        return job_of_rows(self.query, self.prompts or None)

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `GetRewardResponse`."""
        return {
            "rewards": scored.rewards,
            "scores": scores_of(scored, scale),
            "extra_logs": {"truncated_by_reward_model": list(map(float, scored.truncated))},
        }


class GetRewardResponse(BaseModel):
    """Rewards to train on, scores between 0 and 1 to filter by, and what it logs with them."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


PROTOCOL = Protocol(
    ("/get_reward",),
    GetRewardRequest,
    GetRewardResponse,
    example={"query": [ROW], "prompts": [ROW_BEGINS], "labels": [""]},
)
