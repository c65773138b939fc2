"""A run in two processes against the same run in one: weights that come out of it."""

import json
import os
import subprocess
import sys

import torch
from safetensors.torch import load_file

import forked

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def rows(count):
    """Rankings of unequal K and weight; every fourth is larger than a pass."""
    for number in range(count):
        k = 6 if number % 4 == 0 else 2 + number % 2
        texts = [f"{'fox ' * (k - i)}{'dog ' * (1 + (i + number) % 3)}{i}" for i in range(k)]
        weight = (1.0, 0.5, 3.0)[number % 3]
        prompt = f"What is {number} plus two?"
        yield {"prompt": prompt, "completions": texts, "ranks": [*range(k)], "weight": weight}


def trained(processes, folder, data, base, **options):
    """The weights that `plaudit train` leaves, started as a user does."""
    given = {
        "base": base, "recipe": "plain", "dtype": "float32", "max-length": 64, "seed": 1,
        "optim": "sgd", "learning-rate": 0.05, "warmup-steps": 0, "max-grad-norm": 0,
        "metric-for-best-model": "last", "stress": 0, "save-steps": 50, **options,
    }  # fmt: skip
    flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    command = ["-m", "plaudit", "train", str(data), "-o", str(folder), "--no-report", *flags]
    if processes == 1:
        forked.start(*command).succeed()
    else:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        done = subprocess.run(
            [sys.executable, *launcher, *command],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    return load_file(folder / "model" / "model.safetensors")


def test_two_processes_are_one_with_twice_the_batch(base, tmp_path):
    """By rankings and their weights, whatever a process has of them, and however a ranking that is
    larger than a pass is divided."""
    data, test = tmp_path / "data.jsonl", tmp_path / "test.jsonl"
    made = [json.dumps(row) for row in rows(36)]
    data.write_text("\n".join(made[:32]))
    test.write_text("\n".join(made[32:]))
    start = load_file(base("llama") / "model.safetensors")
    common = {"base": base("llama"), "max-steps": 3, "validation-fraction": 0}
    common |= {"test-data": test, "gradient-accumulation-steps": 2}
    one = trained(
        1, tmp_path / "one", data,
        **{"per-device-train-batch-size": 4, "max-tokens-per-batch": 10**6, **common},
    )  # fmt: skip
    two = trained(
        2, tmp_path / "two", data,
        **{"per-device-train-batch-size": 2, "max-tokens-per-batch": 80, **common},
    )  # fmt: skip
    assert one.keys() == two.keys()
    name = next(name for name in start if name in one and "q_proj" in name)
    assert (one[name] - start[name]).abs().max() > 1e-3
    for name, weight in one.items():
        assert torch.allclose(two[name], weight, atol=1e-5), name
