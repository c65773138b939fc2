"""Files to rows: every kind and packing, what is broken in them, and where it stands."""

import csv
import gzip
import inspect
import io
import json
import random
import zipfile

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit import sources
from plaudit.data import rows
from plaudit.data.mixing import load_mixture
from plaudit.data.readers import load_rankings
from plaudit.data.rows import Row, find_sources
from plaudit.errors import PlauditError

HEADER = b"prompt,answer,rank\n"


def read(path):
    [source] = find_sources(path)
    return list(source.rows())


def packed(name, data):
    if name.endswith(".gz"):
        return gzip.compress(data)
    return zstandard.compress(data) if name.endswith(".zst") else data


def written(path, data):
    path.write_bytes(packed(path.name, data))
    return path


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "ndjson", "json", "parquet"])
def test_every_kind_and_packing_reads_the_same(tmp_path, kind, packing):
    values = [{"a": "one, two\t\n“3”", "b": "x"}, {"a": "ελληνικά 🙂", "b": '"'}]
    if kind in ("csv", "tsv"):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, ["a", "b"], delimiter="\t" if kind == "tsv" else ",")
        writer.writeheader()
        writer.writerows(values)
        data = text.getvalue().encode()
    elif kind == "json":
        data = json.dumps(values, indent=2).encode()
    elif kind == "parquet":
        sink = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values), sink)
        data = sink.getvalue()
    else:
        data = "\n".join(json.dumps(row, ensure_ascii=False) for row in values).encode()
    found = read(written(tmp_path / f"data.{kind}{packing}", data))
    assert [row.values for row in found] == values


def test_byte_order_mark_and_crlf_are_not_data(tmp_path):
    path = written(tmp_path / "a.csv", b'\xef\xbb\xbfa,b\r\n1,"x\r\ny"\r\n')
    assert [row.values for row in read(path)] == [{"a": "1", "b": "x\r\ny"}]
    path = written(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\r\n')
    assert read(path) == [Row(str(path), 1, {"a": 1}), Row(str(path), 3, {"a": 2})]


def test_line_is_where_the_record_begins(tmp_path):
    path = written(tmp_path / "a.csv", HEADER + b'p,"two\nlines",1\n\np,short\np,x,2\n')
    assert [(row.line, row.problem and row.problem[:12]) for row in read(path)] == [
        (2, None),
        (5, "wrong number"),
        (6, None),
    ]


def test_line_of_elements_of_a_json_list(tmp_path):
    path = written(tmp_path / "a.json", b'[\n{"a": 1},\n\n{"a":\n 2}, 7\n]\n')
    assert [(row.line, row.values) for row in read(path)] == [
        (2, {"a": 1}),
        (4, {"a": 2}),
        (5, None),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"p,caf\xe9,1", "undecodable bytes"),
        (b"p,a\0b,1", "a NUL byte"),
        (b"p,a,1,more", "wrong number of fields: 4 where the header has 3"),
        (b'p,"never closed,1', "broken CSV: a quote is opened and never closed"),
        (b'p,"said "no" twice",1', "broken CSV: text after a closing quote"),
        (b"p,a\rb,1", "broken CSV: a carriage return outside quotes"),
    ],
)
def test_broken_csv_row_costs_only_itself(tmp_path, line, reason):
    path = written(tmp_path / "a.csv", HEADER + b"p,good,1\n" + line + b"\np,better,0\nq,z,1\n")
    found = read(path)
    assert [row.line for row in found] == [2, 3, 4, 5]
    assert [row.values is None for row in found] == [False, True, False, False]
    assert found[1].problem.startswith(reason)
    assert found[1].raw


def test_unclosed_quote_ended_by_a_later_quoted_field(tmp_path):
    path = written(tmp_path / "a.csv", HEADER + b'p,"open,1\np,b,2\np,"quoted, fine",3\n')
    found = read(path)
    assert [row.values and row.values["answer"] for row in found] == [None, "b", "quoted, fine"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "broken JSON"),
        (b"[1, 2]", "not an object"),
        (b'{"a": "\xff"}', "undecodable bytes"),
        (b'{"a": ' + b"[" * 100_000, "broken JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "broken JSON"),
    ],
)
def test_broken_json_line_costs_only_itself(tmp_path, line, reason):
    found = read(written(tmp_path / "a.jsonl", b'{"a": 0}\n' + line + b'\n{"a": 2}\n'))
    assert [row.values for row in found] == [{"a": 0}, None, {"a": 2}]
    assert (found[1].line, found[1].problem.partition(":")[0]) == (2, reason)


def test_parquet_row_that_is_not_utf8_costs_only_itself(tmp_path):
    raw = pyarrow.array([b"fine", b"caf\xe9", b"too"], pyarrow.binary())
    bad = pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers())
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": bad}), path)
    assert [row.values for row in read(path)] == [{"a": "fine"}, None, {"a": "too"}]
    assert read(path)[1].problem == "undecodable bytes"


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pyarrow.array([0, 2**60, 1]).cast(pyarrow.timestamp("us")), "timestamp[us]"),
        (pyarrow.array([0, 2**55, 1], pyarrow.timestamp("ms", "UTC")), "timestamp[ms, tz=UTC]"),
        (pyarrow.array([0, 2**30, 1], pyarrow.int32()).cast(pyarrow.date32()), "date32[day]"),
        (pyarrow.array([0, 2**62, 1]).cast(pyarrow.duration("s")), "duration[s]"),
        (
            pyarrow.array([{"at": None}, {"at": 2**60}, {"at": 1}], pyarrow.struct(
                [("at", pyarrow.timestamp("us"))])), "struct<at: timestamp[us]>"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather.zst"])
def test_a_time_that_python_does_not_have_costs_only_its_row(tmp_path, column, kind, suffix):
    table = pyarrow.table({"a": ["x", "y", "z"], "when": column})
    sink = io.BytesIO()
    if suffix == "parquet" and "duration" not in kind:
        pyarrow.parquet.write_table(table, sink)
    else:
        suffix = suffix.replace("parquet", "arrow")
        with pyarrow.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
    found = read(written(tmp_path / f"a.{suffix}", sink.getvalue()))
    assert [(row.values or {}).get("a") for row in found] == ["x", None, "z"]
    where = f"of type {kind} in the column 'when'"
    assert found[1].problem.startswith(f"a value that Python does not have: {where}")


def test_places_of_texts_that_lie_beyond_an_arrow_file_cost_only_their_rows(tmp_path):
    table = pyarrow.table({"a": ["one", "two", "three"]})
    sink = io.BytesIO()
    with pyarrow.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    ends = b"".join(end.to_bytes(4, "little") for end in (0, 3, 6, 11))
    beyond = b"".join(end.to_bytes(4, "little") for end in (0, 3, 6, 2**30))
    assert sink.getvalue().count(ends) == 1
    path = written(tmp_path / "a.arrow", sink.getvalue().replace(ends, beyond))
    found = read(path)
    assert [row.values for row in found] == [{"a": "one"}, {"a": "two"}, None]
    assert found[2].problem.startswith("damaged: ")


def test_half_a_character_in_the_name_of_a_column_costs_only_its_row(tmp_path):
    path = written(tmp_path / "a.jsonl", b'{"a": 1}\n{"a": 2, "b\\ud800": 3}\n')
    for found in (read(path), read([{"a": 1}, {"a": 2, "b\ud800": 3}])):
        assert [row.values for row in found] == [{"a": 1}, None]
        assert found[1].problem == "undecodable bytes: half a character in the name of a column"
        found[1].raw.encode()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_utf_16_without_its_mark_is_told(tmp_path, name):
    path = written(tmp_path / name, "prompt,answer,rank\n".encode("utf-16-le"))
    with pytest.raises(PlauditError, match=r"cannot be decoded: UTF-16 stream .* BOM"):
        list(find_sources(path, encoding="utf-16")[0].rows())


@pytest.mark.parametrize("end", [b"</sheetData", b"</c"])
def test_a_sheet_that_is_damaged_within_its_packing_is_told(tmp_path, end):
    book, there = openpyxl.Workbook(), tmp_path / "a.xlsx"
    for row in (["a", "b"], [1, 2], [3, 4]):
        book.active.append(row)
    book.save(there)
    with zipfile.ZipFile(there) as right:
        members = {name: right.read(name) for name in right.namelist()}
    with zipfile.ZipFile(there, "w") as damaged:
        for name, content in members.items():
            damaged.writestr(name, content.replace(end, end[:-1]) if "sheet1" in name else content)
    with pytest.raises(PlauditError, match=r"a\.xlsx: cannot be read on as \.xlsx"):
        read(there)


def test_very_long_fields(tmp_path):
    long = "word " * 400_000
    path = written(tmp_path / "a.csv", f'a,b\n"{long}",2\n'.encode())
    assert read(path)[0].values == {"a": long, "b": "2"}
    path = written(tmp_path / "a.json", json.dumps([{"a": long}, {"a": "x"}]).encode())
    assert [row.values["a"] for row in read(path)] == [long, "x"]


@pytest.mark.parametrize("chunk", [7, 64])
def test_json_list_is_read_in_pieces(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(rows, "CHUNK", chunk)
    values = [{"a": "é\n" * n, "n": [n, 10**n]} for n in range(30)]
    path = written(tmp_path / "a.json", json.dumps(values, indent=1, ensure_ascii=False).encode())
    assert [row.values for row in read(path)] == values


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zst", "a.jsonl.gz", "a.jsonl.zst"])
def test_truncated_packing_is_named(tmp_path, name):
    noise = random.Random(0).randbytes(30_000).hex().encode()
    path = written(tmp_path / name, HEADER + noise)
    path.write_bytes(path.read_bytes()[:-5_000])
    with pytest.raises(PlauditError, match=rf"{name}: ends too soon"):
        read(path)


def test_zst_frames_one_after_another_are_one_file(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstandard.compress(b'{"a": 1}\n') + zstandard.compress(b'{"a": 2}\n'))
    assert [row.values for row in read(path)] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv.gz", b"not packed", "damaged, or not packed"),
        ("a.csv.zst", b"not packed", "damaged, or not packed"),
        ("a.parquet", b"not parquet at all", "cannot be read as Parquet"),
        ("a.arrow", b"not arrow at all", "cannot be read as an Arrow file"),
        ("a.xlsx", b"not a workbook", r"cannot be read as \.xlsx"),
        ("a.json", b'[{"a": 1}, {"a": }]', r"a\.json:1: broken JSON"),
        ("a.json", b'[{"a": 1}', "not closed"),
        ("a.json", b'[{"a": 1} {"a": 2}]', "comma is missing"),
    ],
)
def test_file_that_is_not_what_it_says(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(PlauditError, match=message) as raised:
        read(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_garbage_never_raises_anything_else(tmp_path_factory, data):
    """Whole files of mutated bytes give rows or `PlauditError`, in every kind and packing."""
    kind = data.draw(st.sampled_from(sources.KINDS))
    good = {
        "csv": HEADER + b'p,"a ""b""\n",1\np,c,2\n',
        "tsv": b"prompt\tanswer\trank\np\ta\t1\n",
        "json": b'[{"prompt": "p"}, {"prompt": [1, {"x": null}]}]',
    }.get(kind, b'{"prompt": "p", "rank": 1}\n{"prompt": "q\\u00e9"}\n')
    if kind == "parquet":
        sink = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table({"prompt": ["p", "q"], "rank": [1, 2]}), sink)
        good = sink.getvalue()
    name = "a." + kind + data.draw(st.sampled_from(["", ".gz", ".zst"]))
    broken = bytearray(packed(name, good))
    for _ in range(data.draw(st.integers(0, 8))):
        at = data.draw(st.integers(0, len(broken)))
        broken[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.one_of(
                st.binary(max_size=4), st.sampled_from([b'"', b"\n", b"\0", b"\r", b"[", b"{"])
            )
        )
    path = tmp_path_factory.mktemp("garbage") / name
    path.write_bytes(bytes(broken))
    try:
        found = read(path)
    except PlauditError:
        return
    assert all((row.values is None) == (row.problem is not None) for row in found)


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=100, deadline=None)
@given(cells=st.lists(st.tuples(CELL, CELL), max_size=6), suffix=st.sampled_from(["csv", "tsv.gz"]))
def test_any_text_survives_csv(tmp_path_factory, cells, suffix):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t" if suffix.startswith("tsv") else ",")
    writer.writerows([("a", "b"), *cells])
    path = written(tmp_path_factory.mktemp("any") / f"a.{suffix}", text.getvalue().encode())
    assert [tuple(row.values.values()) for row in read(path)] == cells


def test_folder_glob_and_list(tmp_path):
    for name in (
        "b/train-1.jsonl",
        "a/train-0.jsonl",
        "a/test-0.jsonl",
        ".hidden/x.jsonl",
        "n.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"a": 1}\n')

    def names(source, **options):
        found = find_sources(source, **options)
        return [one.name.removeprefix(f"{tmp_path}/") for one in found]

    assert names(tmp_path) == ["a/test-0.jsonl", "a/train-0.jsonl", "b/train-1.jsonl"]
    assert names(tmp_path, split="train") == ["a/train-0.jsonl", "b/train-1.jsonl"]
    assert names(f"{tmp_path}/*/train*") == ["a/train-0.jsonl", "b/train-1.jsonl"]
    assert names(f"{tmp_path}/**/*0.jsonl") == ["a/test-0.jsonl", "a/train-0.jsonl"]
    # Each file once, however often it is named.
    assert names([f"{tmp_path}/b", f"{tmp_path}/b/train-1.jsonl"]) == ["b/train-1.jsonl"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.csv", "no such file"),
        ("./org/name", "no such file"),
        ("some/folder/of/mine", "no such file"),
        ("*.csv", "no file matches"),
        ("empty", "no data in this folder"),
        ("notes.txt", "not a kind of file known"),
        ([], "list of data files is empty"),
        (7, "not of type int"),
    ],
)
def test_nothing_there(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(PlauditError, match=message) as raised:
        find_sources(source)
    assert "\n" not in str(raised.value)


def test_name_that_exists_on_disk_is_never_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "org" / "name" / "a.jsonl").write_text('{"a": 1}\n')
    assert [row.values for row in read("org/name")] == [{"a": 1}]


# ---- data sets as the hub has them: subsets, splits, revisions ----


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A copy of a data set of the hub, whose card declares two subsets."""
    monkeypatch.chdir(tmp_path)
    files = {"chat": ("train", "test"), "code": ("train", "test_prefs")}
    card = ["---", "configs:"]
    for subset, splits in files.items():
        card += [f"- config_name: {subset}", "  data_files:"]
        for split in splits:
            path = tmp_path / "copy" / subset / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"prompt": f"{subset} {split}", "chosen": "a"}) + "\n")
            card += [f"  - split: {split}", f"    path: {subset}/{split}.jsonl"]
    (tmp_path / "copy" / "README.md").write_text("\n".join([*card, "---", ""]))
    return "copy"


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("copy:chat", "chat train"),
        ("copy:code:split=test_prefs", "code test_prefs"),
        ("copy:split=test:subset=chat", "chat test"),
    ],
)
@pytest.mark.parametrize("streaming", [None, True])
def test_a_subset_and_a_split_of_a_copied_data_set(repository, text, prompt, streaming):
    [source] = find_sources(text, None, streaming)
    rows = list(source.rows())
    assert [row.values["prompt"] for row in rows] == [prompt]
    assert (rows[0].file, rows[0].line) == (source.name, 1)


def test_the_split_may_be_said_apart(repository):
    [source] = find_sources("copy:chat", "test")
    assert [row.values["prompt"] for row in source.rows()] == ["chat test"]
    with pytest.raises(PlauditError, match="its split is train, and not test"):
        find_sources("copy:chat:split=train", "test")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("copy:maths", "there is no subset maths; it has chat, code"),
        (
            "copy:chat:split=nope",
            "there is no such split; it has train, test, as in copy:chat",
        ),
        ("copy:split=train", "has several subsets: chat, code; name one, as in copy:chat"),
        ("copy:chat:code", "names two subsets"),
        ("./copy@v2:chat", "no such file or folder"),
        ("hf://name", "a data set on the hub is hf://OWNER/NAME"),
        ("copy:chat:0.5", "a weight is for the data that train, cv, tune and frontier mix"),
    ],
)
def test_what_a_data_set_does_not_have_is_said_with_what_it_has(repository, text, said):
    with pytest.raises(PlauditError, match=said) as raised:
        find_sources(text)
    assert "\n" not in str(raised.value)


def test_a_revision_is_not_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(PlauditError, match="a revision is of a data set on the hub"):
        find_sources("owner/name@v2")


def test_that_a_folder_is_read_whole_though_its_card_declares_splits_is_said(repository, capsys):
    assert len(find_sources("copy")) == 4
    assert "all data files in it are read" in capsys.readouterr().err


def test_what_is_asked_of_the_hub_is_what_was_named(monkeypatch):
    """The hub itself is not there: what is handed to `datasets` is, and its real signature."""
    import datasets

    asked = {}
    signature = inspect.signature(datasets.load_dataset)

    def load(*given, **named):
        asked.update(signature.bind(*given, **named).arguments)
        return datasets.Dataset.from_list([{"prompt": "p", "chosen": "a", "rejected": "b"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    [source] = find_sources("hf://owner/name@v2:chat:split=test_prefs")
    assert asked == {
        "path": "owner/name", "name": "chat", "split": "test_prefs", "revision": "v2",
        "streaming": False,
    }  # fmt: skip
    assert source.name == "owner/name@v2:chat:split=test_prefs"
    [source] = find_sources("owner/name")
    assert (asked["name"], asked["split"], asked["revision"]) == (None, "train", None)
    assert source.name == "owner/name"


@pytest.mark.parametrize("text", ["owner/name", "hf://owner/name@v2:chat:split=test"])
def test_without_the_hub_it_is_said_what_to_do(text, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PlauditError, match=r"^owner/name.*HF_HUB_OFFLINE.*give its folder$"):
        find_sources(text)


TWICE = '{"prompt": "p", "chosen": "a", "chosen": "b", "rejected": "c"}'
NESTED = '{"prompt": "p", "chosen": [{"role": "assistant", "content": "a", "content": "b"}]}'


@pytest.mark.parametrize("bad", [TWICE, NESTED])
@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_a_key_that_stands_twice_costs_its_row(tmp_path, kind, bad):
    good = '{"prompt": "says \\"chosen\\": twice, \\"chosen\\":", "chosen": ":a"}'
    lines = [good, bad, good]
    text = "[" + ",\n".join(lines) + "]" if kind == "json" else "\n".join(lines)
    path = written(tmp_path / f"a.{kind}", text.encode())
    first, second, third = read(path)
    assert first.values == third.values == json.loads(good)
    key = "chosen" if bad is TWICE else "content"
    assert second.problem == f"ambiguous JSON: the key '{key}' stands twice in one object"
    assert (second.line, second.raw) == (2, bad)


def test_splits_of_a_saved_folder_are_sources_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splits = {name: [{"prompt": name, "chosen": "a", "rejected": "b"}] for name in ("a", "train")}
    DatasetDict({n: Dataset.from_list(those) for n, those in splits.items()}).save_to_disk("saved")
    both = find_sources(["saved:split=a", "saved", "saved:split=train", "saved:split=a"])
    assert [one.name for one in both] == ["saved:split=a", "saved"]
    assert [row.values["prompt"] for one in both for row in one.rows()] == ["a", "train"]
    assert {r.origin for r in load_rankings(["saved:split=a", "saved"])} == {
        "saved:split=a, row 1",
        "saved, row 1",
    }
    mixture = load_mixture({"saved:split=a": 1, "saved:split=train": 1})
    assert [(r.source, r.prompt) for r in mixture] == [
        ("saved:split=a", "a"),
        ("saved:split=train", "train"),
    ]
    with pytest.raises(PlauditError, match="saved:split=a: is in two sources"):
        load_mixture([("saved:split=a", 1), ("./saved:split=a", 1)])


def test_what_lies_in_memory_is_named_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    held = [{"prompt": "p", "chosen": "a", "rejected": "b"}]
    found = find_sources([held, Dataset.from_list(held), list(held), Dataset.from_list(held)])
    assert [one.name for one in found] == ["rows", "Dataset", "rows #2", "Dataset #2"]
    assert [next(one.rows()).file for one in found] == [one.name for one in found]


@pytest.mark.parametrize("kind", ["parquet", "parquet.gz", "arrow", "feather", "arrow.zst"])
def test_rows_are_counted_without_reading_them(tmp_path, kind, monkeypatch):
    table = pyarrow.table({"prompt": [f"p{i}" for i in range(3000)]})
    data = io.BytesIO()
    if kind.startswith("parquet"):
        pyarrow.parquet.write_table(table, data)
    else:
        with pyarrow.ipc.new_file(data, table.schema) as writer:
            writer.write_table(table, max_chunksize=700)
    path = written(tmp_path / f"a.{kind}", data.getvalue())
    assert sum(1 for _ in read(path)) == 3000
    monkeypatch.setattr(rows, "_of_batches", None)  # what decodes rows
    [source] = find_sources(str(path))
    assert source.count() == 3000
