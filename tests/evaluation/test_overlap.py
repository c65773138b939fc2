"""Rows that a model was trained on: how right it is with them and without, in plain loops."""

from dataclasses import replace

import numpy as np
import pytest

from plaudit import PlauditError, Ranking, evaluate
from plaudit.evaluation.all_suites import run_all_suites
from plaudit.evaluation.overlap import measure_overlap, overlap_sentence
from plaudit.evaluation.suite_run import load_suite, run_suite
from plaudit.files import write_jsonl
from plaudit.model.trained_on import Kept, TrainedOn, overlap

WORDS = ["fox", "dog", "cat", "hen", "cow", "pig", "owl", "bee", "ant", "eel", "emu", "yak"]
RANKINGS = [
    Ranking(f"What does the {word} say today?", [f"{word} a", f"{word} b", "c"], [0, 1, 1])
    for word in WORDS
]


def test_accuracy_with_and_without():
    rewards = [[1.0, 0.0, 2.0] if n % 3 else [3.0, 0.0, 2.0] for n in range(12)]
    found = overlap([TrainedOn.of(RANKINGS[:3])], RANKINGS)
    record = measure_overlap(found, RANKINGS, rewards)
    right = [[a > b, a > c] for a, b, c in rewards]
    assert record["alone"]["value"] == pytest.approx(np.mean(right[:3]))
    assert record["without"]["value"] == pytest.approx(np.mean(right[3:]))
    assert record["all"]["value"] == pytest.approx(np.mean(right))
    assert record["gain"]["value"] == pytest.approx(np.mean(right) - np.mean(right[3:]))
    assert record["without"]["low"] < record["without"]["value"] < record["without"]["high"]
    assert record["alone"]["low"] is None  # of three prompts
    assert (record["same_prompt"], record["near_prompt"], record["rankings"]) == (3, 0, 12)
    assert overlap_sentence(record).startswith(
        "It was trained on 3 of the 12 rankings (3 by the same prompt, among its 10 training "
        "texts): without them its pairwise accuracy is "
    )


def test_all_of_it_or_none_of_it_or_nobody_knows():
    rewards = [[1.0, 0.0, 0.0]] * 12
    every = measure_overlap(overlap([TrainedOn.of(RANKINGS)], RANKINGS), RANKINGS, rewards)
    assert every["without"] is None
    assert overlap_sentence(every).endswith("no pairwise accuracy can be given without them.")
    none = measure_overlap(overlap([TrainedOn.of([])], RANKINGS), RANKINGS, rewards)
    assert overlap_sentence(none) == (
        "It was trained on none of the 12 rankings: neither a prompt nor two completions of one "
        "are among its 0 training texts."
    )
    unknown = measure_overlap(overlap([None], RANKINGS), RANKINGS, rewards)
    assert "cannot be known" in overlap_sentence(unknown)


def test_evaluate_says_it(reward_model):
    model = replace(reward_model("bert"), trained_on=TrainedOn.of(RANKINGS[:6]))
    result = evaluate(model, RANKINGS, stress=0)
    record = result.summary["training_overlap"]
    assert record["same_prompt"] == 6
    assert record["all"] == result.summary["pairwise_accuracy"]  # the same resamples
    assert overlap_sentence(record) in str(result)
    assert "cannot be known" in str(evaluate(reward_model("bert"), RANKINGS, stress=0))


def test_damaged_hashes_are_said_before_anything_is_scored(reward_model, tmp_path, monkeypatch):
    file = tmp_path / "trained_on.plaudit"
    file.write_bytes(b"damaged")
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c", "subset": "hep-go", "id": 0}]
    write_jsonl(tmp_path / "rewardbench.jsonl", rows)
    model = replace(reward_model("bert"), trained_on=Kept(file))
    monkeypatch.setattr(type(model), "rewards", lambda *_: pytest.fail("was scored"))
    for measure in (
        lambda: evaluate(model, RANKINGS),
        lambda: run_suite(model, tmp_path / "rewardbench.jsonl", partial=True),
        lambda: run_all_suites(model, tmp_path / "rewardbench.jsonl", partial=True),
    ):
        with pytest.raises(PlauditError, match=r"trained_on.plaudit: is damaged"):
            measure()


def test_all_suites_say_what_was_trained_on(reward_model, tmp_path):
    rows = [{"prompt": r.prompt, "chosen": "b", "rejected": "c", "id": n, "subset": "hep-go"}
            for n, r in enumerate(RANKINGS)]  # fmt: skip
    write_jsonl(tmp_path / "rewardbench.jsonl", rows)
    model = replace(reward_model("bert"), trained_on=TrainedOn.of(RANKINGS[:5]))
    found = run_all_suites(model, tmp_path / "rewardbench.jsonl", partial=True)
    alone = run_suite(model, tmp_path / "rewardbench.jsonl", partial=True)
    record = alone.summary["training_overlap"]
    assert found.results[0].summary == alone.summary
    assert found.as_json()["suites"][0]["training_overlap"] == record
    assert f"RewardBench: {overlap_sentence(record)}"[:60] in " ".join(str(found).split())


def test_a_suite_is_scored_without_them(reward_model, tmp_path):
    subsets = ("alpacaeval-easy", "hep-python", "math-prm")
    rows = [
        {"prompt": f"Why {word}?", "chosen": f"{word} a", "rejected": f"b {word}", "id": n}
        | {"subset": subsets[n % 3]}
        for n, word in enumerate(WORDS)
    ]
    write_jsonl(tmp_path / "rewardbench.jsonl", rows)
    seen = [Ranking(f"Why {word}?", ["x", "y"], [0, 1]) for word in WORDS[:5]]
    model = replace(reward_model("bert"), trained_on=TrainedOn.of(seen))
    result = run_suite(model, tmp_path / "rewardbench.jsonl", partial=True)
    record = result.summary["training_overlap"]
    assert record["same_prompt"] == 5
    assert record["all"]["value"] == result.summary["score"]["value"]
    write_jsonl(tmp_path / "rest.jsonl", rows[5:])
    rest = run_suite(model, load_suite(tmp_path / "rest.jsonl", "rewardbench", partial=True))
    assert record["without"]["value"] == rest.summary["score"]["value"]
    assert overlap_sentence(record)[:40] in " ".join(str(result).split())
