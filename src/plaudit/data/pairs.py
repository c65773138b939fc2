"""From rankings to a file of pairs: one row per strictly ordered pair, as TRL and others read it.

Read back with `load_rankings`, the file gives the same preferences. The suffix says the kind: CSV,
TSV, JSON lines or Parquet, each also .gz or .zst. Messages are lists in JSON lines and Parquet and
JSON text in CSV and TSV. What a kind cannot hold unchanged is an error, never written changed.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from plaudit.data.cells import messages_from_text
from plaudit.data.chat import implicit_prompt
from plaudit.data.rankings import Ranking, Text
from plaudit.data.readers import Rankings
from plaudit.errors import PlauditError
from plaudit.files import writing
from plaudit.sources import kind_of

BATCH = 1024
OPTIONAL = ("category", "margin", "weight", "annotator")

# Layouts whose completions may begin with their prompt, which is found in them and may be empty.
MAY_BE_IMPLICIT = ("pairs", "annotated pairs")  # as `Rankings.format` has them

Pair = dict[str, Any]


def write_pairs(rankings: Rankings | Sequence[Ranking], path: str | Path) -> int:
    """Write every strictly ordered pair of every ranking, in the data's order; return how many.

    The columns are prompt, chosen and rejected, and category, margin, weight and annotator where
    any ranking has one (of a stream: where the data has the column). The category is that of the
    rejected completion where completions have their own. Where prompts are implicit and may be
    empty there is no prompt column, and chosen and rejected begin with the prompt, as they were
    read.

    Raises `PlauditError` for an unknown suffix, and for a text that the kind of file cannot hold.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> write_pairs([Ranking("2+2?", ["5", "4"], [1, 0])], file)
    1
    >>> file.read_text()
    'prompt,chosen,rejected\\n2+2?,4,5\\n'
    """
    kind, packing = kind_of(path)
    if kind not in ("csv", "tsv", "jsonl", "ndjson", "parquet"):
        raise PlauditError(f"{path}: pairs are written as .csv, .tsv, .jsonl or .parquet")
    columns = _columns(rankings)
    pairs = (
        _pair(ranking, better, worse, columns, path)
        for ranking in rankings
        for better, worse in ranking.pairs()
    )
    write: Callable[[Iterable[Pair], list[str], BinaryIO, str], int]
    write = {"csv": _csv, "tsv": _csv, "parquet": _parquet}.get(kind, _jsonl)
    with writing(path) as file, ExitStack() as stack:
        # Bytes under the text: packing and Parquet write those, to the same temporary name.
        binary = cast(BinaryIO, cast(io.TextIOWrapper, file).buffer)
        if packing == "gz":
            # No name and no time in the header: equal data makes equal files.
            packed: Any = gzip.GzipFile("", "wb", fileobj=binary, mtime=0)
        elif packing == "zst":
            packed = zstandard.ZstdCompressor().stream_writer(binary, closefd=False)
        else:
            return write(pairs, columns, binary, str(path))
        return write(pairs, columns, stack.enter_context(packed), str(path))


def _columns(rankings: Rankings | Sequence[Ranking]) -> list[str]:
    """Which columns to write, known before the first row."""
    if isinstance(rankings, Rankings) and rankings.streaming:
        has = rankings.columns
        implicit = "prompt" not in has and rankings.format in MAY_BE_IMPLICIT
        optional = [name for name in OPTIONAL if name in has]
    else:
        implicit = any(not ranking.prompt for ranking in rankings)
        there = {
            "category": any(r.category is not None or r.categories for r in rankings),
            "margin": any(r.margin is not None for r in rankings),
            "weight": any(r.weight != 1 for r in rankings),
            "annotator": any(r.annotator is not None for r in rankings),
        }
        optional = [name for name in there if there[name]]
    return [*([] if implicit else ["prompt"]), "chosen", "rejected", *optional]


def _pair(ranking: Ranking, better: int, worse: int, columns: list[str], path: Any) -> Pair:
    prompt = ranking.prompt
    chosen, rejected = ranking.completions[better], ranking.completions[worse]
    if "prompt" not in columns:
        whole = (prompt + chosen, prompt + rejected)  # type: ignore[operator]
        if implicit_prompt(*whole) != (prompt, chosen, rejected):
            raise PlauditError(
                f"{path}: some prompts are empty, and that of {ranking.origin or 'a ranking'} "
                "would not be found again without a prompt column; leave out the empty ones"
            )
        chosen, rejected = whole
    elif not prompt:  # of a stream alone: else it is known before the first row
        raise PlauditError(
            f"{path}: the prompt of {ranking.origin} is empty; read without --streaming"
        )
    category = ranking.categories[worse] if ranking.categories else ranking.category
    row = {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "category": category,
        "margin": ranking.margin,
        "weight": ranking.weight,
        "annotator": ranking.annotator,
    }
    return {name: row[name] for name in columns}


def _jsonl(pairs: Iterable[Pair], columns: list[str], file: BinaryIO, path: str) -> int:
    count = 0
    for pair in pairs:
        file.write(json.dumps(pair, ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def _csv(pairs: Iterable[Pair], columns: list[str], file: BinaryIO, path: str) -> int:
    delimiter = "\t" if kind_of(path)[0] == "tsv" else ","
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    # Lines end in CR LF (RFC 4180): with LF alone the csv module leaves a CR in a text unquoted.
    writer = csv.DictWriter(text, columns, delimiter=delimiter)
    writer.writeheader()
    count = 0
    for pair in pairs:
        writer.writerow({name: _csv_cell(value, path) for name, value in pair.items()})
        count += 1
    text.detach()  # the file below is not ours to close
    return count


def _csv_cell(value: Any, path: str) -> Any:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        if "\0" in value:
            raise PlauditError(f"{path}: a text has a NUL, which CSV cannot hold; write .jsonl")
        if messages_from_text(value) is not None:
            raise PlauditError(
                f"{path}: a text is the JSON of messages, which CSV cannot tell from messages; "
                "write .jsonl"
            )
    return value


def _parquet(pairs: Iterable[Pair], columns: list[str], file: BinaryIO, path: str) -> int:
    import pyarrow
    import pyarrow.parquet

    pairs = iter(pairs)
    first = next(pairs, None)
    message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    in_messages = first is not None and isinstance(first["chosen"], list)
    text = pyarrow.list_(message) if in_messages else pyarrow.string()
    types = {
        name: pyarrow.float64() if name in ("margin", "weight") else pyarrow.string()
        for name in OPTIONAL
    }
    schema = pyarrow.schema([(name, types.get(name, text)) for name in columns])
    rows = chain([] if first is None else [first], pairs)
    count = 0
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for batch in _batches(rows):
            for pair in batch:
                for name in columns:
                    if name not in types:
                        _check_for_parquet(pair[name], in_messages, path)
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def _check_for_parquet(text: Text, in_messages: bool, path: str) -> None:
    """A Parquet column has one type; what does not fit it would be dropped without a word."""
    if isinstance(text, str):
        fits = not in_messages
    else:
        fits = in_messages and all(
            set(message) == {"role", "content"} and isinstance(message["content"], str)
            for message in text
        )
    if not fits:
        raise PlauditError(
            f"{path}: one Parquet column cannot hold both plain text and messages, nor messages "
            "with more than a role and plain content; write .jsonl"
        )


def _batches(rows: Iterator[Pair]) -> Iterator[list[Pair]]:
    while batch := list(islice(rows, BATCH)):
        yield batch
