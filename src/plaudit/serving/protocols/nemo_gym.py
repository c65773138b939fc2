"""NeMo Gym's `/verify`: the reward of a rollout, as an agent asks a resources server.

The shapes are those of `BaseVerifyRequest` and `BaseVerifyResponse` in NeMo Gym's
`nemo_gym/base_resources_server.py`, which hold a request and a response of OpenAI's Responses API:
the answer is the whole request with `reward`. The prompt is `instructions` and `input`, the
completion all of `output`. `developer` is the Responses API's word for `system`; reasoning is not
judged, as the policy's readers do not see it, nor are definitions of tools; calls of tools and what
they returned are messages. Items of other kinds are refused.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from plaudit.serving.asked import MAX_MESSAGES, Theirs, job_of, join_parts
from plaudit.serving.batcher import Job, Scored
from plaudit.serving.protocols import Protocol


def _messages(items: Any, name: str) -> list[dict[str, Any]]:
    """Items of the Responses API as messages."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise PydanticCustomError("items", f"{name} is not a list of items")
    if len(items) > MAX_MESSAGES:
        raise PydanticCustomError("too_long", f"{name} has more than {MAX_MESSAGES} items")
    read = (_message(item, name) for item in items)
    return [message for message in read if message is not None]


def _message(item: dict[str, Any], name: str) -> dict[str, Any] | None:
    kind = item.get("type", "message")
    if kind == "reasoning":
        return None
    if kind == "message":
        role = "system" if item.get("role") == "developer" else item.get("role")
        return {"role": role, "content": _content(item.get("content"), name)}
    if kind == "function_call":
        for field in ("name", "arguments"):
            # Chat templates write what is missing as nothing: the call would be an empty message.
            if not isinstance(item.get(field), str) or not item["name"]:
                raise PydanticCustomError(
                    "items", f"{name} has a call of a function without {field}"
                )
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [call]}
    if kind == "function_call_output":
        content = _content(item.get("output"), name)
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": content}
    raise PydanticCustomError(
        "items", f"{name} has an item that is no message, reasoning or call of a function"
    )


def _content(content: Any, name: str) -> str:
    return content if isinstance(content, str) else join_parts(content, name)


def _read_asked(value: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get("input"), (str, list)):
        raise PydanticCustomError("items", "has no input, a text or a list of items")
    if not isinstance(value.get("instructions"), (str, type(None))):
        raise PydanticCustomError("items", "has instructions that are not text")
    return value


def _read_response(value: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get("output"), list):
        raise PydanticCustomError("items", "has no output, a list of items")
    return value


_ITEMS = {"type": "array", "items": {"type": "object"}}


def _schema(field: str, of: Sequence[dict[str, Any]]) -> WithJsonSchema:
    properties = {field: {"anyOf": list(of)}}
    return WithJsonSchema({"type": "object", "required": [field], "properties": properties})


class VerifyRequest(Theirs):
    """NeMo Gym's: `responses_create_params` has what was asked, `response` what the policy wrote,
    both as in OpenAI's Responses API. Other fields come back as they are."""

    model_config = ConfigDict(extra="allow")
    texts_field: ClassVar[str] = "response"

    responses_create_params: Annotated[
        Any, PlainValidator(_read_asked), _schema("input", [{"type": "string"}, _ITEMS])
    ]
    response: Annotated[Any, PlainValidator(_read_response), _schema("output", [_ITEMS])]

    def job(self) -> Job:
        """What is to be scored."""
        given = self.responses_create_params
        system, asked = given.get("instructions"), given["input"]
        prompt = [{"role": "system", "content": system}] if system else []
        if isinstance(asked, str):
            prompt.append({"role": "user", "content": asked})
        else:
            prompt += _messages(asked, "input")
        completion = _messages(self.response["output"], "output")
        # A policy that was cut short in its reasoning answered nothing.
        return job_of(prompt, [completion or [{"role": "assistant", "content": ""}]])

    def reply(self, scored: Scored, scale: float, model: str) -> dict[str, Any]:
        """As `VerifyResponse`."""
        return self.model_dump() | {"reward": scored.rewards[0]}


class VerifyResponse(BaseModel):
    """The request, with its reward."""

    model_config = ConfigDict(extra="allow")

    responses_create_params: dict[str, Any]
    response: dict[str, Any]
    reward: float = Field(description="Of the whole output.")


PROTOCOL = Protocol(
    ("/verify",),
    VerifyRequest,
    VerifyResponse,
    marks=("responses_create_params",),
    example={
        "responses_create_params": {"input": [{"role": "user", "content": "What is a bond?"}]},
        "response": {
            "output": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "A loan."}],
                }
            ]
        },
    },
)
