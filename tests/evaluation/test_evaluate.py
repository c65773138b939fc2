"""Evaluating a model on data: figures, files, and what is refused."""

import json

import numpy as np
import pytest

from plaudit import PlauditError, Ranking, evaluate
from plaudit.data.cells import characters

RANKINGS = [
    Ranking("What is two plus two?", ["Four.", "Five.", "It is a lot"], [0, 1, 1]),
    Ranking("Is a fox lazy?", ["No, it is quick.", "Yes"], [0, 1], category="animals"),
    Ranking("Is a fox lazy?", ["It jumps.", "I like dogs, and talk on and on."], [0, 1]),
]


def test_the_figures_are_those_of_the_rewards(reward_model):
    model = reward_model("bert")
    result = evaluate(model, RANKINGS)
    assert result.rewards == [
        pytest.approx(model.score(r.prompt, r.completions), abs=1e-5) for r in RANKINGS
    ]
    pairs = [
        (rs[i], rs[j]) for r, rs in zip(RANKINGS, result.rewards, strict=True) for i, j in r.pairs()
    ]
    assert result.summary["pairwise_accuracy"]["value"] == np.mean([a > b for a, b in pairs])
    assert result.summary["counts"] == {"prompts": 2, "rankings": 3, "completions": 7, "pairs": 4}
    # Longer is better in one of the four pairs: "No, it is quick." over "Yes".
    assert result.summary["length_baseline"]["value"] == (0.5 + 0 + 1 + 0) / 4
    better, worse = result.pair_rewards()
    assert list(zip(better, worse, strict=True)) == pairs


def test_files_are_written_whole(reward_model, tmp_path):
    result = evaluate(reward_model("bert"), RANKINGS, output=tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"metrics.json", "predictions.jsonl", "plots"}
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result.summary
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").open()]
    assert [row["completion"] for row in rows] == [c for r in RANKINGS for c in r.completions]
    assert [row["rank"] for row in rows] == [0, 1, 1, 0, 1, 0, 1]
    assert [row["reward"] for row in rows] == [x for rs in result.rewards for x in rs]
    assert [row.get("category") for row in rows][3:5] == ["animals", "animals"]


def test_the_same_data_give_the_same_intervals(reward_model):
    first = evaluate(reward_model("bert"), RANKINGS).summary
    assert first == evaluate(reward_model("bert"), RANKINGS).summary


def test_nothing_to_evaluate_is_said(reward_model):
    with pytest.raises(PlauditError, match="no ranking to evaluate on"):
        evaluate(reward_model("bert"), [])


def test_messages_are_measured_by_what_they_say():
    assert characters([{"role": "assistant", "content": "1234"}]) == characters("1234") == 4
