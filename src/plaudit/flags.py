"""Flags that several commands share, and the types of what flags take.

Flags that are settings are made from `Settings`, with its descriptions, defaults and checks.
"""

import argparse
import difflib
import typing
from collections.abc import Callable, Sequence
from typing import Any

from plaudit.config import Settings, allowed, from_flag


def data(parser: argparse.ArgumentParser) -> None:
    """Preference data, and how to read them."""
    parser.add_argument(
        "data", metavar="DATA", nargs="+", help="files, folders, globs or a hub name"
    )
    for name in ("columns", "streaming", "strict", "max_rejected"):
        setting(parser, name)


def run(
    parser: argparse.ArgumentParser, folder: str, own: str = "", without: Sequence[str] = ()
) -> None:
    """The arguments of a command that fills a run folder, all settings among them."""
    # The usage that argparse makes names every setting, before every error.
    parser.usage = (
        f"{parser.prog} [-h] [DATA ...] [-o RUN] {own}[--config FILE] [--SETTING VALUE ...]"
    )
    parser.add_argument(
        "data", metavar="DATA", nargs="*", help="files, folders, globs or a hub name"
    )
    parser.add_argument("-o", "--output", metavar="RUN", help=f"run folder ({folder})")
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file of settings; flags go before it"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in RUN")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in RUN")
    as_json(parser)
    group = parser.add_argument_group("settings, the same in YAML and in Python")
    for name in Settings.model_fields:
        if name != "data" and name not in without:
            setting(group, name, given_only=True)


def as_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def seed(parser: argparse.ArgumentParser) -> None:
    """--seed."""
    parser.add_argument("--seed", metavar="N", type=at_least(0), default=0, help="of chance (0)")


def setting(parser: "argparse._ActionsContainer", name: str, given_only: bool = False) -> None:
    """The flag of a setting; with `given_only` one that is not given is no option at all."""
    field = Settings.model_fields[name]
    kinds = allowed(name)
    default = field.get_default(call_default_factory=True)
    text = field.description or ""
    if default is not None and default is not False and default not in ([], {}):
        plain = isinstance(default, str) and default.isprintable()
        text += f" ({default if plain else repr(default)})"
    many = "list" in kinds or "pairs" in kinds
    options: dict[str, Any] = {
        "default": argparse.SUPPRESS if given_only else [] if many else default,
        "help": text.replace("%", "%%"),
    }
    if "true or false" in kinds:
        options["action"] = argparse.BooleanOptionalAction
    elif name == "columns":
        options |= {"action": "append", "metavar": "OURS=YOURS", "type": _column}
    elif many:
        options |= {"action": "append", "metavar": "X"}
    else:
        choices = typing.get_args(field.annotation)
        is_choice = typing.get_origin(field.annotation) is typing.Literal
        metavar = "{" + ",".join(choices) + "}" if is_choice else "X"
        options |= {"metavar": metavar, "type": _checked(name)}
    parser.add_argument("--" + name.replace("_", "-"), **options)


# ---- what flags take; argparse turns these errors into wrong usage ----


def _checked(name: str) -> Callable[[str], Any]:
    def value(text: str) -> Any:
        try:
            return from_flag(name, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return value


def at_least(low: int) -> Callable[[str], int]:
    """A whole number, `low` or more."""

    def value(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if number < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {low} or more")
        return number

    return value


def above_zero(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _column(text: str) -> tuple[str, str]:
    ours, equals, yours = text.partition("=")
    if not (equals and ours and yours):
        raise argparse.ArgumentTypeError(f"{text!r} is not OURS=YOURS, as in prompt=question")
    return ours, yours


def unknown(word: str, parser: argparse.ArgumentParser) -> str:
    """What to say of a word on the command line that means nothing."""
    if not word.startswith("-"):
        return f"{word}: unexpected here; name all data in one place, flags before or after"
    flag = word.partition("=")[0]
    near = difflib.get_close_matches(flag, parser._option_string_actions, n=1, cutoff=0.5)
    return f"there is no {flag}" + (f"; the nearest is {near[0]}" if near else "")
