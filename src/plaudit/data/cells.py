"""From one value to a text, a number or a label, whatever shape it comes in.

A text is a string or a list of messages (`{"role": …, "content": …}`); a string that is the JSON of
such messages is these messages, in every kind of file. A value that cannot be used raises
`BadRowError`.
"""

import ast
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from plaudit.data.rankings import USER_TURN, BadRowError, Fault, Message, Ranking, Text
from plaudit.json_text import RepeatedKeyError, from_json

# How messages begin that were written with Python's str() and not as JSON.
PYTHON_MESSAGES = re.compile(r"""\[\s*\{\s*'(?:role|content)'\s*:""")
PYTHON_TURNS = re.compile(r"""\[\s*\{\s*'(?:from|value)'\s*:""")

# Who speaks in a turn as ShareGPT has it, with from and value: the role of a message. Calls of
# tools are the value of a turn of one of `CALLERS`.
SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
}
CALLERS = ("function_call", "function")

NO_MESSAGES = "is not text: a list, but not of messages with role and content"

EXCERPT = 60  # characters of a text that fit into a message


def is_blank(text: str) -> bool:
    """Whether a text is empty or nothing but white space.

    >>> is_blank(" \\n"), is_blank("a")
    (True, False)
    """
    return not text or text.isspace()


def read_text(value: Any, name: str, blank: bool = False) -> Text:
    """The prompt or completion that a value is; `name` is what the reason calls it.

    With `blank` it may say nothing: a policy sometimes writes an empty completion.

    >>> read_text('[{"role": "user", "content": "Hi"}]', "prompt")
    [{'role': 'user', 'content': 'Hi'}]
    """
    if isinstance(value, str):
        if not blank and is_blank(value):
            raise BadRowError(Fault.BLANK, f"the {name} is blank")
        _check_unicode(value, name)
        messages = messages_from_text(value, name) if value[:1] == "[" else None
        return value if messages is None else _read_messages(messages, name, blank)
    if value is None:
        raise BadRowError(Fault.MISSING, f"the {name} is missing")
    if value == []:
        raise BadRowError(Fault.BLANK, f"the {name} is blank")
    messages = as_messages(value)
    if messages is None:
        what = NO_MESSAGES if isinstance(value, list) else f"is not text: {_kind(value)}"
        raise BadRowError(Fault.NOT_TEXT, f"the {name} {what}")
    return _read_messages(messages, name, blank)


def _kind(value: Any) -> str:
    """What a value is that is no text: of a record its keys, too."""
    if not isinstance(value, dict):
        return type(value).__name__
    keys = ", ".join(str(shown(key))[:EXCERPT] for key in list(value)[:4])
    held = next((key for key, item in value.items() if as_messages(item) is not None), None)
    inside = f" (give what is in {held})" if held is not None else ""
    return f"a record of {keys or 'nothing'}{inside}"


def _read_messages(messages: list[Message], name: str, blank: bool) -> list[Message]:
    read = [_read_message(message, name) for message in messages]
    for place, message in enumerate(read, start=1):
        content = message["content"]
        may_be = len(message) > 2 or (blank and place == len(read))
        if not may_be and isinstance(content, str) and is_blank(content):
            raise BadRowError(Fault.BLANK, f"the {name} is blank: a message without content")
    return read


def _read_message(message: Message, name: str) -> Message:
    content = message.get("content")
    if len(message) == 2 and isinstance(content, str):
        _check_unicode(content, name)
        _check_unicode(message["role"], name)
        return message
    # Arrow gives every record all keys that any of them has, null where it has none.
    message = _without_nulls(message)
    content = message.get("content", "")  # of a message that only calls tools it is null
    if isinstance(content, list):
        # Content in parts is what services for text and pictures take; we read text.
        if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
            raise BadRowError(
                Fault.NOT_TEXT, f"the {name} has a message with a part that is not text"
            )
        content = "".join(part["text"] for part in content)
    message["content"] = content
    if isinstance(message.get("tool_calls"), list):
        message["tool_calls"] = [_tool_call(call, name) for call in message["tool_calls"]]
    try:
        _check_unicode(json.dumps(message, ensure_ascii=False), name)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRowError(
            Fault.NOT_TEXT, f"the {name} has a message that is not plain JSON"
        ) from error
    return message


def _without_nulls(value: Any) -> Any:
    """`value` without the keys of its records that hold null."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _tool_call(call: Any, name: str) -> Any:
    """A call with its arguments as a record: OpenAI writes them as JSON, templates expect none."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = from_json(function["arguments"])
    except (ValueError, RecursionError) as error:
        raise BadRowError(
            Fault.NOT_TEXT, f"the {name} calls a tool with arguments that are not JSON"
        ) from error
    return call | {"function": function | {"arguments": arguments}}


def is_messages(value: Any) -> bool:
    """Whether `value` is a list of messages, each with a role and content, or calls of tools."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(message, dict)
            and isinstance(message.get("role"), str)
            and (
                isinstance(message.get("content"), (str, list))
                or (message.get("content") is None and bool(message.get("tool_calls")))
            )
            for message in value
        )
    )


def as_messages(value: Any) -> list[Message] | None:
    """The messages that `value` is, a list of them or one alone; None for anything else.

    Each has a role and content, or is a turn as ShareGPT has it, with from and value. Raises
    `BadRowError` for a turn of a speaker that is not known.

    >>> as_messages({"from": "human", "value": "Hi"})
    [{'role': 'user', 'content': 'Hi'}]
    """
    given = [value] if isinstance(value, dict) else value
    if is_messages(given):
        return cast(list[Message], given)
    if not isinstance(given, list) or not given:
        return None
    if not all(is_turn(one) or is_messages([one]) for one in given):
        return None
    read = [message_of(one) if is_turn(one) else one for one in given]
    return read if is_messages(read) else None


def is_turn(value: Any) -> bool:
    """Whether `value` is a turn as ShareGPT has it, with from and value, and no message."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("from"), str)
        and "value" in value
        and value.get("role") is None
    )


def is_list_of_texts(value: Any) -> bool:
    """Whether `value` is a list, and not of the messages of one text.

    >>> is_list_of_texts(["Hi", "Ho"]), is_list_of_texts([{"from": "gpt", "value": "Hi"}])
    (True, False)
    """
    return isinstance(value, list) and not (is_messages(value) or any(map(is_turn, value)))


def message_of(turn: Mapping[str, Any]) -> Message:
    """A turn as ShareGPT has it as a message with role and content.

    Raises `BadRowError` for a speaker that is not known, and for calls of tools that are none.

    >>> message_of({"from": "gpt", "value": "Yes?"})
    {'role': 'assistant', 'content': 'Yes?'}
    """
    said, speaker = turn.get("value"), _speaker(turn)
    if speaker in CALLERS:
        return {"role": "assistant", "content": "", "tool_calls": _calls(said)}
    if speaker not in SPEAKERS:
        what = "the speaker of a turn has a value that is not known"
        raise BadRowError(Fault.UNKNOWN, f"{what}: {shown(turn.get('from'))}")
    return {"role": SPEAKERS[speaker], "content": said}


def _speaker(turn: Mapping[str, Any]) -> str:
    return str(turn.get("from")).strip().lower()


def _calls(said: Any) -> list[Any]:
    """The calls of tools in the JSON of one, or of a list of them."""
    try:
        calls = from_json(said) if isinstance(said, str) else said
    except RepeatedKeyError as error:
        raise BadRowError(Fault.NOT_TEXT, f"a call of a tool is ambiguous JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise BadRowError(Fault.NOT_TEXT, "a call of a tool is not JSON") from error
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and "name" in call for call in calls):
        raise BadRowError(Fault.NOT_TEXT, "a call of a tool has no name")
    return [{"type": "function", "function": call} for call in calls]


def messages_from_text(text: str, name: str = "text") -> list[Message] | None:
    """The messages that `text` is the JSON of, or a Python literal of; None for any other text.

    Raises `BadRowError` for what was meant as messages and is none: it is not taken for words.
    """
    try:
        if PYTHON_MESSAGES.match(text) or PYTHON_TURNS.match(text):
            value = ast.literal_eval(text)
        else:
            value = from_json(text)
    except RepeatedKeyError as error:
        raise BadRowError(Fault.UNREADABLE, f"the {name} is ambiguous JSON: {error}") from error
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        if not PYTHON_MESSAGES.match(text):
            return None
        raise BadRowError(
            Fault.NOT_TEXT, f"the {name} is a Python literal that cannot be read: write JSON"
        ) from error
    if is_messages(value):
        return value
    if isinstance(value, list) and any(is_turn(o) and _speaker(o) in SPEAKERS for o in value):
        if (messages := as_messages(value)) is not None:
            return messages
        raise BadRowError(Fault.NOT_TEXT, f"the {name} {NO_MESSAGES}")
    if isinstance(value, list) and any(isinstance(o, dict) and o.keys() & USER_TURN for o in value):
        raise BadRowError(Fault.NOT_TEXT, f"the {name} {NO_MESSAGES}")
    return None


def _check_unicode(text: str, name: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadRowError(
                Fault.UNDECODABLE, f"undecodable bytes: half a character in the {name}"
            ) from error


def read_number(value: Any, name: str) -> float:
    """A finite number, also as text ("1", " 2.5 ").

    >>> read_number("3", "rank")
    3.0
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRowError(Fault.MISSING, f"the {name} is missing")
    # What Python calls a number and nobody else does: True, and "1_000".
    if not isinstance(value, bool) and not (isinstance(value, str) and "_" in value):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            pass
        else:
            if math.isfinite(number):
                return number
    comma = isinstance(value, str) and re.fullmatch(r"\s*[+-]?[\d.]*\d,\d+\s*", value)
    what = (
        "has a comma, where a decimal point is read, as in 1.5"
        if comma
        else "is not a finite number"
    )
    raise BadRowError(Fault.NOT_A_NUMBER, f"the {name} {what}: {shown(value)}")


def read_optional_number(value: Any, name: str) -> float | None:
    """A finite number, or None for a cell that is empty or not there; a weight is not negative."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    number = read_number(value, name)
    if name == "weight" and number < 0:
        raise BadRowError(Fault.NOT_A_NUMBER, f"the weight is negative: {shown(value)}")
    return number


def read_label(value: Any, name: str) -> str | None:
    """A category or the name of a model, or None for a cell that is empty or not there."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        _check_unicode(value, name)
        return sys.intern(value)
    if isinstance(value, (int, float)):
        return str(value)
    raise BadRowError(Fault.NOT_TEXT, f"the {name} is not text: {type(value).__name__}")


def read_labels(value: Any, name: str, count: int) -> list[str | None]:
    """One label for each of `count` completions, from a list or from one label for all.

    >>> read_labels('["gpt", "qwen"]', "model", 2), read_labels("gpt", "model", 2)
    (['gpt', 'qwen'], ['gpt', 'gpt'])
    """
    if isinstance(value, str) and value.startswith("[") and count > 1:
        try:
            value = read_list(value, name)
        except BadRowError:  # a label that begins with a bracket
            return [read_label(value, name)] * count
    if not isinstance(value, list):
        return [read_label(value, name)] * count
    if len(value) != count:
        raise BadRowError(
            Fault.LENGTHS, f"lists of different length: {count} completions, {len(value)} of {name}"
        )
    return [read_label(item, name) for item in value]


def read_list(value: Any, name: str) -> list[Any]:
    """A list, which may be written as JSON, as in CSV.

    >>> read_list("[2, 1]", "ranks")
    [2, 1]
    """
    if value is None or value == "":
        raise BadRowError(Fault.MISSING, f"the {name} are missing")
    if isinstance(value, str):
        try:
            value = from_json(value)
        except RepeatedKeyError as error:
            raise BadRowError(
                Fault.UNREADABLE, f"the {name} are ambiguous JSON: {error}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise BadRowError(Fault.NOT_A_LIST, f"the {name} are not a JSON list") from error
    if not isinstance(value, list):
        raise BadRowError(Fault.NOT_A_LIST, f"the {name} are not a list: {type(value).__name__}")
    return value


def characters(text: Text) -> int:
    """The length of a text in characters; of messages, of all that they say.

    >>> characters([{"role": "user", "content": "Hi"}])
    2
    """
    if isinstance(text, str):
        return len(text)
    return sum(
        len(content)
        if isinstance(content := message["content"], str)
        else _part_characters(content)
        for message in text
    )


def lengths_of(rankings: Sequence[Ranking]) -> list[list[int]]:
    """The lengths of each ranking's completions, in characters."""
    return [[*map(characters, ranking.completions)] for ranking in rankings]


def _part_characters(parts: list[Any]) -> int:
    return sum(len(part.get("text") or "") for part in parts if isinstance(part, dict))


def said(text: Text) -> str:
    """The words of a text; of messages, those of all but the system's, one after the other.

    >>> said([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}])
    'Hi'
    """
    if isinstance(text, str):
        return text
    contents = [message["content"] for message in text if message["role"] != "system"]
    return "\n".join(
        content
        if isinstance(content, str)
        else "".join(part.get("text") or "" for part in content or () if isinstance(part, dict))
        for content in contents
    )


def excerpt(words: str) -> str:
    """The first words on one line, not more than fit into a message.

    >>> excerpt("Buy\\n low.")
    'Buy low.'
    """
    line = " ".join(words[: 4 * EXCERPT].split())
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1].rstrip() + "…"


def excerpt_of_end(words: str) -> str:
    """The last words on one line.

    >>> excerpt_of_end("First\\n last")
    'First last'
    """
    line = " ".join(words[-4 * EXCERPT :].split())
    return line if len(line) <= EXCERPT else "…" + line[1 - EXCERPT :].lstrip()


def shown(value: Any, depth: int = 0) -> Any:
    """`value` such that it can be written as JSON and read by a person.

    >>> shown({"a": b"caf\\xc3", "b": float("nan")})
    {'a': 'caf\ufffd', 'b': 'nan'}
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if depth > 20:
        return "…"
    if isinstance(value, dict):
        return {str(shown(key)): shown(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(item, depth + 1) for item in value]
    return str(value)
