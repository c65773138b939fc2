"""Measures: what is refused of one, and where a measure goes that another package adds."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from plaudit import Ranking
from plaudit.errors import PlauditError
from plaudit.evaluation import measures as registry
from plaudit.evaluation import metrics
from plaudit.evaluation.comparison import compare_rewards
from plaudit.evaluation.items import Items
from plaudit.evaluation.measures import MEASURES, Measure, measure_named, measures, shown_in
from plaudit.evaluation.summary import format_summary, summarise
from plaudit.plugins import Registry

DATA = {
    "ranks": [[0, 1, 1], [0, 1], [1, 0]],
    "prompts": "abc",
    "lengths": [[1, 2, 3], [1, 2], [3, 1]],
}
REWARDS = [[2.0, 1.0, 0.5], [0.0, 1.0], [0.0, 3.0]]


@pytest.fixture
def added(monkeypatch):
    """Adds a measure under a name, as another package's would be."""

    def add(name, measure):
        everything = {**{each: MEASURES.get(each) for each in MEASURES}, name: measure}
        monkeypatch.setattr(Registry, "names", lambda self: sorted(everything))
        monkeypatch.setattr(Registry, "get", lambda self, each: everything[each])

    return add


def half_of(layout, reward):
    """For every pair one half."""
    return Items(np.full(len(layout.better), 0.5), layout.pair_ranking)


def test_every_measure_is_shown_somewhere_in_an_order_of_its_own():
    names = list(measures())
    assert names[0] == "pairwise_accuracy"
    assert len({measure.position for measure in measures().values()}) == len(names)
    for place in ("headline", "report", "printed", "card"):
        rows = [(measure.group, measure.row) for measure in shown_in(place).values()]
        assert len(set(rows)) == len(rows) > 0
    assert set(shown_in("report")) == set(names)


def test_a_measure_is_called_as_a_function():
    figure = metrics.kendall_tau_b(REWARDS[:1], DATA["ranks"][:1], resamples=0)
    assert figure.value == pytest.approx(kendalltau(REWARDS[0], [1, 0, 0]).statistic)
    with pytest.raises(AttributeError, match="no attribute 'kendall'"):
        _ = metrics.kendall


def test_a_measure_that_is_added_goes_wherever_its_description_says(added):
    measure = Measure(half_of, "half of it", "share", compared=True, shown=("printed", "report"))
    added("half", measure)
    summary = summarise(REWARDS, **DATA)
    assert list(summary).index("half") == list(summary).index("auc") + 1
    assert summary["half"]["value"] == 0.5
    assert summary["baselines"]["a coin toss"]["half"]["value"] == 0.5
    [line] = [
        line for line in format_summary(summary).splitlines() if line.startswith("half of it")
    ]
    assert line.split()[3:] == ["0.500", "0.500", "0.500"]  # the model's and two baselines'
    assert "half" in metrics.per_prompt(REWARDS, DATA["ranks"]).names
    rankings = [Ranking(str(n), ["a", "b"], [0, 1]) for n in range(6)]
    rewards = [[1.0, 0.0]] * 6
    assert compare_rewards(rankings, rewards, rewards).summary["metrics"]["half"]["p"] == 1


def test_a_summary_of_an_earlier_time_lacks_a_measure_and_is_printed(added):
    summary = summarise(REWARDS, **DATA)
    added("half", Measure(half_of, "half of it"))
    assert "half of it" not in format_summary(summary)


def test_a_name_that_a_summary_uses_is_refused(added):
    added("counts", Measure(half_of, "half of it"))
    with pytest.raises(PlauditError, match="measure counts: a summary uses this name"):
        summarise(REWARDS, **DATA)


def test_what_is_not_finite_names_its_measure(added):
    nothing = Measure(lambda layout, reward: Items(np.log(0 * reward), layout.ranking), "odd one")
    added("odd", nothing)
    with np.errstate(divide="ignore"), pytest.raises(PlauditError, match="measure odd one: is not"):
        summarise(REWARDS, **DATA)


def test_models_are_compared_by_what_some_prompts_have(added):
    def of_three(layout, reward):
        which = layout.ordered[layout.sizes[layout.ordered] == 3]
        return Items(reward[layout.starts[which]], which)

    added("three", Measure(of_three, "of three", compared=True))
    with pytest.raises(PlauditError, match=r"measure three: models cannot be compared by it"):
        metrics.per_prompt(REWARDS, DATA["ranks"])
    rankings = [Ranking(str(n), ["a", "b", "c"][:k], [0, 1, 1][:k]) for n, k in enumerate((2, 3))]
    first, second = [[1.0, 0.0], [5.0, 0.0, 1.0]], [[2.0, 0.0], [1.0, 0.0, 1.0]]
    found = compare_rewards(rankings, first, second).summary["metrics"]
    assert found["three"]["difference"]["value"] == 4
    assert "three" not in compare_rewards(rankings[:1], first[:1], second[:1]).summary["metrics"]


def test_what_is_measured_on_other_rankings_for_other_rewards_compares_no_models(added):
    def of_high(layout, reward):
        which = np.flatnonzero(reward[layout.starts] > 0)
        return Items(np.ones(len(which)), which)

    added("high", Measure(of_high, "of high", compared=True))
    rankings = [Ranking(str(n), ["a", "b"], [0, 1]) for n in range(2)]
    with pytest.raises(PlauditError, match=r"measure high: .* depends on the rewards"):
        compare_rewards(rankings, [[1.0, 0.0]] * 2, [[1.0, 0.0], [-1.0, 0.0]])


def test_a_measure_that_is_not_installed_has_its_name_and_no_value():
    gone = measure_named("their_own")
    assert (gone.label, gone.form, gone.lower_is_better) == ("their own", "number", False)
    with pytest.raises(PlauditError, match="no measure their_own; install the package"):
        gone(REWARDS, DATA["ranks"])


def test_names_are_those_of_the_files():
    assert "pairwise_accuracy" in MEASURES
    assert registry.MEASURES.origins()["brier"].startswith("plaudit ")


@pytest.mark.parametrize(
    ("name", "least", "greatest"),
    [
        ("temperature", 0.001, 1000),
        ("log_loss", 0, np.inf),
        ("brier", 0, 1),
        ("auc", 0, 1),
        ("ndcg", 0, 1),
        ("mean_reciprocal_rank", 0, 1),
        ("kendall_tau_b", -1, 1),
        ("spearman", -1, 1),
        ("pairwise_accuracy", 0, 1),
        ("accuracy_above_length", -1, 1),
        ("mean_margin", -np.inf, np.inf),
    ],
)
def test_an_interval_ends_where_values_end(name, least, greatest):
    measure = MEASURES.get(name)
    assert measure.within(-1e9, 1e9) == (max(least, -1e9), min(greatest, 1e9))
    assert measure.within(0.25, 0.75) == (0.25, 0.75)
    reach = greatest - least
    assert measure.difference_within(-1e9, 1e9) == (max(-reach, -1e9), min(reach, 1e9))


def test_a_measure_of_lengths_needs_them():
    with pytest.raises(ValueError, match="preferring the longer: is measured on lengths"):
        metrics.length_baseline(REWARDS, DATA["ranks"])
