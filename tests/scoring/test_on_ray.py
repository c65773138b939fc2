"""Scoring on a local Ray cluster gives what scoring here gives."""

import gzip
import json
import os
import random
import signal
import sys
from itertools import islice

import pytest
import torch

import forked
from plaudit.errors import PlauditError
from plaudit.scoring.score import score_file

ray = pytest.importorskip("ray")
ray_scoring = pytest.importorskip("plaudit.scoring.on_ray")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three files of several kinds of rows and of bad ones, named by relative paths."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"p{n}", "completion": "so " * (n % 7) + "it is"} for n in range(300)]
    rows[7]["completion"] = ""
    rows[290:] = [{"prompt": "p", "completions": ["a", "b"], "late": None}] * 10
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines + '{"prompt": "p"\n' + lines[:500])
    (tmp_path / "b.csv").write_text("prompt,chosen,rejected\n2+2?,4,5\n2+2?,,5\n")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return ["a.jsonl", "b.csv", "c.jsonl.gz"]


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(rows, expected):
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        assert list(row) == list(other)
        for name, value in row.items():
            assert value == (
                pytest.approx(other[name], abs=1e-5) if "reward" in name else other[name]
            )


OPTIONS = {"dtype": "float32", "max_length": 20, "device": "cpu"}


def test_rows_rejections_and_rewards_are_those_of_the_local_engine(data, tmp_path, base, capfd):
    expected = score_file(base("qwen2"), data, tmp_path / "local.jsonl", **OPTIONS)

    # An interruption after three windows, and the rest of it by more actors.
    whole = ray_scoring.RayEngine.outcomes

    def interrupted(*given):
        yield from islice(whole(*given), 3)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_scoring.RayEngine, "outcomes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            score_file(
                base("qwen2"), data, tmp_path / "ray.jsonl", engine="ray", processes=1, **OPTIONS
            )
    said = capfd.readouterr().err
    # 256 of a.jsonl and the rest of it, all of b.csv; the next run begins at c.jsonl.gz.
    assert "ray.jsonl: unfinished, 314 input rows are done; --resume goes on" in said
    with pytest.raises(PlauditError, match='was begun with engine "ray", not "local"'):
        score_file(base("qwen2"), data, tmp_path / "ray.jsonl", resume=True, **OPTIONS)
    scored = score_file(
        base("qwen2"), data, tmp_path / "ray.jsonl", resume=True, engine="ray", **OPTIONS
    )
    assert scored == expected
    same(read(tmp_path / "ray.jsonl"), read(tmp_path / "local.jsonl"))
    same(read(tmp_path / "rejected-2.jsonl"), read(tmp_path / "rejected.jsonl"))
    said = capfd.readouterr().err
    assert "314 input rows are done; going on from there" in said
    assert "are truncated to 20 tokens" in said
    ours = ("ray.jsonl", "truncated", "scoring", " rejected: ", "no trained reward head")
    assert [line for line in said.splitlines() if not any(o in line for o in ours)] == []


def actors():
    """The processes on this machine in which Ray has a model, by their names in `ps`."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                if file.read().startswith(b"ray::MapWorker"):
                    found.append(int(process))
        except OSError:  # it has ended since
            pass
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_an_actor_that_is_killed_costs_no_row(tmp_path, base, monkeypatch):
    """One of two actors gets SIGKILL while it scores: the same bytes in the same order."""
    rows = [{"id": n, "prompt": f"p{n}", "completion": "so " * (n % 9 + 1)} for n in range(8000)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"dtype": "float32", "device": "cpu"}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as an actor of one core: the same sums in the same order
    score_file(base("qwen2"), data, tmp_path / "local.jsonl", **options)
    torch.set_num_threads(threads)

    before, killed = set(actors()), []
    whole = ray_scoring.RayEngine.outcomes

    def with_a_kill(*given):
        for number, outcomes in enumerate(whole(*given)):
            if number == 1:
                killed.append(min(set(actors()) - before))
                os.kill(killed[0], signal.SIGKILL)
            yield outcomes

    monkeypatch.setattr(ray_scoring.RayEngine, "outcomes", with_a_kill)
    scored = score_file(
        base("qwen2"), data, tmp_path / "ray.jsonl", engine="ray", processes=2, **options
    )
    assert killed
    assert not set(killed) & set(actors())
    assert scored == len(rows)
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()


def test_what_goes_wrong_in_the_cluster_is_said_as_it_is_here(tmp_path, base, data, capfd):
    chance = random.Random(1)
    rows = ({"prompt": "p", "completion": str(chance.random())} for _ in range(2000))
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    (tmp_path / "c.jsonl.gz").write_bytes(packed[:-100])
    with pytest.raises(PlauditError, match=r"^c\.jsonl\.gz: ends too soon; was it copied whole\?$"):
        score_file(base("bert"), "c.jsonl.gz", tmp_path / "o.jsonl", engine="ray", **OPTIONS)
    said = capfd.readouterr().err.splitlines()
    assert [line for line in said[1:] if not line.startswith("scoring: ")] == [
        f"{tmp_path / 'o.jsonl'}: unfinished, 1,792 input rows are done; --resume goes on"
    ]
    with pytest.raises(PlauditError, match="cannot be loaded: no such folder"):
        score_file("/none", "a.jsonl", tmp_path / "o2.jsonl", engine="ray")


def test_a_cluster_that_cannot_be_reached_is_told_in_a_line(base, data, tmp_path):
    process = forked.start(
        *("-m", "plaudit", "score", base("bert"), *data, "-o", tmp_path / "o.jsonl"),
        *("--engine", "ray"), RAY_ADDRESS="nonsense",
    )  # fmt: skip
    assert process.wait() == 1
    assert "RAY_ADDRESS: the Ray cluster at nonsense cannot be reached" in process.stderr
    assert "Traceback" not in process.stderr


def test_without_ray_it_is_said_how_to_get_it(monkeypatch, tmp_path, data):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "plaudit.scoring.on_ray")
    with pytest.raises(PlauditError, match=r"pip install 'plaudit\[ray\]'"):
        score_file("none", data, tmp_path / "o.jsonl", engine="ray")
