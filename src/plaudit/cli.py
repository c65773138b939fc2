"""The command line: commands and their flags, made from `commands`, and what becomes of an error.

Results go to stdout or to files, messages to stderr. Exit code 0: done; 1: failed, with one line
that says why; 2: wrong usage, a flag or its value; 130 and 143: interrupted by Ctrl-C or SIGTERM,
with a word on what is kept and the command that goes on. Nothing heavy is imported before a command
runs, so that `--help` answers at once.
"""

import argparse
import contextlib
import inspect
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from plaudit import commands, console
from plaudit.errors import PlauditError
from plaudit.memory import look_for_garbage_less_often
from plaudit.settings import ELSEWHERE, Option, Settings, nearest_of, options_of

COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": commands.demo,
    "sample": commands.sample,
    "inspect": commands.inspect,
    "pairs": commands.pairs,
    "convert": commands.convert,
    "train": commands.train,
    "cv": commands.cross_validate,
    "tune": commands.tune,
    "frontier": commands.frontier,
    "variance": commands.variance,
    "evaluate": commands.evaluate,
    "bench": commands.bench,
    "score": commands.score,
    "normalise": commands.normalise,
    "compare": commands.compare,
    "generate": commands.generate,
    "policy-test": commands.policy_test,
    "serve": commands.serve,
    "label": commands.label,
    "verify": commands.verify,
    "export": commands.export,
    "push": commands.push,
    "report": commands.report,
    "plugins": commands.list_plugins,
    "doctor": commands.doctor,
}
# Those that fill a run folder, with all settings among their flags.
RUNS = ("train", "cv", "tune", "frontier", "variance")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; wrong usage is a `SystemExit` of 2."""
    try:
        return _main(arguments)
    except PlauditError as error:
        print(f"plaudit: {error}", file=sys.stderr)
        return 1


def _main(arguments: Sequence[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else list(arguments)
    command = words[0] if words else None
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what a word could become
        _complete()
    parser = build_parser(command or "")
    if command is None:
        parser.print_help(sys.stderr)
        return 2
    if command not in COMMANDS and not command.startswith("-"):
        parser.error(
            f"argument COMMAND: invalid choice: {command!r}{nearest_of(command, COMMANDS)} "
            f"(choose from {', '.join(COMMANDS)})"
        )
    options, unknown = parser.parse_known_args(words)
    if unknown and not unknown[0].startswith("-") and _takes_late(command, options):
        options.data, unknown = unknown, []  # argparse ends DATA that may be none at the first flag
    if unknown:
        options.parser.error(_unknown(unknown[0], options.parser))
    # Keep what the libraries below would print out of the user's terminal.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    look_for_garbage_less_often()
    console.reset()
    output = getattr(options, "output", None)
    new = None  # the output, where nothing is there
    try:
        new = None if output is None or _is_there(output) else output
        with _interruptible():
            code = run(options)
            sys.stdout.flush()
            _leave_the_others()
    except KeyboardInterrupt as interruption:
        writes = any(getattr(options, name, None) for name in ("output", "rejected", "suspects"))
        _tell_what_is_kept(command, words, new, writes)
        return TERMINATED if isinstance(interruption, _TerminatedError) else INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough; Python must not complain of it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # the system's: a folder without permission, a full device
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f"{error.filename}: " if error.filename else ""
        print(f"plaudit: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:  # torch has no type of its own for it on a CPU
        if not isinstance(error, MemoryError) and not any(w in str(error) for w in _NO_MEMORY):
            raise
        why = f" ({line})" if (line := str(error).partition("\n")[0]) else ""
        print(
            "plaudit: out of memory: this machine, or what this process may take of it, has too "
            "little; free some, or let it do less at once. What was done is kept: where the "
            f"command has --resume, that goes on{why}",
            file=sys.stderr,
        )
        return 1
    return code


# What torch says without memory, on a CPU and on a GPU, and oneDNN, which says no more than that.
_NO_MEMORY = (
    *("can't allocate memory", "out of memory"),
    *("could not create a primitive", "could not create a memory"),
)
HELD = b"interrupted: a checkpoint is written first; a second time ends it at once\n"
INTERRUPTED, TERMINATED = 130, 143  # exit codes, as shells have them: 128 and the signal's number


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, which is to end a command as Ctrl-C does: temporary files go, what is done stays."""


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Within the block SIGTERM interrupts as Ctrl-C does; a second one ends the process at once.

    What is raised may be lost: Python drops it while it takes an object away, and some libraries
    while they are imported. So it is noted, and raised again at the next step of the work.
    """

    def interrupt(number: int, _: Any) -> None:
        error = KeyboardInterrupt()
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            error = _TerminatedError()
        first = not console.is_interrupted()
        console.note_interruption(error)
        if not (first and console.interruptions_are_held()):
            raise error
        # Not by print(), in the middle of which this may come.
        os.write(2, b"\n" * os.isatty(2) + HELD)

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        if not issubclass(what.exc_type, KeyboardInterrupt):
            told(what)

    told = sys.unraisablehook
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, interrupt)
    except ValueError:  # not the main thread, which alone hears signals
        yield
        return
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = told
        for number, handler in before.items():
            signal.signal(number, handler)
        console.forget_interruptions()


def _is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is anything at an output's path; an empty folder is nothing."""
    return bool(os.listdir(path)) if os.path.isdir(path) else os.path.lexists(path)


def _tell_what_is_kept(
    command: str, words: Sequence[str], new: str | os.PathLike[str] | None, writes: bool
) -> None:
    """Say that a command was interrupted, what it leaves, and what to type to go on.

    `new` is the output, where nothing was there before; `writes` is whether a file was asked for.
    """
    if int(os.environ.get("RANK", 0)):  # under a launcher the first process speaks for all
        return
    names = {option.name for option in options_of(COMMANDS[command])}
    again = [word for word in words if word not in ("--overwrite", "--resume")]
    anyway = console.kept_anyway()
    lost = "; what was not finished is not kept" if anyway or writes else ""
    lines = [f"plaudit: interrupted{lost}{anyway}"]
    begun = console.what_is_kept()
    # What `inspect --mislabelled` trains is in a temporary folder, which is gone by now.
    if begun is not None and ("resume" in names or os.path.exists(begun[0])):
        path, what = begun
        if command in RUNS and not any(word.startswith(("-o", "--output")) for word in words):
            again += ["-o", path]
        again += ["--resume" if "resume" in names else "--overwrite"]
        lines = [
            f"plaudit: interrupted; {path}: {what}" if what else "plaudit: interrupted",
            f"to {'go on' if 'resume' in names else 'begin again'}: plaudit {shlex.join(again)}",
        ]
    elif new is not None and "overwrite" in names and _is_there(new):
        lines = [
            f"plaudit: interrupted; {new}: is there, and may lack a part",
            f"to begin again: plaudit {shlex.join([*again, '--overwrite'])}",
        ]
    # On a terminal a bar, or ^C, stands on the line.
    print("\n" * sys.stderr.isatty() + "\n".join(lines), file=sys.stderr)


def _takes_late(command: str, options: argparse.Namespace) -> bool:
    """Whether a command that has a MODEL takes DATA too, and none was named yet."""
    names = {option.name for option in options_of(COMMANDS[command]) if option.positional}
    return {"model", "data"} <= names and not getattr(options, "data", None)


def _leave_the_others() -> None:
    """Part from the other processes of a run, if there are any.

    The threads that talk to them are ended so; left to the end of the process, they may abort it.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _complete() -> None:
    """Answer the shell, as argcomplete does, and exit."""
    with contextlib.suppress(ImportError):
        import argcomplete

        line = os.environ.get("COMP_LINE", "").split()
        named = line[1] if len(line) > 1 and line[1] in COMMANDS else ""
        argcomplete.autocomplete(build_parser(named), always_complete_options="long")


def run(options: argparse.Namespace) -> int:
    """Call the function of a command with what was given, and print its result.

    Returns the exit code: 1 where the result says that it did not pass.
    """
    given = vars(options)
    command, as_json = given.pop("command"), given.pop("json", False)
    quiet = given.pop("quiet", False)
    del given["parser"]
    function = COMMANDS[command]
    for option in options_of(function):
        value = given.get(option.name)
        if more := given.pop(f"more_{option.name}", None):  # DATA and --data
            value = given[option.name] = [*(value or []), *more]
        if option.help.many and value is not None:  # one name, several, or none of them
            given[option.name] = (value[0] if len(value) == 1 else value) or None
        elif option.is_of("object") and not option.is_of("array") and value is not None:
            given[option.name] = dict(value)
        elif option.name not in given and option.help.flag and not option.required:
            given[option.name] = option.default
    if given.pop("print_config", False):
        for name in ("output", "resume", "overwrite"):
            given.pop(name, None)
        settings = {name: given[name] for name in given if name in Settings.model_fields}
        from plaudit.training.folder import build_settings

        print(build_settings(given.get("config"), settings).yaml(), end="")
        return 0
    if as_json and command == "score" and given.get("output") is None:
        raise PlauditError("--json: without -o FILE the rows themselves go to stdout, as JSON")
    with console.quieted() if quiet else contextlib.nullcontext():
        result = function(**given)
    if command == "train" and int(
        os.environ.get("RANK", 0)
    ):  # under a launcher the first process speaks for all
        return 0
    if as_json:
        told = {"address": result} if isinstance(result, str) else result.as_json()
        print(json.dumps(told, indent=2, ensure_ascii=False))
    elif result is not None and not isinstance(result, commands.Written):
        print(result, end="\n" if str(result) else "")
    return 0 if getattr(result, "passed", True) else 1


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser with all commands; with the flags of `only` one of them."""
    parser = argparse.ArgumentParser(
        prog="plaudit",
        description="From preference data to a reward model that people trust.",
        epilog="plaudit COMMAND --help tells more of each.",
    )
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="show the version and exit",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, function in COMMANDS.items():
        text = inspect.cleandoc(function.__doc__ or "").splitlines()[0]
        sub = subparsers.add_parser(
            name,
            help=text[0].lower() + text[1:].rstrip("."),
            description=text,
            allow_abbrev=False,
        )
        if only is None or name == only:
            sub.set_defaults(parser=sub)
            _add_flags(sub, name, function)
    return parser


def _add_flags(parser: argparse.ArgumentParser, name: str, function: Callable[..., Any]) -> None:
    where = "YAML and in Python" if name in RUNS else "Python"
    settings = parser.add_argument_group(f"settings, the same in {where}")
    usage = []
    needed = []
    own = set(inspect.signature(function).parameters)
    for option in options_of(function):
        action = _add(parser if option.name in own else settings, option)
        if option.positional:
            more = f"{action.metavar} ..." if option.help.many else str(action.metavar)
            usage.append(more if option.required else f"[{more}]")
        elif option.required:
            needed.append(f"{action.option_strings[0]} {action.metavar}")
        if option.name == "on_bad_row":
            _add_old_names(parser, name)
        if option.name == "recipe":
            _add_recipes(settings)
    # What argparse makes names every flag, before every error.
    parser.usage = " ".join([f"plaudit {name} [-h]", *usage, *needed, "[OPTIONS]"])
    if inspect.signature(function).return_annotation is not None:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--quiet", action="store_true", help="say nothing while it works, but errors"
    )
    if name in RUNS:
        parser.add_argument(
            "--print-config",
            action="store_true",
            help="print all settings as YAML for --config, and do nothing else",
        )


def _add(parser: "argparse._ActionsContainer", option: Option) -> argparse.Action:
    """The flag, or the positional argument, of an option; where it is not given it is none."""
    text = option.help.text
    if option.shown_default not in ("", "false"):
        text += f" ({option.shown_default})"
    how: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    if option.positional:
        how["metavar"] = option.help.metavar
        if option.help.many:
            how["nargs"] = "+" if option.required else "*"
        if option.help.many and not option.required:  # those that runs may have from a file
            more = {"dest": f"more_{option.name}", "action": "append", "metavar": "X"}
            parser.add_argument(
                f"--{option.name}",
                **how | more | {"nargs": None, "help": f"the same as {how['metavar']}"},
            )
        elif not option.required:
            how["nargs"] = "?"
        return parser.add_argument(option.name, **how)
    if option.is_of("boolean"):
        # One that is on by default, or by itself, can be turned off.
        both = option.default is not False or option.name in Settings.model_fields
        how["action"] = argparse.BooleanOptionalAction if both else "store_true"
    elif option.is_json:
        how |= {"metavar": "JSON", "type": _checked(option)}
    elif option.is_of("array"):
        how |= {"action": "append", "metavar": option.help.metavar or "X"}
    elif option.is_of("object"):
        how |= {"action": "append", "metavar": "OURS=YOURS", "type": _column}
    else:
        names = option.choices()
        number = "N" if option.is_of("integer") else "X"
        metavar = "{" + ",".join(names) + "}" if names else option.help.metavar or number
        how |= {"metavar": metavar, "type": _checked(option)}
    if option.required:
        how["required"] = True
    flag = option.name.replace("_", "-")
    flags = ["-o", "--output"] if flag == "output" else [("--" if len(flag) > 1 else "-") + flag]
    action = parser.add_argument(*flags, dest=option.name, **how)
    if names := option.choices():
        action.completer = lambda **_: names  # type: ignore[attr-defined]  # for argcomplete
    return action


def _add_recipes(parser: "argparse._ActionsContainer") -> None:
    """--fast and --best, short for --recipe with that name."""
    for name in ("fast", "best"):
        how: dict[str, Any] = {"default": argparse.SUPPRESS, "help": f"short for --recipe {name}"}
        parser.add_argument(f"--{name}", dest="recipe", action="store_const", const=name, **how)


def _add_old_names(parser: argparse.ArgumentParser, command: str) -> None:
    """--strict, as --on-bad-row stop was called before."""
    flags = {"--strict": "stop"} | ({"--no-strict": "reject"} if command in RUNS else {})
    how: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    for flag, value in flags.items():
        parser.add_argument(flag, dest="on_bad_row", action="store_const", const=value, **how)


class _Version(argparse.Action):
    """--version, which looks it up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"plaudit {version('plaudit')}")
        parser.exit()


def _checked(option: Option) -> Callable[[str], Any]:
    """What argparse reads a flag's text with; it turns the error into wrong usage."""

    def value(text: str) -> Any:
        try:
            return option.value(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return value


def _column(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not (equals and name and column):
        raise argparse.ArgumentTypeError(f"{text!r} is not OURS=YOURS, as in prompt=question")
    return name, column


def _unknown(word: str, parser: argparse.ArgumentParser) -> str:
    """The message for a word on the command line that means nothing."""
    if "--columns" in parser._option_string_actions and re.fullmatch(r"[a-z_]+=[^/.]+", word):
        return f"{word}: unexpected here; --columns is given once for each name: --columns {word}"
    if not word.startswith("-"):
        return f"{word}: unexpected here; name all data in one place, flags before or after"
    flag, flags = word.partition("=")[0], parser._option_string_actions
    ours = ELSEWHERE.get(flag[2:].replace("-", "_"), "")
    meant = f"--{ours.replace('_', '-')}"
    return f"there is no {flag}{nearest_of(meant if meant in flags else flag, flags)}"


if __name__ == "__main__":
    sys.exit(main())
