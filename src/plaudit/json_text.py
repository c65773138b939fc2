"""JSON in which each key of an object stands once.

Python's own reader takes the last of two equal keys without a word; which of them was meant nobody
can know. Here that is an error, wherever in the text it stands.
"""

import json
from typing import Any


class RepeatedKeyError(ValueError):
    """A key stands twice in one object; the message says which."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RepeatedKeyError(f"the key '{twice[:60]}' stands twice in one object")
    return made


# Made once: to make one for each text, as `json.loads` does with a hook, takes as long as reading.
DECODER = json.JSONDecoder(object_pairs_hook=_object)


def from_json(text: str) -> Any:
    """The value that a text is the JSON of.

    Raises `RepeatedKeyError` for a key that stands twice, `ValueError` and `RecursionError` as
    `json.loads` does.

    >>> from_json('{"chosen": "a", "chosen": "b"}')
    Traceback (most recent call last):
    plaudit.json_text.RepeatedKeyError: the key 'chosen' stands twice in one object
    """
    return DECODER.decode(text)
