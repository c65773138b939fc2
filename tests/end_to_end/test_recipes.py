"""The two recipes of `examples/`, command by command, on small models of the same classes."""

import csv
import json
import shlex
from pathlib import Path

import pytest
import torch

import tiny
from plaudit import RewardModel
from plaudit.bundled.sample import write_sample
from plaudit.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A user's folder: example data under the recipes' names, small models as the hub's."""
    ranked, pairs = write_sample(tmp_path / "sample", n=24)
    ranked.rename(tmp_path / "answers_ranked.csv")
    (tmp_path / "dataset").mkdir()
    pairs.rename(tmp_path / "dataset" / "financial_rewards.jsonl")
    tiny.make("gpt2", tmp_path / "gpt2")
    tiny.make("deberta-v2", tmp_path / "microsoft" / "deberta-v3-small")
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(recipe):
    """The commands in the recipe's own comment."""
    lines = (EXAMPLES / recipe).read_text().splitlines()
    return [shlex.split(line.strip("# "), comments=True) for line in lines if "#   plaudit" in line]


def test_gpt2_on_ranked_answers(here, capsys):
    told = commands("gpt2-ranked.yaml")
    assert [words[1] for words in told] == ["pairs", "train", "compare"]
    assert main(told[0][1:]) == 0
    with (here / "answers_pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"prompt", "chosen", "rejected"} <= set(rows[0])
    assert main([*told[1][1:], "--max-length", "64"]) == 0
    log = [json.loads(line) for line in (here / "reward_model" / "log.jsonl").open()]
    assert [row["step"] for row in log if "loss" in row] == [1, *range(10, 101, 10)]
    checkpoints = {p.name for p in (here / "reward_model" / "checkpoints").glob("checkpoint-*")}
    assert checkpoints == {"checkpoint-50", "checkpoint-100"}
    model = RewardModel.load("reward_model")
    assert (model.pooling, model.encoding.kind) == ("last", "decoder")
    assert model.encoding.tokenizer.pad_token == model.encoding.tokenizer.eos_token
    capsys.readouterr()
    assert main([*told[2][1:], "--limit", "2", "--max-new-tokens", "8", "-n", "3"]) == 0
    assert "★" in capsys.readouterr().out
    comparison = here / "reward_model" / "comparison"
    assert (comparison / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert len((comparison / "completions.jsonl").read_text().splitlines()) == 6


def test_deberta_with_mean_scores_on_pairs(here):
    told = commands("deberta-finance.yaml")
    assert [words[1] for words in told] == ["train", "export"]
    assert main([*told[0][1:], "--max-length", "64", "--max-steps", "4"]) == 0
    assert main(told[1][1:]) == 0
    folder = RewardModel.load("runs/deberta-finance", dtype="float32")
    exported = RewardModel.load("reward_model.pt", dtype="float32")
    assert folder.pooling == exported.pooling == "mean"
    texts = ["You would have £1,050.", "It depends."]
    assert exported.score("What is £1,000 at 5%?", texts) == pytest.approx(
        folder.score("What is £1,000 at 5%?", texts), abs=1e-6
    )
    assert "state_dict" in torch.load("reward_model.pt", weights_only=True)
