"""`docs/settings.md` and `docs/schemas/`, made from the declarations of options and results.

`python -m plaudit.reference docs` writes them; a test compares. What is documented is what is
declared: nothing is written twice.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import TypeAdapter

from plaudit import cli
from plaudit.results import SCHEMAS
from plaudit.serving.settings import ServiceSettings
from plaudit.settings import Option, Settings, options_of

HEAD = """\
<!-- Made by `make reference` from the declarations in src/plaudit; edit those, not this file. -->

# Settings

Every setting and every option, its type and bounds, its default, and what it does. A name is the
same in YAML, in Python and, with dashes for underscores, on the command line: `max_steps: 100` in
the file of `--config`, `train(…, max_steps=100)`, `--max-steps 100`. On the command line a setting
that is true or false is `--strict` or `--no-strict`, a list is a flag given several times, and
`null` is nothing. Flags go before what a file says.
"""


def pages() -> dict[str, str]:
    """The text of each generated file, by its path below `docs`."""
    schemas = {f"schemas/{name}.json": _schema(record) for name, record in SCHEMAS.items()}
    return {"settings.md": "\n".join(settings_page()), **schemas}


def _schema(record: type) -> str:
    return json.dumps(TypeAdapter(record).json_schema(), indent=2, ensure_ascii=False) + "\n"


def settings_page() -> Iterator[str]:
    """The lines of `settings.md`."""
    yield HEAD
    yield from _section(
        "A training run",
        "Of `plaudit train`, `cv` and `tune`; `plaudit train … --print-config` prints them all, "
        "resolved, as a file for `--config`.",
        options_of(Settings),
    )
    yield from _section(
        "The service", "Of `plaudit serve` and `label`.", options_of(ServiceSettings)
    )
    of_service = {option.name for option in options_of(ServiceSettings)}
    shared = dict.fromkeys(cli.RUNS, Settings.model_fields.keys() - {"data"})
    shared |= dict.fromkeys(("serve", "label"), of_service)
    for name, function in cli.COMMANDS.items():
        shown = [o for o in options_of(function) if o.name not in shared.get(name, ())]
        if shown:
            text = (function.__doc__ or "").splitlines()[0]
            called = f"`plaudit.{function.__name__}` in Python. {text}"
            yield from _section(f"plaudit {name}", called, shown, flags=True)


def _section(title: str, text: str, options: Iterable[Option], flags: bool = False) -> list[str]:
    lines = [
        f"## {title}",
        "",
        text,
        "",
        "| name | takes | default | |",
        "| --- | --- | --- | --- |",
    ]
    for option in options:
        name = f"`{_flag(option)}`" if flags else f"`{option.name}`"
        default = f"`{option.shown_default}`" if option.shown_default else ""
        cells = [name, option.allowed(), default, option.help.text]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def _flag(option: Option) -> str:
    if option.positional:
        return option.help.metavar
    return ("--" if len(option.name) > 1 else "-") + option.name.replace("_", "-")


def write(folder: Path) -> None:
    """Write all of it below `folder`."""
    for name, text in pages().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
