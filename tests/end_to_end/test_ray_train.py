"""Ray Train's recipe on a local cluster: a worker is killed, and the run is that of one process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from plaudit import train
from plaudit.settings import Settings
from ranked_file import write_ranked

pytest.importorskip("ray.train", reason="ray[train] is not installed")
EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_train.py"


def workers(driver):
    """The processes of Ray Train's workers whose cluster `driver` started, by their names."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = Path(f"/proc/{process}/cmdline").read_bytes()
            marked = (
                f"PLAUDIT_TEST={driver}".encode() in Path(f"/proc/{process}/environ").read_bytes()
            )
        except OSError:  # it has ended since
            continue
        if name.startswith(b"ray::RayTrainWorker") and marked:
            found.append(int(process))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_a_killed_worker_costs_nothing(base, tmp_path):
    data = write_ranked(tmp_path / "ranked.csv")
    settings = Settings.build(
        data=str(data), base=str(base("llama")), dtype="float32", max_length=48, seed=1,
        recipe="plain", learning_rate=1e-3, max_steps=60, save_steps=4, test_fraction=0,
        per_device_train_batch_size=4, report=False,
    )  # fmt: skip
    settings.save(tmp_path / "settings.yaml")
    train(config=tmp_path / "settings.yaml", output=tmp_path / "one", per_device_train_batch_size=8)

    command = [sys.executable, EXAMPLE, data, "--config", tmp_path / "settings.yaml"]
    with (tmp_path / "said").open("w") as said:
        driver = subprocess.Popen(
            [*map(str, command), "-o", str(tmp_path / "two"), "--workers", "2"],
            env={**os.environ, "PLAUDIT_TEST": str(tmp_path), "OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=said,
        )
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "two" / "checkpoints" / "checkpoint-4").exists():
            assert driver.poll() is None, (tmp_path / "said").read_text()[-3000:]
            assert time.monotonic() < deadline, (tmp_path / "said").read_text()[-3000:]
            time.sleep(0.02)
        os.kill(max(workers(tmp_path)), signal.SIGKILL)
        assert driver.wait(timeout=200) == 0, (tmp_path / "said").read_text()[-3000:]
    finally:
        driver.terminate()
        driver.wait()
    assert "resuming from" in (tmp_path / "said").read_text()
    a, b = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("one", "two"))
    # As in training/test_processes.py: a tenth of the way that one step moves a weight.
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < 1e-4
