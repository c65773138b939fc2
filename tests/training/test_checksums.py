"""What a run goes on from has checksums: what is damaged is found, told and not gone on from."""

import json
import random
import shutil

import pytest

from plaudit.training.checksums import CHECKSUMS, damaged, seal
from plaudit.training.trainer import last_checkpoint

FILES = ("model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt")


@pytest.fixture
def run(tmp_path):
    """Three checkpoints, the second of them the best when the third was made."""
    for step, best in ((2, None), (4, 4), (6, 4)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in FILES:
            (folder / name).write_bytes(random.Random(name).randbytes(300))
        state = {"global_step": step, "best_global_step": best}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        seal(folder)
    return tmp_path


@pytest.mark.parametrize("name", [*FILES, "trainer_state.json", CHECKSUMS])
def test_each_damaged_file_of_a_checkpoint_is_found(run, name, capsys):
    chance = random.Random(name)
    file = run / "checkpoint-6" / name
    whole = file.read_bytes()
    assert last_checkpoint(run).name == "checkpoint-6"
    for _ in range(20):
        where = chance.randrange(len(whole))
        for broken in (
            whole[:where],
            whole[:where] + bytes([whole[where] ^ 1]) + whole[where + 1 :],
        ):
            file.write_bytes(broken)
            assert last_checkpoint(run).name == "checkpoint-4"
            said = capsys.readouterr().err
            assert "checkpoint-6: is damaged: " in said
            assert "the run goes on from before it" in said
    file.unlink()
    assert last_checkpoint(run).name == ("checkpoint-6" if name == CHECKSUMS else "checkpoint-4")


def test_a_run_whose_best_checkpoint_is_lost_goes_on_from_before_it(run, capsys):
    """Else it would end without its best model."""
    (run / "checkpoint-4" / "optimizer.pt").write_bytes(b"")
    assert last_checkpoint(run).name == "checkpoint-2"
    assert "made when checkpoint-4 was the best one, which is damaged" in capsys.readouterr().err
    shutil.rmtree(run / "checkpoint-4")
    assert last_checkpoint(run).name == "checkpoint-2"
    assert "made when checkpoint-4 was the best one, which is gone" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version_is_taken_if_it_is_all_there(run):
    for file in run.glob(f"*/{CHECKSUMS}"):
        file.unlink()
    assert last_checkpoint(run).name == "checkpoint-6"
    (run / "checkpoint-6" / "trainer_state.json").write_text('{"best')
    assert last_checkpoint(run).name == "checkpoint-4"


def test_what_is_not_named_is_not_looked_at(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    seal(tmp_path, ["a"])
    (tmp_path / "b").write_text("c")
    assert damaged(tmp_path) is None
    seal(tmp_path, ["b"])
    (tmp_path / "a").write_text("c")
    assert damaged(tmp_path, ["b"]) is None
    assert damaged(tmp_path, ["a"]) == damaged(tmp_path) == "a"
