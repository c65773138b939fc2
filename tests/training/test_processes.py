"""Runs of two processes over gloo: as one process, killed, resumed in another number of them.

Everything is real: processes run beside each other, as launchers start them, and are killed with
SIGKILL. 36 rankings make five steps of 8 an epoch, the last of them of 4, and passes are so small
that the two processes of a step take unequal numbers of them.
"""

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import forked
from plaudit import PlauditError, RewardModel, train
from plaudit.files import write_json
from plaudit.model.devices import best_device
from plaudit.settings import Settings
from plaudit.training.folder import STEP
from plaudit.training.processes import together
from ranked_file import write_ranked
from running import free_port

pytestmark = pytest.mark.skipif(best_device() != "cpu", reason="processes would share one GPU")

STEPS, RANKINGS_A_STEP = 40, 8
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",  # as `accelerate launch` does unless told otherwise
}
# Sums of float32 in another order. A step of AdamW moves a weight by about the learning rate, 1e-3,
# whatever its gradient: a tenth of one step's way after all 40 is rounding, and no step is missing.
WEIGHTS = 1e-4


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    return write_ranked(tmp_path_factory.mktemp("data") / "ranked.csv", dogs=5)


class Started:
    """The processes of one run, as torchrun would start them."""

    def __init__(self, folder: Path, number: int, *arguments: object, **environment: str) -> None:
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())} | environment
        common |= {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
        command = ["-m", "plaudit", "train", "-o", folder, *arguments]
        self.processes = [
            forked.start(*command, **common, RANK=str(rank), LOCAL_RANK=str(rank))
            for rank in range(number)
        ]

    def end(self, seconds: float = 180) -> list[int]:
        """Their exit codes; none may take longer."""
        try:
            return [process.wait(seconds) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def succeed(self) -> None:
        codes = self.end()
        assert codes == [0] * len(codes), "\n".join(p.stderr[-3000:] for p in self.processes)


def flags(base, ranked, number):
    chosen = {
        "base": base("llama"),
        "dtype": "float32",
        "max_length": 48,
        "seed": 1,
        "recipe": "plain",
        "learning_rate": 1e-3,
        "max_steps": STEPS,
        "save_steps": 4,
        "logging_steps": 1,
        "per_device_train_batch_size": RANKINGS_A_STEP // number,
        "max_tokens_per_batch": 100,
        "test_fraction": 0,
        "report": False,
    }
    return ranked, *(
        f"--no-{name}" if value is False else f"--{name.replace('_', '-')}={value}"
        for name, value in chosen.items()
    )


@pytest.fixture(scope="module")
def one(base, ranked, tmp_path_factory):
    """The folder of a run in one process that nothing interrupts."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    Started(folder, 1, *flags(base, ranked, 1)).succeed()
    return folder


def read_log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").open()]


def same_run(folder, expected):
    for name in ("loss", "accuracy", "pairs", "reward_std", "eval_pairwise_accuracy"):
        values = [row[name] for row in read_log(expected) if name in row]
        assert values
        assert [row[name] for row in read_log(folder) if name in row] == pytest.approx(
            values, abs=1e-4
        ), name
    a, b = (load_file(f / "model" / "model.safetensors") for f in (folder, expected))
    assert a.keys() == b.keys()
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < WEIGHTS


@pytest.mark.parametrize("environment", [{}, FSDP], ids=["ddp", "fsdp2"])
def test_two_processes_train_as_one(base, ranked, one, tmp_path, environment):
    Started(tmp_path / "two", 2, *flags(base, ranked, 2), **environment).succeed()
    same_run(tmp_path / "two", one)
    divided = any((tmp_path / "two" / "checkpoints").glob("*/pytorch_model_fsdp_0"))
    assert divided == bool(environment)
    texts = ["fox fox", "dog dog"]
    assert RewardModel.load(tmp_path / "two", dtype="float32").score("2+2?", texts) == (
        pytest.approx(RewardModel.load(one, dtype="float32").score("2+2?", texts), abs=1e-3)
    )


@pytest.mark.parametrize(
    ("before", "after", "environment"),
    [(2, 1, {}), (1, 2, {}), (2, 1, FSDP)],
    ids=["ddp-2-to-1", "ddp-1-to-2", "fsdp2-2-to-1"],
)
def test_killed_and_resumed_in_another_number(
    base, ranked, one, tmp_path, before, after, environment
):
    folder = tmp_path / "run"
    begun = Started(folder, before, *flags(base, ranked, before), **environment)
    begun.processes[0].wait_for(folder / "checkpoints" / "checkpoint-4" / "trainer_state.json")
    begun.processes[-1].send_signal(signal.SIGKILL)
    codes = begun.end(seconds=60)
    assert codes[-1] == -signal.SIGKILL
    assert not (folder / "metrics.json").exists()
    if before == 2:
        assert codes[0] == 1
        said = begun.processes[0].stderr
        assert "process 0 of 2: another process of this run does not answer" in said
        assert "Traceback" not in said
    if environment:
        with pytest.raises(PlauditError, match="resume it under FSDP, in any number of processes"):
            train(output=folder, resume=True)
    resumed = Started(folder, after, "--resume", **environment)
    resumed.succeed()
    said = resumed.processes[0].stderr
    assert f"of the 8 rankings of a step each takes {8 // after} now" in said
    assert "resuming from" in said
    same_run(folder, one)


def test_a_step_that_cannot_be_shared_evenly_is_refused(base, ranked, tmp_path):
    folder = tmp_path / "run"
    settings = Settings.build(data=str(ranked), base=str(base("llama")), recipe="plain")
    settings.save(folder / "config.yaml")
    write_json(folder / "checkpoints" / STEP, {"rankings": 7})
    resumed = Started(folder, 2, "--resume")
    assert resumed.end() == [1, 1]
    assert "a step of this run takes 7 rankings, which 2 processes cannot share evenly" in (
        resumed.processes[0].stderr
    )


def test_deepspeed_is_refused_before_anything_is_written(base, ranked, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(PlauditError, match="--use_fsdp --fsdp_version 2"):
        train(ranked, output=tmp_path / "run", base=str(base("llama")), recipe="plain")
    assert not (tmp_path / "run").exists()


def test_only_what_comes_of_another_process_is_put_in_its_words():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), together():
        torch.zeros(2, 3) @ torch.zeros(2, 3)
