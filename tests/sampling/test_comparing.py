"""Comparing a policy's completions: scored, the best marked, all written."""

import json
import os

import pytest
import torch
from scipy.stats import pearsonr

from plaudit.errors import PlauditError
from plaudit.sampling.comparing import Comparison, compare, format_comparison

PROMPTS = ["Is it so?", "What is two plus two? " * 3, "dog", "The quick brown fox", "0 1 2 3"]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "dog"}]


def test_the_best_is_marked_and_everything_is_written(policy, reward_model, tmp_path, capsys):
    model = reward_model("bert")
    result = compare(
        model, policy("qwen2"), [*PROMPTS, CHAT], n=3, max_new_tokens=6, output=tmp_path / "out"
    )
    assert capsys.readouterr().out == ""
    written = (tmp_path / "out" / "completions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in written]
    assert rows == list(result.rows())
    assert len(rows) == 18
    for start in range(0, 18, 3):
        three = rows[start : start + 3]
        assert three[0]["prompt"] == [*PROMPTS, CHAT][start // 3]
        rewards = [row["reward"] for row in three]
        alone = model.score(three[0]["prompt"], [row["completion"] for row in three])
        assert rewards == pytest.approx(alone, abs=1e-5)
        assert [row["best"] for row in three].index(True) == rewards.index(max(rewards))
        assert sum(row["best"] for row in three) == 1
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary == {"schema_version": 1, **result.summary()}
    png = (tmp_path / "out" / "comparison.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(os.listdir(tmp_path / "out")) == [
        "comparison.png", "completions.jsonl", "summary.json",
    ]  # fmt: skip


HAND = Comparison(["p", "q\nr"], [["aa", "b", "cccc"], ["d", "", "ee"]], [[1, 3, 2], [-1, -1, -4]])


def test_the_summary_by_hand():
    summary = HAND.summary()
    # Spearman is Pearson's of the ranks, here with ties by hand.
    lengths, rewards = [4.5, 2.5, 6, 2.5, 1, 4.5], [4, 6, 5, 2.5, 2.5, 1]
    expected = pearsonr(lengths, rewards)[0]
    assert summary.pop("reward_length_correlation") == pytest.approx(expected)
    assert summary == {
        "schema_version": 1,
        "prompts": 2,
        "completions": 6,
        "mean_reward": 0,
        "mean_reward_of_first": 0,
        "mean_reward_of_best": 1,
    }
    assert HAND.best == [1, 0]


def test_the_table_reads_from_the_best_down():
    correlation = HAND.summary()["reward_length_correlation"]
    assert format_comparison(HAND).splitlines() == [
        "p", " ★   +3.000  b", "     +2.000  cccc", "     +1.000  aa", "",
        "q r", " ★   -1.000  d", "     -1.000  (empty)", "     -4.000  ee", "",
        "mean reward +0.000; the first of each prompt +0.000, the best of each +1.000",
        f"rank correlation of reward with length {correlation:+.2f}",
    ]  # fmt: skip
    alone = Comparison(["p"], [["x" * 200]], [[0.5]])
    table = format_comparison(alone, width=40)
    assert "★" not in table
    assert "correlation" not in table
    assert max(map(len, table.splitlines()[:2])) <= 41


def test_a_reward_that_is_no_number_is_not_ranked(policy, base, tmp_path):
    from plaudit.model.reward_model import RewardModel

    broken = RewardModel.load(base("gpt2"), dtype="float32", device="cpu")
    with torch.no_grad():
        broken.model.score.weight.fill_(float("inf"))
    with pytest.raises(PlauditError, match="reward of a completion is not a finite"):
        compare(broken, policy("gpt2"), ["dog"], max_new_tokens=4, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_completion_has_a_reward(reward_model):
    for name in ("bert", "gpt2", "qwen2", "llama"):
        (reward,) = reward_model(name).score("dog", [""])
        assert abs(reward) < 1e6


def test_no_prompts_are_refused(policy, reward_model):
    with pytest.raises(PlauditError, match="no prompt to complete"):
        compare(reward_model("bert"), policy("gpt2"), [])


def test_folders_do_as_well_as_loaded_models(base, reward_model, tmp_path, capsys):
    reward_model("bert").save(tmp_path / "model")
    result = compare(tmp_path / "model", base("gpt2"), ["dog", "dog"], n=1, max_new_tokens=4)
    assert "loading the policy" in capsys.readouterr().err
    assert result.completions[0] == result.completions[1]
