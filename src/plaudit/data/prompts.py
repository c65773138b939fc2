"""Prompts for a policy, read as a stream: distinct, in order, with what their rows are known by.

Repeats are told by 64 bits of a hash, so memory grows by some 60 bytes for each distinct prompt,
whatever its length.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plaudit.data.cells import read_text, shown
from plaudit.data.columns import check_mapped, columns_of, mapped_in_each, prompt_column
from plaudit.data.rankings import BadRowError, Rejected, Text, text_key
from plaudit.data.readers import BadRows
from plaudit.data.rows import Source, find_sources, text_lines
from plaudit.data.splits import prompt_hash

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
    encoding: str | None = None,
) -> Iterator[Prompt | Rejected]:
    """Distinct prompts in order, and among them the rows that have none, with the reason.

    Args:
        source: a `.txt` file with a prompt a line, what `score_file` takes as data, or prompts.
        limit: take only the first so many distinct prompts.
        columns: `{"prompt": name}` where the column is not recognised.
        encoding: of text files that are not in UTF-8.

    Raises:
        PlauditError: when the source cannot be read, or has no column for the prompt.

    >>> [prompt.text for prompt in stream_prompts(["What is a bond?", "Hi", "What is a bond?"])]
    ['What is a bond?', 'Hi']
    """
    seen: set[int] = set()
    for row in _rows(source, columns or {}, encoding):
        if isinstance(row, Prompt):
            key = prompt_hash(text_key(row.text), 0)
            if key in seen:
                continue
            seen.add(key)
        yield row
        if len(seen) == limit:
            return


def all_prompts(
    source: str | Path | Sequence[Text],
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> Iterator[Prompt | Rejected]:
    """`stream_prompts` of a file; of prompts given in Python all of them, repeats included."""
    if isinstance(source, str | Path):
        return stream_prompts(source, limit, columns, encoding)
    return _rows(source[:limit], columns or {}, None)


def usable(
    items: Iterable[Prompt | Rejected],
    bad: BadRows,
    refusal: Callable[[Text], BadRowError | None] | None = None,
) -> Iterator[Prompt | Rejected]:
    """Prompts and rejected rows as they come, all counted in `bad`.

    `refusal` says why a prompt cannot be used, where one cannot: then it comes out rejected.

    Raises:
        PlauditError: at the first bad row, or for too many of them, as `bad` says.
    """
    for item in items:
        if isinstance(item, Prompt) and refusal and (why := refusal(item.text)):
            row = shown({**item.ids, "prompt": item.text})
            item = Rejected(item.file, item.line, str(why), row, why.fault)
        bad.count(item)
        yield item
    bad.stop_if_too_many()


def _rows(
    source: str | Path | Sequence[Text], columns: Mapping[str, str], encoding: str | None
) -> Iterator[Prompt | Rejected]:
    if not isinstance(source, str | Path):
        for number, text in enumerate(source, start=1):
            yield _checked(text, "prompts", number, text)
    elif Path(source).suffix == ".txt":
        yield from _lines(source, encoding)
    else:
        sources = find_sources(source, None, True, encoding)
        for one, mapped in zip(sources, mapped_in_each(sources, columns), strict=True):
            yield from _table(one, mapped)


def _lines(path: str | Path, encoding: str | None) -> Iterator[Prompt | Rejected]:
    for number, line, problem in text_lines(str(path), encoding):
        if problem:
            yield Rejected(str(path), number, problem, line)
        elif text := line.strip():
            yield Prompt(text, str(path), number)


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
