"""What plaudit promises to keep, in a form that can be compared: docs/stability.md.

`python tests/stable.py` writes it to `stable.json`. `broken` says what of a promise is not kept and
`new` what there is beyond it.
"""

import argparse
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import plaudit
from plaudit.cli import COMMANDS, RUNS, build_parser
from plaudit.plugins import KINDS
from plaudit.results import SCHEMAS
from plaudit.serving.protocols import by_path
from plaudit.settings import Option, Settings, options_of

PROMISED = Path(__file__).with_name("stable.json")
MUST = "must be given"  # of what nothing more may be, since callers do not give it


def promise() -> dict[str, Any]:
    """Settings, commands with flags and defaults, Python names with signatures, keys of results,
    paths of the service, and the kinds of plugins."""
    return {
        "settings": {option.name: _takes(option) for option in options_of(Settings)},
        "commands": {name: _flags(name, function) for name, function in COMMANDS.items()},
        "python": {name: _public(getattr(plaudit, name)) for name in plaudit.__all__},
        "results": {name: dict(_keys(record)) for name, record in SCHEMAS.items()},
        "service": {f"POST {path}": sorted(spoken) for path, spoken in by_path().items()},
        "plugins": sorted(f"plaudit.{kind}s" for kind in KINDS),
    }


def _flags(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    options = {option.name: option for option in options_of(function)}
    parser = build_parser(name)
    [commands] = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    flags: dict[str, Any] = {}
    for action in commands.choices[name]._actions:
        setting = name in RUNS and action.dest in Settings.model_fields
        option = options.get(action.dest)
        written = action.option_strings or [str(action.metavar)]
        takes = "a setting" if setting else _takes(option) if option else {}
        flags |= dict.fromkeys(written, takes)
    return flags


def _takes(option: Option) -> Any:
    """The values of an option; of names that it is one of, each by itself, since some may come."""
    names = option.choices()
    if option.required:
        return f"{MUST}, {option.allowed()}"
    takes: dict[str, Any] = {"names": sorted(names)} if names else {"takes": option.allowed()}
    return takes | ({"default": option.shown_default} if option.shown_default else {})


def _public(thing: Any) -> Any:
    if not isinstance(thing, type):
        return _signature(thing)
    members = {}
    for name in dir(thing):
        owner = next((each for each in thing.__mro__ if name in vars(each)), None)
        if name.startswith("_") or owner is None or not owner.__module__.startswith("plaudit"):
            continue
        member = getattr(thing, name)
        members[name] = _signature(member) if callable(member) else "a value"
    members |= dict.fromkeys(getattr(thing, "__dataclass_fields__", ()), "a value")
    if issubclass(thing, BaseException) or hasattr(thing, "model_fields"):
        return members  # made by plaudit, and not by who uses it
    return members | {"()": _signature(thing)}


def _signature(function: Callable[..., Any]) -> dict[str, str]:
    parameters = {}
    for name, each in inspect.signature(function).parameters.items():
        how = "by name" if each.kind is each.KEYWORD_ONLY else "by place"
        if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL):
            parameters[str(each).partition(":")[0]] = "any"
        elif each.default is each.empty:
            parameters[name] = f"{MUST}, {how}"
        else:
            parameters[name] = f"{how}, {each.default!r}"
    parameters.pop("self", None)
    return parameters


def _keys(record: Any) -> Iterator[tuple[str, str]]:
    """The keys of a result with their types, by their path; `?` ends one that may be missing."""
    schema = TypeAdapter(record).json_schema()
    kinds = schema.get("$defs", {})

    def walk(
        part: Mapping[str, Any], at: str, within: tuple[str, ...]
    ) -> Iterator[tuple[str, str]]:
        if "$ref" in part:
            name = part["$ref"].rsplit("/", 1)[-1]
            if name not in within:
                yield from walk(kinds[name], at, (*within, name))
            return
        for each in part.get("anyOf", ()):
            yield from walk(each, at, within)
        for name, value in part.get("properties", {}).items():
            path = f"{at}.{name}".lstrip(".") + ("" if name in part.get("required", ()) else "?")
            yield path, _type(value)
            yield from walk(value, path, within)
        if isinstance(part.get("additionalProperties"), dict):
            yield from walk(part["additionalProperties"], f"{at}.*", within)
        if "items" in part:
            yield from walk(part["items"], f"{at}[]", within)

    return walk(schema, "", ())


def _type(part: Mapping[str, Any]) -> str:
    if "anyOf" in part:
        return " or ".join(sorted(_type(each) for each in part["anyOf"]))
    return str(part.get("type", "object" if "$ref" in part else part.get("enum", "any")))


# ---- is it kept ----


def broken(promised: Any, is_now: Any, at: str = "") -> Iterator[str]:
    """What was promised and is not there, or is something else."""
    if isinstance(promised, dict) and isinstance(is_now, dict):
        for name, value in promised.items():
            path = f"{at} {name}".strip()
            if name not in is_now:
                yield f"{path}: is gone"
            else:
                yield from broken(value, is_now[name], path)
        for name, value in is_now.items():
            if name not in promised and str(value).startswith(MUST):
                yield f"{at} {name}: {value}, and was not there before"
    elif isinstance(promised, list) and isinstance(is_now, list):
        yield from (f"{at} {each}: is gone" for each in promised if each not in is_now)
    elif promised != is_now:
        yield f"{at}: was {promised!r}, is {is_now!r}"


def new(promised: Any, is_now: Any, at: str = "") -> Iterator[str]:
    """What is there and was not promised yet."""
    if isinstance(promised, dict) and isinstance(is_now, dict):
        for name, value in is_now.items():
            path = f"{at} {name}".strip()
            if name in promised:
                yield from new(promised[name], value, path)
            else:
                yield path
    elif isinstance(promised, list) and isinstance(is_now, list):
        yield from (f"{at} {each}" for each in is_now if each not in promised)


if __name__ == "__main__":
    before = json.loads(PROMISED.read_text()) if PROMISED.exists() else {}
    now = promise()
    for line in broken(before, now):
        print(f"no longer promised: {line}")
    for line in new(before, now):
        print(f"promised from now on: {line}")
    PROMISED.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
