"""`/predict` of Text Embeddings Inference (TEI), which Hugging Face's `InferenceClient` asks, too.

The shapes are those of `PredictRequest` and `PredictResponse` in TEI 1.9's
`router/src/http/types.rs`. `inputs` is a text, which is a whole row; a pair of texts, which are
prompt and completion; or a list of lists of one or two. The first two are answered by the labels of
one, here a single one, the last by a list of such answers. A score is the sigmoid unless
`raw_scores`. `truncate` and `truncation_direction` are not looked at: what is too long is truncated
as in training.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from plaudit.serving.asked import Theirs, job_of_pairs, read, scores_of
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


def _is_one(value: Any) -> bool:
    """Whether it is a list of one text or two."""
    return (
        isinstance(value, list)
        and len(value) in (1, 2)
        and all(isinstance(text, str) for text in value)
    )


def _read_inputs(value: Any) -> Any:
    if isinstance(value, str) or _is_one(value):
        return value
    if not isinstance(value, list) or not value or not all(map(_is_one, value)):
        raise PydanticCustomError(
            "inputs",
            "give a text, a pair of texts [prompt, completion], or a list of lists of one or two",
        )
    return value


_PAIR = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2}
_SCHEMA = {"anyOf": [{"type": "string"}, _PAIR, {"type": "array", "items": _PAIR, "minItems": 1}]}


class PredictRequest(Theirs):
    """TEI's: `inputs` is a whole row, a pair of prompt and completion, or a list of lists of one or
    two."""

    texts_field: ClassVar[str] = "inputs"

    inputs: Annotated[Any, PlainValidator(_read_inputs), WithJsonSchema(_SCHEMA)]
    raw_scores: bool = False

    def _rows(self) -> list[list[str]]:
        if isinstance(self.inputs, str):
            return [[self.inputs]]
        return [self.inputs] if isinstance(self.inputs[0], str) else self.inputs

    def job(self) -> Job:
        """What is to be scored."""
        rows = self._rows()
        return job_of_pairs(
            (read(row[0], "prompt"), row[1]) if len(row) == 2 else (None, row[0]) for row in rows
        )

    def reply(self, scored: Scored, scale: float, model: str) -> Any:
        """A list as of `Prediction`, or a list of such."""
        answers = [
            [{"score": score, "label": "LABEL_0"}]
            for score in scores_of(scored, scale, self.raw_scores)
        ]
        many = isinstance(self.inputs, list) and isinstance(self.inputs[0], list)
        return answers if many else answers[0]


class Prediction(BaseModel):
    """Of the one label."""

    score: float
    label: str


PROTOCOL = Protocol(
    ("/predict",),
    PredictRequest,
    list[Prediction] | list[list[Prediction]],
    marks=("inputs",),
    example={
        "inputs": [["What is a bond?", "A loan to a company or a state."]],
        "raw_scores": True,
    },
)
