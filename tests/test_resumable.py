"""An output that is killed at any moment and resumed is the one that was never killed."""

import contextlib
import errno
import gzip
import io
import json
import os
import shutil
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit import resumable as module
from plaudit import row_files
from plaudit.errors import PlauditError
from plaudit.resumable import check_output, resumable

SCHEMA = pyarrow.schema([("n", pyarrow.int16()), ("text", pyarrow.string())])
ROWS = [{"n": n, "text": "ü 𝄞" * (n % 3)} for n in range(11)]
MOMENTS = 2500  # of a run: lines of code, and bytes that are written
FACTS = {"of": ["rows.jsonl", 23], "by": {"step": 4}}


def make(path, resume=False, rows=ROWS, facts=FACTS, step=4, **options):
    """Every fifth row is rejected; `step` input rows are a commit."""
    with resumable(path, facts, resume=resume, **options) as out:
        for start in range(out.done, len(rows), step):
            some = rows[start : start + step]
            good = [row for row in some if row["n"] % 5]
            bad = [{"reason": "ß", "row": row} for row in some if row["n"] % 5 == 0]
            out.commit(good, bad, min(start + step, len(rows)))
    return out


def contents(folder):
    # The very last moment is that in which the folder is empty, and not yet gone.
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class Dying(io.FileIO):
    """A file that takes a byte at a time, each of which may be the last thing the process does."""

    def write(self, data):
        for byte in bytes(data):
            count_down()
            super().write(bytes([byte]))
        return len(data)


def open_dying(path, mode="r", **options):
    raw = Dying(path, mode.replace("b", "")) if mode in ("ab", "wb") else None
    return io.BufferedWriter(raw) if raw else open(path, mode, **options)


left = 0


def count_down():
    global left
    left -= 1
    if left == 0:
        os._exit(9)


def dies_after(moments, path, resume, **options):
    """Make the output in a process that is killed after so many lines of code and written bytes.

    Returns whether it was killed; else it came to its end."""
    pid = os.fork()
    if pid == 0:
        global left
        left = moments
        code = 1
        try:
            sys.stderr = io.StringIO()
            ours = {module.__file__, row_files.__file__, shutil.__file__}
            module.open = row_files.open = open_dying
            module.SECONDS_BETWEEN_STATES = 0

            def trace(frame, event, _):
                if frame.f_code.co_filename not in ours:
                    return None
                count_down()
                return trace

            sys.settrace(trace)
            make(path, resume, **options)
            sys.settrace(None)
            code = 0
        except BaseException:
            sys.settrace(None)
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 9)
    return status == 9


@pytest.mark.parametrize(
    ("name", "schema"),
    [("out.jsonl", None), ("out.jsonl.gz", None), ("out.parquet", None), ("out.parquet", SCHEMA)],
)
def test_a_kill_at_any_moment_loses_and_doubles_nothing(tmp_path, name, schema):
    make(tmp_path / name, schema=schema)
    whole = contents(tmp_path)
    assert sorted(whole) == sorted([name, "rejected.jsonl"])

    # A run takes some hundreds to thousands of these moments, the last ones in its last step.
    @settings(max_examples=15)
    @given(st.lists(st.integers(1, MOMENTS), min_size=1, max_size=4))
    def check(moments):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            assert any(not killed(path, moment, schema) for moment in [*moments, 0])
            assert contents(path.parent) == whole

    check()


def killed(path, moment, schema):
    """Go on with the output until so many moments later, if it is not finished."""
    if path.exists() and not (path.with_name(path.name + ".partial") / module.STATE).exists():
        return False
    return dies_after(moment, path, resume=True, schema=schema)


def test_what_was_committed_is_there_to_go_on_from(tmp_path):
    path = tmp_path / "rows.jsonl"
    with contextlib.suppress(KeyboardInterrupt), resumable(path, FACTS) as out:
        out.commit(ROWS[:3], [{"reason": "bad"}], done=4)
        assert [json.loads(line) for line in out.committed()] == ROWS[:3]
        raise KeyboardInterrupt
    with open(tmp_path / "rows.jsonl.partial" / "rows", "ab") as rows:
        rows.write(b'{"n": 99')  # of a kill in the midst of a row
    with resumable(path, FACTS, resume=True) as out:
        assert [json.loads(line) for line in out.committed()] == ROWS[:3]
        out.commit(ROWS[3:], [], done=12)
        assert [json.loads(line) for line in out.committed()] == ROWS
    assert [json.loads(line) for line in path.open()] == ROWS


def test_what_was_committed_is_there_even_if_only_the_last_step_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Output, "_clear", lambda self: None)
        with pytest.raises(KeyboardInterrupt), resumable(path, FACTS) as out:  # noqa: PT012
            out.commit(ROWS, [], 11)
            patch.setattr(module.Output, "_clear", killed)
            out.finish()
    assert path.exists()
    with resumable(path, FACTS, resume=True) as out:
        assert out.complete
        assert [json.loads(line) for line in out.committed()] == ROWS
    assert contents(tmp_path).keys() == {"rows.jsonl"}


def test_an_empty_folder_that_a_kill_left_goes(tmp_path):
    path = tmp_path / "rows.jsonl"
    make(path)
    (tmp_path / "rows.jsonl.partial").mkdir()
    with pytest.raises(PlauditError, match="is finished"):
        make(path, resume=True)
    assert not (tmp_path / "rows.jsonl.partial").exists()


def test_the_rows_of_an_output_can_be_read_by_others(tmp_path):
    for name in ("a.jsonl", "a.ndjson", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "b.parquet"):
        schema = SCHEMA if name == "b.parquet" else None
        out = make(tmp_path / name, schema=schema)
        out.rejected_to.unlink()
    expected = [row for row in ROWS if row["n"] % 5]
    plain = (tmp_path / "a.jsonl").read_bytes()
    assert [json.loads(line) for line in plain.decode().splitlines()] == expected
    assert (tmp_path / "a.ndjson").read_bytes() == plain
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == plain
    # One frame: some programs read no further than the first.
    frame = zstandard.ZstdDecompressor().decompressobj()
    assert frame.decompress((tmp_path / "a.jsonl.zst").read_bytes()) == plain
    assert frame.eof
    assert not frame.unused_data
    for name, number in (("a.parquet", pyarrow.int64()), ("b.parquet", pyarrow.int16())):
        table = pyarrow.parquet.read_table(tmp_path / name)
        assert table.to_pylist() == expected
        assert table.schema.field("n").type == number


def test_parquet_keeps_types_and_says_where_there_is_no_one_type(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(row_files, "ROWS_OF_A_GROUP", 2)
    typed = pyarrow.schema(
        [
            ("when", pyarrow.timestamp("ns", "UTC")),
            ("how", pyarrow.dictionary(pyarrow.int8(), pyarrow.string())),
            ("bytes", pyarrow.binary()),
            ("pairs", pyarrow.map_(pyarrow.string(), pyarrow.float32())),
        ]
    )
    row = {"when": datetime(2024, 2, 29, tzinfo=UTC), "how": "so", "bytes": b"\xff"}
    rows = [row | {"pairs": [("a", n / 2)]} for n in range(5)]
    with resumable(tmp_path / "a.parquet", {}, schema=typed) as out:
        out.commit(rows[:1], [], 1)
        out.commit(rows[1:], [], 5)
    file = pyarrow.parquet.ParquetFile(tmp_path / "a.parquet")
    assert file.schema_arrow == typed
    assert file.read().to_pylist() == rows
    assert file.num_row_groups == 3

    mixed = [{"a": 1}, {"a": 2.5, "b": {"x": 1}}, {"a": None, "b": {"y": "2"}}, {"c": 1}]
    mixed += [{"c": "one"}, {"c": [1]}, {"c": 2**70}]
    with resumable(tmp_path / "b.parquet", {}) as out:
        out.commit(mixed, [], 7)
    read = pyarrow.parquet.read_table(tmp_path / "b.parquet").to_pydict()
    assert read["a"] == [1, 2.5, *[None] * 5]
    assert read["b"][:3] == [None, {"x": 1, "y": None}, {"x": None, "y": "2"}]
    assert read["c"] == [None, None, None, "1", '"one"', "[1]", str(2**70)]
    assert (
        "c: Parquet has no one type for its values; written as JSON text" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([{}, {"x": {}}, [{}], None], ["{}", '{"x": {}}', "[{}]", None]),
        ([{"x": {}}, {"x": {}}, None, None], ['{"x": {}}', '{"x": {}}', None, None]),
        ([2**60 + 1, 2, 0.5, None], [str(2**60 + 1), "2", "0.5", None]),
        ([0.5, 2, 2**60 + 1, None], ["0.5", "2", str(2**60 + 1), None]),
        ([1, 2, 0.5, None], [1.0, 2.0, 0.5, None]),
        ([{}, {}, {"x": 1}, None], [{"x": None}, {"x": None}, {"x": 1}, None]),
    ],
)
def test_values_that_parquet_cannot_hold_become_text(tmp_path, monkeypatch, values, written):
    monkeypatch.setattr(row_files, "ROWS_OF_A_GROUP", 2)
    with resumable(tmp_path / "a.parquet", {}) as out:
        out.commit([{"a": value} for value in values], [], 4)
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet")["a"].to_pylist() == written


@pytest.mark.parametrize("state", ["{}\n{}\n", "5\n6\n", '{"facts": {}}\n{"done": 1}\n'])
def test_a_state_of_another_make_is_not_resumed(tmp_path, state):
    path = tmp_path / "out.jsonl"
    interrupted(path)
    (tmp_path / "out.jsonl.partial" / module.STATE).write_text(state)
    with pytest.raises(PlauditError, match="is not as this version of plaudit writes it"):
        check_output(path, resume=True)
    with resumable(path, FACTS, overwrite=True) as out:
        out.commit(ROWS, [], 11)
    assert contents(tmp_path).keys() == {"out.jsonl"}


def interrupted(path, **options):
    """An output that was stopped by an exception after eight input rows."""
    with contextlib.suppress(KeyboardInterrupt), resumable(path, FACTS, **options) as out:
        out.commit(ROWS[:8], [], 8)
        raise KeyboardInterrupt


def test_an_exception_keeps_what_is_done_and_says_so(tmp_path, capsys):
    path = tmp_path / "out.jsonl"
    interrupted(path)
    assert f"{path}: unfinished, 8 input rows are done; --resume goes on" in capsys.readouterr().err
    with resumable(path, FACTS, resume=True) as out:
        assert (out.done, out.rows, out.rejected) == (8, 8, 0)
        out.commit(ROWS[8:], [], 11)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS


def test_an_exception_before_anything_is_done_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), resumable(tmp_path / "out.jsonl", FACTS):
        raise ZeroDivisionError
    assert contents(tmp_path) == {}


def test_what_is_there_is_neither_lost_nor_mixed_up(tmp_path):
    path = tmp_path / "out.jsonl"
    interrupted(path)

    def refused(said, facts=FACTS, **options):
        with pytest.raises(PlauditError, match=said), resumable(path, facts, **options):
            pass

    refused("unfinished, 8 input rows are done; --resume goes on with it, --overwrite starts")
    refused("exclude each other", resume=True, overwrite=True)
    refused(
        r"with by {\"step\": 4}, not {\"step\": 5}",
        FACTS | {"by": {"step": 5}},
        resume=True,
    )
    refused(r"with seed null, not 1; give the first again", FACTS | {"seed": 1}, resume=True)
    refused(r"with of \[.*\], not null", {"by": FACTS["by"]}, resume=True)
    path.touch()
    refused("appeared since", resume=True)
    path.unlink()
    interrupted(path, overwrite=True)
    assert make(path, resume=True).done == 11
    before = contents(tmp_path)
    refused("already exists; --overwrite")
    refused("is finished, there is nothing to resume", resume=True)
    # What is replaced stays until the new one is whole; rejected rows of another output always do.
    interrupted(path, overwrite=True)
    assert path.read_bytes() == before["out.jsonl"]
    make(path, resume=True)
    assert len(path.read_text().splitlines()) == 8 + 2
    assert (tmp_path / "rejected.jsonl").read_bytes() == before["rejected.jsonl"]
    assert len((tmp_path / "rejected-2.jsonl").read_text().splitlines()) == 1
    with pytest.raises(PlauditError, match=r"name it \.jsonl"), resumable("out.xlsx", {}):
        pass


def test_rejected_rows_keep_the_name_that_was_free_at_the_start(tmp_path):
    (tmp_path / "rejected.jsonl").write_text("of another")
    path = tmp_path / "out.jsonl"
    with contextlib.suppress(KeyboardInterrupt), resumable(path, FACTS) as out:
        assert out.rejected_to == tmp_path / "rejected-2.jsonl"
        out.commit([], [{"reason": "one"}], 1)
        raise KeyboardInterrupt
    (tmp_path / "rejected.jsonl").unlink()
    with resumable(path, FACTS, resume=True) as out:
        out.commit([], [{"reason": "two"}], 2)
        (tmp_path / "rejected-2.jsonl").write_text("of a third")
    assert path.read_bytes() == b""
    assert out.rejected_to == tmp_path / "rejected.jsonl"
    assert out.rejected_to.read_text() == '{"reason": "one"}\n{"reason": "two"}\n'
    assert (tmp_path / "rejected-2.jsonl").read_text() == "of a third"


def test_an_output_of_nothing_but_rejected_rows(tmp_path):
    with resumable(tmp_path / "out.jsonl", FACTS) as out:
        out.commit([], [{"reason": "bad"}], 1)
        out.finish(rows=False)
    assert contents(tmp_path) == {"rejected.jsonl": b'{"reason": "bad"}\n'}


def test_two_processes_do_not_write_the_same_output(tmp_path):
    path = tmp_path / "out.jsonl"
    with resumable(path, FACTS) as out:
        out.commit(ROWS[:4], [], 4)
        for options in ({"resume": True}, {"overwrite": True}):
            with (
                pytest.raises(PlauditError, match="another process is writing into it"),
                resumable(path, FACTS, **options),
            ):
                pass
        out.commit(ROWS[4:], [], 11)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS


def test_a_full_disk_is_said_and_can_be_resumed(tmp_path, monkeypatch, capsys):
    make(tmp_path / "whole.jsonl")
    path = tmp_path / "out.jsonl"
    room = 300

    class Full(io.FileIO):
        def write(self, data):
            nonlocal room
            taken = min(room, len(data))
            if not taken:
                raise OSError(errno.ENOSPC, "No space left on device")
            room -= super().write(bytes(data)[:taken])
            return taken

    with monkeypatch.context() as patched:
        patched.setattr(module, "SECONDS_BETWEEN_STATES", 0)
        patched.setattr(
            module, "open", lambda p, mode: io.BufferedWriter(Full(p, "a")), raising=False
        )
        with pytest.raises(PlauditError, match=r"out\.jsonl: cannot be written: No space left"):
            make(path)
    assert "--resume goes on" in capsys.readouterr().err
    assert make(path, resume=True).rows == 8
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("done", [0, 8])
def test_a_folder_that_is_removed_meanwhile_is_told(tmp_path, capsys, done):
    path = tmp_path / "there" / "out.jsonl"
    with (  # noqa: PT012
        pytest.raises(PlauditError, match=r"out\.jsonl: cannot be written: .* removed meanwhile"),
        resumable(path, FACTS) as out,
    ):
        if done:
            out.commit(ROWS[:done], [], done)
        shutil.rmtree(path.parent)
    assert "--resume" not in capsys.readouterr().err
    assert contents(tmp_path) == {}


def test_an_output_that_is_a_link_is_made_where_it_points(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "there" / "real.jsonl")
    make(tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").is_symlink()
    assert len((tmp_path / "there" / "real.jsonl").read_text().splitlines()) == 8
