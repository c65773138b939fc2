"""Comparisons of models against brute force and scipy, and what they say and write."""

import json
import math
import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.evaluation.comparison import (
    compare_folds,
    compare_rewards,
    comparison_verdict,
    corrected_resampled_t,
    exchange_test,
    holm,
)
from plaudit.evaluation.metrics import log_loss, pairwise_accuracy
from plaudit.model.trained_on import TrainedOn, overlap


def data(prompts, seed=0, first=1.0, second=0.3, several=False):
    """Rankings of 2 to 4 completions and the rewards of a better and a worse model."""
    rng = np.random.default_rng(seed)
    rankings, rewards = [], ([], [])
    for number in range(prompts):
        k = int(rng.integers(2, 5))
        ranks = [int(rank) for rank in rng.permutation(k)]
        name = f"question {number // 2 if several else number}"
        texts = [f"answer {number}-{i}" for i in range(k)]
        rankings.append(Ranking(name, texts, ranks, origin=f"a.csv:{number + 2}"))
        for each, keen in zip(rewards, (first, second), strict=True):
            each.append(keen * -np.array(ranks) + rng.normal(size=k))
    return rankings, *rewards


def accuracy(rewards, rankings):
    ranks = [ranking.ranks for ranking in rankings]
    return pairwise_accuracy(rewards, ranks, resamples=0).value


@pytest.mark.parametrize("several", [False, True])
def test_p_values_are_those_of_all_ways_to_exchange_the_models(several):
    rankings, first, second = data(8, several=several, second=0.0)
    ranks = [ranking.ranks for ranking in rankings]
    found = compare_rewards(rankings, first, second).summary
    groups = [[2 * p, 2 * p + 1] for p in range(4)] if several else [[p] for p in range(8)]
    for name, metric in (("pairwise_accuracy", pairwise_accuracy), ("log_loss", log_loss)):
        reached = []
        observed = (
            metric(first, ranks, resamples=0).value - metric(second, ranks, resamples=0).value
        )
        for exchanged in product([False, True], repeat=len(groups)):
            a, b = list(first), list(second)
            for group, exchange in zip(groups, exchanged, strict=True):
                for number in group if exchange else []:
                    a[number], b[number] = b[number], a[number]
            gap = metric(a, ranks, resamples=0).value - metric(b, ranks, resamples=0).value
            reached.append(abs(gap) >= abs(observed) - 1e-12)
        assert found["metrics"][name]["difference"]["value"] == pytest.approx(observed)
        assert found["metrics"][name]["p"] == pytest.approx(np.mean(reached))
    assert found["test"]["exact"]
    completions = sum(len(ranking.ranks) for ranking in rankings)
    assert found["counts"] == {
        "prompts": len(groups),
        "rankings": 8,
        "completions": completions,
    }


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_exact_exchanges_agree_with_scipy(differences, zeros):
    column = np.array(differences + [0] * zeros) / 8  # eighths, which add up without rounding
    p, _, exact = exchange_test(column[:, None])
    expected = stats.permutation_test(
        (column, np.zeros(len(column))),
        lambda a, b, axis: (a - b).sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=math.inf,
    )
    assert exact
    # scipy doubles the smaller tail; with a symmetric distribution only the bound of 1 differs.
    assert p[0] == pytest.approx(min(1.0, expected.pvalue))


def test_random_exchanges_approach_all_of_them_and_are_never_zero():
    rng = np.random.default_rng(1)
    differences = rng.normal(0.3, 1, size=(12, 3))
    exact, taken, _ = exchange_test(differences, exchanges=4096)
    assert taken == 4096
    sampled, taken, all_of_them = exchange_test(differences, exchanges=4095)
    assert (taken, all_of_them) == (4095, False)
    assert np.abs(sampled - exact).max() < 0.03
    never, *_ = exchange_test(np.ones((200, 1)), exchanges=999)
    assert never[0] == pytest.approx(1 / 1000)


def test_many_prompts_take_random_exchanges_in_blocks(monkeypatch):
    differences = np.random.default_rng(2).normal(0.05, 1, size=(2000, 2))
    whole, *_ = exchange_test(differences, exchanges=3000)
    monkeypatch.setattr("plaudit.evaluation.comparison.NUMBERS_AT_ONCE", 2000 * 700)
    blocks, *_ = exchange_test(differences, exchanges=3000)
    normal = 2 * stats.norm.sf(np.abs(differences.sum(axis=0)) / np.sqrt((differences**2).sum(0)))
    assert whole == pytest.approx(normal, abs=0.03)
    assert blocks == pytest.approx(normal, abs=0.03)


def test_values_and_intervals_are_of_the_same_resamples():
    rankings, first, second = data(60)
    ranks = [ranking.ranks for ranking in rankings]
    entry = compare_rewards(rankings, first, second).summary["metrics"]["pairwise_accuracy"]
    assert entry["first"] == pairwise_accuracy(first, ranks).as_dict()
    assert entry["second"] == pairwise_accuracy(second, ranks).as_dict()
    difference = entry["first"]["value"] - entry["second"]["value"]
    assert entry["difference"]["value"] == pytest.approx(difference)
    # A model that only copies another's mistakes cannot differ from it, however few the prompts:
    # resamples of its own would give the difference an interval.
    copy = compare_rewards(rankings, first, [2 * rewards + 1 for rewards in first]).summary
    entry = copy["metrics"]["pairwise_accuracy"]
    assert entry["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert entry["first"]["low"] < entry["first"]["high"]


def test_interval_of_the_difference_is_that_of_a_plain_bootstrap():
    rankings, first, second = data(80, seed=3)
    found = compare_rewards(rankings, first, second, resamples=4000).summary
    rng = np.random.default_rng(9)
    gaps = []
    for _ in range(600):
        drawn = rng.integers(len(rankings), size=len(rankings))
        chosen = [rankings[i] for i in drawn]
        gaps.append(
            accuracy([first[i] for i in drawn], chosen)
            - accuracy([second[i] for i in drawn], chosen)
        )
    difference = found["metrics"]["pairwise_accuracy"]["difference"]
    low, high = np.quantile(gaps, [0.025, 0.975])
    assert difference["low"] == pytest.approx(low, abs=0.02)
    assert difference["high"] == pytest.approx(high, abs=0.02)


def test_models_are_compared_where_the_better_is_shorter_and_with_length_controlled():
    rankings, first, second = data(8, second=0.0)
    rng = np.random.default_rng(4)
    rankings = [
        Ranking(r.prompt, ["x" * int(n) for n in rng.integers(1, 9, len(r.ranks))], r.ranks)
        for r in rankings
    ]

    def halves(rewards):
        found = {True: [], False: []}
        for ranking, row in zip(rankings, rewards, strict=True):
            for i, j in ranking.pairs():
                gap = len(ranking.completions[i]) - len(ranking.completions[j])
                if gap:
                    found[gap < 0].append(float(row[i] > row[j]))
        return np.mean(found[True]), np.mean(list(map(np.mean, found.values())))

    reached = []
    for exchanged in product([False, True], repeat=len(rankings)):
        pairs = [(b, a) if x else (a, b) for a, b, x in zip(first, second, exchanged, strict=True)]
        a, b = zip(*pairs, strict=True)
        reached.append(np.subtract(halves(a), halves(b)))
    found = compare_rewards(rankings, first, second).summary["metrics"]
    names = ("accuracy_where_shorter", "length_controlled_accuracy")
    for name, *expected, gaps in zip(
        names, halves(first), halves(second), np.array(reached).T, strict=True
    ):
        entry = found[name]
        assert [entry["first"]["value"], entry["second"]["value"]] == pytest.approx(expected)
        assert entry["difference"]["value"] == pytest.approx(expected[0] - expected[1])
        assert entry["p"] == pytest.approx(np.mean(np.abs(gaps) >= abs(gaps[0]) - 1e-12))
    alike = [Ranking(r.prompt, ["x", "y", "z", "w"][: len(r.ranks)], r.ranks) for r in rankings]
    assert not set(names) & compare_rewards(alike, first, second).summary["metrics"].keys()


def test_exchanging_the_arguments_turns_the_signs_and_nothing_else():
    rankings, first, second = data(40)
    there = compare_rewards(rankings, first, second, names=("a", "b")).summary
    back = compare_rewards(rankings, second, first, names=("b", "a")).summary
    for name, entry in there["metrics"].items():
        mirror = back["metrics"][name]
        assert mirror["difference"]["value"] == pytest.approx(-entry["difference"]["value"])
        assert mirror["difference"]["low"] == pytest.approx(-entry["difference"]["high"])
        assert mirror["p"] == entry["p"]
    assert there["parting"]["first_right"] == back["parting"]["second_right"]


def test_one_model_twice_is_no_difference_and_says_so():
    rankings, first, _ = data(40)
    comparison = compare_rewards(rankings, first, first, names=("old", "new"))
    for entry in comparison.summary["metrics"].values():
        assert entry["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert entry["p"] == 1.0
    assert list(comparison.rows()) == []
    assert "old and new have the same pairwise accuracy on every ranking" in str(comparison)


def test_a_better_model_is_called_better_whichever_comes_first():
    rankings, first, second = data(300)
    for names, rewards in ((("good", "bad"), (first, second)), (("bad", "good"), (second, first))):
        comparison = compare_rewards(rankings, *rewards, names=names)
        said = str(comparison).splitlines()[-1]
        assert said.startswith("good is better than bad by ")
        assert "95 % interval +" in said
        assert comparison.summary["metrics"]["pairwise_accuracy"]["p"] < 0.001


def test_what_cannot_be_known_is_not_claimed():
    rankings, first, second = data(60, first=0.5, second=0.5)
    assert "cannot be told from" in str(compare_rewards(rankings, first, second))
    rankings, first, second = data(12)
    assert "12 prompts are too few" in str(compare_rewards(rankings, first, second))
    one = compare_rewards([Ranking("p", ["x", "y"], [0, 1])], [[1.0, 0.0]], [[0.0, 1.0]])
    assert "Nothing can be concluded from 1 prompt" in str(one)
    assert one.summary["metrics"]["pairwise_accuracy"]["p"] == 1.0


def test_rows_are_the_rankings_on_which_the_models_part_furthest_apart_first():
    rankings = [
        Ranking("alike", ["x", "y"], [0, 1]),
        Ranking("a third apart", ["x", "y", "z"], [0, 1, 2], category="maths"),
        Ranking("tied", ["x", "y"], [0, 0]),
        Ranking("narrowly", ["x", "y"], [1, 0]),
        Ranking("widely", ["x", "y"], [1, 0], origin="a.csv:6"),
    ]
    first = [[1, 0], [3, 2, 1], [1, 0], [0, 0.1], [0, 4]]
    second = [[2, 0], [3, 1, 2], [0, 1], [0.1, 0], [4, 0]]
    comparison = compare_rewards(rankings, first, second, names=("a", "b"))
    rows = list(comparison.rows())
    assert [row["prompt"] for row in rows] == ["widely", "narrowly", "a third apart"]
    assert comparison.summary["parting"] == {"rankings": 3, "first_right": 3, "second_right": 0}
    assert comparison.summary["counts"] == {"prompts": 4, "rankings": 5, "completions": 11}
    spread = np.concatenate(first).std()
    assert rows[0] == {
        "ranking": 4,
        "prompt": "widely",
        "completions": ["x", "y"],
        "ranks": [1, 0],
        "rewards": {"a": [0.0, 4.0], "b": [4.0, 0.0]},
        "accuracy": {"a": 1.0, "b": 0.0},
        "margin": {
            "a": pytest.approx(4 / spread),
            "b": pytest.approx(-4 / np.hstack(second).std()),
        },
        "right": "a",
        "origin": "a.csv:6",
    }
    assert rows[2]["accuracy"] == {"a": 1.0, "b": pytest.approx(2 / 3)}
    assert rows[2]["category"] == "maths"


def test_margins_have_no_scale_of_their_own():
    rankings, first, second = data(50)
    plain = list(compare_rewards(rankings, first, second).rows())
    scaled = list(compare_rewards(rankings, first, [100 * each for each in second]).rows())
    assert [row["ranking"] for row in plain] == [row["ranking"] for row in scaled]


def of_pairs(right, name="question about the {}"):
    """Rankings of two and the rewards of a model that is right on these of them."""
    rng = np.random.default_rng(0)
    topics = [" ".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 12)) for _ in right]
    rankings = [Ranking(name.format(topic), ["yes", "no"], [0, 1]) for topic in topics]
    return rankings, [[1.0, 0.0] if one else [0.0, 1.0] for one in right]


def test_what_a_model_knows_by_heart_is_not_what_it_is_better_by():
    """One model is right on all rows that it was trained on, and elsewhere both are alike."""
    seen, rest = 76, 34
    alike = [n % 3 != 0 for n in range(rest)]
    rankings, learnt = of_pairs([True] * seen + alike)
    _, other = of_pairs([n % 2 == 0 for n in range(seen)] + [not alike[0], *alike[1:]])
    found = [overlap([TrainedOn.of(each)], rankings) for each in ([], rankings[:seen])]
    plain = compare_rewards(rankings, other, learnt, names=("a", "b")).summary
    assert "b is better than a" in comparison_verdict(plain)
    comparison = compare_rewards(
        rankings, other, learnt, names=("a", "b"), trained_on=(found[0], found[1])
    )
    record = comparison.summary["training_overlap"]
    assert (record["first"]["same_prompt"], record["second"]["same_prompt"]) == (0, seen)
    assert record["rankings"] == seen
    # Without them it is the comparison of the others alone.
    alone = compare_rewards(rankings[seen:], other[seen:], learnt[seen:]).summary
    assert record["without"]["metric"] == alone["metrics"]["pairwise_accuracy"] | {"p_holm": None}
    assert record["without"]["parting"]["rankings"] == 1
    verdict = comparison_verdict(comparison.summary)
    assert "is better than" not in verdict
    assert verdict.startswith("On the 34 rankings that neither was trained on, a cannot be told")
    assert "On all 110, of which b was trained on 76, b is 33.6 points ahead" in verdict
    text = str(comparison)
    assert "b was trained on 76 of the 110 rankings (76 by the same prompt" in text
    assert "  of 34 not trained on" in text
    # The other way round, and where the first one was trained on some too.
    turned = compare_rewards(
        rankings, learnt, other, names=("b", "a"), trained_on=(found[1], found[0])
    )
    assert "is better than" not in comparison_verdict(turned.summary)
    # Of nothing but training rows nothing can be said; where nothing was trained on, all.
    every = overlap([TrainedOn.of(rankings)], rankings)
    whole = compare_rewards(rankings, other, learnt, trained_on=(found[0], every)).summary
    assert whole["training_overlap"]["without"] is None
    assert comparison_verdict(whole).startswith("Nothing can be concluded: second was trained on")
    none = compare_rewards(
        rankings, other, learnt, names=("a", "b"), trained_on=(found[0], found[0])
    ).summary
    assert comparison_verdict(none) == comparison_verdict(plain)


def test_of_pairs_no_line_repeats_another_and_columns_stand_under_each_other():
    rankings, rewards = of_pairs([n % 4 != 0 for n in range(40)])
    _, others = of_pairs([n % 3 != 0 for n in range(40)])
    comparison = compare_rewards(rankings, rewards, others, names=("a", "b"))
    lines = str(comparison).splitlines()
    table = lines[2 : lines.index("", 3)]
    repeats = ["top-1 accuracy", "Kendall's τ-b", "Spearman's ρ", "NDCG", "mean reciprocal rank"]
    assert not any(line.startswith(tuple(repeats)) for line in table)
    [said] = [line for line in lines if line.startswith("Of two completions each")]
    assert all(name in said for name in repeats)
    ends = {re.search(r"\d\.\d{3}  ", line).end() for line in table[1:]}
    assert len(ends) == 1
    several, first, second = data(20)
    assert "NDCG   " in str(compare_rewards(several, first, second))


def test_what_is_written_can_be_read_again(tmp_path):
    rankings, first, second = data(40)
    comparison = compare_rewards(rankings, first, second, names=("a", "b"))
    comparison.write(tmp_path / "out")
    written = json.loads((tmp_path / "out/comparison.json").read_text())
    assert written == {"schema_version": 1, **comparison.summary}
    lines = (tmp_path / "out/parting.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(comparison.rows())
    assert len(lines) == comparison.summary["parting"]["rankings"] > 0


def test_mistakes_name_the_model_and_the_ranking():
    rankings, first, second = data(5)
    second[3] = second[3].copy()
    second[3][1] = math.nan
    with pytest.raises(
        PlauditError, match=r"new: the reward of completion 1 in ranking 3 .*a.csv:5.* nan"
    ):
        compare_rewards(rankings, first, second, names=("old", "new"))
    with pytest.raises(PlauditError, match="old: rewards of 4 rankings, but there are 5"):
        compare_rewards(rankings, first[:4], first, names=("old", "new"))
    with pytest.raises(PlauditError, match=r"new: 1 rewards for the . completions of ranking 0"):
        compare_rewards(rankings, first, [[1.0], *first[1:]], names=("old", "new"))
    with pytest.raises(PlauditError, match="different names"):
        compare_rewards(rankings, first, first, names=("old", "old"))
    with pytest.raises(PlauditError, match="nothing to measure"):
        compare_rewards([Ranking("p", ["x", "y"], [0, 0])], [[1, 0]], [[0, 1]])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_stepping_down_rejects(p):
    adjusted = holm(p)
    for level in (0.01, 0.05, 0.2, 0.5):
        rejected = set()
        for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            if p[index] * (len(p) - step) > level:
                break
            rejected.add(index)
        assert {i for i, value in enumerate(adjusted) if value <= level} == rejected
    assert all(value >= each for value, each in zip(adjusted, p, strict=True))


def test_p_values_beside_the_main_one_are_adjusted():
    rankings, first, second = data(40, second=0.7)
    metrics = compare_rewards(rankings, first, second).summary["metrics"]
    assert metrics["pairwise_accuracy"]["p_holm"] is None
    others = [entry for name, entry in metrics.items() if name != "pairwise_accuracy"]
    assert [entry["p_holm"] for entry in others] == holm([entry["p"] for entry in others])


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20).filter(lambda d: np.ptp(d) > 1e-6))
def test_without_shared_training_data_it_is_the_paired_t_test(differences):
    t, p, (low, high) = corrected_resampled_t(differences, train_size=1, test_size=0)
    expected = stats.ttest_rel(differences, np.zeros(len(differences)))
    assert t == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (low, high) == pytest.approx((interval.low, interval.high))


def test_the_correction_in_closed_form():
    # Mean 2, variance 1, J = 3, k = 3: t = 2 / √((1/3 + 1/2) · 1), with two degrees of freedom,
    # whose distribution is ½ + t / (2 √(2 + t²)).
    t, p, (low, high) = corrected_resampled_t([1.0, 2.0, 3.0], train_size=200, test_size=100)
    assert t == pytest.approx(2 / math.sqrt(5 / 6))
    assert p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    reach = 0.95 * math.sqrt(2 / (1 - 0.95**2)) * math.sqrt(5 / 6)  # its inverse at 0.975
    assert (low, high) == pytest.approx((2 - reach, 2 + reach))


def test_folds_that_all_differ_alike_have_a_sign_test_and_no_interval():
    assert corrected_resampled_t([0.0, 0.0, 0.0], 2, 1) == (0.0, 1.0, (None, None))
    for d in (
        [-0.1, -0.1],
        [0.2] * 5,
        [0.7 - 0.6, 0.8 - 0.7, 0.9 - 0.8],
    ):  # the last but for rounding
        expected = stats.binomtest(len(d), len(d)).pvalue
        t = math.copysign(math.inf, d[0])
        assert corrected_resampled_t(d, 2, 1) == (t, expected, (None, None))
    found = compare_folds({"brier": [0.3, 0.4]}, {"brier": [0.2, 0.3]}, train_size=2, test_size=1)
    assert found["brier"]["difference"] == {"value": pytest.approx(0.1), "low": None, "high": None}
    assert found["brier"]["p"] == 0.5
    with pytest.raises(PlauditError, match="two folds or more"):
        corrected_resampled_t([0.1], 2, 1)


def test_the_corrected_test_keeps_its_level_where_the_usual_one_does_not():
    # The mean of a learner's folds as Nadeau & Bengio have it: correlated by test / (test + train).
    rng = np.random.default_rng(0)
    train, test, folds, runs = 400, 100, 10, 2000
    share = test / (test + train)
    common = rng.normal(size=(runs, 1)) * math.sqrt(share)
    differences = common + rng.normal(size=(runs, folds)) * math.sqrt(1 - share)
    corrected = np.mean([corrected_resampled_t(d, train, test)[1] < 0.05 for d in differences])
    usual = np.mean([corrected_resampled_t(d, train, 0)[1] < 0.05 for d in differences])
    assert corrected == pytest.approx(0.05, abs=0.02)
    assert usual > 0.2


def test_folds_are_compared_metric_by_metric():
    first = {"pairwise_accuracy": [0.70, 0.74, 0.72, 0.71], "log_loss": [0.5, 0.6, 0.5, 0.6]}
    second = {"pairwise_accuracy": [0.69, 0.70, 0.72, 0.68], "log_loss": [0.6, 0.6, 0.6, 0.6]}
    found = compare_folds(first, second, train_size=300, test_size=100)
    assert list(found) == ["pairwise_accuracy", "log_loss"]
    for name, entry in found.items():
        gap = np.subtract(first[name], second[name])
        _, p, (low, high) = corrected_resampled_t(gap, 300, 100)
        assert entry["first"] == pytest.approx(np.mean(first[name]))
        assert entry["second"] == pytest.approx(np.mean(second[name]))
        assert entry["difference"] == {"value": pytest.approx(gap.mean()), "low": low, "high": high}
        assert entry["p"] == p
    assert found["pairwise_accuracy"]["p_holm"] is None
    assert found["log_loss"]["p_holm"] == found["log_loss"]["p"]


def test_folds_that_do_not_match_are_refused():
    with pytest.raises(PlauditError, match="has log_loss"):
        compare_folds({"log_loss": [1, 2]}, {}, train_size=2, test_size=1)
    with pytest.raises(PlauditError, match="3 folds against 2"):
        compare_folds({"brier": [1, 2, 3]}, {"brier": [1, 2]}, train_size=2, test_size=1)
    with pytest.raises(PlauditError, match=r"brier: fold 1 .* nan"):
        compare_folds({"brier": [1, math.nan]}, {"brier": [1, 2]}, train_size=2, test_size=1)
