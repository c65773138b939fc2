"""From files to rows: CSV, TSV, JSON lines, JSON, Parquet, Arrow and .xlsx, plain, .gz or .zst, and
`datasets`.

A `Source` is one file (or one data set of the `datasets` library) whose rows can be read any number
of times, each time from the start and never more than a few at once. A `Row` is what stood at one
place: its values by column, or the problem that kept it from being read. What the columns mean is
not known here (see readers.py). A broken row is a `Row` with a problem; a file that cannot be read
at all (missing, truncated, not what its suffix says) raises `PlauditError`.
"""

import codecs
import csv
import glob
import gzip
import io
import json
import math
import os
import re
import tempfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import zstandard

from plaudit.console import say
from plaudit.data.encodings import (
    NAMES,
    Dialect,
    as_utf8,
    check_encoding,
    delimiter_of,
    is_marked,
    likely_encoding,
)
from plaudit.errors import PlauditError
from plaudit.hub_access import asking_hub, is_missing
from plaudit.json_text import DECODER, RepeatedKeyError, from_json
from plaudit.sources import KINDS, PACKINGS, Named, SourceError, kind_of, named, on_hub

ROWS_BY_NUMBER = ("parquet", "arrow", "feather", "xlsx")  # which have no lines
# A single field or JSON element may be this long, in characters. A quote that is never closed would
# otherwise take the rest of a file of any size into memory.
LONGEST_FIELD = 1 << 25
CHUNK = 1 << 20
# What becomes of an Arrow value that Python does not have: a year 10000, a time zone nobody knows.
UNREADABLE = (ArithmeticError, LookupError, TypeError, ValueError)


class Row(NamedTuple):
    """What stood at `line` of `file`: the `values` by column, or the `problem` with the `raw` text.

    `line` is the 1-based physical line the row begins on; for Parquet and `datasets`, which have no
    lines, the 1-based number of the row.
    """

    file: str
    line: int
    values: dict[str, Any] | None
    problem: str | None = None
    raw: str | None = None


@dataclass(frozen=True)
class Source:
    """One file or data set: its name for messages, its size in bytes, and a way to read its rows.

    `columns` reads the names of the columns where the file states them, and gives [] where rows do.
    `separator` is what stands between the fields of a text file, "" of any other. `count` counts
    the rows, readable or not, as fast as the kind allows; None where that is a download.
    """

    name: str
    size: int
    rows: Callable[[], Iterator[Row]]
    columns: Callable[[], list[str]] = list
    separator: Callable[[], str] = str
    encoding: str | None = None  # that the user named
    counted: Callable[[], int | None] | None = None
    in_memory: bool = False

    def count(self) -> int | None:
        """How many rows there are."""
        return sum(1 for _ in self.rows()) if self.counted is None else self.counted()


def place(file: str, line: int | None) -> str:
    """Where a row stood, for messages.

    >>> place("a.csv.gz", 12), place("a.parquet", 12)
    ('a.csv.gz:12', 'a.parquet, row 12')
    """
    if line is None:
        return file
    kind, _ = kind_of(file)
    if file.endswith(".txt"):  # of prompts, a line each
        return f"{file}:{line}"
    return f"{file}:{line}" if kind not in (None, *ROWS_BY_NUMBER) else f"{file}, row {line}"


def file_and_line(where: str) -> tuple[str, int | None]:
    """What `place` was given.

    >>> file_and_line("a.csv.gz:12"), file_and_line("a.parquet, row 12"), file_and_line("a.csv")
    (('a.csv.gz', 12), ('a.parquet', 12), ('a.csv', None))
    """
    match = re.fullmatch(r"(.*?)(?::|, row )(\d+)", where, re.DOTALL)
    return (match[1], int(match[2])) if match else (where, None)


# ---------------------------------------------------------------- from what the user names to files


def find_sources(
    source: Any,
    split: str | None = None,
    streaming: bool | None = None,
    encoding: str | None = None,
    held: Counter[str] | None = None,
) -> list[Source]:
    """The files or data sets that `source` names or is, in a fixed order, each once.

    `source` is a path, a folder, a glob, the name of a data set on the hub ("org/name"), a data set
    of `datasets`, a frame of pandas or polars, rows as dictionaries, or a list of these; what is on
    disk is never looked for on the hub. `split` picks a split of a `datasets` folder, object or
    hub data set (default "train"), or the files of a folder that are named after it. `encoding` is
    that of text files that are neither UTF-8 nor say by a byte-order mark what they are. What lies
    in memory is named by what it is, and numbered where others of its name are in `held` already:
    "rows", "rows #2". A `Source` stays what it is. Raises `PlauditError` when something named does
    not exist or holds no data.
    """
    held = Counter() if held is None else held
    if isinstance(source, Source):
        return [source]
    if isinstance(source, (str, Path)):
        if encoding is not None:
            check_encoding(encoding)
        found = _find(_meant(str(source), split), streaming, encoding)
        return list({os.path.realpath(one.name): one for one in found}.values())
    if isinstance(source, Iterator):
        source = list(source)  # it can be gone through once, and rows are read more than once
    if (rows := _in_memory(source, split, held)) is not None:
        return [rows]
    if not isinstance(source, Sequence):
        raise PlauditError(
            "data are a path, a data set, a frame, rows as dictionaries or a list of these, and "
            f"not of type {type(source).__name__}; for Ranking objects use Rankings.from_list"
        )
    if not source:
        raise PlauditError("the list of data files is empty; name at least one")
    every = [one for item in source for one in find_sources(item, split, streaming, encoding, held)]
    # What lies in memory may be called as a file is.
    keys = [id(one) if one.in_memory else os.path.realpath(one.name) for one in every]
    return list(dict(zip(keys, every, strict=True)).values())


def _in_memory(source: Any, split: str | None, held: Counter[str]) -> Source | None:
    """The rows that `source` itself holds; None where it is something else."""
    kind = type(source).__name__
    if kind in ("DatasetDict", "IterableDatasetDict"):
        data = _split_of(kind, source, split)
        return _dataset(_numbered(kind, held), 0, data, in_memory=True)
    if kind in ("Dataset", "IterableDataset") and hasattr(source, "column_names"):
        return _dataset(_numbered(kind, held), 0, source, in_memory=True)
    if kind == "DataFrame" and hasattr(source, "to_dicts"):  # polars
        name = _numbered(kind, held)
        return _rows_held(name, lambda: source.iter_rows(named=True), list(source.columns))
    if kind == "DataFrame":  # pandas, which has NaN where there is nothing
        names = [str(name) for name in source.columns]

        def rows() -> Iterator[dict[str, Any]]:
            for values in source.itertuples(index=False, name=None):
                yield dict(zip(names, values, strict=True))

        return _rows_held(_numbered(kind, held), rows, names)
    if isinstance(source, Sequence) and source and all(isinstance(o, Mapping) for o in source):
        return _rows_held(_numbered("rows", held), lambda: iter(source), [])
    if isinstance(source, Iterable) and not isinstance(source, Sequence | Mapping):
        first = next(iter(source), None)
        if isinstance(first, Mapping):
            # To go through it may take hours, or never end.
            counted = None if hasattr(source, "__len__") else _nobody_knows
            return _rows_held(_numbered("rows", held), lambda: iter(source), [], counted)
    return None


def _numbered(name: str, held: Counter[str]) -> str:
    """A name that no other in `held` has: what is said of a row is said of one alone."""
    held[name] += 1
    return name if held[name] == 1 else f"{name} #{held[name]}"


def _nobody_knows() -> None:
    """How many rows there are, where only reading them all would tell."""


def _rows_held(
    name: str,
    rows: Callable[[], Iterator[Any]],
    columns: list[str],
    counted: Callable[[], int | None] | None = None,
) -> Source:
    def read() -> Iterator[Row]:
        for number, values in enumerate(rows(), start=1):
            row = {str(key): _plain(item) for key, item in values.items()}
            if any(map(_broken_unicode, row)):
                yield Row(name, number, None, HALF_A_NAME, _whole(str(row)))
            else:
                yield Row(name, number, row)

    return Source(name, 0, read, columns=lambda: columns, counted=counted, in_memory=True)


def _plain(value: Any) -> Any:
    """A value as JSON has it: lists for arrays, nothing for NaN, which frames have for it."""
    if isinstance(value, (str, int)) or value is None:
        return value
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        value = value.tolist()
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _meant(text: str, split: str | None) -> Named:
    """What a text names, in the split that is asked for unless it names one itself."""
    try:
        found = named(text)
    except SourceError as error:
        raise PlauditError(str(error)) from error
    if found.weight is not None:
        raise PlauditError(
            f"{text}: a weight is for the data that train, cv, tune and frontier mix; leave it out"
        )
    if split and found.split and split != found.split:
        raise PlauditError(f"{text}: its split is {found.split}, and not {split}; name one")
    return found._replace(name=os.path.expanduser(found.name), split=found.split or split)


def _find(wanted: Named, streaming: bool | None, encoding: str | None) -> list[Source]:
    name, split = wanted.name, wanted.split
    if wanted.revision and os.path.exists(name):
        raise PlauditError(
            f"{name}@{wanted.revision}: a revision is of a data set on the hub, and {name} is here"
        )
    if os.path.isdir(name):
        declared = _declares_subsets(name)
        if wanted.subset is not None or (split is not None and declared):
            return [_loaded(wanted, streaming)]
        if declared:
            say(
                f"{name}: all data files in it are read, whatever subset or split its card says "
                f"they are of; {name}:SUBSET and {name}:split=NAME take one"
            )
        return _find_in_folder(name, split, encoding)
    if os.path.exists(name):
        if not os.path.isfile(name):
            raise PlauditError(f"{name}: is no regular file; data are read more than once")
        return [_file(name, encoding)]
    if glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise PlauditError(f"{name}: no file matches; check the pattern and the folder")
        folders = [match for match in matches if os.path.isdir(match)]
        files = [_file(match, encoding) for match in matches if os.path.isfile(match)]
        return files or [
            one for folder in folders for one in _find_in_folder(folder, split, encoding)
        ]
    if on_hub(name):
        return [_loaded(wanted, streaming)]
    if name.startswith("hf://"):
        raise PlauditError(
            f"{name}: a data set on the hub is hf://OWNER/NAME, after it @REVISION, :SUBSET and "
            ":split=NAME as wanted"
        )
    raise PlauditError(f"{name}: no such file or folder; check the path")


def _declares_subsets(folder: str) -> bool:
    """Whether the folder is that of a data set as the hub has it, whose card says what is in it."""
    card = Path(folder) / "README.md"
    if not card.is_file():
        return False
    front = re.match(
        r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL
    )
    return front is not None and re.search(r"^configs:", front[1], re.MULTILINE) is not None


def _find_in_folder(folder: str, split: str | None, encoding: str | None) -> list[Source]:
    names = os.listdir(folder)
    if "dataset_dict.json" in names or "state.json" in names:
        return [_saved_dataset(folder, split)]
    files = sorted(
        str(path)
        for path in Path(folder).rglob("*")
        if path.is_file()
        and kind_of(path) != (None, None)
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    )
    if not files:
        raise PlauditError(f"{folder}: no data in this folder; wanted: {', '.join(KINDS)} files")
    if split is not None:
        word = re.compile(rf"(?<![a-z]){re.escape(split)}(?![a-z])", re.IGNORECASE)
        files = [file for file in files if word.search(os.path.relpath(file, folder))]
        if not files:
            raise PlauditError(f"{folder}: no data file in this folder is named after '{split}'")
    return [_file(file, encoding) for file in files]


def _file(name: str, encoding: str | None = None) -> Source:
    kind, _ = kind_of(name)
    if kind is None:
        raise PlauditError(
            f"{name}: not a kind of file known here; wanted: {', '.join(KINDS)}, "
            f"each also with {' or '.join('.' + packing for packing in PACKINGS)}"
        )
    readers: dict[str, Callable[[str, str | None], Iterator[Row]]] = {
        "csv": _csv_rows,
        "tsv": _csv_rows,
        "jsonl": _json_lines,
        "ndjson": _json_lines,
        "json": _json_rows,
        "parquet": _parquet_rows,
        "arrow": _arrow_rows,
        "feather": _arrow_rows,
        "xlsx": _sheet_rows,
    }
    columns: dict[str, Callable[[str, str | None], list[str]]] = {
        "csv": _csv_columns,
        "tsv": _csv_columns,
        "parquet": _parquet_columns,
        "arrow": _arrow_columns,
        "feather": _arrow_columns,
        "xlsx": _sheet_columns,
    }
    counts = {
        "jsonl": _count_lines,
        "ndjson": _count_lines,
        "parquet": _count_parquet,
        "arrow": _count_arrow,
        "feather": _count_arrow,
    }
    return Source(
        name,
        os.path.getsize(name),
        lambda: readers[kind](name, encoding),
        columns=lambda: columns[kind](name, encoding) if kind in columns else [],
        separator=lambda: _csv_separator(name, encoding)[0] if kind in ("csv", "tsv") else "",
        encoding=encoding,
        counted=(lambda: counts[kind](name, encoding)) if kind in counts else None,
    )


# --------------------------------------------------------------------------------- opening a file


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """The unpacked bytes of a file; whatever is wrong with the file is a `PlauditError`."""
    _, packing = kind_of(name)
    try:
        with open(name, "rb") as file:
            if packing == "gz":
                yield cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=file)))
            elif packing == "zst":
                yield cast(BinaryIO, io.BufferedReader(_Unzstd(file), CHUNK))
            else:
                yield file
    except EOFError as error:
        raise PlauditError(f"{name}: ends too soon; was it copied whole?") from error
    except (zlib.error, zstandard.ZstdError, gzip.BadGzipFile) as error:
        raise PlauditError(f"{name}: damaged, or not packed as its suffix says: {error}") from error
    except UnicodeError as error:  # of a codec that blames no single byte, such as UTF-16's
        raise PlauditError(f"{name}: cannot be decoded: {error}") from error
    except OSError as error:
        raise PlauditError(f"{name}: cannot be read: {error.strerror or error}") from error


class _Unzstd(io.RawIOBase):
    """The unpacked bytes of a .zst file. Unlike zstandard's own reader it notices a missing end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: Any = None
        self._packed = b""
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._ready:
            # Small bites: what one of them unpacks to is held in memory.
            self._packed = self._packed or self._file.read(1 << 14)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the last frame is not complete")
                return 0
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._ready = self._frame.decompress(self._packed)
            self._packed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        taken = min(len(target), len(self._ready))
        target[:taken] = self._ready[:taken]
        self._ready = self._ready[taken:]
        return taken


def _text(file: BinaryIO, encoding: str | None, newline: str) -> io.TextIOWrapper:
    """Text in which a byte that cannot be decoded is a lone surrogate: one row can be blamed."""
    return io.TextIOWrapper(
        as_utf8(file, encoding), encoding="utf-8-sig", errors="surrogateescape", newline=newline
    )


def text_lines(name: str, encoding: str | None = None) -> Iterator[tuple[int, str, str]]:
    """The lines of a text file with their numbers, and why one cannot be read, where it cannot.

    Raises `PlauditError` where there is no such file.
    """
    if encoding is not None:
        check_encoding(encoding)
    with _opened(name) as file:
        for number, line in enumerate(_text(file, encoding, newline="\n"), start=1):
            bad = _broken_unicode(line)
            yield number, _readable(line), _undecodable(line, encoding) if bad else ""


def _undecodable(text: str, encoding: str | None) -> str:
    """Why a row cannot be read whose text has bytes that were not decoded, and what may help."""
    if encoding is not None:
        return f"undecodable bytes: not {encoding}"
    likely = likely_encoding(text.encode("utf-8", "surrogateescape"))
    return (
        f"undecodable bytes: not UTF-8; give --encoding {likely} if it is that, or save it as UTF-8"
    )


def _readable(text: str) -> str:
    """`text` with a replacement character for each byte that could not be decoded."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _whole(text: str) -> str:
    """`text` with a question mark for each half of a character."""
    return text.encode("utf-8", "replace").decode()


def _broken_unicode(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


# ------------------------------------------------------------------------------------- CSV and TSV

_CSV_PROBLEMS = {
    "unexpected end of data": "broken CSV: a quote is opened and never closed",
    "expected after": "broken CSV: text after a closing quote; "
    "a quote inside a quoted field must be doubled",
    "field larger": f"broken CSV: a field of more than {LONGEST_FIELD:,} characters; "
    "is a quote not closed?",
    "new-line character": "broken CSV: a carriage return outside quotes",
}


class _Lines:
    """The lines of a file, numbered, able to hand out those of the present record once more."""

    def __init__(self, file: Iterator[str]) -> None:
        self._file = file
        self._again: deque[str] = deque()
        self.number = 0
        self.record: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._file)
        self.number += 1
        self.record.append(line)
        return line

    def look(self) -> list[str]:
        """The first lines, which are read again afterwards: as many as a header may have."""
        self._again.extend(islice(self._file, 50))
        return list(self._again)

    def retry_after_first(self) -> None:
        """Go back to the line after the one the present record began on."""
        self._again.extendleft(reversed(self.record[1:]))
        self.number -= len(self.record) - 1
        del self.record[1:]


def _csv_records(
    name: str, file: BinaryIO, encoding: str | None
) -> Iterator[tuple[int, list[str], str | None]]:
    """Each record as (line, fields, None), a broken one as (line, [its line], problem).

    The parser is strict: a quote out of place most often means that an earlier one was never
    closed and has swallowed the lines between. So a broken record costs the line it began on, and
    reading goes on with the line after that.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    lines = _Lines(_text(file, encoding, newline="\n"))
    head = lines.look()
    delimiter, before = _delimiter(name, head)
    for _ in range(before):
        next(lines)
    if delimiter != "," and kind_of(name)[0] == "csv":
        _say_delimiter(name, delimiter)
    records = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.record.clear()
        line = lines.number + 1
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            problem = next(
                (ours for theirs, ours in _CSV_PROBLEMS.items() if theirs in str(error)),
                f"broken CSV: {error}",
            )
            lines.retry_after_first()
            yield line, lines.record[:1], problem
            continue
        if len(fields) > 1 or any(field.strip() for field in fields):
            yield line, fields, None


def dialect_of(name: str, encoding: str | None = None) -> Dialect | None:
    """How a table in a file is written; None for what is no CSV, or not in a file here."""
    if kind_of(name)[0] != "csv" or not os.path.isfile(name):
        return None
    with _opened(name) as file:
        marked = is_marked(file.read(4))
    delimiter, before = _csv_separator(name, encoding)
    return Dialect(delimiter, marked, stated=before > 0)


def _delimiter(name: str, head: list[str]) -> tuple[str, int]:
    """What stands between the fields, and how many lines before the header say so."""
    return delimiter_of(head) if kind_of(name)[0] == "csv" else ("\t", 0)


def _csv_separator(name: str, encoding: str | None) -> tuple[str, int]:
    with _opened(name) as file:
        return _delimiter(name, _Lines(_text(file, encoding, newline="\n")).look())


@cache
def _say_delimiter(name: str, delimiter: str) -> None:
    """Once for a file, however often it is read."""
    say(f"{name}: its fields stand between {NAMES.get(delimiter, repr(delimiter))}")


def _csv_header(name: str, records: Iterator[tuple[int, list[str], str | None]]) -> list[str]:
    for line, fields, problem in records:
        if problem:
            raise PlauditError(f"{name}:{line}: the header cannot be read: {problem}")
        return [_readable(field) for field in fields]
    raise PlauditError(f"{name}: the file is empty; give data with rows")


def _csv_columns(name: str, encoding: str | None) -> list[str]:
    with _opened(name) as file:
        return _csv_header(name, _csv_records(name, file, encoding))


def _csv_rows(name: str, encoding: str | None) -> Iterator[Row]:
    with _opened(name) as file:
        records = _csv_records(name, file, encoding)
        header = _csv_header(name, records)
        for line, fields, problem in records:
            everything = "".join(fields)
            if problem:
                pass
            elif len(fields) != len(header):
                problem = (
                    f"wrong number of fields: {len(fields)} where the header has {len(header)}"
                )
            elif "\0" in everything:
                problem = "a NUL byte"
            elif _broken_unicode(everything):
                problem = _undecodable(everything, encoding)
            else:
                yield Row(name, line, dict(zip(header, fields, strict=True)))
                continue
            yield Row(name, line, None, problem, _readable(",".join(fields)))


# ------------------------------------------------------------------------------------------- JSON


TWICE = "ambiguous JSON"
HALF_A_NAME = "undecodable bytes: half a character in the name of a column"


def _json_row(name: str, line: int, value: Any, raw: str) -> Row:
    if not isinstance(value, dict):
        return Row(name, line, None, f"not an object: {type(value).__name__}", raw)
    if any(map(_broken_unicode, value)):
        return Row(name, line, None, HALF_A_NAME, _whole(raw))
    return Row(name, line, value)


def _json_lines(name: str, encoding: str | None) -> Iterator[Row]:
    with _opened(name) as file:
        for line, data in enumerate(as_utf8(file, encoding), start=1):
            if line == 1:
                data = data.removeprefix(codecs.BOM_UTF8)
            data = data.strip()
            if not data:
                continue
            try:
                text = data.decode()
                value = from_json(text)
            except UnicodeDecodeError:
                problem = _undecodable(data.decode("utf-8", "surrogateescape"), encoding)
                yield Row(name, line, None, problem, data.decode(errors="replace"))
                continue
            except RepeatedKeyError as error:
                yield Row(name, line, None, f"{TWICE}: {error}", text)
                continue
            except (ValueError, RecursionError) as error:
                # A ValueError that is no JSONDecodeError: a number of thousands of digits.
                yield Row(name, line, None, f"broken JSON: {_why(error)}", text)
                continue
            yield _json_row(name, line, value, text)


def _count_lines(name: str, encoding: str | None) -> int:
    """How many lines of a file are not blank."""
    with _opened(name) as file:
        return sum(1 for data in as_utf8(file, encoding) if not data.isspace())


def _json_rows(name: str, encoding: str | None) -> Iterator[Row]:
    """A .json file: a list of objects, or JSON lines under another suffix."""
    with _opened(name) as file:
        start = _text(file, encoding, newline="\n").read(CHUNK).lstrip()
    yield from (_json_list if start.startswith("[") else _json_lines)(name, encoding)


def _json_list(name: str, encoding: str | None) -> Iterator[Row]:
    """The elements of one JSON list, without ever holding more than one and a piece of the file."""
    lenient = json.JSONDecoder()  # to find the end of an object that has a key twice
    with _opened(name) as file:
        text = _text(file, encoding, newline="\n")
        buffer, at, line, ended = text.read(CHUNK), 0, 1, False
        at = buffer.index("[") + 1
        line += buffer.count("\n", 0, at)
        after_element = False
        while True:
            # Before an element: white space, and a comma after the element before it.
            start = at
            while at < len(buffer) and buffer[at] in " \t\r\n":
                at += 1
            line += buffer.count("\n", start, at)
            if at < len(buffer):
                if buffer[at] == "]":
                    rest = buffer[at + 1 :]
                    while rest:
                        if rest.strip():
                            raise _broken_list(name, line, "something follows the end of the list")
                        rest = text.read(CHUNK)
                    return
                if after_element:
                    if buffer[at] != ",":
                        raise _broken_list(name, line, "a comma is missing")
                    at, after_element = at + 1, False
                    continue
                twice = ""
                try:
                    try:
                        value, end = DECODER.raw_decode(buffer, at)
                    except RepeatedKeyError as error:
                        value, end = lenient.raw_decode(buffer, at)
                        twice = f"{TWICE}: {error}"
                except (ValueError, RecursionError) as error:
                    if (
                        ended
                        or isinstance(error, RecursionError)
                        or len(buffer) - at > LONGEST_FIELD
                    ):
                        raise _broken_list(name, line, _why(error)) from error
                else:
                    # At the very end of the buffer a number may go on in the next piece.
                    if end < len(buffer) or ended:
                        raw = buffer[at:end]
                        if _broken_unicode(raw):
                            problem = _undecodable(raw, encoding)
                            yield Row(name, line, None, problem, _readable(raw))
                        elif twice:
                            yield Row(name, line, None, twice, raw)
                        else:
                            yield _json_row(name, line, value, raw)
                        line += raw.count("\n")
                        at, after_element = end, True
                        continue
            elif ended:
                raise _broken_list(name, line, "the list is not closed")
            piece = text.read(max(CHUNK, len(buffer) - at))
            buffer, at, ended = buffer[at:] + piece, 0, not piece


def _broken_list(name: str, line: int, why: str) -> PlauditError:
    return PlauditError(
        f"{name}:{line}: broken JSON: {why}. Nothing after this place can be read; "
        "mend it, or write one object a line (.jsonl), where a broken one costs only itself"
    )


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number too long"


# ----------------------------------------------------------------------------- Parquet and Arrow


@contextmanager
def _parquet(name: str) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    with _opened(name) as file:
        if kind_of(name)[1] is None:
            whole: Any = file
        else:
            # Parquet is read from its end: unpack to disk, not to memory.
            whole = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
            while piece := file.read(CHUNK):
                whole.write(piece)
            whole.seek(0)
        try:
            yield pyarrow.parquet.ParquetFile(whole)
        except pyarrow.ArrowException as error:
            why = str(error).splitlines()[0]
            raise PlauditError(f"{name}: cannot be read as Parquet: {why}") from error
        finally:
            whole.close()


def _parquet_columns(name: str, _: str | None) -> list[str]:
    with _parquet(name) as parquet:
        return list(parquet.schema_arrow.names)


def _count_parquet(name: str, _: str | None) -> int:
    with _parquet(name) as parquet:
        return int(parquet.metadata.num_rows)


def _parquet_rows(name: str, _: str | None) -> Iterator[Row]:
    with _parquet(name) as parquet:
        yield from _of_batches(name, parquet.iter_batches(batch_size=1024))


@contextmanager
def _arrow(name: str) -> Iterator[Any]:
    """A table of an Arrow file, as Feather writes it too, or of a stream, as `datasets` does."""
    import pyarrow

    with _opened(name) as file:
        try:
            if kind_of(name)[1] is None:
                mapped = pyarrow.memory_map(name)
                start, whole = mapped.read(6), mapped
                mapped.seek(0)
            else:
                data = file.read()
                start, whole = data[:6], pyarrow.BufferReader(data)
            if start == b"ARROW1":
                table = pyarrow.ipc.open_file(whole).read_all()
            else:
                table = pyarrow.ipc.open_stream(whole).read_all()
        except (pyarrow.ArrowException, OSError) as error:
            why = _line(error)
            raise PlauditError(f"{name}: cannot be read as an Arrow file: {why}") from error
        yield table


def _arrow_columns(name: str, _: str | None) -> list[str]:
    with _arrow(name) as table:
        return list(table.schema.names)


def _count_arrow(name: str, _: str | None) -> int:
    with _arrow(name) as table:
        return int(table.num_rows)


def _arrow_rows(name: str, _: str | None) -> Iterator[Row]:
    with _arrow(name) as table:
        yield from _of_batches(name, table.to_batches(max_chunksize=1024))


def _of_batches(name: str, batches: Iterable[Any]) -> Iterator[Row]:
    """The rows of Arrow's record batches, whose bytes nobody has looked at so far."""
    number = 0
    for batch in batches:
        rows = _values_of(batch)
        if isinstance(rows, str):
            each = (_values_of(batch.slice(i, 1)) for i in range(batch.num_rows))
        else:
            each = ([values] for values in rows)
        for found in each:
            number += 1
            if isinstance(found, str):
                yield Row(name, number, None, found)
            else:
                yield Row(name, number, found[0])


def _values_of(batch: Any) -> list[dict[str, Any]] | str:
    """The rows of a record batch, or why one of them cannot be read."""
    import pyarrow

    try:
        # Without it, places of texts that lie beyond the file would be read from anywhere.
        batch.validate(full=True)
        return cast(list[dict[str, Any]], batch.to_pylist())
    except pyarrow.ArrowException as error:
        return "undecodable bytes" if "UTF8" in str(error) else f"damaged: {_line(error)}"
    except UNREADABLE:
        pass
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values.to_pylist()
        except UNREADABLE as error:
            where = f"of type {str(values.type)[:60]} in the column '{name[:60]}'"
            return f"a value that Python does not have: {where} ({_line(error)})"
    return "a value that Python does not have"


# ------------------------------------------------------------------------------------ spreadsheets


# What a spreadsheet shows in place of a value that it cannot calculate.
SHEET_ERRORS = {"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#SPILL!"}


@contextmanager
def _sheet(name: str) -> Iterator[Iterator[tuple[Any, ...]]]:
    """The rows of the first sheet that has any, as they were calculated."""
    try:
        import openpyxl
    except ImportError as error:
        raise PlauditError(
            f"{name}: .xlsx needs openpyxl: run `pip install openpyxl`, or save the sheet as CSV"
        ) from error
    with _opened(name) as file:
        packed = kind_of(name)[1] is not None
        try:
            whole: Any = io.BytesIO(file.read()) if packed else file
            book = openpyxl.load_workbook(whole, read_only=True, data_only=True)
        except Exception as error:  # of a zip file, of XML, or its own
            raise PlauditError(f"{name}: cannot be read as .xlsx: {_line(error)}") from error
        try:
            for sheet in book.worksheets:
                if sheet.max_row is None:  # some programs do not write how large a sheet is
                    sheet.calculate_dimension(force=True)
            full = [sheet for sheet in book.worksheets if sheet.max_row and sheet.max_row > 1]
            if not full:
                raise PlauditError(f"{name}: no sheet has a header and a row below it")
            if len(full) > 1:
                others = ", ".join(sheet.title for sheet in full[1:])
                _say_sheet(name, full[0].title, others)
            yield full[0].iter_rows(values_only=True)
        except PlauditError:
            raise
        except Exception as error:  # the sheets are unpacked only now
            raise PlauditError(f"{name}: cannot be read on as .xlsx: {_line(error)}") from error
        finally:
            book.close()


@cache
def _say_sheet(name: str, sheet: str, others: str) -> None:
    """Once for a file, however often it is read."""
    say(f"{name}: the sheet {sheet} is read, and not {others}; save those as files of their own")


def _sheet_columns(name: str, _: str | None) -> list[str]:
    with _sheet(name) as rows:
        return _sheet_header(rows)[0]


def _sheet_header(rows: Iterator[tuple[Any, ...]]) -> tuple[list[str], int]:
    """The first row that is not empty, without the cells after the last one that is filled, and its
    number."""
    for number, cells in enumerate(rows, start=1):
        names = ["" if cell is None else str(cell) for cell in cells]
        while names and not names[-1]:
            names.pop()
        if names:
            return names, number
    return [], 1


def _sheet_rows(name: str, _: str | None) -> Iterator[Row]:
    with _sheet(name) as rows:
        header, first = _sheet_header(rows)
        for number, cells in enumerate(rows, start=first + 1):
            if wrong := [cell for cell in cells if isinstance(cell, str) and cell in SHEET_ERRORS]:
                yield Row(name, number, None, f"a cell holds the error {wrong[0]}")
            elif any(cell is not None for cell in cells[len(header) :]):
                yield Row(name, number, None, "a cell beyond the last column that the header names")
            elif any(cell is not None for cell in cells):
                yield Row(name, number, dict(zip(header, map(_of_cell, cells), strict=False)))


def _of_cell(value: Any) -> Any:
    """A cell's value as a CSV file has it: dates as text, 3.0 as 3."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


# -------------------------------------------------------------------------------------- `datasets`


def _saved_dataset(folder: str, split: str | None) -> Source:
    """A folder written by `save_to_disk`; its rows stay on disk, mapped into memory."""
    from datasets import DatasetDict, load_from_disk

    try:
        data = load_from_disk(folder)
    except Exception as error:  # `datasets` raises whatever its parts raise
        raise PlauditError(f"{folder}: cannot be read as a data set: {_line(error)}") from error
    name, files = folder, Path(folder)
    if isinstance(data, DatasetDict):
        split = split or "train"
        data = _split_of(folder, data, split)
        # Several splits may be read together, and each is a source of its own.
        name = folder if split == "train" else f"{folder}:split={split}"
        files /= split
    size = sum(path.stat().st_size for path in files.rglob("*.arrow"))
    return _dataset(name, size, data)


def _split_of(name: str, splits: Any, split: str | None) -> Any:
    split = split or "train"
    if split not in splits:
        raise PlauditError(
            f"{name}: no split '{split}' in this data set; it has: {', '.join(splits)}"
        )
    return splits[split]


def _loaded(wanted: Named, streaming: bool | None) -> Source:
    """A data set on the hub, or a copy of one in a folder: a subset and a split of it."""
    from datasets import load_dataset

    split = wanted.split or "train"
    shown = wanted.name + (f"@{wanted.revision}" if wanted.revision else "")
    shown += (f":{wanted.subset}" if wanted.subset else "") + f":split={split}"
    on_disk = os.path.isdir(wanted.name)
    unreached = ""
    try:
        with nullcontext("") if on_disk else asking_hub() as unreached:
            data = load_dataset(
                wanted.name,
                wanted.subset,
                split=split,
                revision=wanted.revision,
                streaming=bool(streaming),
            )
    except Exception as error:  # network, name, permission, split: a dozen unrelated exceptions
        if unreached and is_missing(error):
            raise PlauditError(
                f"{shown}: no such file here, it was not downloaded before, and the Hugging Face "
                f"hub cannot be reached ({unreached}): check the name and the connection, or "
                "download the data set elsewhere and give its folder"
            ) from error
        raise PlauditError(f"{shown}: {_why_not_loaded(wanted, error)}") from error
    # Under its plain name, where nothing but that was asked for.
    plain = wanted.subset is None and wanted.revision is None and split == "train"
    size = 0 if streaming else data.dataset_size or 0
    return _dataset(wanted.name if plain else shown, size, data)


def _why_not_loaded(wanted: Named, error: Exception) -> str:
    """What kept a data set from being loaded, and what to do."""
    name, text = wanted.name, " ".join(str(error).split())
    listed = re.search(r"(?:available configs|Available|Should be one of):? ?\[(.+?)\]", text)
    choices = "" if listed is None else listed[1].replace("'", "")
    if "Config name is missing" in text:
        return f"has several subsets: {choices}; name one, as in {name}:{choices.split(',')[0]}"
    if "BuilderConfig" in text and choices:
        return f"there is no subset {wanted.subset}; it has {choices}"
    if "Unknown split" in text and choices:
        of = name + (f":{wanted.subset}" if wanted.subset else "")
        return f"there is no such split; it has {choices}, as in {of}:split={choices.split(',')[0]}"
    if os.path.isdir(name):
        return f"cannot be read as a data set ({_line(error)})"
    if "OfflineMode" in text or "offline mode" in text.lower():
        return (
            "no such file here, and the Hugging Face hub is not asked while HF_HUB_OFFLINE or "
            "HF_DATASETS_OFFLINE is set: unset it, or download the data set and give its folder"
        )
    if isinstance(error, ConnectionError):
        return (
            f"no such file here, and the Hugging Face hub cannot be reached ({_line(error)}): "
            "check the connection, or download the data set elsewhere and give its folder"
        )
    return (
        f"no such file here, and no data set of this name could be loaded from the Hugging Face "
        f"hub ({_line(error)}). Check the name, and with a private one `hf auth login`; or "
        "download it and give its folder"
    )


def _dataset(name: str, size: int, data: Any, *, in_memory: bool = False) -> Source:
    def rows() -> Iterator[Row]:
        try:
            for number, values in enumerate(data, start=1):
                yield Row(name, number, values)
        except (OSError, ValueError, TypeError) as error:
            raise PlauditError(f"{name}: cannot be read on: {_line(error)}") from error

    return Source(
        name,
        size,
        rows,
        columns=lambda: list(data.column_names or []),
        counted=lambda: len(data) if hasattr(data, "__len__") else None,
        in_memory=in_memory,
    )


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]
