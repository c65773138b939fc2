"""Evaluating a model on data: figures, files, and what is refused."""

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from plaudit import PlauditError, Ranking, evaluate
from plaudit.data.cells import characters
from plaudit.evaluation.comparison import compare_rewards
from plaudit.evaluation.rewards import rewards_of
from plaudit.reporting.evaluation import measure

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


def test_several_names_are_measured_as_an_ensemble(reward_model, tmp_path):
    names = [tmp_path / name for name in ("bert", "gpt2")]
    for name in names:
        reward_model(name.name).save(name)
    each = [evaluate(reward_model(name.name), RANKINGS).rewards for name in names]
    for found, *both in zip(evaluate(names, RANKINGS).rewards, *each, strict=True):
        assert found == pytest.approx(np.mean(both, axis=0), abs=1e-5)


def test_equal_completions_have_equal_rewards(reward_model):
    model = reward_model("bert")
    [first, last] = rewards_of(model, [Ranking("2+2?", ["4", "five", "4"], [0, 1, 0]), RANKINGS[0]])
    assert first[0] == first[2] != first[1]
    assert first[:2] == pytest.approx(model.score("2+2?", ["4", "five"]), abs=1e-5)
    assert len(last) == 3


def test_whitespace_is_changed_in_a_sample_and_scored_again(reward_model):
    model = reward_model("bert")
    found = evaluate(model, RANKINGS, whitespace=2).summary["whitespace"]
    assert found["completions"] in (4, 5)  # of two of the three rankings
    assert 0 <= found["agreement"]["value"] <= 1
    # What this tokenizer makes of a text has no whitespace in it.
    assert found["mean_change"] == pytest.approx(0, abs=1e-4)
    assert evaluate(model, RANKINGS, whitespace=0).summary["whitespace"] is None
    every = evaluate(model, RANKINGS).summary["whitespace"]
    assert every["completions"] == 7


def test_a_model_that_reads_whitespace_is_found_out(reward_model):
    class Reader:
        """Prefers whatever has more whitespace in it."""

        truncation: ClassVar = {}
        encodings = ()
        uncertain = False
        scale = 1.0
        remembering = nullcontext

        def training_texts(self):
            return [None]

        def warn_if_untrained(self): ...

        telling_truncation = nullcontext

        def score_all(self, prompts):
            for _, completions in prompts:
                yield [float(sum(map(str.isspace, text))) for text in completions]

    rankings = [Ranking(f"{i}?", ["Yes. It. Is.", "No, it is so."], [0, 1]) for i in range(20)]
    found = evaluate(Reader(), rankings).summary["whitespace"]
    assert found["agreement"]["value"] < 1
    assert found["mean_change"] > 0.5


def test_another_models_rewards_stand_beside_as_a_baseline(reward_model):
    model = reward_model("bert")
    perfect = [[-rank for rank in ranking.ranks] for ranking in RANKINGS]
    result = evaluate(model, RANKINGS, baselines={"the oracle": perfect})
    oracle = result.summary["baselines"]["the oracle"]
    assert oracle["pairwise_accuracy"]["value"] == 1
    accuracy = result.summary["pairwise_accuracy"]["value"]
    assert oracle["above"]["value"] == pytest.approx(accuracy - 1)
    assert "oracle" in str(result)


def test_lists_and_markdown_are_counted():
    rankings = [
        Ranking(f"{i}?", ["**Bold** claim", "- one\n- two", "plain"], [0, 1, 1]) for i in range(6)
    ]
    found = measure(rankings, [[1.0, 0.0, 0.0]] * 6).summary["style"]
    assert found["markdown"]["accuracy_where_more"]["value"] == 1
    assert found["markdown"]["accuracy_where_less"] is None
    assert found["lists"]["pairs_that_differ"] == 6  # bold against list; the other has none either
    assert found["lists"]["accuracy_where_less"]["value"] == 1
    assert found["lists"]["correlation"]["value"] == pytest.approx(-0.5)


def test_files_are_written_whole(reward_model, tmp_path):
    result = evaluate(reward_model("bert"), RANKINGS, output=tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"metrics.json", "predictions.jsonl", "plots", "report.html"}
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert next(iter(written)) == "schema_version"
    assert written == {"schema_version": 1, **result.summary}
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").open()]
    assert [row["completion"] for row in rows] == [c for r in RANKINGS for c in r.completions]
    assert [row["rank"] for row in rows] == [0, 1, 1, 0, 1, 0, 1]
    assert [row["reward"] for row in rows] == [x for rs in result.rewards for x in rs]
    assert [row.get("category") for row in rows][3:5] == ["animals", "animals"]


def test_files_of_an_earlier_evaluation_do_not_stay(tmp_path):
    sorts = [Ranking(f"{n}?", ["a", "b"], [0, 1], category="c" * (1 + n % 2)) for n in range(8)]
    rewards = [[1.0, 0.0]] * 8
    against = compare_rewards(sorts, rewards, [[0.0, 1.0]] * 8)
    replace(measure(sorts, rewards), comparison=against).write(tmp_path)
    assert {"comparison.json", "parting.jsonl"} <= {path.name for path in tmp_path.iterdir()}
    plain = [Ranking(one.prompt, one.completions, one.ranks) for one in sorts]
    measure(plain, rewards).write(tmp_path)
    names = {path.name for path in tmp_path.rglob("*")}
    assert not names & {"comparison.json", "parting.jsonl", "accuracy_by_category.png"}


def test_the_same_data_give_the_same_intervals(reward_model):
    first = evaluate(reward_model("bert"), RANKINGS).summary
    assert first == evaluate(reward_model("bert"), RANKINGS).summary


def test_nothing_to_evaluate_is_said(reward_model):
    with pytest.raises(PlauditError, match="the list of data files is empty"):
        evaluate(reward_model("bert"), [])


def test_messages_are_measured_by_what_they_say():
    assert characters([{"role": "assistant", "content": "1234"}]) == characters("1234") == 4
