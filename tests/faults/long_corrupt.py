"""Checkpoints of a run, each file of them truncated or with a bit flipped, at twenty places."""

import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from faults.commands import make_material, training
from faults.killing import Ended, LostError, attempt, contents, differences, preload
from faults.long_kill import in_a_child
from faults.rows import NOTHING, Row
from plaudit import console
from plaudit.training.trainer import last_checkpoint

TIMES = 20
# safetensors orders its metadata at random; a trainer's state has times, and so other digests.
LEAVE = r"trained_on\.plaudit|checkpoint-\d+/checksums\.json"
RESUME = ["train", "-o", "out", "--resume"]


def run(seed: int) -> list[Row]:
    """A row for finding the damage, one for going on, one for what lies beside the checkpoints."""
    torch.set_num_threads(1)
    chance = random.Random(f"{seed} corrupt")
    with tempfile.TemporaryDirectory() as place:
        made, whole = Path(place) / "made", Path(place) / "whole"
        in_a_child(lambda: make_material(made))
        train_whole(made, whole)
        return [
            found(whole, TIMES, chance),
            gone_on(whole, Path(place) / "damaged", chance),
            beside(whole, Path(place) / "damaged", chance),
        ]


def train_whole(made: Path, folder: Path) -> None:
    """A finished run in `folder`, with a head that was fitted first and three checkpoints."""
    folder.mkdir()
    more = ["--head-epochs", "1", "--save-total-limit", "3", "--no-report", "-o", "out"]
    preload(ended_well(["train", made / "ranked.csv", *training(made), *more], folder).modules)


def ended_well(arguments: Sequence[str | Path], folder: Path) -> Ended:
    """An attempt that comes to its end."""
    ended = attempt(arguments, folder)
    if ended.code:
        raise LostError(ended.said[-1500:])
    return ended


def newest(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    found = (folder / "out" / "checkpoints").glob("checkpoint-*")
    return sorted(found, key=lambda path: -int(path.name.rpartition("-")[2]))


def best(folder: Path) -> Path:
    """The best checkpoint of a run."""
    state = json.loads((newest(folder)[0] / "trainer_state.json").read_text())
    return newest(folder)[0].with_name(f"checkpoint-{state['best_global_step']}")


def damage(file: Path, chance: random.Random) -> str:
    """Truncate the file, or flip a bit of it, somewhere; say which."""
    data = bytearray(file.read_bytes())
    where = chance.randrange(len(data))
    if chance.random() < 0.5:
        file.write_bytes(data[:where])
        return f"{file.parent.name}/{file.name} truncated to {where} bytes"
    data[where] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    return f"{file.parent.name}/{file.name} with a bit of byte {where} flipped"


def found(whole: Path, times: int, chance: random.Random) -> Row:
    """Damage each file of the newest checkpoint so often: the one before it is taken."""
    last, before, *_ = newest(whole)
    lost, count = NOTHING, 0
    for file in sorted(last.iterdir()):
        original = file.read_bytes()
        for _ in range(times):
            what = damage(file, chance)
            with console.hushed():
                taken = last_checkpoint(last.parent)
            if taken != before:
                lost = f"{what}: {taken and taken.name} is taken"
            file.write_bytes(original)
            count += 1
    what = "each file of a checkpoint truncated or a bit of it flipped: found, the one before taken"
    return Row(what, count, lost)


def interrupted(whole: Path, folder: Path) -> None:
    """The same run as if it had been killed just before its end."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    (folder / "out" / "metrics.json").unlink()


def gone_on(whole: Path, folder: Path, chance: random.Random) -> Row:
    """Resume from before the damage: the same run byte for byte, and it is said."""
    lost, count = NOTHING, 0
    names = [path.relative_to(whole) for one in newest(whole)[:2] for path in sorted(one.iterdir())]
    for name in names:
        interrupted(whole, folder)
        what = damage(folder / name, chance)
        looked_at = name.parent.name in (newest(whole)[0].name, best(whole).name)
        said, stays = ("is damaged: ", "") if looked_at else ("", str(name))
        lost, count = resumed(whole, folder, what, said, stays) or lost, count + 1
    return Row("a run resumed whose checkpoint is damaged: told, the same weights", count, lost)


def resumed(whole: Path, folder: Path, what: str, said: str, stays: str = "") -> str:
    """What is lost when the run in `folder` is resumed; empty where nothing is. `stays` is a file
    of a checkpoint that nothing is read from: it stays damaged."""
    ended = attempt(RESUME, folder)
    if ended.code or said not in ended.said:
        return f"{what}: {ended.code}, {ended.said[-800:]}"
    found = differences(contents(whole, LEAVE), contents(folder, LEAVE))
    found = [each for each in found if each != f"{stays} differs"]
    return f"{what}: {', '.join(found[:5])}" if found else ""


def beside(whole: Path, folder: Path, chance: random.Random) -> Row:
    """Damage what is kept beside checkpoints: made anew where it can be, else told."""
    lost, count = NOTHING, 0
    for name in ("data.json", "step.json"):
        interrupted(whole, folder)
        what = damage(file := folder / "out" / "checkpoints" / name, chance)
        ended = attempt(RESUME, folder)
        if ended.code != 1 or f"{name}: is damaged" not in ended.said or "Trace" in ended.said:
            lost = f"{what}: {ended.code}, {ended.said[-800:]}"
        file.unlink()
        left = attempt(RESUME, folder)
        if left.code:
            lost = f"{what}, removed: {left.said[-800:]}"
        count += 1
    for name in ("head.safetensors", "checksums.json"):
        interrupted(whole, folder)
        what = damage(folder / "out" / "checkpoints" / "head" / name, chance)
        lost, count = resumed(whole, folder, what, "the head is fitted anew") or lost, count + 1
    return Row("what lies beside the checkpoints damaged: told, made anew or how to", count, lost)
