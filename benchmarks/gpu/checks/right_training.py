"""Does training through the command line learn, survive a kill, and do LoRA and a head alone?

Runs are started as a user starts them, `plaudit train` in processes of their own, side by side:

- one undisturbed, in float32; and the same one killed by SIGKILL when its second checkpoint is
  there and continued by `--resume`. The weights in the end must be within 1e-4 (on a GPU sums are
  added in no fixed order), on a CPU equal bit for bit;
- LoRA, and the head alone, in the precision that the machine suggests;
- the head alone once more, which must take all features from the cache that the first one filled.

In each the loss must go down, and what `metrics.json` says of device and precision must be true.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from checks import shapes
from checks.setting import Report, Setting
from plaudit.model.precision import Work, choose_precision
from plaudit.model.reward_model import RewardModel

ORDER = 20
LIMIT = 150
ALONE = False

CLOSE = 1e-4  # of weights after a resumed run
RANKINGS = 40
# Several commands, one after another, in one process.
PROGRAM = """
import json, sys
from plaudit.cli import main
for arguments in json.loads(sys.argv[1]):
    if code := main(arguments):
        sys.exit(code)
"""


def check(setting: Setting, report: Report) -> None:
    """Start the runs, wait, look at what they left."""
    texts = shapes.texts_of(setting.ranked)
    base = shapes.small_model("llama", setting.scratch / "base", texts)
    data = _some_rankings(setting.ranked, setting.scratch / "ranked.csv")
    steps, every = (8, 2) if setting.tiny else (40, 5)

    def command(run: str, *flags: str) -> list[str]:
        return [
            *("train", str(data), "-o", str(setting.scratch / run), "--base", str(base)),
            *("--max-length", "192", "--per-device-train-batch-size", "4", "--logging-steps", "1"),
            *("--save-steps", str(every), "--max-steps", str(steps), *flags),
        ]

    # Few steps: only a rate that is high shows in the loss.
    undisturbed = ("--dtype", "float32", "--learning-rate", "3e-4")
    nothing_held_out = ("--validation-fraction", "0", "--test-fraction", "0")
    # All rankings in each step: with so few steps, other rankings would hide what is learnt.
    head = ("--freeze-layers", "-1", "--features-cache", str(setting.scratch / "features"))
    head += ("--per-device-train-batch-size", str(RANKINGS), *nothing_held_out)
    whole = command("whole", *undisturbed)
    once = ("--save-steps", str(steps))
    lora = command("lora", "--lora-r", "4", "--learning-rate", "3e-3", *once)
    heads = [command("head", *head, *once), command("head again", *head, *once)]
    chains = {"whole": [whole], "lora": [lora], "head": heads}
    if setting.tiny:  # starting a process takes most of the time
        chains = {"whole": [whole, [*lora, *nothing_held_out], *heads]}
    with ThreadPoolExecutor(len(chains) + 1) as pool:
        started = {name: pool.submit(_chain, setting, chain) for name, chain in chains.items()}
        killed = pool.submit(_killed_and_resumed, setting, command("killed", *undisturbed), every)
        outcome = {name: _outcome(future, report, name) for name, future in started.items()}
        how = _outcome(killed, report, "killed and resumed")
    runs = {"whole": "float32", "lora": "auto", "head": "auto", "head again": "auto"}
    for run, dtype in runs.items():
        if outcome.get(run.split()[0], outcome["whole"]) is not None:
            _judge(run, dtype, setting, report)
    if how is not None and outcome["whole"] is not None:
        report.holds(f"a killed run goes on by --resume: {how}", True)
        _judge("killed", "float32", setting, report)
        _compare_weights(setting, report)
    if outcome.get("head", outcome["whole"]) is not None:
        _judge_features(setting, report)


def environment(setting: Setting) -> dict[str, str]:
    """Of a process that a check starts: it sees a GPU only where that is to be checked."""
    return os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if setting.device == "cpu" else {})


def plaudit(setting: Setting, *commands: list[str], **options: Any) -> subprocess.Popen:
    """A process with one command of plaudit, or several one after another."""
    if len(commands) == 1:
        line = [sys.executable, "-m", "plaudit", *commands[0]]
    else:
        line = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    return subprocess.Popen(line, env=environment(setting), text=True, **options)


def finished(process: subprocess.Popen, setting: Setting) -> tuple[str, str]:
    """What a process said on stdout and stderr; raises `RuntimeError` where it failed or hung."""
    try:
        said, talk = process.communicate(timeout=max(setting.left() - 5, 1))
    except subprocess.TimeoutExpired:
        process.kill()
        said, talk = process.communicate()
        raise RuntimeError(f"took too long and was ended; it said: {talk[-600:]}") from None
    if process.returncode:
        raise RuntimeError(f"ended with exit code {process.returncode}: {talk[-600:]}")
    return said or "", talk or ""


PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def _some_rankings(ranked: Path, path: Path) -> Path:
    """The first rankings of a ranked CSV file, in a file of their own."""
    with ranked.open(newline="") as file:
        rows = list(csv.DictReader(file))
    prompts = list(dict.fromkeys(row["prompt"] for row in rows))[:RANKINGS]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if row["prompt"] in set(prompts))
    return path


def _chain(setting: Setting, commands: list[list[str]]) -> str:
    """Run the commands one after another; what they said."""
    return finished(plaudit(setting, *commands, **PIPES), setting)[1]


def _killed_and_resumed(setting: Setting, command: list[str], every: int) -> str:
    """Run, kill after the second checkpoint, resume; what the resumed run began with."""
    folder = setting.scratch / "killed"
    talk = setting.scratch / "killed.txt"
    with talk.open("w") as said:  # a pipe would fill up
        process = plaudit(setting, command, stdout=said, stderr=said)
        try:
            # By number: the second one may be deleted again before it is seen.
            while _last_checkpoint(folder) < 2 * every:
                if process.poll() is not None:
                    raise RuntimeError(
                        f"ended before it could be killed, with exit code {process.returncode}: "
                        f"{talk.read_text()[-600:]}"
                    )
                if setting.left() < 10:
                    raise RuntimeError(f"made no second checkpoint: {talk.read_text()[-600:]}")
                time.sleep(0.002)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    if (folder / "metrics.json").exists():
        raise RuntimeError("was finished before it was killed")
    resumed = plaudit(setting, ["train", "-o", str(folder), "--resume"], **PIPES)
    _, said_then = finished(resumed, setting)
    line = next((line for line in said_then.splitlines() if "resuming from" in line), "")
    if not line:
        raise RuntimeError(f"did not resume from a checkpoint: {said_then[-600:]}")
    return f"resuming from {Path(line.split()[-1]).name} of {2 * every} or more"


def _last_checkpoint(run: Path) -> int:
    """The step of the newest checkpoint that is whole, 0 without one."""
    names = [path.name for path in run.glob("checkpoints/checkpoint-*")]
    return max((int(name.rpartition("-")[2]) for name in names), default=0)


def _outcome(future: "Future[str]", report: Report, what: str) -> str | None:
    """What a thread found; None where it failed, which is then reported."""
    try:
        return future.result()
    except RuntimeError as error:
        report.holds(f"{what}: {error}", False)
        return None


def _judge(run: str, dtype: Any, setting: Setting, report: Report) -> None:
    """State that a run learnt, on the device and in the precision that it says, and scores."""
    folder = setting.scratch / run
    told = json.loads((folder / "metrics.json").read_text())["training"]
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in log if row.get("loss") is not None]
    quarter = max(len(losses) // 4, 1)
    first, last = (sum(some) / len(some) for some in (losses[:quarter], losses[-quarter:]))
    report.row(
        "runs",
        run=run,
        steps=told["steps"],
        dtype=told["dtype"],
        device=told["device"],
        seconds=told["seconds"],
        **{"first losses": first, "last losses": last},
    )
    report.holds(f"{run}: the loss goes down, from {first:.3f} to {last:.3f}", last < first)
    expected = choose_precision(dtype, torch.device(setting.device), Work({})).dtype
    report.holds(
        f"{run}: ran on {told['device']} in {told['dtype']}",
        told["device"].partition(":")[0] == setting.device
        and told["dtype"] == str(expected).removeprefix("torch."),
    )
    # It noted rewards in its own precision; here the model that it left gives them in float32.
    lines = (folder / "predictions.jsonl").read_text().splitlines()[:6]
    if lines:
        _judge_predictions(
            run, folder, list(map(json.loads, lines)), told["dtype"], setting, report
        )


def _judge_predictions(
    run: str,
    folder: Path,
    rows: list[dict[str, Any]],
    dtype: str,
    setting: Setting,
    report: Report,
) -> None:
    model = RewardModel.load(folder, device=setting.device, dtype="float32")
    differences = [
        abs(model.score(row["prompt"], row["completion"]) - row["reward"])
        / max(abs(row["reward"]), 1)
        for row in rows
    ]
    bound = 1e-4 if dtype == "float32" else 0.2
    report.holds(
        f"{run}: the saved model gives the rewards of predictions.jsonl within {bound:g} (largest "
        f"difference {max(differences):.2g})",
        max(differences) <= bound,
    )


def _compare_weights(setting: Setting, report: Report) -> None:
    """State that the resumed run ended where the undisturbed one did."""
    whole, killed = (
        load_file(setting.scratch / run / "model" / "model.safetensors")
        for run in ("whole", "killed")
    )
    base = load_file(setting.scratch / "base" / "model.safetensors")
    difference, moved = _apart(killed, whole), _apart(whole, base)
    equal = all(torch.equal(whole[name], killed[name]) for name in whole if name in killed)
    bits = "equal bit for bit" if equal else "not equal bit for bit"
    report.holds(
        f"killed and resumed, weights are those of the undisturbed run: {bits}, largest difference "
        f"{difference:.2g} (training moved them by up to {moved:.2g})",
        whole.keys() == killed.keys()
        and difference <= CLOSE < moved
        and (equal or setting.device != "cpu"),
    )


def _judge_features(setting: Setting, report: Report) -> None:
    """State that the second run of the head found what the first one computed."""
    first, second = (
        json.loads((setting.scratch / run / "metrics.json").read_text())
        for run in ("head", "head again")
    )
    one, other = first["training"]["frozen"], second["training"]["frozen"]
    report.holds(
        f"the head alone: {one['computed']} rankings computed and {one['found']} found the first "
        f"time, {other['computed']} and {other['found']} the second",
        one["computed"] > 0 and other["computed"] == 0 and other["found"] >= one["computed"],
    )
    weights = [
        load_file(setting.scratch / run / "model" / "model.safetensors")
        for run in ("head", "head again")
    ]
    difference = _apart(*weights)
    report.holds(
        f"the head alone: kept features give the same weights within {CLOSE:g} (largest difference "
        f"{difference:.2g})",
        difference <= CLOSE,
    )


def _apart(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    return max((ours[name] - theirs[name]).abs().max().item() for name in theirs if name in ours)
