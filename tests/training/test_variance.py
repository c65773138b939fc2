"""Splits crossed with seeds, as a user runs it."""

import json

import numpy as np
import pytest
from pydantic import TypeAdapter

import tiny
from plaudit import PlauditError, RewardModel, report, variance
from plaudit.results import VarianceMetrics


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    return tiny.write_rankings(tmp_path_factory.mktemp("data") / "ranked.jsonl", 40)


def test_every_split_is_trained_on_with_every_seed(ranked, base, tmp_path):
    few = tiny.head_alone(base, tmp_path, num_train_epochs=1)
    found = variance(ranked, splits=2, seeds=2, output=tmp_path / "v", **few)
    summary = json.loads((tmp_path / "v" / "metrics.json").read_text())
    assert TypeAdapter(VarianceMetrics).validate_python(summary) == summary == found.summary
    tested, rewards = {}, {}
    for split in (1, 2):
        for seed in (1, 2):
            run = tmp_path / "v" / "grid" / f"split-{split}-seed-{seed}"
            rows = [json.loads(line) for line in (run / "predictions.jsonl").open()]
            rows = [row for row in rows if row["split"] == "test"]
            tested[split, seed] = [row["prompt"] for row in rows]
            rewards[split, seed] = [row["reward"] for row in rows]
            value = json.loads((run / "metrics.json").read_text())["test"]["log_loss"]["value"]
            assert summary["metrics"]["log_loss"]["values"][split - 1][seed - 1] == value
    assert tested[1, 1] == tested[1, 2] != tested[2, 1] == tested[2, 2]
    assert rewards[1, 1] != rewards[1, 2]
    assert np.ptp(summary["metrics"]["log_loss"]["values"]) > 0
    assert "2 splits, with 2 seeds each" in str(found)
    assert "points" in str(found).splitlines()[-1]
    with pytest.raises(PlauditError, match="is finished"):
        variance(output=tmp_path / "v", resume=True)
    with pytest.raises(PlauditError, match="is of plaudit variance; report is for its runs"):
        report(tmp_path / "v")
    with pytest.raises(PlauditError, match="keeps no model"):
        RewardModel.load(tmp_path / "v")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"splits": 1}, "give two of each"),
        ({"seeds": 1}, "give two of each"),
        ({"test_data": "a.csv", "validation_data": "b.csv"}, "leave nothing to split"),
        ({"test_fraction": 0}, "leaves no prompts to measure on"),
    ],
)
def test_what_cannot_vary_is_refused(ranked, base, tmp_path, given, message):
    with pytest.raises(PlauditError, match=message):
        variance(ranked, output=tmp_path / "v", **tiny.head_alone(base, tmp_path) | given)
    assert not (tmp_path / "v" / "config.yaml").exists()
