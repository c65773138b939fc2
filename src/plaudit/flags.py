"""Flags that several commands share, and the types of what flags take.

Flags that are settings are made from `Settings`, with its descriptions, defaults and checks.
"""

import argparse
import dataclasses
import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any

from plaudit.config import Settings, allowed, choices, from_flag
from plaudit.serving.settings import ServiceSettings


def files(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """What is read."""
    parser.add_argument(
        "data", metavar="DATA", nargs=nargs, help="files, folders, globs or a hub name"
    )


def data(parser: argparse.ArgumentParser) -> None:
    """Preference data, and how to read them."""
    files(parser)
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
    files(parser, "*")
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


def scorer(parser: argparse.ArgumentParser, name: str = "model") -> None:
    """What gives rewards: a model, or several that are combined, and how they are loaded."""
    text = "run, model folder, .pt file or hub name"
    # argparse takes `required` of a flag alone.
    required: dict[str, Any] = {"required": True} if name.startswith("-") else {}
    parser.add_argument(name, metavar="MODEL", help=text, **required)
    group = parser.add_argument_group("guards against over-optimisation")
    group.add_argument(
        "--also", metavar="MODEL", action="append", default=[], help="an ensemble with this model"
    )
    group.add_argument(
        "--combine",
        choices=("mean", "min", "mean-spread"),  # of model/ensemble.py, which brings torch along
        help="the rewards of an ensemble (mean)",
    )
    group.add_argument(
        "--spread",
        metavar="X",
        type=at_least_zero,
        help="standard deviations of the models that mean-spread subtracts (1)",
    )
    group.add_argument(
        "--length-penalty",
        metavar="X",
        type=at_least_zero,
        default=0.0,
        help="what a token of the completion costs in reward (0)",
    )
    setting(parser, "dtype")


def sampling(parser: argparse.ArgumentParser, n: int, max_new_tokens: int) -> None:
    """A policy, and how it is sampled."""
    parser.add_argument(
        "--policy",
        metavar="NAME",
        default="embedded:smollm2",
        help="causal model (embedded:smollm2)",
    )
    parser.add_argument(
        "--limit", type=at_least(1), help="take only the first so many distinct prompts"
    )
    parser.add_argument("-n", type=at_least(1), default=n, help=f"completions of each prompt ({n})")
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=at_least(1),
        default=max_new_tokens,
        help=f"tokens of a completion, at most ({max_new_tokens})",
    )
    parser.add_argument(
        "--temperature",
        metavar="X",
        type=float,
        default=0.8,
        help="of the sampling; 0 takes the likeliest, with -n 1 (0.8)",
    )
    parser.add_argument(
        "--top-p",
        metavar="X",
        type=float,
        default=0.95,
        help="draw from the likeliest tokens of this share (0.95)",
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=at_least(1),
        default=4,
        help="prompts sampled at once (4)",
    )
    seed(parser)


def resumable(parser: argparse.ArgumentParser, output: str) -> None:
    """What becomes of an output that is begun or there already."""
    parser.add_argument(
        "--resume", action="store_true", help=f"go on where {output} was interrupted"
    )
    parser.add_argument("--overwrite", action="store_true", help=f"replace {output}")


def service(parser: argparse.ArgumentParser) -> None:
    """The limits of the service, and what it writes down."""
    group = parser.add_argument_group("limits, and what is written down")
    for field in dataclasses.fields(ServiceSettings):
        text = field.metadata.get("help")
        if text is None:
            continue
        options: dict[str, Any] = {"default": field.default, "help": text}
        if isinstance(field.default, bool):
            options["action"] = "store_true"
        elif isinstance(field.default, tuple):
            options |= {"action": "append", "default": [], "metavar": "X"}
        else:
            kinds = {int: at_least(1), float: above_zero, str: str}
            options |= {"type": kinds[type(field.default)], "metavar": "X"}
            options["help"] = f"{text} ({field.default})"
        group.add_argument("--" + field.name.replace("_", "-"), **options)


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
        names = choices(name)
        metavar = "{" + ",".join(names) + "}" if names else "X"
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
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def at_least_zero(text: str) -> float:
    """A finite number, 0 or more."""
    number = _number(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # which is in no range


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
    near = difflib.get_close_matches(flag, parser._option_string_actions, n=1, cutoff=0.6)
    return f"there is no {flag}" + (f"; the nearest is {near[0]}" if near else "")
