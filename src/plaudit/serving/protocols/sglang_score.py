"""SGLang's `/v1/score`: items that follow a query.

The shapes are those of `ScoringRequest` and `ScoringResponse` in SGLang 0.5's
`srt/entrypoints/openai/protocol.py`. Of a classifier it answers the raw outputs of the head for
query + item, and does not look at `label_token_ids`; `apply_softmax` makes 1 of a single output,
whatever it was. Here the query is the prompt and an item a completion, laid out as in training
unless a chat template laid the query out already; without a query, items are whole rows.
"""

from typing import Any, ClassVar

from pydantic import BaseModel

from plaudit.data.chat import begins_rendered
from plaudit.serving.asked import (
    RowsOrNone,
    Theirs,
    Usage,
    job_of,
    job_of_rows,
    refuse_set,
    usage_of,
)
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


class SglangScoreRequest(Theirs):
    """SGLang's: `query` is the prompt, or empty, and `items` are the completions."""

    texts_field: ClassVar[str] = "items"

    query: str
    items: RowsOrNone
    apply_softmax: bool = False
    item_first: bool = False
    score_extraction_token: str | None = None
    return_pooled_hidden_states: bool = False
    return_token_logprobs: bool = False

    def job(self) -> Job:
        """What is to be scored."""
        refuse_set(
            self,
            {
                "apply_softmax": "of one number it is 1, whatever the reward; leave it out",
                "item_first": "the query is the prompt here, and comes first",
                "score_extraction_token": "rewards are of whole rows",
                "return_pooled_hidden_states": "hidden states are not served",
                "return_token_logprobs": "a reward model has none",
            },
        )
        if not self.query:
            return job_of_rows(self.items)
        if not begins_rendered(self.query):
            return job_of(self.query, self.items) if self.items else job_of_rows([])
        rows = [self.query + item for item in self.items]
        return job_of_rows(rows, [self.query] * len(rows))

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `SglangScoreResponse`."""
        return {
            "scores": [[reward] for reward in scored.rewards],
            "model": model,
            "usage": usage_of(scored),
            "object": "scoring",
        }


class SglangScoreResponse(BaseModel):
    """The rewards in the order of the items, each a row of one."""

    scores: list[list[float]]
    model: str
    usage: Usage
    object: str


PROTOCOL = Protocol(
    ("/v1/score", "/sglang/v1/score"),
    SglangScoreRequest,
    SglangScoreResponse,
    marks=("query",),
    example={
        "query": "What is a bond?",
        "items": ["A loan to a company or a state.", "It depends."],
    },
)
