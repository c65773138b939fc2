"""Do the commands, the service, the reward function and ONNX give the model's rewards?

Expected is what `RewardModel.score` gives on the device in float32, within 1e-4 × max(1, |reward|).
The commands have no flag for a device: they take the GPU where there is one. `plaudit export` works
on the CPU; ONNX is also written from a model that lies on the device. ONNX is run on the CPU.
"""

import importlib.util
import json
import re
import signal
import subprocess
import time
import traceback
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from checks import shapes
from checks.right_rewards import in_one, reward_differences
from checks.right_training import PIPES, finished, plaudit
from checks.setting import Report, Setting
from plaudit.data.rankings import Ranking
from plaudit.data.readers import load_rankings
from plaudit.errors import PlauditError
from plaudit.model.export import export
from plaudit.model.reward_model import RewardModel
from plaudit.rlhf import reward_func

ORDER = 30
LIMIT = 120
ALONE = False

CLOSE = 1e-4
READY = re.compile(r" at (http://\S+)")


def check(setting: Setting, report: Report) -> None:
    """Start the commands, and do meanwhile what needs no process of its own."""
    texts = shapes.texts_of(setting.ranked)
    # ONNX takes time for each layer.
    sizes = shapes.COMPARED["llama"] | ({"num_hidden_layers": 1} if setting.tiny else {})
    with mock.patch.dict(shapes.COMPARED, llama=sizes):
        folder = shapes.small_model("llama", setting.scratch / "model", texts)
    rankings = list(load_rankings(setting.ranked))[: 10 if setting.tiny else 60]
    files = _Files(setting.scratch, folder, rankings)
    with ExitStack() as started:

        def start(*commands: list[str], **where: Any) -> subprocess.Popen:
            process = plaudit(setting, *commands, **(where or PIPES))
            started.callback(_end, process)
            return process

        talk = started.enter_context((setting.scratch / "serve.txt").open("w+"))
        service = start(files.serve(), stdout=talk, stderr=talk)
        commands = {"score": files.score(), "evaluate": files.evaluate(), "pt": files.export("pt")}
        if not setting.tiny:  # where it is what the export from Python below is
            commands["onnx"] = files.export("onnx")
        if setting.tiny:  # starting a process takes most of the time
            running = dict.fromkeys(commands, start(*commands.values()))
        else:
            running = {name: start(command) for name, command in commands.items()}

        model = RewardModel.load(folder, device=setting.device, dtype="float32")
        expected = list(model.score_all([(r.prompt, r.completions) for r in rankings]))
        say = _Say(report, rankings, expected)
        say.same("plaudit.reward_func of a model", lambda: _of_reward_func(model, rankings))
        say.same(
            "plaudit.reward_func of a folder",
            lambda: _of_reward_func(folder, rankings, dtype="float32", device=setting.device),
        )
        onnx = files.onnx_python
        say.same(
            f"ONNX from a model on {model.device}",
            lambda: (export(model, onnx, "onnx"), _of_onnx(onnx, model, rankings))[1],
        )
        say.true(
            f"after its export the model is on {setting.device} as before",
            lambda: model.model.device.type == setting.device,
        )
        say.same(
            "after its export, the model",
            lambda: [model.score(r.prompt, r.completions) for r in rankings],
        )
        say.same("plaudit serve, one request to /score", lambda: _of_service(
            service, talk, rankings[0], setting))  # fmt: skip
        say.true("plaudit serve ends when it is told to", lambda: _stopped(service))
        said: dict[int, tuple[str, str]] = {}

        def done(name: str) -> str:
            process = running[name]
            if process.pid not in said:
                said[process.pid] = finished(process, setting)
            return said[process.pid][0]

        say.same("plaudit score", lambda: (done("score"), files.scored())[1])
        say.same("plaudit evaluate, predictions.jsonl", lambda: (
            done("evaluate"), files.predicted())[1])  # fmt: skip
        say.true(
            "plaudit evaluate gives the accuracy of these rewards",
            lambda: abs(files.accuracy() - _accuracy(rankings, expected)) < 1e-6,
        )
        for kind in ("pt", "onnx"):
            if kind in running:
                say.same(
                    f"plaudit export --format {kind}",
                    lambda kind=kind: (
                        done(kind),
                        _of_file(files.exported(kind), model, rankings, setting),
                    )[1],
                )


class _Say:
    """Reports whether rewards are those of the model; what fails is told in words and passed."""

    def __init__(
        self, report: Report, rankings: list[Ranking], expected: list[list[float]]
    ) -> None:
        self.report, self.rankings, self.expected = report, rankings, expected

    def same(self, what: str, rewards: Callable[[], list[list[float]]]) -> None:
        """State that rewards are the expected ones, or the first of them, with their difference."""
        started = time.monotonic()

        def held() -> tuple[bool, str]:
            ours = rewards()
            theirs = self.expected[: len(ours)]
            if not ours or list(map(len, ours)) != list(map(len, theirs)):
                return False, f"{sum(map(len, ours))} rewards came"
            difference = reward_differences(in_one(ours), in_one(theirs), "float32")[0]
            count = sum(map(len, ours))
            self.report.row(
                "rewards", of=what, rewards=count, difference=difference,
                seconds=time.monotonic() - started,
            )  # fmt: skip
            return difference <= CLOSE, f"the largest difference is {difference:.2g}"

        self._state(f"{what}: rewards are RewardModel.score's within {CLOSE:g}", held)

    def true(self, what: str, held: Callable[[], bool]) -> None:
        """State that something is so."""
        self._state(what, lambda: (held(), ""))

    def _state(self, what: str, held: Callable[[], tuple[bool, str]]) -> None:
        try:
            holds, told = held()
        except Exception as error:
            traceback.print_exc()
            holds, told = False, f"{type(error).__name__}: {' '.join(str(error).split())[-600:]}"
        self.report.holds(what + (f"; {told}" if told else ""), holds)


class _Files:
    """What the commands read and write."""

    def __init__(self, scratch: Path, model: Path, rankings: list[Ranking]) -> None:
        self.model, self.rankings = str(model), rankings
        self.to_score = scratch / "to score.jsonl"
        self.ranked = scratch / "ranked.jsonl"
        self.rewards = scratch / "rewards.jsonl"
        self.measured = scratch / "measured"
        self.scratch, self.onnx_python = scratch, scratch / "python.onnx"
        with self.to_score.open("w") as file:
            for r in rankings:
                row = {"prompt": r.prompt, "completions": list(r.completions)}
                file.write(json.dumps(row) + "\n")
        with self.ranked.open("w") as file:
            for r in rankings:
                for completion, rank in zip(r.completions, r.ranks, strict=True):
                    row = {"prompt": r.prompt, "answer": completion, "rank": rank}
                    file.write(json.dumps(row) + "\n")

    def score(self) -> list[str]:
        """The command that scores."""
        output = ("-o", str(self.rewards), "--dtype", "float32")
        return ["score", self.model, str(self.to_score), *output]

    def evaluate(self) -> list[str]:
        """The command that measures."""
        output = ("-o", str(self.measured), "--dtype", "float32", "--resamples", "50")
        return ["evaluate", self.model, str(self.ranked), *output]

    def serve(self) -> list[str]:
        """The command that serves, on a port that is free."""
        return ["serve", self.model, "--port", "0", "--dtype", "float32"]

    def export(self, kind: str) -> list[str]:
        """The command that writes one file."""
        return ["export", self.model, "--format", kind, "-o", str(self.exported(kind))]

    def exported(self, kind: str) -> Path:
        """What that command wrote."""
        return self.scratch / f"command.{kind}"

    def scored(self) -> list[list[float]]:
        """The rewards that the first command wrote."""
        return [json.loads(line)["rewards"] for line in self.rewards.read_text().splitlines()]

    def predicted(self) -> list[list[float]]:
        """The rewards that the second command wrote, by ranking."""
        lines = (self.measured / "predictions.jsonl").read_text().splitlines()
        rows = map(json.loads, lines)
        found = {(row["prompt"], row["completion"]): row["reward"] for row in rows}
        return [[found[r.prompt, completion] for completion in r.completions]
                for r in self.rankings]  # fmt: skip

    def accuracy(self) -> float:
        """The accuracy that the second command measured."""
        metrics = json.loads((self.measured / "metrics.json").read_text())
        return metrics["pairwise_accuracy"]["value"]


def _of_reward_func(
    model: RewardModel | Path, rankings: list[Ranking], **loading: Any
) -> list[list[float]]:
    pairs = [(r.prompt, completion) for r in rankings for completion in r.completions]
    rewards = iter(reward_func(model, **loading)(*map(list, zip(*pairs, strict=True))))
    return [[next(rewards) for _ in r.completions] for r in rankings]


def _of_file(
    path: Path, model: RewardModel, rankings: list[Ranking], setting: Setting
) -> list[list[float]]:
    """The rewards of an exported file of either kind."""
    if path.suffix == ".onnx":
        return _of_onnx(path, model, rankings)
    loaded = RewardModel.load(path, dtype="float32", device=setting.device)
    return list(loaded.score_all([(r.prompt, r.completions) for r in rankings]))


def _of_onnx(path: Path, model: RewardModel, rankings: list[Ranking]) -> list[list[float]]:
    """The rewards of some rankings, each one batch of padded rows."""
    missing = [m for m in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(m)]
    if missing:
        raise PlauditError(f"this machine has no {', '.join(missing)}")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rewards = []
    for row in model.encode([(r.prompt, r.completions) for r in rankings[:20]]):
        rows = [torch.tensor(ids) for ids in row["input_ids"]]
        inputs = {
            "input_ids": torch.nn.utils.rnn.pad_sequence(
                rows, batch_first=True, padding_value=model.encoding.tokenizer.pad_token_id
            ),
            "attention_mask": torch.nn.utils.rnn.pad_sequence(
                [torch.ones_like(ids) for ids in rows], batch_first=True
            ),
        }
        feed = {name: value.numpy() for name, value in inputs.items()}
        rewards.append(session.run(["reward"], feed)[0].tolist())
    return rewards


def _of_service(
    service: subprocess.Popen, talk: Any, ranking: Ranking, setting: Setting
) -> list[list[float]]:
    """The rewards that the service answers with, once it is ready."""

    def said() -> str:
        return Path(talk.name).read_text()

    while not (ready := READY.search(said())):
        if service.poll() is not None:
            raise RuntimeError(f"the service ended with exit code {service.returncode}: {said()}")
        if setting.left() < 15:
            raise RuntimeError(f"the service was not ready in time: {said()}")
        time.sleep(0.05)
    body = {"prompt": ranking.prompt, "completions": list(ranking.completions)}
    request = urllib.request.Request(
        f"{ready[1]}/score", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    # What stands in the environment of a proxy is not for this machine's own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return [json.loads(answer.read())["rewards"]]


def _stopped(service: subprocess.Popen) -> bool:
    service.send_signal(signal.SIGTERM)
    return service.wait(timeout=20) == 0


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _accuracy(rankings: list[Ranking], rewards: list[list[float]]) -> float:
    """The share of ordered pairs whose better side has the greater reward, in plain loops."""
    right = [
        (row[i] > row[j]) + 0.5 * (row[i] == row[j])
        for ranking, row in zip(rankings, rewards, strict=True)
        for i in range(len(row))
        for j in range(len(row))
        if ranking.ranks[i] < ranking.ranks[j]
    ]
    return sum(right) / len(right)
