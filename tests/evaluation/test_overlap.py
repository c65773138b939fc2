"""Rows that a model was trained on: how right it is with them and without, in plain loops."""

from dataclasses import replace

import numpy as np
import pytest

from plaudit import PlauditError, Ranking, evaluate
from plaudit.evaluation.all_suites import run_all_suites
from plaudit.evaluation.overlap import measure_overlap, overlap_sentence
from plaudit.evaluation.suite_run import load_suite, run_suite
from plaudit.evaluation.summary import not_trained_on, verdict, where_it_matters
from plaudit.files import write_jsonl
from plaudit.model.trained_on import Kept, TrainedOn, overlap
from plaudit.reporting.evaluation import measure
from plaudit.reporting.front import uses
from plaudit.reporting.tables import highlights

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


def with_overlap(seen, rest):
    """An evaluation of pairs, of which the model was trained on `seen`: (right, better is longer).

    `rest` are those of the others.
    """
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    rankings, rewards = [], []
    for right, longer in [*seen, *rest]:
        texts = ["a long answer", "short"] if longer else ["short", "a long answer"]
        prompt = "Tell me of " + " ".join(rng.choice(letters, 12))
        rankings.append(Ranking(prompt, texts, [0, 1]))
        rewards.append([1.0, 0.0] if right else [0.0, 1.0])
    trained_on = TrainedOn.of(rankings[: len(seen)])
    found = measure(rankings, rewards, resamples=200)
    found.summary["training_overlap"] = measure_overlap(
        overlap([trained_on], rankings), rankings, rewards, resamples=200
    )
    rest_alone = measure(rankings[len(seen) :], rewards[len(seen) :], resamples=200)
    return found.summary, rest_alone.summary


MIXED = [(n % 5 > 1, n % 3 > 0) for n in range(60)]  # right in 60 %, longer in two thirds


def test_verdicts_are_of_what_was_not_trained_on():
    summary, alone = with_overlap([(True, n % 3 > 0) for n in range(100)], MIXED)
    fair = not_trained_on(summary)
    for name in (
        "length_baseline",
        "accuracy_above_length",
        "accuracy_where_shorter",
        "length_controlled_accuracy",
    ):
        assert fair[name] == alone[name]
    assert fair["pairwise_accuracy"]["value"] == pytest.approx(0.6)
    assert fair["counts"]["prompts"] == 60
    # As if the others were all there is; with the rest it would beat length by far.
    said = verdict(summary)
    assert said.startswith("On the 60 rankings that it was not trained on, the model ")
    assert "cannot be told from" in said
    on_these = where_it_matters(alone).replace("matters:", "matters on these rankings:")
    assert where_it_matters(summary) == on_these
    plain = {name: each for name, each in summary.items() if name != "training_overlap"}
    assert verdict(plain).startswith("The model beats preferring the longer completion by ")
    # On the page too: no plain yes, and the accuracy without them.
    answers = {use.purpose: use.answers[""] for use in uses({"": summary})}
    better = answers["To choose the better of two answers"]
    assert better.verdict != "yes"
    assert better.why.startswith("Of the 60 rankings that it was not trained on: 60.0")
    assert all(answer.verdict != "yes" for answer in answers.values())
    for purpose in ("filter answers of many prompts by one threshold", "read differences"):
        [answer] = [each for name, each in answers.items() if purpose in name]
        assert "trained on 100 of the 160 rankings, and without them 60.0" in answer.why
    tops = {one.label: one for one in highlights(summary)}
    for label, value in (("Pairwise accuracy", "60.0"), ("Preferring the longer", "66.7")):
        assert tops[label].value.startswith(value)
        assert tops[label].note.endswith("of rankings not trained on")
    # Earlier versions did not measure preferring the longer on these.
    del summary["training_overlap"]["not_trained_on"]["length_baseline"]
    assert not_trained_on(summary)["length_baseline"] == summary["length_baseline"]


def test_verdicts_of_what_was_trained_on_alone_or_by_an_earlier_version():
    summary, _ = with_overlap([(True, n % 3 > 0) for n in range(100)], MIXED)
    del summary["training_overlap"]["not_trained_on"]
    assert verdict(summary).startswith("The model beats preferring the longer")
    assert "it was trained on 100 of the 160 rankings, and without them 60.0 %" in verdict(summary)
    answers = {use.purpose: use.answers[""] for use in uses({"": summary})}
    assert all(answer.verdict != "yes" for answer in answers.values())
    every, _ = with_overlap([(True, n % 3 > 0) for n in range(40)], [(True, True)])
    every["training_overlap"] |= {"without": None, "same_prompt": 41}
    assert verdict(every).startswith("Nothing can be concluded of new prompts: it was trained on")
    assert where_it_matters(every) == ""
    answers = {use.purpose: use.answers[""] for use in uses({"": every})}
    assert {answer.verdict for answer in answers.values()} == {"unknown"}


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
    for measured in (
        lambda: evaluate(model, RANKINGS),
        lambda: run_suite(model, tmp_path / "rewardbench.jsonl", partial=True),
        lambda: run_all_suites(model, tmp_path / "rewardbench.jsonl", partial=True),
    ):
        with pytest.raises(PlauditError, match=r"trained_on.plaudit: is damaged"):
            measured()


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
