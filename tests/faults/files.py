"""Fuzzed files of every kind that plaudit reads, and every way in which it reads them.

`draw_case(seed, number, folder)` writes one file, or one folder of a model with a spoilt file in
it; `read(case)` reads it as commands do and says how that went: it is read, or refused with a
`PlauditError`, and of a file with a row a line all lines that are whole are read as before.
`python tests/faults/files.py --seed 0 --case 17` repeats one case with its traceback.
"""

import argparse
import base64
import contextlib
import copy
import csv
import datetime
import decimal
import gzip
import io
import json
import os
import shutil
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import openpyxl
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import torch
import yaml
import zstandard

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import suite_rows
import tiny
from faults.drawing import (
    NUMBERS,
    TEXTS,
    as_bytes,
    as_json,
    cut,
    damage,
    odd,
    spoil,
)
from plaudit import RewardModel, commands, load_rankings
from plaudit.data.mixing import load_mixture
from plaudit.data.prompts import stream_prompts
from plaudit.data.rankings import Rejected
from plaudit.data.readers import Rankings
from plaudit.data.rows import Row, find_sources
from plaudit.errors import PlauditError
from plaudit.evaluation.suite_rewards import score_rewards
from plaudit.evaluation.suite_run import load_suite
from plaudit.evaluation.suites import SUITES
from plaudit.labelling.labelling import Labelling
from plaudit.sampling.samples import read_samples
from plaudit.scoring.score import score_file
from plaudit.serving.settings import read_keys
from plaudit.settings import Settings
from plaudit.training.space import read_space
from plaudit.verification.rows import read_rows
from published_rows import PUBLISHED

ROWS = 12


@dataclass
class Case:
    """A spoilt file or folder at `path`: of which kind it is, what was done to it, how it is to be
    read, and, where it has a row a line, the rows that stand on the lines that are as they were."""

    path: Path
    kind: str
    done: str
    ways: list[str]
    whole: list[dict[str, Any]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)


# ---- rows ----


def pairs(draw: Random) -> list[dict[str, Any]]:
    """Rows of which each stands for itself."""
    texts = ["a loan", "Ünï, code", 'says "so"', "1", "x" * 300, "tab\there", "it's; well"]
    rows = []
    for number in range(ROWS):
        row = {"prompt": f"Question {number}: {draw.choice(texts)}?"}
        row |= {"chosen": f"{draw.choice(texts)} {number}", "rejected": f"no {draw.choice(texts)}"}
        rows.append(row)
    return rows


def ranked(draw: Random) -> list[dict[str, Any]]:
    """Rows of one completion each."""
    more = draw.choice([{}, {"score": 1.5}, {"category": "c", "model": "m", "weight": 2}])
    return [
        {"prompt": f"Q {n // 3}?", "answer": f"Answer {n}.", "rank": n % 3 + 1} | more
        for n in range(ROWS)
    ]


def lists(draw: Random) -> list[dict[str, Any]]:
    """Rows of a whole ranking each, as text or in messages."""
    rows: list[dict[str, Any]] = []
    for number in range(ROWS):
        prompt: Any = f"Question {number}?"
        prompt = draw.choice([prompt, [{"role": "user", "content": prompt}]])
        row = {"prompt": prompt, "completions": [f"Yes {number}.", "No.", "Ünï."]}
        rows.append(row | draw.choice([{"ranks": [1, 2, 3]}, {"scores": [3, 2.5, -1]}]))
    return rows


def published(draw: Random) -> list[dict[str, Any]]:
    """Rows of a layout that data are published in."""
    rows = PUBLISHED[draw.choice(sorted(PUBLISHED))].rows
    return [copy.deepcopy(rows[n % len(rows)]) for n in range(ROWS)]


def of_suite(draw: Random) -> tuple[str, list[dict[str, Any]]]:
    """A benchmark and rows of its data."""
    name = draw.choice(sorted(name for name, _ in SUITES.each()))
    make = getattr(suite_rows, f"{name}_row", None)
    if make is not None:
        return name, [make(number) for number in range(ROWS)]
    return name, published(draw)


def rewards_rows(draw: Random) -> tuple[str, list[dict[str, Any]]]:
    """A benchmark, and rewards as others publish them or as plaudit writes them."""
    name = draw.choice(["judgebench", "rewardmath", "rmb", "llmbar", "rewardbench", "rmbench"])
    file = Path(__file__).parent.parent / "published" / f"{name}.jsonl.gz"
    if file.is_file() and draw.random() < 0.7:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return name, [json.loads(line) for line in islice(lines, ROWS)]
    if draw.random() < 0.5:
        row = {"ranking": 0, "completion": "a", "prompt": "p", "reward": 0.5, "rank": 0}
        return name, [row | {"ranking": n // 2, "rank": n % 2} for n in range(ROWS)]
    rows = [
        {"id": str(n), "category": "c", "rewards": [1.0, 0.5], "ranks": [0, 1]} for n in range(ROWS)
    ]
    return name, rows


# ---- files of text ----


def as_table(rows: list[dict[str, Any]], delimiter: str) -> str:
    """Rows as CSV, what is no text as JSON."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    table.writerow(names)
    for row in rows:
        cells = (row.get(name, "") for name in names)
        table.writerow(cell if isinstance(cell, str) else json.dumps(cell) for cell in cells)
    return text.getvalue()


def spoilt_lines(draw: Random, lines: list[bytes], head: int) -> tuple[list[bytes], set[int]]:
    """Lines of which a few are damaged, doubled, moved, joined or gone; and which are not. The
    first `head` of them stay as they are."""
    touched = set()
    found: list[bytes | None] = list(lines)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(head, len(lines))
        if at in touched:
            continue
        touched.add(at)
        line = lines[at]
        found[at] = draw.choice(
            [
                damage(draw, line[:-1], lines=False) + b"\n",
                cut(draw, line[:-1]) + b"\n",
                None,
                as_bytes(as_json(draw, odd(draw))).replace(b"\n", b" ") + b"\n",
                line[:-1] + line,
                b"\n" + line[:-1] + b"\r\n",
                b"\xef\xbb\xbf" + line,
            ]
        )
    return [line for line in found if line is not None], set(range(head, len(lines))) - touched


def pack(draw: Random, path: Path, data: bytes) -> Path:
    """Write bytes, now and then packed, and now and then damaged as a packed file."""
    packing = draw.choice(["", "", "", "gz", "zst"])
    if packing == "gz":
        data = gzip.compress(data, 1)
    elif packing == "zst":
        data = zstandard.ZstdCompressor().compress(data)
    path = path.with_name(path.name + (f".{packing}" if packing else ""))
    if packing and draw.random() < 0.4:
        data = cut(draw, data) if draw.random() < 0.3 else damage(draw, data)
        path = path.with_name("damaged-" + path.name)
    path.write_bytes(data)
    return path


def text_file(draw: Random, folder: Path) -> Case:
    """CSV, TSV, JSON and JSON lines of rows that were right."""
    kind = draw.choice(["csv", "tsv", "json", "jsonl", "ndjson"])
    rows = draw.choice([pairs, pairs, ranked, lists, published])(draw)
    right = copy.deepcopy(rows)
    done = draw.choice(["values", "lines", "lines", "bytes", "bytes", "cut", "encoding"])
    if done == "values":
        fields = sorted({name for row in rows for name in row} | {"rank", "ratings", "category"})
        for _ in range(draw.randint(1, 3)):
            spoil(draw, rows, fields)
    if kind in ("csv", "tsv"):
        plain = [row for row in rows if isinstance(row, dict)]
        text = as_table(plain, "\t" if kind == "tsv" else draw.choice(",,;|"))
    elif kind == "json":
        text = as_json(draw, rows)
    else:
        write = json.dumps if done == "lines" else partial(as_json, draw)
        text = "".join(write(row) + "\n" for row in rows)
    data = as_bytes(text)
    kept: set[int] = set()
    if done == "lines" and kind != "json" and data.count(b"\n") > 2:
        head = int(kind in ("csv", "tsv"))
        lines = data.splitlines(keepends=True)
        if len(lines) == len(right) + head:
            lines, kept = spoilt_lines(draw, lines, head)
            kept = {number - head for number in kept}
            data = b"".join(lines)
    elif done == "cut":
        data = cut(draw, data)
    elif done == "encoding":
        codec = draw.choice(["utf-16", "utf-16-le", "utf-32", "cp1252", "shift-jis", "utf-8-sig"])
        data = text.encode(codec, "replace")
        data = damage(draw, data, times=1) if draw.random() < 0.5 else data
    elif done != "values":
        data = damage(draw, data)
    path = pack(draw, folder / f"data.{kind}", data)
    whole = [right[number] for number in sorted(kept)] if path.name[:7] != "damaged" else []
    encoding = draw.choice([None] * 8 + ["cp1252", "utf-16", "utf-8"]) if not whole else None
    return Case(path, kind, done, ways(draw), whole, {"encoding": encoding})


def odd_file(draw: Random, folder: Path) -> Case:
    """A file that a grammar made, and nobody would have written."""
    kind = draw.choice(["csv", "tsv", "json", "jsonl", "txt"])
    if kind == "json":
        text = as_json(draw, draw.choice([odd(draw), [odd(draw) for _ in range(4)], pairs(draw)]))
    elif kind == "jsonl":
        text = "\n".join(as_json(draw, draw.choice([odd(draw), *pairs(draw)])) for _ in range(6))
    else:
        names = draw.choice([["prompt", "chosen", "rejected"], ["prompt", "answer", "rank"]])
        names = [draw.choice([name] * 8 + [draw.choice(TEXTS)]) for name in names]
        lines = [names, *([str(odd(draw, 9)) for _ in names] for _ in range(5))]
        text = "\n".join(draw.choice(",,,;\t").join(line) for line in lines)
    path = pack(draw, folder / f"data.{kind}", as_bytes(text))
    if ".txt" in path.name:
        path = path.rename(path.with_name("data.txt"))
        return Case(path, "txt", "made", ["prompts"])
    return Case(path, kind, "made", ways(draw))


# ---- tables and sheets ----

DATES = [
    datetime.datetime(2024, 1, 2, 3, 4, 5, 678),
    datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC),
    datetime.date(1, 1, 1),
    datetime.time(1, 2, 3),
    datetime.timedelta(days=10**6, microseconds=1),
]


def column(draw: Random) -> Any:
    """An Arrow column of a type that rows of texts do not have, or of odd values of one."""
    whole = [draw.choice([2**62, -(2**62), 0, 1, 253402300800 * 10**6, None]) for _ in range(ROWS)]
    integers = pyarrow.array(whole, pyarrow.int64())
    text = [draw.choice(["a", "Hi", "", None]) for _ in range(ROWS)]
    halves = pyarrow.array([draw.choice([b"a", b"\xff\xfe", b"\xed\xa0\x80"]) for _ in range(ROWS)])
    small = pyarrow.array([draw.choice([0, 1, None]) for _ in range(ROWS)], pyarrow.int32())
    makers: list[Callable[[], Any]] = [
        *(
            lambda unit=unit, zone=zone: integers.cast(pyarrow.timestamp(unit, zone), safe=False)
            for unit in ("s", "ms", "us", "ns")
            for zone in (None, "UTC", "Europe/Berlin", "+05:30", "No/Where")
        ),
        lambda: small.cast(pyarrow.date32()),
        lambda: integers.cast(pyarrow.int32(), safe=False).cast(pyarrow.date32()),
        lambda: integers.cast(pyarrow.date64(), safe=False),
        lambda: pyarrow.Array.from_buffers(pyarrow.time64("ns"), ROWS, integers.buffers()),
        lambda: pyarrow.Array.from_buffers(pyarrow.duration("s"), ROWS, integers.buffers()),
        lambda: pyarrow.Array.from_buffers(pyarrow.duration("ns"), ROWS, integers.buffers()),
        lambda: pyarrow.array([decimal.Decimal(f"{n}.5") for n in range(ROWS)]),
        lambda: pyarrow.array([decimal.Decimal(9) ** 30] * ROWS, pyarrow.decimal256(76, 2)),
        lambda: halves,
        lambda: pyarrow.Array.from_buffers(pyarrow.string(), ROWS, halves.buffers()),
        lambda: pyarrow.array(text, pyarrow.large_string()),
        lambda: pyarrow.array(text).dictionary_encode(),
        lambda: pyarrow.array([[t] for t in text]),
        lambda: pyarrow.array([{"role": "user", "content": t} for t in text]),
        lambda: pyarrow.array([[{"role": "user", "content": t}] for t in text]),
        lambda: pyarrow.array([[("k", t)] for t in text], pyarrow.map_(pyarrow.string(), "string")),
        lambda: pyarrow.array([float("nan"), float("inf"), None, *[0.5] * (ROWS - 3)]),
        lambda: pyarrow.array(
            [draw.choice(DATES[:2]) for _ in range(ROWS)], pyarrow.timestamp("us")
        ),
        lambda: pyarrow.nulls(ROWS),
        lambda: pyarrow.array([pyarrow.MonthDayNano([1, 2, 3])] * ROWS),
        lambda: pyarrow.array([{"when": None}] * ROWS),
        lambda: pyarrow.StructArray.from_arrays(
            [integers.cast(pyarrow.timestamp("us"), safe=False)], ["when"]
        ),
        lambda: pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(range(2 * ROWS)), 2),
        lambda: pyarrow.array(range(ROWS), pyarrow.uint64()),
        lambda: pyarrow.array([True, None] * (ROWS // 2)),
    ]
    return draw.choice(makers)()


def arrow_table(draw: Random) -> pyarrow.Table:
    """Rows as an Arrow table, with a column or two of odd types beside or among those it needs."""
    rows = draw.choice([pairs, ranked, lists])(draw)
    names = list(rows[0])
    columns = [pyarrow.array([row.get(name) for row in rows if name in row]) for name in names[:2]]
    more = [[row.get(name) for row in rows] for name in names[2:]]
    for values in more:
        try:
            columns.append(pyarrow.array(values))
        except pyarrow.ArrowException:
            columns.append(pyarrow.array([str(value) for value in values]))
    for _ in range(draw.randint(0, 2)):
        made = column(draw)
        if draw.random() < 0.5:
            columns[draw.randrange(len(columns))] = made
        else:
            names.append(draw.choice(["when", "id", "category", "weight", "model", "prompt", "\0"]))
            columns.append(made)
    return pyarrow.Table.from_arrays(columns, names)


def table_file(draw: Random, folder: Path) -> Case:
    """Parquet, Arrow and Feather, of odd types or with damaged bytes."""
    kind = draw.choice(["parquet", "parquet", "arrow", "feather"])
    while True:
        try:
            table = arrow_table(draw)
            data = written(draw, table, kind)
            break
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
            continue  # a type that this kind of file cannot hold
    done = draw.choice(["types", "types", "bytes", "cut"])
    if done == "bytes":
        data = damage(draw, data)
    elif done == "cut":
        data = cut(draw, data)
    return Case(pack(draw, folder / f"data.{kind}", data), kind, done, ways(draw))


def written(draw: Random, table: pyarrow.Table, kind: str) -> bytes:
    """A table as a file of a kind."""
    sink = io.BytesIO()
    if kind == "parquet":
        version = draw.choice(["1.0", "2.6"])
        pyarrow.parquet.write_table(table, sink, version=version, row_group_size=5)
    elif kind == "feather":
        pyarrow.feather.write_feather(table, sink, compression=draw.choice(["lz4", "uncompressed"]))
    else:
        new = draw.choice([pyarrow.ipc.new_file, pyarrow.ipc.new_stream])
        with new(sink, table.schema) as out:
            out.write_table(table)
    return sink.getvalue()


def sheet_file(draw: Random, folder: Path) -> Case:
    """A spreadsheet with odd cells, or damaged within or without its packing."""
    book = openpyxl.Workbook()
    sheet = book.active
    rows = draw.choice([pairs, ranked])(draw)
    sheet.append(list(rows[0]))
    for row in rows:
        cells = list(row.values())
        if draw.random() < 0.3:
            cells[draw.randrange(len(cells))] = draw.choice(
                [*DATES[:1], *DATES[2:], *(n for n in NUMBERS if n == n and abs(n) < 1e300), None,
                 "=1/0", "#DIV/0!", "=A1", "a" * 1000, True]
            )  # fmt: skip
        sheet.append(cells)
    if draw.random() < 0.3:
        book.create_sheet("other").append(draw.choice([["x"], [], ["a", "b"]]))
    out = io.BytesIO()
    book.save(out)
    data = out.getvalue()
    done = draw.choice(["cells", "members", "members", "bytes", "cut"])
    if done == "members":
        with zipfile.ZipFile(io.BytesIO(data)) as right:
            members = {name: right.read(name) for name in right.namelist()}
        name = draw.choice(sorted(members))
        members[name] = damage(draw, members[name])
        if draw.random() < 0.1:
            del members[name]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as spoilt:
            for name, content in members.items():
                spoilt.writestr(name, content)
        data = packed.getvalue()
    elif done in ("bytes", "cut"):
        data = damage(draw, data) if done == "bytes" else cut(draw, data)
    return Case(pack(draw, folder / "data.xlsx", data), "xlsx", done, ways(draw))


# ---- what is read besides data ----


def text_of(draw: Random, rows: list[dict[str, Any]], done: str) -> bytes:
    """Rows as JSON lines or as one list, spoilt."""
    if done == "values":
        fields = sorted({name for row in rows for name in row})
        for _ in range(draw.randint(1, 2)):
            spoil(draw, rows, fields)
    listed = draw.random() < 0.2
    text = as_json(draw, rows) if listed else "".join(as_json(draw, row) + "\n" for row in rows)
    data = as_bytes(text)
    return data if done == "values" else damage(draw, data)


def benchmark_file(draw: Random, folder: Path) -> Case:
    """The data of a benchmark."""
    name, rows = of_suite(draw)
    done = draw.choice(["values", "values", "bytes"])
    data = text_of(draw, rows, done)
    kind = "json" if data.lstrip()[:1] == b"[" else "jsonl"
    path = pack(draw, folder / f"data.{kind}", data)
    return Case(path, "benchmark", done, ["suite"], more={"suite": draw.choice([name, None])})


def rewards_file(draw: Random, folder: Path) -> Case:
    """Rewards that others computed."""
    name, rows = rewards_rows(draw)
    done = draw.choice(["values", "values", "bytes"])
    data = text_of(draw, rows, done)
    if draw.random() < 0.2:
        columns = {key: [row.get(key) for row in rows if isinstance(row, dict)] for key in ("id",)}
        data = as_bytes(as_json(draw, columns | {"scores": odd(draw), "results": odd(draw)}))
    kind = draw.choice(["json", "jsonl"])
    path = pack(draw, folder / f"rewards.{kind}", data)
    return Case(path, "rewards", done, ["rewards"], more={"suite": name})


def labels_file(draw: Random, folder: Path) -> Case:
    """A labels file, beside the data that it is of."""
    rows = ranked(draw)
    data = folder / "to_label.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = [{name: row[name] for name in ("prompt", "answer", "rank")} for row in rows]
    done = draw.choice(["values", "bytes", "cut"])
    if done == "values":
        spoil(draw, labels, ["prompt", "answer", "rank", "model"])
    content = as_bytes(as_table([row for row in labels if isinstance(row, dict)], ","))
    if done != "values":
        content = damage(draw, content) if done == "bytes" else cut(draw, content)
    path = folder / "labels.csv"
    path.write_bytes(content)
    return Case(path, "labels", done, ["labels"], more={"data": data})


SETTINGS = {
    "data": "data.csv", "base": "bert-base-uncased", "max_length": 128, "lr": 1e-4, "seed": 3,
    "loss": "bradley-terry", "epochs": 2, "freeze_layers": 2, "recipe": "plain", "dtype": "float32",
    "data_share": 0.5, "columns": {"prompt": "question"}, "val": ["a=a.csv", "b=b.csv"],
}  # fmt: skip
SPACE = {"lr": {"low": 1e-6, "high": 1e-4, "log": True}, "max_length": [64, 128]}


def settings_file(draw: Random, folder: Path) -> Case:
    """A YAML file of settings, or of a space to search."""
    of = draw.choice(["settings", "settings", "space"])
    values = copy.deepcopy(SETTINGS if of == "settings" else SPACE)
    if of == "settings":
        values = {n: v for n, v in values.items() if n == "data" or draw.random() < 0.4}
    done = draw.choice(["values", "values", "bytes", "made"])
    if done == "values":
        spoil(draw, values, [*SETTINGS, "low", "high", "unknown"])
        try:
            data = as_bytes(yaml.safe_dump(values))
        except (yaml.YAMLError, UnicodeError, ValueError):
            data = as_bytes(as_json(draw, values))
    elif done == "bytes":
        data = damage(draw, as_bytes(yaml.safe_dump(values)))
    else:
        more = ["a: &a [*a]", "!!python/object:os.system {}", "? [a]\n: b", "a: *b", "- a", "1: 2",
                "lr: 2024-13-01", "seed: 0o7", "a: b: c", "\t", "{", "[" * DEEP_YAML, "lr: .nan",
                "? {a: b}\n: c", "<<: [1]", "<<: {a: b}", "a: !!binary x", "a: !!set {b}", "&a",
                "lr: 99999999999999999999-01-01", "seed: 1:60:70", "%YAML 9", "--- a\n--- b",
                "a: !!timestamp x", "a: !!int x", "a: !!float x", "!!str : a"]  # fmt: skip
        data = as_bytes("\n".join(draw.choice(more) for _ in range(draw.randint(1, 2))))
    path = folder / "settings.yaml"
    path.write_bytes(data)
    return Case(path, of, done, [of])


DEEP_YAML = 1500


def keys_file(draw: Random, folder: Path) -> Case:
    """The keys of a service, or a chat template."""
    of = draw.choice(["keys", "template"])
    right = b"first-key # of a\nsecond-key\n" if of == "keys" else tiny.CHAT_TEMPLATE.encode()
    path = folder / of
    path.write_bytes(damage(draw, right, times=4))
    return Case(path, of, "bytes", [of])


def make_models(folder: Path, exports: Sequence[str] = ("pt", "onnx")) -> Path:
    """Fill a folder with tiny models: two kinds, one of them exported too."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        for name in ("bert", "qwen2"):
            base = tiny.make(name, folder / f"{name}-base")
            RewardModel.load(base, dtype="float32", device="cpu").save(folder / name)
        for kind in exports:
            with contextlib.suppress(PlauditError):  # an optional part is not there
                commands.export(folder / "bert", folder / f"bert.{kind}", format=kind)
    return folder


@cache
def models() -> Path:
    """The folder of `make_models`: the one that was named, or one that is made for this process."""
    named = os.environ.get("PLAUDIT_FAULTS_MODELS")
    return Path(named) if named else make_models(Path(tempfile.mkdtemp(prefix="plaudit-faults-")))


@cache
def scorer() -> RewardModel:
    """The model that scores, loaded once a process."""
    model = RewardModel.load(models() / "bert", dtype="float32", device="cpu")
    model.new_head = False
    return model


def model_folder(draw: Random, folder: Path) -> Case:
    """A model's folder in which one file is spoilt."""
    name = draw.choice(["bert", "qwen2", "qwen2"])
    place = folder / name
    shutil.copytree(models() / name, place)
    files = sorted(file for file in place.rglob("*") if file.is_file())
    jsons = [file for file in files if file.suffix == ".json"]
    file = draw.choice([*files, *jsons, *jsons, place / "config.json"])
    done = draw.choice(["values", "values", "bytes", "cut"])
    if file.suffix == ".json" and done == "values":
        values = json.loads(file.read_text(encoding="utf-8"))
        if file.name == "tokenizer.json":  # else nearly all changes are in the vocabulary
            values["model"].pop("merges", None) if draw.random() < 0.2 else None
            inner = {k: v for k, v in values.items() if k != "model"}
            spoil(draw, inner, list(values))
            values = {**inner, "model": values["model"]}
        else:
            own = "plaudit" in values and draw.random() < 0.5
            spoil(draw, values["plaudit"] if own else values, [*values, "model_type", "plaudit"])
        file.write_bytes(as_bytes(as_json(draw, values)))
    elif done == "cut":
        file.write_bytes(cut(draw, file.read_bytes()))
    else:
        data = file.read_bytes()
        head = min(len(data), 4000)  # of weights the part that says what they are
        file.write_bytes(damage(draw, data[:head]) + data[head:])
    return Case(place, "model folder", f"{file.name}, {done}", ["model"])


def exported_file(draw: Random, folder: Path) -> Case:
    """An exported model with damaged bytes."""
    there = [file for file in sorted(models().glob("bert.*")) if file.is_file()]
    file = draw.choice(there)
    data = file.read_bytes()
    done = draw.choice(["bytes", "bytes", "cut", "noted"])
    if file.suffix == ".pt" and done == "noted":
        content = torch.load(io.BytesIO(data), weights_only=True)
        for name in ("config", "tokenizer"):
            part = dict(content[name])
            spoil(draw, part, [*part])
            content[name] = part
        out = io.BytesIO()
        torch.save(content, out)
        data = out.getvalue()
    elif file.suffix == ".onnx" and done == "noted":
        import onnx

        network = onnx.load_from_string(data)
        noted = draw.choice(network.metadata_props)
        value = json.loads(noted.value)
        spoil(draw, value, [*value])
        text = as_json(draw, value).encode("utf-8", "replace").decode()
        if draw.random() < 0.3 and noted.key == "plaudit_tokenizer":
            name = draw.choice(sorted(json.loads(noted.value)))
            other = json.loads(noted.value)
            other[name] = base64.b64encode(damage(draw, base64.b64decode(other[name]))).decode()
            text = json.dumps(other)
        noted.value = text
        data = network.SerializeToString()
    elif done == "cut":
        data = cut(draw, data)
    else:
        data = damage(draw, data)
    path = folder / file.name
    path.write_bytes(data)
    return Case(path, file.suffix[1:], done, ["model"])


KINDS: list[tuple[int, Callable[[Random, Path], Case]]] = [
    (32, text_file),
    (10, odd_file),
    (16, table_file),
    (8, sheet_file),
    (7, benchmark_file),
    (7, rewards_file),
    (5, labels_file),
    (6, settings_file),
    (1, keys_file),
    (6, model_folder),
    (2, exported_file),
]


def draw_case(seed: int, number: int, folder: Path) -> Case:
    """The case of a number, written into an empty folder."""
    draw = Random(f"{seed}:{number}")
    make = draw.choices([make for _, make in KINDS], [share for share, _ in KINDS])[0]
    return make(draw, folder)


# ---- reading ----


def ways(draw: Random) -> list[str]:
    """How data are read: all rows once, and in two ways of commands."""
    return ["rows", *draw.sample(sorted(WAYS_OF_DATA), 2)]


def _rows(case: Case) -> None:
    [source] = find_sources(case.path, **_encoding(case))
    found = list(source.rows())
    source.columns()
    count = source.count()
    if count is not None and case.kind in ("jsonl", "ndjson", "parquet", "arrow", "feather"):
        assert count == len(found), f"{count} counted, {len(found)} read"
    _check_whole(case, found)


def _check_whole(case: Case, found: list[Row]) -> None:
    """That the rows of lines that nobody touched are there as they were."""
    if not case.whole:
        return
    table = case.kind in ("csv", "tsv")
    there = Counter(_seen(row.values) for row in found if row.values is not None)
    for values in case.whole:
        wanted = _seen(
            {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
            if table
            else values
        )
        assert there[wanted], f"a row is lost: {values}"
        there[wanted] -= 1


def _seen(values: dict[str, Any]) -> str:
    # A table has a cell for what a row does not say.
    kept = {key: value for key, value in values.items() if value != ""}
    return json.dumps(kept, sort_keys=True)


def _rankings(case: Case, streaming: bool = False) -> Rankings:
    rankings = load_rankings(case.path, max_rejected=1, streaming=streaming, **_encoding(case))
    found = list(rankings)
    rankings.write_rejected(case.path.parent / "rejected.jsonl")
    writable(rankings.summary())
    prompts = {str(one.prompt) for one in found}
    for row in case.whole:
        if "chosen" in row and str(row.get("prompt")).startswith("Question"):  # one of `pairs`
            assert row["prompt"] in prompts, f"a ranking is lost: {row}"
    return rankings


def _stream(case: Case) -> None:
    _rankings(case, streaming=True)


def _inspect(case: Case) -> None:
    found = commands.inspect(
        str(case.path), max_rejected=1, rejected=case.path.parent / "bad.jsonl", **_encoding(case)
    )
    str(found)
    writable(found.as_json())


def _score(case: Case) -> None:
    kind = ("jsonl", "parquet")[len(case.path.name) % 2]
    score_file(scorer(), case.path, case.path.parent / f"scored.{kind}", **_encoding(case))


def _prompts(case: Case) -> None:
    for prompt in stream_prompts(case.path, **_encoding(case)):
        writable(prompt.as_dict() if isinstance(prompt, Rejected) else [prompt.text, prompt.ids])


def _label(case: Case) -> None:
    output = case.path.parent / "labelled.csv"
    Labelling(scorer(), case.path, output, max_rejected=1, **_encoding(case))


def _samples(case: Case) -> None:
    read_samples(case.path, **_encoding(case))


def _mixture(case: Case) -> None:
    list(load_mixture({str(case.path): 1.0}, max_rejected=1, **_encoding(case)))


def _verify(case: Case) -> None:
    read_rows(case.path, 50, **_encoding(case))


def _suite(case: Case) -> None:
    load_suite(case.path, case.more.get("suite"), partial=True)


def _rewards(case: Case) -> None:
    found = score_rewards(case.path, case.more["suite"], partial=True, resamples=20)
    str(found)
    found.write(case.path.parent / "out")


def _labels(case: Case) -> None:
    Labelling(scorer(), case.more["data"], case.path)


def _model(case: Case) -> None:
    model = RewardModel.load(case.path, device="cpu")
    model.score("What is a bond?", ["A loan.", ""])


def _template(case: Case) -> None:
    path = models() / "qwen2"
    RewardModel.load(path, device="cpu", chat_template=str(case.path)).score("Hi?", ["A loan."])


def writable(value: Any) -> None:
    """Write a value as results are written."""
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _encoding(case: Case) -> dict[str, Any]:
    encoding = case.more.get("encoding")
    return {} if encoding is None else {"encoding": encoding}


WAYS_OF_DATA: dict[str, Callable[[Case], Any]] = {
    "rankings": _rankings, "stream": _stream, "inspect": _inspect, "score": _score,
    "prompts": _prompts, "label": _label, "samples": _samples, "mixture": _mixture,
    "verify": _verify,
}  # fmt: skip
WAYS: dict[str, Callable[[Case], Any]] = {
    "rows": _rows, **WAYS_OF_DATA, "suite": _suite, "rewards": _rewards, "labels": _labels,
    "settings": lambda case: Settings.build(case.path),
    "space": lambda case: read_space(case.path, Settings(data="data.csv")),
    "keys": lambda case: read_keys(case.path), "template": _template, "model": _model,
}  # fmt: skip


def read(case: Case) -> Iterator[tuple[str, str]]:
    """Read a case in all of its ways: of each its name, and what is wrong, or how it ended."""
    for way in case.ways:
        try:
            WAYS[way](case)
            ended = "read"
        except PlauditError as error:
            ended = "refused"
            # Of a file whose lines are whole but for a few, the others are read.
            if case.whole and way == "rows":
                ended = f"{type(error).__name__}: {error}"
        except BaseException as error:  # Rust's panics are no `Exception`
            if isinstance(error, KeyboardInterrupt):
                raise
            last = traceback.extract_tb(error.__traceback__)[-1]
            ended = f"{type(error).__name__}: {str(error)[:200]} ({last.filename}:{last.lineno})"
        yield way, ended


def main() -> None:
    """Repeat one case, with the traceback that it ends in."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        case = draw_case(options.seed, options.case, Path(folder))
        print(case)
        if case.path.is_file():
            print(case.path.read_bytes()[:3000])
        for way in case.ways:
            try:
                WAYS[way](case)
                print(way, "read")
            except Exception:
                print(way)
                traceback.print_exc()


if __name__ == "__main__":
    main()
