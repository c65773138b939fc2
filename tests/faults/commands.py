"""The commands that are killed, on tiny models and small data, such that each takes seconds."""

import csv
import json
import os
import signal
import time
from pathlib import Path

import httpx

import tiny
from faults.killing import Command, LostError
from plaudit import Policy, RewardModel
from plaudit.bundled.sample import write_sample
from suite_rows import helpsteer3_row, shp_row

CPU = ["--dtype", "float32"]


def make_material(folder: Path) -> Path:
    """Base models, a reward model, data: what all commands are given."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny.make("bert", folder / "base")
    ranked, pairs = write_sample(folder, n=24)
    ranked.rename(folder / "ranked.csv")
    pairs.rename(folder / "pairs.jsonl")
    for number, name in enumerate(("model", "other")):
        model = RewardModel.load(folder / "base", max_length=64, seed=number, dtype="float32")
        model.new_head = False
        model.save(folder / name)
    policy = Policy.load(tiny.make("qwen2", folder / "policy"), device="cpu", dtype="float32")
    policy.model.generation_config.eos_token_id = list(range(30, 300, 12))
    policy.model.save_pretrained(folder / "policy")
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(1500):
            answer = "so " * (number % 9 + 1) if number % 100 else ""
            row = {"id": number, "prompt": f"p{number}", "completion": answer}
            file.write(json.dumps(row) + "\n")
    (folder / "prompts.txt").write_text("".join(f"What is {n}?\n" for n in range(64)))
    (folder / "suites").mkdir()
    for name, row in (("helpsteer3", helpsteer3_row), ("shp", shp_row)):
        rows = [row(number) for number in range(60)]
        lines = "".join(json.dumps(one) + "\n" for one in rows)
        (folder / "suites" / f"{name}.jsonl").write_text(lines)
    return folder


def training(made: Path) -> list[str]:
    """Settings of the runs that train."""
    return [
        *("--base", made / "base", *CPU, "--recipe", "plain", "--max-length", "48"),
        *("--seed", "1", "--learning-rate", "1e-3", "--max-steps", "12", "--save-steps", "3"),
        *("--logging-steps", "1", "--per-device-train-batch-size", "4", "--stress", "0"),
    ]


def commands(made: Path) -> dict[str, Command]:
    """All of them by name. `made` is what `make_material` filled."""
    ranked, model, rows = made / "ranked.csv", made / "model", made / "rows.jsonl"
    # Checkpoints note times; safetensors orders its metadata at random.
    unordered = r"out/checkpoints/|trained_on\.plaudit"
    resumed = ["-o", "out", "--resume"]
    begun = [*training(made), "-o", "out"]
    score = ["score", model, rows, "-o", "out/scored.jsonl", *CPU]
    scored = r"out/(scored|rejected)[-\d]*\.\w+"
    kept = r"out/(best|rejected)[-\d]*\.jsonl"
    bench = ["bench", model, made / "other", "--data", made / "pairs.jsonl", "-o", "out", *CPU]
    suites = ["evaluate", model, made / "suites", "--suite", "all", "--partial", "-o", "out", *CPU]
    generate = ["generate", made / "prompts.txt", "--model", model, "--policy", made / "policy"]
    generate += ["-o", "out/best.jsonl"]
    generate += ["-n", "2", "--max-new-tokens", "8", "--batch-size", "4", "--messages", *CPU]
    workers = [*score, "--processes", "2"]
    on_ray = [*score, "--engine", "ray", "--processes", "1"]
    parquet = ["score", model, rows, "-o", "out/scored.parquet", *CPU]
    searched = [*training(made), "--no-report", "-o", "out"]
    tune = ["tune", ranked, *searched, "--trials", "3"]
    variance = ["variance", ranked, *searched, "--splits", "2", "--seeds", "2"]
    all_commands = [
        Command("score", score, [*score, "--resume"], appears=scored),
        Command(
            "generate",
            generate,
            [*generate, "--resume"],
            appears=kept,
        ),
        Command("score to Parquet", parquet, [*parquet, "--resume"], appears=scored),
        Command(
            "bench", bench, [*bench, "--resume"], leave=r"out/(index.html|scores.csv|table.tex)"
        ),
        Command("evaluate --suite all", suites, [*suites, "--resume"]),
        *(
            Command(f"export --format {form}", export, appears=r"out\b.*", leave=leave)
            for form, leave in (("pt", ""), ("folder", ""), ("onnx", ""), ("openvino", ""))
            for export in [["export", made / "model", "-o", "out", "--format", form]]
        ),
        Labeller(made).command(),
        Command("score --processes 2", workers, [*workers, "--resume"], appears=scored),
        Command("score --engine ray", on_ray, [*on_ray, "--resume"], appears=scored),
        Command("tune", tune, ["tune", *resumed, "--trials", "3"], same=False, check=_searched),
        Command("variance", variance, ["variance", *resumed]),
        Command("train", ["train", ranked, *begun], ["train", *resumed], leave=unordered),
        Command("cv", ["cv", ranked, "-k", "2", *begun], ["cv", *resumed]),
    ]
    return {each.name: each for each in all_commands}


def _searched(whole: Path, folder: Path) -> None:
    """A search has as many trials as were asked for, none of them twice, and a model."""
    there, here = (
        json.loads((where / "out" / "metrics.json").read_text()) for where in (whole, folder)
    )
    places = sorted((folder / "out" / "trials").iterdir())
    killed = [place for place in places if (place / "killed").exists()]
    if len(here["trials"]) - len(killed) != len(there["trials"]):
        raise LostError(f"{len(here['trials'])} trials, {len(killed)} of them killed")
    numbers = [trial["number"] for trial in here["trials"]]
    if numbers != list(range(len(numbers))) or len(places) != len(numbers):
        raise LostError(f"trials {numbers} in {[place.name for place in places]}")
    failed = [trial["number"] for trial in here["trials"] if trial["state"] == "failed"]
    if failed != [int(place.name) for place in killed]:
        raise LostError(f"trials {failed} failed, {[place.name for place in killed]} were killed")
    if left := [str(one) for one in (folder / "out").rglob(".*")]:
        raise LostError(f"left behind: {left}")
    for name in ("model/model.safetensors", "metrics.json", "predictions.jsonl"):
        if not (folder / "out" / "best" / name).is_file():
            raise LostError(f"best/{name} is missing")


class Labeller:
    """Somebody who labels all there is to label, as fast as the service answers, and remembers
    which labels the service said it has."""

    def __init__(self, made: Path) -> None:
        self.data = made / "to_label.jsonl"
        rows = [
            {"prompt": f"Q{n}", "completions": [f"{n} a", f"{n} b", f"{n} c"]} for n in range(80)
        ]
        self.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.arguments = ["serve", made / "model", "--label", self.data, "--labels", "labels.csv"]
        self.arguments += ["--port", "0", *CPU]
        self.saved: set[str] = set()

    def command(self) -> Command:
        """To be killed."""
        return Command(
            "serve --label", self.arguments, self.arguments, self.ready, same=False,
            during=self.label, look=self.look, check=self.check,
        )  # fmt: skip

    def ready(self, folder: Path) -> None:
        """Begin anew."""
        self.saved.clear()

    def label(self, child: int, folder: Path) -> None:
        """Label until the service is gone or all is labelled; then ask it to end."""
        said, url = folder.with_name(folder.name + ".said"), ""
        while not url:
            if not _runs(child):
                return
            text = said.read_text() if said.exists() else ""
            url = text.partition(" at ")[2].partition(" ")[0].rstrip(",")
            time.sleep(0.01)
        try:
            with httpx.Client(base_url=url, timeout=60) as client:
                item = client.post("/label/next", json={"window": "w"}).json()["item"]
                while item is not None:
                    asked = {"window": "w", "id": item["id"], "ranks": [2, 1, 2]}
                    answer = client.post("/label/save", json=asked)
                    if answer.status_code == 200:
                        self.saved.add(item["prompt"])
                    item = client.post("/label/next", json={"window": "w"}).json()["item"]
            os.kill(child, signal.SIGTERM)
        except (httpx.TransportError, ProcessLookupError):
            return

    def look(self, folder: Path) -> None:
        """What was acknowledged is in the file, once and whole."""
        labels = self.labels(folder)
        if missing := self.saved - labels.keys():
            raise LostError(f"the labels of {sorted(missing)} are lost")
        for prompt, ranks in labels.items():
            if sorted(ranks) != ["1", "2", "2"]:
                raise LostError(f"{prompt} has the ranks {ranks}")

    def check(self, _: Path, folder: Path) -> None:
        """All is labelled, and nothing else is there."""
        if len(self.labels(folder)) != 80:
            raise LostError(f"{len(self.labels(folder))} of 80 labels")
        if (names := os.listdir(folder)) != ["labels.csv"]:
            raise LostError(f"left behind: {names}")

    def labels(self, folder: Path) -> dict[str, list[str]]:
        """The ranks of each prompt in the file."""
        found: dict[str, list[str]] = {}
        if (folder / "labels.csv").exists():
            with (folder / "labels.csv").open(newline="") as file:
                for row in csv.DictReader(file):
                    found.setdefault(row["prompt"], []).append(row["rank"])
        return found


def _runs(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
