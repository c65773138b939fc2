"""What the speed benchmarks promise: bounds by a closed form, and rows for what cannot run."""

import csv
import json
import runpy
import signal
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import contenders
import limits
import pytest
import torch
import train_speed
from bounds import bandwidth, linear_layers, product_seconds, training_bytes
from contenders import OutOfMemoryError, Racer, Remote, RemoteError, fastest, make_case

import forked
import tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def processes(monkeypatch):
    """Contenders fork from a process that has the libraries, which those of a user import."""
    monkeypatch.setattr(contenders, "PROCESSES", forked.FORKS)


class Block(torch.nn.Module):
    """Two layers that read one tensor, a third that reads another, and a head of one output."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(100, 8)
        self.query = torch.nn.Linear(8, 6)
        self.key = torch.nn.Linear(8, 6)
        self.out = torch.nn.Linear(6, 4, bias=False)
        self.unused = torch.nn.Linear(50, 50)
        self.head = torch.nn.Linear(4, 1)

    def forward(self, ids, attention_mask):
        hidden = self.embedding(ids)
        return self.head(self.out(self.query(hidden) + self.key(hidden)))


def test_bytes_of_a_step_by_hand():
    layers = linear_layers(Block())
    assert layers.shapes == {("tokens", 8, 6): 2, ("tokens", 6, 4): 1}
    weights = 2 * 8 * 6 + 6 * 4
    trained = 100 * 8 + 2 * (8 * 6 + 6) + 6 * 4 + (50 * 50 + 50) + (4 + 1)
    tokens, sizes = 1000, {"tokens": 1000, "rows": 16}
    saved = tokens * 8 + tokens * 6  # what query and key read is one tensor
    # Of each trained number: its gradient written; p, g, m, v read; p, m, v written.
    adamw = trained * 4 * (1 + 4 + 3)
    in_float32 = adamw + weights * 4 * 2 + saved * 4 * 2
    in_bfloat16 = adamw + weights * 2 * 3 + saved * 2 * 2
    assert training_bytes(layers, sizes, 4) == in_float32
    assert training_bytes(layers, sizes, 2) == in_bfloat16


def test_a_frozen_weight_has_no_state_to_move():
    block = Block()
    block.embedding.requires_grad_(False)
    both = linear_layers(Block()), linear_layers(block)
    whole, part = (training_bytes(layers, {"tokens": 0, "rows": 0}, 4) for layers in both)
    assert whole - part == 100 * 8 * 4 * 8


def test_training_has_three_products_of_a_layer():
    shape = (512, 512, 512, torch.float32)
    assert product_seconds(*shape, training=True) > 1.5 * product_seconds(*shape, training=False)


def test_the_triad_is_no_faster_than_a_processor_can_be():
    assert 1e8 < bandwidth() < 1e13


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (bytearray, 2**62),  # Python's MemoryError
        (torch.empty, 2**50),  # PyTorch's RuntimeError
        (signal.raise_signal, signal.SIGKILL),  # as the kernel ends it
    ],
)
def test_a_process_that_runs_out_of_memory_is_told_from_one_that_fails(call, argument, tmp_path):
    with pytest.raises(OutOfMemoryError, match="out of memory: trl, 8 pairs"):
        Racer("trl, 8 pairs", tmp_path / "trl", [], partial(Remote, 1, call, argument))


def test_another_error_is_not_said_to_be_memory(tmp_path):
    with pytest.raises(RemoteError, match="ZeroDivisionError"):
        Racer("trl", tmp_path / "trl", [], partial(Remote, 1, divmod, 1, 0))


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="the limit is Linux's")
def test_memory_that_the_machine_has_not_got_is_refused_before_it_is_touched():
    free = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) * 1024
    with pytest.raises(RemoteError) as raised:  # pages of a zeroed array would be had for nothing
        Remote(1, bytearray, int(free * 0.98))
    assert raised.value.out_of_memory


def racers(seconds, stopped):
    """What starts racers that took so many seconds; None stands for one that does not fit."""

    def start(dtype, size):
        taken = seconds[dtype, size]
        if taken is None:
            raise OutOfMemoryError(f"out of memory: {size}, {dtype}")
        name = f"{size}, {dtype}"
        return SimpleNamespace(
            name=name, first_seconds=taken, stop=lambda: stopped.append(name), tried={}
        )

    return start


def test_the_fastest_type_and_batch_size_win():
    stopped = []
    seconds = {("float32", 2): 5.0, ("bfloat16", 2): 9.0, ("float32", 4): 3.0}
    seconds |= {("float32", 8): None, ("float32", 16): 1.0}
    best = fastest(racers(seconds, stopped), ("float32", "bfloat16"), (2, 4, 8, 16))
    assert best.name == "4, float32"
    assert sorted(stopped) == ["2, bfloat16", "2, float32"]
    assert best.tried == {
        "2, float32": 5.0,
        "2, bfloat16": 9.0,
        "4, float32": 3.0,
        "8, float32": "out of memory",
    }


def test_no_batch_that_fits_is_out_of_memory():
    seconds = dict.fromkeys([("float32", 2), ("bfloat16", 2)])
    with pytest.raises(OutOfMemoryError, match="batches of 2"):
        fastest(racers(seconds, []), ("float32", "bfloat16"), (2, 4))


def test_rounds_end_when_the_next_would_not_be_over_in_time():
    done = list(limits.in_turn(lambda n: n, lambda n: -n, [1, 2, 3], until=float("inf")))
    assert done == [(1, -1), (2, -2), (3, -3)]
    assert list(limits.in_turn(lambda n: n, lambda n: -n, [1, 2, 3], until=0.0)) == [(1, -1)]


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """Rankings of eight in a file, and a tiny encoder that reads 512 tokens."""
    folder = tmp_path_factory.mktemp("ranked")
    with (folder / "ranked.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["prompt", "answer", "rank"])
        for prompt in range(8):
            for rank in range(1, 9):
                rows.writerow([f"What is {prompt}?", "fox " * rank + "dog " * prompt, rank])
    return folder / "ranked.csv", tiny.make("bert", folder / "bert", max_position_embeddings=512)


def test_a_row_says_what_ran_out_of_memory_and_the_others_go_on(ranked, tmp_path, monkeypatch):
    data, base = ranked
    case = make_case("ranked-encoder", data, tmp_path, 1, 2, seed=0, base=str(base))

    def too_large(*_):
        start = partial(Remote, 1, bytearray, 2**62)
        return Racer("trl tuned, 64 pairs a batch", tmp_path / "trl", [], start)

    monkeypatch.setattr(train_speed, "start_trl", too_large)
    options = Namespace(
        dtype="float32", threads=1, quick=True, rankings=1, trl_rankings=1, trl_batch_sizes="64"
    )
    table = limits.Table({}, str(tmp_path / "rows.json"))
    contests = limits.Contests("train", "ranked-encoder", case, tmp_path, options, None)
    contests.run(["trl tuned", "bound"], table, limits.Budget(0, 2))
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    trl, products, with_memory = rows
    assert trl["note"] == "out of memory: trl tuned, 64 pairs a batch"
    assert trl["ratio"] is None
    assert not trl["failed"]
    assert 0 < products["ratio"]["median"] < with_memory["ratio"]["median"]


def test_another_checkout_runs_its_own_code(ranked, tmp_path):
    data, base = ranked
    case = make_case("ranked-encoder", data, tmp_path, 1, 1, seed=0, base=str(base))
    (tmp_path / "without src").mkdir()
    (tmp_path / "without src" / "benchmarks").symlink_to(ROOT / "benchmarks")
    with pytest.raises(RemoteError, match="is that of"):  # and not of the folder named
        limits.Elsewhere(tmp_path / "without src", 1, "score", case.start, "float32")
    remote = limits.Elsewhere(ROOT, 1, "train", case.start, "bfloat16")
    assert remote("run", case.rounds[0], tmp_path) > 0
    assert remote("chosen_dtype") == "bfloat16"
    remote.stop()


def test_a_revision_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemExit, match="no-such-revision"):
        limits.files_of("no-such-revision", tmp_path)


def test_the_command(ranked, tmp_path, monkeypatch, capsys):
    data, base = ranked
    words = [ROOT / "benchmarks" / "limits.py", data, "--base", base]
    words += ["--case", "ranked-encoder", "--part", "bound", "--quick", "--minutes", "0"]
    words += ["--json", tmp_path / "all.json", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    monkeypatch.setattr(contenders, "quiet_libraries", lambda: None)  # they are other tests' too
    runpy.run_path(sys.argv[0], run_name="__main__")
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "all.json").read_text())
    assert [row["work"] for row in found["rows"]] == ["train", "train", "score", "score"]
    assert {row["dtype"] for row in found["rows"]} <= {"float32", "bfloat16"}
    assert found["machine"]["cpu"] in said
    assert "bound: products and memory traffic" in said
