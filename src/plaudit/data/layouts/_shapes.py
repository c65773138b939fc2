"""What layouts of published data share: records in a cell, verdicts in words, prompts in parts.

A cell of a record, or of a list of them, may be its JSON, as in CSV. What a layout does not know
raises `BadRowError`: it never guesses.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from plaudit import json_text
from plaudit.data.cells import as_messages, messages_from_text, read_list, shown
from plaudit.data.rankings import BadRowError, Fault

WHOLE = re.compile(r"(-?\d+)\.0+$")  # how frames write whole numbers beside empty cells
FIRST, SECOND, TIE = (0, 1), (1, 0), (0, 0)  # the ranks of two completions
EMPTY: tuple[Any, ...] = (None, "", [])

CHOSEN_AND_REJECTED = ("reward_chosen", "reward_rejected")
TOOLS = "You can call these tools:\n"


def record(value: Any, name: str) -> Mapping[str, Any]:
    """The record in a cell, which may be written as JSON.

    >>> record('{"full_text": "2+2?"}', "question")
    {'full_text': '2+2?'}
    """
    found = from_json(value)
    if isinstance(found, Mapping):
        return found
    if isinstance(found, str) and found[:1] in ("[", "{"):
        raise BadRowError(Fault.UNREADABLE, f"the {name} cannot be read as JSON")
    if found in EMPTY:
        raise BadRowError(Fault.MISSING, f"the {name} is missing")
    raise BadRowError(Fault.NOT_TEXT, f"the {name} is no record: {type(found).__name__}")


def records(value: Any, name: str) -> list[Mapping[str, Any]]:
    """The list of records in a cell, which may be written as JSON."""
    found = [record(item, name) for item in read_list(value, name)]
    if not found:
        raise BadRowError(Fault.MISSING, f"the {name} are missing")
    return found


def is_record(value: Any, *keys: str) -> bool:
    """Whether a cell holds a record that has these keys.

    >>> is_record({"from": "gpt", "value": "4"}, "from", "value"), is_record("4", "from")
    (True, False)
    """
    found = from_json(value)
    return isinstance(found, Mapping) and all(key in found for key in keys)


def is_records(value: Any, *keys: str) -> bool:
    """Whether a cell holds a list of records that have these keys."""
    found = from_json(value)
    return isinstance(found, list) and bool(found) and all(is_record(o, *keys) for o in found)


def from_json(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json_text.from_json(value)
        except (ValueError, RecursionError):
            pass
    return value


def word(value: Any) -> str:
    """A verdict as a word in small letters, however its file writes it.

    >>> word(1.0), word("-2.0"), word("Model_A "), word(True)
    ('1', '-2', 'model_a', 'true')
    """
    written = "" if value is None else str(value).strip().lower()
    return WHOLE.sub(r"\1", written)


def verdict(
    value: Any, name: str, ranks: Mapping[str, Sequence[int]]
) -> Sequence[int] | BadRowError:
    """The ranks that a verdict stands for, or why there are none.

    >>> verdict("B", "winner", {"a": FIRST, "b": SECOND})
    (1, 0)
    >>> verdict("C", "winner", {"a": FIRST, "b": SECOND})
    BadRowError('the winner has a value that is not known: C')
    """
    said = word(value)
    if said in ranks:
        return ranks[said]
    if not said:
        return BadRowError(Fault.MISSING, f"the {name} is missing")
    return unknown(name, value)


def unknown(name: str, value: Any) -> BadRowError:
    """What to say of a value that a layout does not know."""
    return BadRowError(Fault.UNKNOWN, f"the {name} has a value that is not known: {shown(value)}")


def both(first: Any, second: Any) -> tuple[Any, Any] | None:
    """What is known of both completions; None where it is of one or none."""
    return None if first in EMPTY or second in EMPTY else (first, second)


def models(first: Any, second: Any) -> list[Any] | None:
    """What wrote each of two completions; None where neither is known."""
    return None if first is None and second is None else [first, second]


def messages(value: Any) -> Any:
    """The messages in a cell that may be their JSON; anything else as it is."""
    if isinstance(value, str) and value.startswith("["):
        return messages_from_text(value) or value
    if isinstance(value, list):
        return as_messages(value) or value
    return value


def opened(dialogue: Sequence[Any], system: Any = None, tools: Any = None) -> list[Any]:
    """A dialogue with the system prompt and the tools, as JSON, in one message before it.

    Templates differ in how they show tools and models of rewards mostly have none for them, so the
    tools stand in the system prompt.

    >>> opened([{"role": "user", "content": "Hi"}], "Be kind.")
    [{'role': 'system', 'content': 'Be kind.'}, {'role': 'user', 'content': 'Hi'}]
    """
    dialogue = list(dialogue)
    if tools not in EMPTY and tools != "[]":
        text = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
        system = f"{system}\n\n{TOOLS}{text}" if system not in EMPTY else TOOLS + text
    if system in EMPTY:
        return dialogue
    first = dialogue[0] if dialogue else None
    if isinstance(first, Mapping) and first.get("role") == "system":
        if first.get("content") == system:
            return dialogue
        system = f"{system}\n\n{first.get('content')}"
        dialogue = dialogue[1:]
    return [{"role": "system", "content": system}, *dialogue]


def instruction_and_input(instruction: Any, more: Any) -> Any:
    """One prompt of an instruction and what it is about, unless it says so itself.

    >>> instruction_and_input("Translate.", "Reiher")
    'Translate.\\n\\nReiher'
    """
    if more in EMPTY:
        return instruction
    if instruction in EMPTY:
        return more
    if not isinstance(instruction, str) or not isinstance(more, str):
        raise BadRowError(Fault.NOT_TEXT, "the instruction and its input are not both text")
    if more in instruction:
        return instruction
    return f"{instruction}\n\n{more}"
