"""Prompts for a policy, read as a stream: distinct, in order, with what their rows are known by.

Repeats are told by 64 bits of a hash, so memory grows by some 60 bytes for each distinct prompt,
whatever its length.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plaudit.console import say
from plaudit.data.cells import read_text, shown
from plaudit.data.columns import check_mapped, columns_of, prompt_column
from plaudit.data.rankings import BadRowError, Rejected, Text, text_key
from plaudit.data.rows import Source, find_sources, place
from plaudit.data.splits import prompt_hash
from plaudit.errors import PlauditError

# Columns that say which row it is; they stay with the prompt.
IDS = ("id", "_id", "uid", "uuid", "prompt_id", "question_id", "example_id")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, where it stood, and the columns of its row that say which one it is."""

    text: Text
    file: str
    line: int
    ids: dict[str, Any] = field(default_factory=dict)

    def in_messages(self) -> "Prompt":
        """The same prompt with plain text as a message of the user's."""
        if not isinstance(self.text, str):
            return self
        return replace(self, text=[{"role": "user", "content": self.text}])


def stream_prompts(
    source: str | Path | Sequence[Text],
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Prompt | Rejected]:
    """Distinct prompts in order, and among them the rows that have none, with the reason.

    Args:
        source: a `.txt` file with a prompt a line, what `score_file` takes as data, or prompts.
        limit: take only the first so many distinct prompts.
        columns: `{"prompt": name}` where the column is not recognised.

    Raises:
        PlauditError: when the source cannot be read, or has no column for the prompt.

    >>> [prompt.text for prompt in stream_prompts(["What is a bond?", "Hi", "What is a bond?"])]
    ['What is a bond?', 'Hi']
    """
    seen: set[int] = set()
    for row in _rows(source, columns or {}):
        if isinstance(row, Prompt):
            key = prompt_hash(text_key(row.text), 0)
            if key in seen:
                continue
            seen.add(key)
        yield row
        if len(seen) == limit:
            return


def read_prompts(
    path: str | Path, limit: int | None = None, columns: Mapping[str, str] | None = None
) -> list[Text]:
    """The prompts of `stream_prompts` in a list; rows without one are left out, which is said.

    Raises `PlauditError` when there is no prompt.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "prompts.txt"
    >>> _ = file.write_text("What is a bond?\\n\\nWhat is a share?\\nWhat is a bond?\\n")
    >>> read_prompts(file)
    ['What is a bond?', 'What is a share?']
    """
    prompts: list[Text] = []
    left_out: list[Rejected] = []
    for row in stream_prompts(path, limit, columns):
        if isinstance(row, Prompt):
            prompts.append(row.text)
        else:
            left_out.append(row)
    if left_out:
        first = left_out[0]
        say(f"{place(first.file, first.line)}: {first.reason}: left out")
    if len(left_out) > 1:
        say(f"{path}: {len(left_out):,} rows without a prompt left out")
    if not prompts:
        raise PlauditError(f"{path}: there is no prompt in it")
    return prompts


def _rows(
    source: str | Path | Sequence[Text], columns: Mapping[str, str]
) -> Iterator[Prompt | Rejected]:
    if not isinstance(source, str | Path):
        for number, text in enumerate(source, start=1):
            yield _checked(text, "prompts", number, text)
    elif Path(source).suffix == ".txt":
        yield from _lines(source)
    else:
        for one in find_sources(source, None, True):
            yield from _table(one, columns)


def _lines(path: str | Path) -> Iterator[Prompt]:
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if text := line.strip():
                    yield Prompt(text, str(path), number)
    except OSError as error:
        raise PlauditError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlauditError(f"{path}: is not UTF-8; save it as UTF-8") from error


def _table(source: Source, mapped: Mapping[str, str]) -> Iterator[Prompt | Rejected]:
    columns = columns_of(source)
    mapped = check_mapped(source, columns, mapped)
    column = prompt_column(source, columns, mapped)
    for row in source.rows():
        if row.values is None:
            yield Rejected(row.file, row.line, row.problem or "cannot be read", shown(row.raw))
        else:
            ids = shown(_ids(row.values))
            yield _checked(row.values.get(column), row.file, row.line, row.values, ids)


def _checked(
    text: Any, file: str, line: int, row: Any, ids: dict[str, Any] | None = None
) -> Prompt | Rejected:
    try:
        return Prompt(read_text(text, "prompt"), file, line, ids or {})
    except BadRowError as bad:
        return Rejected(file, line, str(bad), shown(row), bad.fault)


def _ids(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in IDS if values.get(name) is not None}
