"""Models compared on benchmarks: every p-value against all exchanges in plain loops."""

import itertools
import math

import numpy as np
import pytest

from plaudit import PlauditError
from plaudit.data.rankings import Ranking
from plaudit.evaluation.bench import MEAN, Standing, compare, preference_data
from plaudit.evaluation.comparison import compare_rewards
from plaudit.evaluation.statistics import Statistic, resample
from plaudit.evaluation.suite import Item, Means, Suite
from plaudit.evaluation.suite_run import SuiteData, summarise_suite
from plaudit.evaluation.suites import SUITES


def item(number, ranks, category=None, id="", unit=None):
    texts = [f"text {k}" for k in range(len(ranks))]
    ranking = Ranking(f"prompt {number}", texts, list(ranks), category=category)
    return Item(ranking, id or str(number), unit or ranking.key)


def small(name):
    """A few items of a benchmark, two of them sharing a unit where it has such."""
    if name == "rewardbench":
        subsets = ["mt-bench-easy", "llmbar-natural", "math-prm", "hep-cpp"]
        items = [item(n, (0, 1), subsets[n % 4]) for n in range(9)]
    elif name == "rewardbench2":
        items = [item(n, (0, 1, 1, 1), ("Math", "Safety")[n % 2]) for n in range(5)]
        for n in range(3):
            unit = ("Ties", n)
            items.append(item(f"r{n}", (0, 1, 1), "Ties", f"ref:{n}", unit))
            items.append(item(f"t{n}", (0, 0, 1, 1), "Ties", f"tied:{n}", unit))
    elif name == "rmbench":
        items = [item(n, (0, 0, 0, 1, 1, 1), ("chat", "math")[n % 2]) for n in range(8)]
    else:
        items = [item(n, ((0, 1), (1, 0))[n % 2], ("Natural", "Manual")[n % 3 == 0]) for n in
                 range(9)]  # fmt: skip
    return SuiteData(SUITES.get(name), items)


def drawn(data, seed):
    """Rewards of small whole numbers, so that some are equal."""
    rng = np.random.default_rng(seed)
    return [rng.integers(4, size=len(r.ranks)).astype(float).tolist() for r in data.rankings]


def score_of(data, rewards):
    means = Means([each.unit for each in data.items])
    return data.suite.score(data.items, rewards, means).score.values[0]


def every_exchange(data, first, second):
    """The difference of two models for every way to exchange them unit by unit."""
    units = list(dict.fromkeys(each.unit for each in data.items))
    for swapped in itertools.product([False, True], repeat=len(units)):
        turned = dict(zip(units, swapped, strict=True))
        both = [(b, a) if turned[i.unit] else (a, b)
                for i, a, b in zip(data.items, first, second, strict=True)]  # fmt: skip
        yield score_of(data, [a for a, _ in both]) - score_of(data, [b for _, b in both])


def share_reached(differences, observed):
    return np.mean([abs(difference) >= abs(observed) - 1e-9 for difference in differences])


@pytest.mark.parametrize("name", ["rewardbench", "rewardbench2", "rmbench", "llmbar"])
def test_the_p_value_of_a_benchmark_is_that_of_all_exchanges(name):
    data = small(name)
    first, second = drawn(data, 1), drawn(data, 2)
    [found] = compare({"it": data}, {"a": {"it": first}, "b": {"it": second}}).comparisons
    observed = score_of(data, first) - score_of(data, second)
    assert found["difference"]["value"] == pytest.approx(observed)
    assert found["exact"]
    assert found["p"] == pytest.approx(share_reached(every_exchange(data, first, second), observed))
    assert 0 < found["p"] < 1


def test_the_mean_is_tested_by_exchanging_each_of_the_data_by_itself():
    data = {"x": small("llmbar"), "y": small("rewardbench")}
    data = {name: SuiteData(one.suite, one.items[:5]) for name, one in data.items()}
    rewards = {m: {n: drawn(one, s) for n, one in data.items()} for m, s in (("a", 3), ("b", 8))}
    compared = compare(data, rewards)
    found = next(each for each in compared.comparisons if each["data"] == MEAN)
    of_x, of_y = (
        list(every_exchange(one, rewards["a"][n], rewards["b"][n])) for n, one in data.items()
    )
    both = [(x + y) / 2 for x, y in itertools.product(of_x, of_y)]
    assert found["p"] == pytest.approx(share_reached(both, both[0]))
    for m in rewards:
        mean = np.mean([score_of(data[n], rewards[m][n]) for n in data])
        assert compared.means[m]["value"] == pytest.approx(mean)


def rankings(number):
    rng = np.random.default_rng(5)
    ranks = [rng.integers(3, size=3).tolist() for _ in range(number)]
    texts = ["a", "bb", "c"]
    return [Ranking(f"p{n // 2}", texts, r, category="xy"[n % 2]) for n, r in enumerate(ranks)]


def test_preference_data_give_what_evaluate_says_of_them():
    asked = [r for r in rankings(30) if len(set(r.ranks)) > 1]
    data = preference_data(rankings(30), "held out")
    assert data.rankings == asked
    first, second = drawn(data, 1), drawn(data, 2)
    [found] = compare({"d": data}, {"a": {"d": first}, "b": {"d": second}}).comparisons
    summary = compare_rewards(asked, first, second).summary["metrics"]["pairwise_accuracy"]
    assert found["difference"] == pytest.approx(summary["difference"])
    assert found["p"] == pytest.approx(summary["p"], abs=0.02)  # other random exchanges
    whole = summarise_suite(data, first)
    assert whole["score"] == pytest.approx(summary["first"])
    for name in "xy":
        of = [i for i, r in enumerate(asked) if r.category == name]
        pairs = [(first[i][j] > first[i][k]) + 0.5 * (first[i][j] == first[i][k])
                 for i in of for j, k in asked[i].pairs()]  # fmt: skip
        assert whole["parts"][name]["score"]["value"] == pytest.approx(np.mean(pairs))
        assert whole["parts"][name]["n"] == len(pairs)


def test_data_without_an_order_are_refused():
    with pytest.raises(PlauditError, match=r"tied\.csv: no ranking in it has two"):
        preference_data([Ranking("p", ["a", "b"], [0, 0])], "tied.csv")


def test_all_that_is_shown_is_one_family():
    data = {"x": small("llmbar"), "y": small("rewardbench")}
    rewards = {m: {n: drawn(one, s) for n, one in data.items()} for s, m in enumerate("abcd")}
    compared = compare(data, rewards)
    assert len(compared.comparisons) == 3 * 6  # two data and their mean, six pairs of models
    least = 0.0
    for place, each in enumerate(sorted(compared.comparisons, key=lambda each: each["p"])):
        least = max(least, min(1.0, (18 - place) * each["p"]))
        assert each["p_holm"] == pytest.approx(least)
    for name, standing in compared.standings.items():
        assert standing.best not in standing.tied
        tied = {m for each in compared.comparisons if each["data"] == name
                and each["p_holm"] >= 0.05 for m in (each["first"], each["second"])
                if standing.best in (each["first"], each["second"])}  # fmt: skip
        assert set(standing.tied) == tied - {standing.best}


def test_who_is_sure_to_be_worse_is_not_tied():
    data = preference_data([Ranking(f"p{n}", ["a", "b"], [0, 1]) for n in range(20)], "d")
    right, wrong = [[1.0, 0.0]] * 20, [[0.0, 1.0]] * 20
    almost = [*right[:-1], wrong[0]]
    given = {m: {"d": of} for m, of in (("w", wrong), ("r", right), ("n", almost))}
    assert compare({"d": data}, given).standings["d"] == Standing("r", ["n"])


def test_a_model_without_some_of_the_data_is_left_out_of_the_mean_alone():
    data = {"x": small("llmbar"), "y": small("rewardbench")}
    rewards = {m: {n: drawn(one, s) for n, one in data.items()} for s, m in enumerate("abc")}
    del rewards["b"]["y"]
    compared = compare(data, rewards)
    asked = [(each["data"], each["first"], each["second"]) for each in compared.comparisons]
    assert [*compared.means] == ["a", "c"]
    assert ("x", "a", "b") in asked
    assert ("y", "a", "c") in asked
    assert not any(name != "x" and "b" in pair for name, *pair in asked)


def test_data_that_ask_nothing_have_no_score_and_no_part_in_the_mean():
    pairs = preference_data(rankings(9), "pairs")
    other = preference_data(rankings(7), "other")
    ties = [item(n, (0, 0), "general")._replace(about=(0, "english")) for n in range(6)]
    nothing = SuiteData(SUITES.get("helpsteer3"), ties)
    given = {m: {"pairs": drawn(pairs, s), "other": drawn(other, s), "ties": drawn(nothing, s)}
             for s, m in enumerate("ab")}  # fmt: skip
    found = compare({"pairs": pairs, "other": other, "ties": nothing}, given)
    assert found == compare({"pairs": pairs, "other": other}, given)
    assert [*found.standings] == ["pairs", "other", MEAN]
    alone = compare({"ties": nothing}, given)
    assert (alone.means, alone.comparisons, alone.standings) == ({}, [], {})


def test_a_score_that_asks_for_other_means_as_rewards_change_is_refused():
    def score(items, rewards, mean):
        right = np.array([a > b for a, b in rewards])
        return mean.part(right, right) if right[0] else mean.part(right)

    def fickle(items, rewards, mean):
        for _ in range(int(rewards[0][0])):
            mean([0.0] * len(items))
        return mean.part(np.array([a > b for a, b in rewards]))

    def constant(items, rewards, mean):
        part = mean.part(np.array([a > b for a, b in rewards]))
        part.score = Statistic(part.score.values, lambda w: np.full((len(w), 1), 0.5), np.ones(1))
        return part

    items = [item(n, (0, 1)) for n in range(6)]
    how = {"title": "Odd", "fields": (), "read": None, "definition": "", "source": ""}
    given = {"a": {"d": [[1.0, 0.0]] * 6}, "b": {"d": [[0.0, 1.0]] * 6}}
    data = SuiteData(Suite(score=fickle, **how), items)
    with pytest.raises(PlauditError, match="Odd: its score averages over other items"):
        compare({"d": data}, given)
    data = SuiteData(Suite(score=constant, **how), items)  # a figure of no means
    with pytest.raises(PlauditError, match="Odd: its score averages over other items"):
        compare({"d": data}, given)
    # What a mean is over may depend on the rewards: its count is exchanged, too.
    data = SuiteData(Suite(score=score, **how), items)
    [found] = compare({"d": data}, given).comparisons
    assert found["exact"]


def test_several_data_are_resampled_each_by_itself():
    seen = []

    def of(weights):
        seen.append(weights)
        return weights[:, :1]

    resample([Statistic(np.ones(1), of, np.full(1, 9.0))], [6, 3], resamples=50)
    weights = np.concatenate(seen)
    assert weights.shape == (50, 9)
    assert (weights[:, :6].sum(axis=1) == 6).all()
    assert (weights[:, 6:].sum(axis=1) == 3).all()
    assert math.isclose(weights.mean(), 1.0)
