r"""What users write for data: a source, the subset and split of it that is meant, its weight.

Only what is written is taken apart here; `data.rows` finds what it names. After a name stand, with
a colon before each, a subset (or `subset=NAME`), `split=NAME` and, last, a weight, which is a
number: `a.csv:0.7`, `owner/name:subset:split=test:0.3`. A revision of a data set on the hub is
`owner/name@REVISION`. What is on disk under the whole text is that file, whatever it says.

>>> named(r"C:\answers.csv:0.7")
Named(name='C:\\answers.csv', subset=None, split=None, revision=None, weight=0.7)
>>> named("hf://owner/name@v1:chat:split=test:3")
Named(name='owner/name', subset='chat', split='test', revision='v1', weight=3.0)
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

KINDS = ("csv", "tsv", "jsonl", "ndjson", "json", "parquet", "arrow", "feather", "xlsx")
PACKINGS = ("gz", "zst")
ON_HUB = re.compile(r"(?:hf://(?:datasets/)?)?([\w.-]+/[\w.-]+)(?:@([^:@]+))?")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf(inity)?)", re.IGNORECASE)
# A name of a set of validation data, which becomes a part of the names of its metrics.
SET = re.compile(r"([A-Za-z0-9_.-]+)=(.+)", re.DOTALL)
TAKEN = re.compile(r"mean|(.*_)?(calibrated|controlled|length_controlled)")
FIELDS = ("path", "subset", "split", "revision", "weight")


class SourceError(ValueError):
    """What is written for data cannot be meant; the message says what to write."""


class Named(NamedTuple):
    """A source as it is written, taken apart; `name` is a path, a glob or `owner/name`."""

    name: str
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    weight: float | None = None


@cache
def kind_of(path: str | Path) -> tuple[str | None, str | None]:
    """The kind of a data file and how it is packed, by its suffixes; (None, None) for no data file.

    >>> kind_of("pairs.JSONL.zst"), kind_of("pairs.csv"), kind_of("notes.txt")
    (('jsonl', 'zst'), ('csv', None), (None, None))
    """
    parts = os.path.basename(path).lower().split(".")[1:]
    packing = parts.pop() if parts and parts[-1] in PACKINGS else None
    return (parts[-1], packing) if parts and parts[-1] in KINDS else (None, None)


def on_hub(name: str) -> "re.Match[str] | None":
    """The match of a name that can only be that of a data set on the hub; None for a path."""
    if name.startswith((".", "/", "~")) or kind_of(name) != (None, None):
        return None
    return ON_HUB.fullmatch(name)


def named(text: str) -> Named:
    """A source as it is written, taken apart.

    Raises `SourceError` for a weight that is no number above 0, and for what stands twice.
    """
    rest, fields = _apart(text)
    if not fields and (_exists(rest) or on_hub(rest) is None):
        return Named(rest)
    weight = None
    if fields and NUMBER.fullmatch(fields[-1]):
        weight = checked_weight(float(fields.pop()), rest)
        if fields and NUMBER.fullmatch(fields[-1]):
            raise SourceError(
                f"{text}: names two weights; for a subset that is called so write "
                f"subset={fields[-1]}"
            )
    found = None if _exists(rest) else on_hub(rest)
    if fields and not (found or os.path.isdir(os.path.expanduser(rest))):
        if _exists(rest) or kind_of(rest) != (None, None):
            wrong = repr(":".join(fields)) if any(fields) else "what stands after the colon"
            raise SourceError(
                f"{text}: {wrong} is no weight; a weight is a number above 0, as in {rest}:0.7"
            )
        rest, fields = ":".join([rest, *fields]), []  # a path that has colons
    given: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals or key not in ("subset", "split"):
            key, value = "subset", field
        if not value:
            raise SourceError(
                f"{text}: nothing stands after a colon; after {rest} come a subset, split=NAME or "
                f"a weight, as in {rest}:0.7"
            )
        if key in given:
            raise SourceError(
                f"{text}: names two {key}s, {given[key]!r} and {value!r}; after {rest} come a "
                "subset, split=NAME and, last, a weight, which is a number"
            )
        given[key] = value
    return Named(
        found[1] if found else rest,
        given.get("subset"),
        given.get("split"),
        found[2] if found else None,
        weight,
    )


def _exists(name: str) -> bool:
    return os.path.lexists(os.path.expanduser(name))


def _apart(text: str) -> tuple[str, list[str]]:
    """A text without what stands after its colons, and that: as far as the beginning is on disk,
    or has no colon but that of a drive or of `hf://`."""
    rest, fields = text, list[str]()
    while not _exists(rest):
        head, colon, last = rest.rpartition(":")
        while head and "]" in last and "[" not in last:  # of a slice: split=train[:1000]
            head, colon, before = head.rpartition(":")
            last = f"{before}:{last}"
        drive = len(head) == 1 and head.isalpha() and last[:1] in ("\\", "/")
        if not colon or not head or drive or last.startswith("//"):
            break
        rest = head
        fields.insert(0, last)
    return rest, fields


def checked_weight(weight: Any, of: str) -> float:
    """A weight, when it is one. Raises `SourceError` that says what to do.

    >>> checked_weight(0.5, "a.csv")
    0.5
    """
    number = not isinstance(weight, bool) and isinstance(weight, int | float)
    if number and math.isfinite(weight) and weight > 0:
        return float(weight)
    shown = "nothing" if weight is None else f"{weight:g}" if number else repr(weight)
    advice = " (to use none of it, leave it out)" if number and weight == 0 else ""
    raise SourceError(
        f"{of}: its weight is {shown}; a weight is a number above 0, as in {of}:0.7{advice}"
    )


def without_weight(text: str) -> str:
    """What is written before a weight.

    >>> without_weight("a.csv:0.7"), without_weight("a.csv")
    ('a.csv', 'a.csv')
    """
    return text.rpartition(":")[0] if named(text).weight is not None else text


def data_of(value: Any) -> Any:
    """What is given as data, in one of three forms: a source, a list of them, or a mixture, as
    sources with their weights.

    A mixture may be written in many ways: texts that end in weights, a mapping, a list of mappings
    with one entry each or with `path` and `weight`, or pairs. What is none of these is returned as
    it is. Raises `SourceError` for a mixture that is none.

    >>> data_of(["a.csv:0.7", "b.jsonl:0.3"]) == data_of([{"a.csv": 0.7}, ("b.jsonl", 0.3)])
    True
    >>> data_of({"a.csv": 7}), data_of("a.csv")
    ({'a.csv': 7.0}, 'a.csv')
    """
    items: list[Any]
    if isinstance(value, Mapping):
        items = [{name: weight} for name, weight in value.items()]
        items = [dict(value)] if "path" in value else items
    elif isinstance(value, str | Path):
        items = [value]
    elif isinstance(value, Sequence):
        items = list(value)
    else:
        return value
    each = [_one(item) for item in items]
    if not each or any(one is None for one in each):
        return value
    found = [one for one in each if one is not None]
    weighed = [name for name, weight in found if weight is not None]
    if not weighed:
        texts = [name for name, _ in found]
        return texts if isinstance(value, Sequence) and not isinstance(value, str) else texts[0]
    without = next((name for name, weight in found if weight is None), None)
    if without is not None:
        raise SourceError(
            f"{without} has no weight, and {weighed[0]} has one; give each source one, as in "
            f"{without}:1, or none"
        )
    if twice := next((name for name in weighed if weighed.count(name) > 1), None):
        raise SourceError(f"{twice} is named twice; give it one weight")
    return {name: weight for name, weight in found if weight is not None}


def _one(item: Any) -> tuple[str, float | None] | None:
    """A source as text and its weight; None for what is neither text nor has a weight."""
    if isinstance(item, str | Path):
        return without_weight(str(item)), named(str(item)).weight
    if isinstance(item, Mapping) and "path" in item:
        return _of_fields(item)
    if isinstance(item, Mapping) and len(item) == 1:
        [(name, weight)] = item.items()
    elif isinstance(item, tuple | list) and len(item) == 2:
        name, weight = item
    else:
        return None
    if not isinstance(name, str | Path):
        return None
    name = str(name)
    if named(name).weight is not None:
        raise SourceError(f"{name}: {weight!r} is a second weight; give it one")
    return name, checked_weight(weight, name)


def _of_fields(item: Mapping[str, Any]) -> tuple[str, float | None]:
    """A source whose parts are named: path, subset, split, revision, weight."""
    if unknown := [str(key) for key in item if key not in FIELDS]:
        raise SourceError(
            f"{item['path']}: there is no {unknown[0]}; a source has {', '.join(FIELDS)}"
        )
    text = str(item["path"])
    if item.get("revision") is not None:
        text += f"@{item['revision']}"
    for key in ("subset", "split"):
        if item.get(key) is not None:
            text += f":{key}={item[key]}"
    weight = None if "weight" not in item else checked_weight(item["weight"], text)
    return text, weight


def sets_of(value: Any) -> Any:
    """What is given to validate on, in one of three forms: a source, a list of them, or sets of
    sources by name.

    Named sets may be written `NAME=SOURCE`, or as a mapping. Raises `SourceError` where some have a
    name and others none, or a name cannot be that of a metric.

    >>> sets_of(["expert=a.csv", "chat=b.jsonl"]), sets_of(["a.csv"])
    ({'expert': 'a.csv', 'chat': 'b.jsonl'}, 'a.csv')
    """
    if isinstance(value, Mapping):
        named_sets = [(str(name), source) for name, source in value.items()]
    else:
        texts = [value] if isinstance(value, str | Path) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(t, str | Path) for t in texts):
            return value
        named_sets = [name_of(str(text)) for text in texts]
        without = [source for name, source in named_sets if not name]
        if without and len(without) < len(named_sets):
            raise SourceError(
                f"{without[0]} has no name, and others have one; name each, as in NAME={without[0]}"
            )
        if without:
            return without if len(without) > 1 else without[0]
    for name, source in named_sets:
        if not SET.fullmatch(f"{name}=x") or TAKEN.fullmatch(name):
            raise SourceError(
                f"{name!r} cannot be the name of a set: its metrics are eval_NAME_log_loss and so "
                "on; take letters, digits, '_', '-' and '.', and not mean, calibrated or controlled"
            )
        if not isinstance(source, str | Path) or not str(source):
            raise SourceError(f"{name}={source!r}: a set is a file, folder, glob or hub name")
        if named(str(source)).weight is not None:
            raise SourceError(f"{name}={source}: data to validate on take no weight; leave it out")
    names = [name for name, _ in named_sets]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SourceError(f"two sets are named {twice}; give each a name of its own")
    return {name: str(source) for name, source in named_sets}


def name_of(text: str) -> tuple[str, str]:
    """What stands before `=` and after it in `NAME=SOURCE`; the name is empty where there is none.

    >>> name_of("chat=b.jsonl"), name_of("b.jsonl")
    (('chat', 'b.jsonl'), ('', 'b.jsonl'))
    """
    match = None if _exists(text) else SET.fullmatch(text)
    return (match[1], match[2]) if match else ("", text)
