"""Agreement of labels, by counting any two labels, and its ceiling by simulation."""

import json
from itertools import combinations

import numpy as np
import pytest

from plaudit import Ranking, evaluate, load_rankings
from plaudit.evaluation.agreement import agreement, agreement_sentence
from plaudit.reporting.evaluation import evaluate as measure_all


def labelled(votes):
    """Rankings of pairs, each with so many labels either way."""
    return [
        Ranking(f"Why {n}?", [f"a{n}", f"b{n}"], [0, 1] if first else [1, 0])
        for n, (a, b) in enumerate(votes)
        for first in [True] * a + [False] * b
    ]


def test_any_two_labels_of_a_pair():
    votes = [(3, 0), (2, 1), (1, 1), (0, 4), (1, 0), (5, 2), (2, 2)]
    found = agreement(labelled(votes))
    shares = []
    for a, b in votes:
        both = [*combinations([0] * a + [1] * b, 2)]
        if both:
            shares.append(np.mean([x == y for x, y in both]))
    assert found["agreement"]["value"] == pytest.approx(np.mean(shares))
    assert (found["pairs"], found["labels"]) == (6, 23)
    assert found["agreement"]["low"] < found["agreement"]["value"] < found["agreement"]["high"]
    assert agreement(labelled([(1, 0), (0, 1)])) is None


def test_no_model_exceeds_the_ceiling_and_with_one_doubt_it_is_reached():
    rng = np.random.default_rng(0)
    for p in (np.full(3000, 0.8), rng.beta(2, 1, 3000)):
        labels = rng.random((3000, 2)) < p[:, None]
        found = agreement(labelled([(int(row.sum()), int(2 - row.sum())) for row in labels]))
        best = np.maximum(p, 1 - p).mean()
        assert best <= found["ceiling"]["high"]
        if p.std() == 0:
            assert found["ceiling"]["low"] <= best


def test_rankings_of_more_than_two_speak_of_each_pair():
    rankings = [Ranking("p", ["a", "b", "c"], ranks) for ranks in ([0, 1, 2], [1, 0, 2], [0, 0, 1])]
    found = agreement(rankings)
    # a and b: 1 to 1, and a tie that is no label; c is worse than either, thrice.
    assert found["labels"] == 2 + 3 + 3
    assert found["agreement"]["value"] == pytest.approx((0 + 1 + 1) / 3)


def test_labels_that_contradict_each_other_are_counted_though_left_out(reward_model, tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [("p0", "a", "b")] * 2 + [("p0", "b", "a")] + [(f"p{n}", "c", "d") for n in (1, 2, 2, 3)]
    file.write_text(
        "".join(
            json.dumps(dict(zip(("prompt", "chosen", "rejected"), row, strict=True))) + "\n"
            for row in rows
        )
    )
    data = load_rankings(file, max_rejected=1)
    assert len(data) == 4
    record = evaluate(reward_model("bert"), data, stress=0).summary["annotators"]
    assert (record["pairs"], record["labels"], record["left_out"]) == (2, 5, 1)
    assert record["agreement"]["value"] == pytest.approx((1 / 3 + 1) / 2)
    assert "contradict each other" in agreement_sentence(record)
    # Of a list nobody knows what was left out.
    assert measure_all(reward_model("bert"), [*data], stress=0).summary.get("annotators") is None


def test_what_a_named_annotator_says_again_is_no_further_label():
    ada, bob = (Ranking("p", ["a", "b"], [0, 1], annotator=name) for name in ("Ada", "Bob"))
    assert agreement([ada, ada]) is None
    found = agreement([ada, ada, bob])
    assert found is not None
    assert found["labels"] == 2
