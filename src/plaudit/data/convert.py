"""From rankings to a file in one of the layouts that plaudit reads: what others train on or review.

The suffix says the kind: JSON lines, CSV, TSV (each also .gz) or a sheet (.xlsx). What is nested is
JSON text in the cells of the last three. A text is written as it is; in a sheet it is marked as
text, so that one that begins with "=" is no formula to whoever opens it, which CSV cannot say. What
a layout or a kind of file cannot hold unchanged is an error, never written changed: so are several
rankings of one prompt in a layout whose rows are joined by prompt when they are read.
"""

import csv
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from plaudit.data.cells import messages_from_text
from plaudit.data.layouts import LAYOUTS
from plaudit.data.rankings import BadRowError, Ranking, text_key
from plaudit.errors import PlauditError
from plaudit.files import writing
from plaudit.sources import kind_of

KINDS = ("jsonl", "ndjson", "csv", "tsv", "xlsx")
LONGEST_CELL = 32_767  # characters that a cell of .xlsx holds
# What XML 1.0 has no way to write.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

Row = dict[str, Any]


def writable_layouts() -> list[str]:
    """The names of the layouts that rankings can be written in.

    >>> "kto" in writable_layouts(), "webgpt" in writable_layouts()
    (True, False)
    """
    return [name for name, layout in LAYOUTS.each() if layout.write]


def write_layout(rankings: Iterable[Ranking], layout: str, path: str | Path) -> int:
    """Write rankings in a layout to a file whose suffix says the kind; return how many rows.

    Raises `PlauditError` for a layout that is not written, for another suffix, and for a ranking
    that does not fit.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> write_layout([Ranking("2+2?", ["5", "4"], [1, 0], annotator="Ada")], "pairs", file)
    1
    >>> file.read_text()
    'prompt,chosen,rejected,annotator\\n2+2?,4,5,Ada\\n'
    """
    kind, packing = kind_of(path)
    if kind not in KINDS or packing not in (None, "gz") or (kind == "xlsx" and packing):
        raise PlauditError(f"{path}: name it .jsonl, .csv, .tsv or .xlsx, which says how to write")
    content, count = written(rankings, layout, kind, str(path))
    with writing(path) as file:
        binary = cast(io.TextIOWrapper, file).buffer
        # No name and no time in the header: equal data makes equal files.
        binary.write(gzip.compress(content, mtime=0) if packing else content)
    return count


def written(
    rankings: Iterable[Ranking], layout: str, kind: str, name: str = ""
) -> tuple[bytes, int]:
    """What a file of `kind` holds for these rankings, and its number of rows; see `write_layout`.

    `name` is what messages call the file.
    """
    name = name or f"{layout} as {kind}"
    if layout not in writable_layouts():
        raise PlauditError(
            f"{layout}: no layout that is written; there are {', '.join(writable_layouts())}"
        )
    if LAYOUTS.get(layout).row == "completion":
        rankings = list(rankings)
        _refuse_to_join(rankings, layout, name)
    rows = list(_rows(rankings, layout, name))
    if kind in ("jsonl", "ndjson"):
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        return "".join(lines).encode(), len(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_cell(row.get(column), name) for column in columns] for row in rows]
    made = _sheet(columns, cells, name) if kind == "xlsx" else _csv(columns, cells, kind)
    return made, len(rows)


def _refuse_to_join(rankings: Sequence[Ranking], layout: str, name: str) -> None:
    """Raise `PlauditError` where rows of several rankings would be read as one.

    Joined, they order completions that nobody compared, and drop those that two of them share.
    """
    each = Counter((text_key(ranking.prompt), ranking.annotator) for ranking in rankings)
    several = [count for count in each.values() if count > 1]
    if not several:
        return
    apart = [other for other in writable_layouts() if LAYOUTS.get(other).row != "completion"]
    prompts = "1 prompt has" if len(several) == 1 else f"{len(several):,} prompts have"
    raise PlauditError(
        f"{name}: {prompts} several rankings ({sum(several):,} in all), which would be read as "
        f"one: rows of {layout} are joined by prompt and annotator. Write a layout that keeps them "
        f"apart, such as --to pairs; there are {', '.join(apart)}"
    )


def _rows(rankings: Iterable[Ranking], layout: str, name: str) -> Iterator[Row]:
    write = LAYOUTS.get(layout).write
    assert write is not None
    for ranking in rankings:
        try:
            yield from write(ranking)
        except BadRowError as bad:
            where = ranking.origin or "a ranking"
            raise PlauditError(
                f"{name}: {where} cannot be written in the layout {layout}: {bad}"
            ) from bad


def _cell(value: Any, name: str) -> str | int | float | None:
    if isinstance(value, str):
        if messages_from_text(value) is not None:
            raise PlauditError(
                f"{name}: a text is the JSON of messages, which a cell cannot tell from messages; "
                "write .jsonl"
            )
        if "\0" in value:
            raise PlauditError(f"{name}: a text has a NUL, which a cell cannot hold; write .jsonl")
        return value
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _csv(columns: list[str], rows: Iterable[Sequence[Any]], kind: str) -> bytes:
    text = io.StringIO(newline="")
    # Lines end in CR LF (RFC 4180): with LF alone the csv module leaves a CR in a text unquoted.
    writer = csv.writer(text, delimiter="\t" if kind == "tsv" else ",")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def _sheet(columns: list[str], rows: Iterable[Sequence[Any]], name: str) -> bytes:
    try:
        import openpyxl
        from openpyxl.cell import Cell
    except ImportError as error:
        raise PlauditError(
            f"{name}: .xlsx needs openpyxl: run `pip install openpyxl`, or write .csv"
        ) from error
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "preferences"

    def as_text(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if len(value) > LONGEST_CELL or UNWRITABLE.search(value) or "\r" in value:
            raise PlauditError(
                f"{name}: a text is longer than the {LONGEST_CELL:,} characters of a cell, or has "
                "a character that a sheet cannot hold; write .jsonl or .csv"
            )
        cell = Cell(sheet)
        cell.value, cell.data_type = (
            value,
            "s",
        )  # a text, also where it begins with "=": nothing is calculated
        return cell

    for row in ([*columns], *rows):
        sheet.append([as_text(value) for value in row])
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()
