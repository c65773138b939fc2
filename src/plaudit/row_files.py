"""How an output holds its rows: JSON lines, CSV or TSV, plain or packed, or Parquet.

Rows are appended to an unfinished file in a form that can be cut off anywhere between two of them,
JSON lines or, where the columns' types are known, Arrow. Its last step makes the file out of that.
A text is written as it is, in CSV too: one that begins as a formula is somebody's data.
"""

import csv
import gzip
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from plaudit.console import say
from plaudit.data.encodings import Dialect
from plaudit.data.rows import CHUNK
from plaudit.errors import PlauditError
from plaudit.sources import kind_of

if TYPE_CHECKING:
    import pyarrow

ROWS_OF_A_GROUP = 1 << 14  # of Parquet, held in memory while they are written
ENDINGS = ".jsonl, .ndjson, .csv or .tsv, each also with .gz or .zst, or .parquet"


class Kind(Protocol):
    """How rows are appended to an unfinished file, and made into a whole one."""

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """Bytes to append for these rows."""
        ...

    def whole(self, rows: Path, spare: Path) -> Path:
        """The file made of all that was appended to `rows`: written to `spare`, or as it is."""
        ...


def kind_of_output(
    path: str | Path, schema: "pyarrow.Schema | None" = None, dialect: Dialect | None = None
) -> Kind:
    """How rows go to `path`, by its suffix; raises `PlauditError` for any other.

    `schema` is for Parquet and `dialect` for CSV.

    >>> kind_of_output("scored.jsonl.zst").packing
    'zst'
    """
    kind, packing = kind_of(path)
    if kind in ("jsonl", "ndjson"):
        return JsonLines(packing)
    if kind in ("csv", "tsv"):
        dialect = dialect or Dialect()
        if kind == "tsv":
            dialect = Dialect("\t", dialect.mark)
        return Csv(dialect, packing)
    if kind == "parquet" and packing is None:
        return Parquet() if schema is None else TypedParquet(schema)
    raise PlauditError(f"{path}: no kind of file that is written here; name it {ENDINGS}")


def json_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """A line for each row; NaN is refused, not written.

    >>> json_lines([{"a": "ü"}]).decode()
    '{"a": "ü"}\\n'
    """
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    return "".join(lines).encode()


class JsonLines:
    """An object a line, packed at the end: appended frames are not read by all that read .zst."""

    def __init__(self, packing: str | None) -> None:
        self.packing = packing

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """See `Kind`."""
        return json_lines(rows)

    def whole(self, rows: Path, spare: Path) -> Path:
        """See `Kind`."""
        if self.packing is None:
            return rows
        with open(rows, "rb") as source, open(spare, "wb") as target:
            with _packed(target, self.packing) as packed:
                while piece := source.read(CHUNK):
                    packed.write(piece)
            _to_disk(target)
        return spare


class Csv:
    """A header of all columns and a line a row: what is nested is JSON, and what is not there
    empty."""

    def __init__(self, dialect: Dialect, packing: str | None) -> None:
        self.dialect = dialect
        self.packing = packing

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """See `Kind`."""
        texts = (value for row in rows for value in row.values() if isinstance(value, str))
        if any("\0" in text for text in texts):
            raise PlauditError("a text has a NUL, which CSV cannot hold; write .jsonl")
        return json_lines(rows)

    def whole(self, rows: Path, spare: Path) -> Path:
        """See `Kind`."""
        columns = list(dict.fromkeys(n for some in _groups(rows) for row in some for n in row))
        with open(spare, "wb") as target:
            with _packed(target, self.packing) if self.packing else nullcontext(target) as file:
                encoding = "utf-8-sig" if self.dialect.mark else "utf-8"
                text = io.TextIOWrapper(file, encoding=encoding, newline="", write_through=True)
                # Lines end in CR LF (RFC 4180): with LF alone a CR in a text stays unquoted.
                writer = csv.writer(text, delimiter=self.dialect.delimiter)
                if self.dialect.stated:
                    text.write(f"sep={self.dialect.delimiter}\r\n")
                writer.writerow(columns)
                for some in _groups(rows):
                    writer.writerows([_cell(row.get(name)) for name in columns] for row in some)
                text.detach()  # the file below is closed where it was opened
            _to_disk(target)
        return spare


def _cell(value: Any) -> Any:
    """What stands in a cell of CSV for a value."""
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value


class Parquet:
    """Parquet of rows whose types are only known once all are there."""

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """See `Kind`."""
        return json_lines(rows)

    def whole(self, rows: Path, spare: Path) -> Path:
        """See `Kind`."""
        import pyarrow

        schema, as_text = _schema_of(rows)
        for name in as_text:
            say(f"{name}: Parquet has no one type for its values; written as JSON text")

        def tables() -> Iterator[pyarrow.Table]:
            for some in _groups(rows):
                for row in some:
                    row.update({n: json.dumps(row[n], ensure_ascii=False)
                                for n in as_text if row.get(n) is not None})  # fmt: skip
                yield pyarrow.Table.from_pylist(some, schema)

        _write_parquet(spare, schema, tables())
        return spare


class TypedParquet:
    """Parquet of rows of known types: each commit appends them as an Arrow stream of its own."""

    def __init__(self, schema: "pyarrow.Schema") -> None:
        self.schema = schema

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """See `Kind`."""
        import pyarrow

        if not rows:
            return b""
        sink = pyarrow.BufferOutputStream()
        options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
        with pyarrow.ipc.new_stream(sink, self.schema, options=options) as stream:
            stream.write_table(pyarrow.Table.from_pylist(rows, self.schema))
        return cast(bytes, sink.getvalue().to_pybytes())

    def whole(self, rows: Path, spare: Path) -> Path:
        """See `Kind`."""
        _write_parquet(spare, self.schema, self._tables(rows))
        return spare

    def _tables(self, rows: Path) -> Iterator["pyarrow.Table"]:
        import pyarrow

        with pyarrow.OSFile(str(rows)) as file:
            while file.tell() < file.size():
                yield pyarrow.ipc.open_stream(file).read_all()


def _write_parquet(path: Path, schema: "pyarrow.Schema", tables: Iterator["pyarrow.Table"]) -> None:
    """Row groups of `ROWS_OF_A_GROUP` rows, however the rows were appended."""
    import pyarrow
    import pyarrow.parquet

    with open(path, "wb") as file:
        with pyarrow.parquet.ParquetWriter(file, schema) as writer:
            left = schema.empty_table()
            for table in tables:
                left = pyarrow.concat_tables([left, table])
                while left.num_rows >= ROWS_OF_A_GROUP:
                    writer.write_table(left.slice(0, ROWS_OF_A_GROUP).combine_chunks())
                    left = left.slice(ROWS_OF_A_GROUP)
            if left.num_rows:
                writer.write_table(left.combine_chunks())
        _to_disk(file)


def _schema_of(rows: Path) -> tuple["pyarrow.Schema", list[str]]:
    """The type of each column over all rows, and the columns that have no one type."""
    import pyarrow

    types: dict[str, Any] = {}
    as_text: list[str] = []
    unlike: set[str] = set()
    for some in _groups(rows):
        for name in dict.fromkeys(name for row in some for name in row):
            try:
                here = pyarrow.array([row.get(name) for row in some]).type
                fields = [pyarrow.field(name, types.get(name, here)), pyarrow.field(name, here)]
                schemas = [pyarrow.schema([field]) for field in fields]
                merged = pyarrow.unify_schemas(schemas, promote_options="permissive")
                if not types.get(name, here) == here == merged.field(name).type:
                    unlike.add(name)
                types[name] = merged.field(name).type
            except (pyarrow.ArrowException, OverflowError):
                types[name] = pyarrow.string()
                if name not in as_text:
                    as_text.append(name)
    # A type for all need not hold each value: a large integer is no floating-point number.
    for some in _groups(rows) if unlike.difference(as_text) else ():
        for name in sorted(unlike.difference(as_text)):
            try:
                pyarrow.array([row.get(name) for row in some], types[name])
            except (pyarrow.ArrowException, OverflowError):
                as_text.append(name)
    as_text += [name for name, kind in types.items() if _has_empty_struct(kind)]
    for name in as_text:
        types[name] = pyarrow.string()
    return pyarrow.schema(list(types.items())), as_text


def _has_empty_struct(kind: Any) -> bool:
    """Whether there are objects without a key in it, which Parquet cannot hold."""
    import pyarrow

    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return (pyarrow.types.is_struct(kind) and not inner) or any(map(_has_empty_struct, inner))


def _groups(rows: Path) -> Iterator[list[dict[str, Any]]]:
    with open(rows, "rb") as file:
        while lines := list(islice(file, ROWS_OF_A_GROUP)):
            yield [json.loads(line) for line in lines]


def _packed(file: BinaryIO, packing: str) -> BinaryIO:
    if packing == "gz":
        # Without a name and a time in it, so that the same rows are the same bytes.
        return cast(BinaryIO, gzip.GzipFile("", "wb", 6, file, mtime=0))
    import zstandard

    return cast(BinaryIO, zstandard.ZstdCompressor().stream_writer(file, closefd=False))


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
