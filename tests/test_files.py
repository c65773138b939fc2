"""Files appear whole or not at all, and nothing is replaced that nobody asked to replace."""

import errno
import json
import os
import signal

import pytest

from plaudit.errors import PlauditError
from plaudit.files import (
    MEASURED_PLOTS,
    is_leftover,
    locked,
    make_way,
    refuse_to_overwrite,
    rejected_beside,
    write_json,
    write_jsonl,
    write_results,
    writing,
    writing_folder,
)
from plaudit.reporting.plots import plots_of


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "folder" / "a.txt"
    with writing(target) as file:
        file.write("é\r\n")
        file.flush()
        assert not target.exists()
    assert target.read_bytes() == "é\r\n".encode()
    assert os.listdir(target.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), writing(target) as file:  # noqa: PT012
        file.write("half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    real = open

    def on_a_full_disk(name, mode="r", **options):
        if "w" in mode:
            return real("/dev/full", "w", **options)
        return real(name, mode, **options)

    monkeypatch.setattr("builtins.open", on_a_full_disk)
    with (
        pytest.raises(PlauditError, match=r"a\.txt: cannot be written: No space left"),
        writing(tmp_path / "a.txt") as file,
    ):
        file.write("x" * 100_000)
    assert os.listdir(tmp_path) == []


def test_the_umask_is_heeded(tmp_path):
    old = os.umask(0o027)
    try:
        with writing(tmp_path / "a.txt") as file:
            file.write("a")
        with writing_folder(tmp_path / "b") as folder:
            (folder / "c").touch()
    finally:
        os.umask(old)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    with writing(tmp_path / "link.txt") as file:
        file.write("a")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "elsewhere" / "a.txt").read_text() == "a"
    (tmp_path / "model").symlink_to(tmp_path / "elsewhere")
    with writing_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("w")
    assert (tmp_path / "model").is_symlink()
    assert os.listdir(tmp_path / "elsewhere") == ["weights"]


def test_a_folder_or_a_device_in_the_way_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(PlauditError, match="not an ordinary file"), writing(tmp_path / "folder"):
        pass
    with pytest.raises(PlauditError, match="not an ordinary file"), writing(os.devnull):
        pass
    with pytest.raises(PlauditError, match="is a file"), writing_folder(tmp_path / "file"):
        pass
    with (
        pytest.raises(PlauditError, match=r"a\.txt: cannot be written"),
        writing(tmp_path / "file" / "a.txt"),
    ):
        pass
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_somebody_elses_error_is_not_called_ours(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "out.txt"):
        (tmp_path / "input.txt").read_text()
    with pytest.raises(BrokenPipeError), writing(tmp_path / "out.txt"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    assert os.listdir(tmp_path) == []


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    for content in ("first", "second"):
        with writing_folder(target) as folder:
            (folder / content).write_text(content)
        assert os.listdir(target) == [content]
    with pytest.raises(RuntimeError), writing_folder(target) as folder:  # noqa: PT012
        (folder / "third").write_text("half")
        raise RuntimeError
    assert os.listdir(target) == ["second"]
    assert os.listdir(tmp_path) == ["model"]


def test_what_stands_there_is_kept_unless_asked(tmp_path):
    file, folder, empty = tmp_path / "a.txt", tmp_path / "full", tmp_path / "empty"
    file.touch()
    folder.mkdir()
    (folder / "b").touch()
    empty.mkdir()
    refuse_to_overwrite(tmp_path / "new")
    refuse_to_overwrite(empty, folder=True)
    refuse_to_overwrite(file, overwrite=True)
    refuse_to_overwrite(folder, overwrite=True, folder=True)
    with pytest.raises(PlauditError, match="already exists; --overwrite"):
        refuse_to_overwrite(file)
    with pytest.raises(PlauditError, match="already exists; --overwrite"):
        refuse_to_overwrite(folder, folder=True)
    with pytest.raises(PlauditError, match="a folder is in the way of the file"):
        refuse_to_overwrite(folder, overwrite=True)
    with pytest.raises(PlauditError, match="a file is in the way of the folder"):
        refuse_to_overwrite(file, overwrite=True, folder=True)


def test_the_input_is_never_the_output(tmp_path):
    (tmp_path / "in.csv").touch()
    (tmp_path / "link.csv").symlink_to(tmp_path / "in.csv")
    with pytest.raises(PlauditError, match="is the input"):
        refuse_to_overwrite(tmp_path / "link.csv", overwrite=True, inputs=[tmp_path / "in.csv"])


def test_rejected_rows_replace_nothing_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected in ("rejected.jsonl", "rejected-2.jsonl", "rejected-3.jsonl"):
        assert rejected_beside(None).name == expected
        name = rejected_beside(tmp_path / "out.jsonl")
        assert name == tmp_path / expected
        name.touch()
    (tmp_path / "new").mkdir()
    out = tmp_path / "new" / "rejected.jsonl"  # an output of that very name
    assert rejected_beside(out) == out.with_name("rejected-2.jsonl")


def test_json_is_what_other_readers_read(tmp_path):
    rows = [{"text": 'é "quoted"\n\u2028', "reward": 0.1}, {}]
    assert write_jsonl(tmp_path / "a.jsonl", iter(rows)) == 2
    lines = (tmp_path / "a.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == rows
    assert lines[-1] == b""
    write_json(tmp_path / "a.json", rows)
    assert json.loads((tmp_path / "a.json").read_bytes()) == rows
    for write, value in ((write_json, float("nan")), (write_jsonl, [{"reward": float("inf")}])):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write(tmp_path / "b", value)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_kill_left_goes_and_what_is_being_written_stays(tmp_path, kind):
    """Half of it is there under a temporary name; another process is writing the same."""
    target = tmp_path / "a name of more than forty characters, to be cut off.txt"
    opened = writing if kind == "file" else writing_folder

    def fill(there, what):
        if kind == "file":
            there.write(what)
        else:
            (there / "a").write_text(what)

    if (pid := os.fork()) == 0:
        with opened(target) as there:
            fill(there, "half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    [left] = tmp_path.iterdir()
    assert is_leftover(left)
    theirs = tmp_path / ".somebody else's"
    theirs.touch()
    with opened(target) as first:
        assert not left.exists()
        fill(first, "first")
        with opened(target) as second:
            fill(second, "second")
            assert sum(map(is_leftover, tmp_path.iterdir())) == 2
    assert (target if kind == "file" else target / "a").read_text() == "first"
    assert {path.name for path in tmp_path.iterdir()} == {target.name, theirs.name}


def test_no_file_of_the_user_or_of_another_target_is_taken_for_a_leftover(tmp_path):
    """Dates have eight digits; a name may begin with another and a point, or go on where long
    names were once cut off."""
    long = "a name that goes on for more than forty characters, "
    theirs = (
        *(".labels.csv.20260131", ".labels.csv.deadbeef", ".labels.csv.swp", ".labels.csv.123"),
        *(".labels.csv.bak.0123abcd.plaudit", f".{long}too.0123abcd.plaudit.replaced"),
    )
    for name in theirs:
        (tmp_path / name).touch()
    (tmp_path / ".labels.csv.0123abcd.plaudit").symlink_to(tmp_path / theirs[0])
    kept = set(os.listdir(tmp_path))
    for target in ("labels.csv", f"{long}as well"):
        with writing(tmp_path / target) as file:
            file.write("new")
    assert set(os.listdir(tmp_path)) == {*kept, "labels.csv", f"{long}as well"}
    assert not any(is_leftover(tmp_path / name) for name in theirs[:4])


def test_the_longest_names_can_be_written(tmp_path):
    for name in ("x" * 255, "é" * 127):
        with writing(tmp_path / name) as file:
            file.write("whole")
        assert (tmp_path / name).read_text() == "whole"


OURS = ("predictions.jsonl", "report.html", "rejected.jsonl", "rejected-2.jsonl")


@pytest.mark.parametrize("of_a_run", [False, True])
def test_an_earlier_measurement_makes_way_and_nothing_of_others(tmp_path, of_a_run):
    (tmp_path / "plots").mkdir()
    for name in (*OURS, "parting.jsonl", "plots/margins.png"):
        (tmp_path / name).touch()
    for name in ("metrics.json", "comparison.json"):
        write_results(tmp_path / name, {"figure": 1})
    theirs = {"rejected_by_ann.jsonl", "plots/mine.png", "notes.txt"}
    for name in theirs:
        (tmp_path / name).touch()
    write_json(tmp_path / "summary.json", {"theirs": 1})
    if of_a_run:
        (tmp_path / "config.yaml").touch()
    make_way(tmp_path)
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    run = {"config.yaml", "metrics.json", "plots/margins.png", *OURS} if of_a_run else set()
    assert left == {*theirs, "summary.json", *run}


@pytest.mark.parametrize("theirs", ["{}", "[1]", "no JSON", '{"accuracy": 0.5}'])
def test_results_of_another_program_keep_what_is_beside_them(tmp_path, theirs):
    for name in (*OURS, "comparison.json"):
        (tmp_path / name).touch()
    (tmp_path / "metrics.json").write_text(theirs)
    before = set(os.listdir(tmp_path))
    make_way(tmp_path)
    assert set(os.listdir(tmp_path)) == before


def test_the_plots_of_a_measurement_are_all_known():
    subjects = ("evaluation", "policy-test")
    names = {plot.file for subject in subjects for plot in plots_of(subject)} - {None}
    assert set(MEASURED_PLOTS) >= names


def test_processes_that_write_one_folder_at_a_time_all_succeed(tmp_path):
    pids = []
    for who in range(3):
        if (pid := os.fork()) == 0:
            failed = 1
            try:
                for _ in range(30):
                    with writing_folder(tmp_path / "model") as folder:
                        (folder / "weights").write_text(str(who) * 100)
                failed = 0
            finally:
                os._exit(failed)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["model"]
    assert len(set((tmp_path / "model" / "weights").read_text())) == 1


def test_a_folder_without_its_name_gets_it_back(tmp_path):
    """A kill between the two renames: the old one is still there if the new one then fails."""
    target = tmp_path / "model"
    (tmp_path / ".model.0123abcd.plaudit").mkdir()
    (tmp_path / ".model.0123abcd.plaudit.replaced").mkdir()
    (tmp_path / ".model.0123abcd.plaudit.replaced" / "weights").write_text("old")
    with pytest.raises(ZeroDivisionError), writing_folder(target):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["model"]
    assert (target / "weights").read_text() == "old"


def test_a_folder_that_is_removed_while_it_is_held_is_told(tmp_path):
    folder = tmp_path / "run"

    def held(remove, **options):
        with locked(folder, **options):
            remove()

    def replace():
        folder.rename(tmp_path / "elsewhere")
        folder.mkdir()

    for remove in (folder.rmdir, replace):
        with pytest.raises(PlauditError, match=r"run: was removed .* start it anew"):
            held(remove, stays=True)
    held(folder.rmdir)


def test_other_results_take_the_place_of_what_was_measured_and_of_nothing_else(tmp_path):
    of_before = ("summary.json", "report.html", "rejected.jsonl", "rejected-2.jsonl")
    others = ("notes.md", "rejected-by-hand.jsonl")
    for name in (*of_before, *others):
        (tmp_path / name).touch()
    (tmp_path / "summary.json").write_text('{"schema_version": 1}')
    make_way(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
