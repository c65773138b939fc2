"""Plots of rewards: each is drawn, and its heading tells the truth, of degenerate data too."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from plaudit import Ranking
from plaudit.reporting.drawing import bin_edges
from plaudit.reporting.evaluation import measure
from plaudit.reporting.plots.abstention import abstention
from plaudit.reporting.plots.accuracy_by_category import accuracy_by_category
from plaudit.reporting.plots.comparison import comparison
from plaudit.reporting.plots.margins import margins
from plaudit.reporting.plots.reliability import reliability
from plaudit.reporting.plots.reward_against_length import reward_against_length
from plaudit.reporting.plots.reward_distributions import reward_distributions

pytestmark = pytest.mark.filterwarnings("error")


def drawn(plot):
    """All words in the drawing, once it is known to be whole."""
    root = ElementTree.fromstring(plot.svg())
    return [each.text for each in root.iter() if each.tag.endswith("text")]


def test_nothing_to_compare():
    plot = comparison([], [], [])
    assert plot.heading == "No completions to compare"
    plot = reward_against_length([1.0, 2.0], [5, 5])
    assert plot.heading == "Too little varies to relate reward to length"


def test_reward_distributions():
    plot = reward_distributions([1.0, 2.0, 9.0], [0.5, 0.25])
    assert plot.heading == "Median reward: chosen 1.62 above rejected"
    assert plot.detail == "rewards of 3 chosen, 2 rejected"
    plot = reward_distributions([1.0], [2.0])
    assert plot.heading == "Median reward: chosen 1.00 below rejected"


def test_margins():
    plot = margins([1.0, 2.0, 3.0, -1.0, 0.0])
    assert plot.heading == "60 % of margins are above zero"
    assert plot.detail == "5 pairs, mean margin +1.00, 20 % exactly zero"
    almost = np.append(np.ones(999), -1)
    assert margins(almost).heading == "> 99.5 % of margins are above zero"
    assert margins(-almost).heading == "< 0.5 % of margins are above zero"


@pytest.mark.parametrize("count", [50, 2500])
def test_reward_against_length(count):
    rng = np.random.default_rng(1)
    lengths = rng.integers(5, 4000, count)
    rewards = np.log(lengths) + rng.normal(size=count) / 4
    plot = reward_against_length(rewards, lengths)
    rho = spearmanr(rewards, lengths).statistic
    assert plot.heading == f"Reward rises with length: Spearman's ρ = {rho:+.2f}"
    assert ("completions" in drawn(plot)) == (count > 2000)  # the scale of the hexagons
    plot = reward_against_length(-rewards, lengths)
    assert plot.heading == f"Reward falls with length: Spearman's ρ = {-rho:+.2f}"


def entry(accuracy, baseline, pairs=10, reach=0.1):
    def figure(value):
        low, high = (None, None) if reach is None else (value - reach, value + reach)
        return {"value": value, "low": low, "high": high}

    return {
        "pairwise_accuracy": figure(accuracy),
        "length_baseline": figure(baseline),
        "pairs": pairs,
        "prompts": pairs,
    }


def test_accuracy_by_category():
    long = "a category with " + "a long name " * 9
    by_category = {"maths": entry(0.8, 0.6, 1200), "code": entry(0.5, 0.5), long: entry(0.4, 0.1)}
    plot = accuracy_by_category(by_category)
    assert plot.heading == "Above the length baseline in 2 of 3 categories"
    words = drawn(plot)
    assert "maths  (1,200)" in words
    assert words.index("code  (10)") < words.index("maths  (1,200)")  # the best one on top
    assert long not in words
    drawn(accuracy_by_category({"one prompt": entry(1.0, 0.0, 1, reach=None)}))
    assert accuracy_by_category({}).heading == "The data name no categories"
    drawn(accuracy_by_category({}))


def test_of_many_categories_those_with_the_most_pairs_are_drawn():
    plot = accuracy_by_category({f"c{i}": entry(i / 50, 0.5, pairs=50 - i) for i in range(50)})
    assert plot.detail.endswith("the 24 with the most pairs")
    words = drawn(plot)
    assert "c23  (27)" in words
    assert "c24  (26)" not in words
    assert plot.heading == "Above the length baseline in 24 of 50 categories"  # of all of them


def bins(*rows):
    return [
        {
            "low": predicted - 0.05,
            "high": predicted + 0.05,
            "predicted": predicted,
            "observed": {"value": observed, "low": observed - 0.1, "high": observed + 0.1},
            "pairs": pairs,
        }
        for predicted, observed, pairs in rows
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        # (0.15 × 300 + 0.03 × 100) / 400 = 12 points
        (bins((0.75, 0.6, 300), (0.55, 0.52, 100)), "Surer than it is right: by 12 points"),
        (bins((0.6, 0.9, 50)), "Less sure than it could be: by 30 points on average"),
        # Sure that the second is better, and right less often than that.
        (bins((0.2, 0.4, 50)), "Surer than it is right: by 20 points on average"),
        # 1.96 × √(0.8 × 0.2 / 4) = 39 points can be chance.
        (bins((0.8, 0.45, 4)), "As sure as it is right, as far as these pairs can tell"),
        # So can 10 points where the interval of however many pairs reaches as far.
        (bins((0.8, 0.705, 10_000)), "As sure as it is right, as far as these pairs can tell"),
        (bins((0.2, 0.21, 500), (0.8, 0.79, 500)), "As sure as it is right, as far as these"),
        ([], "No pairs to hold predictions against"),
    ],
)
def test_reliability(rows, says):
    plot = reliability(rows)
    assert plot.heading.startswith(says)
    drawn(plot)


def test_comparison():
    plot = comparison(
        ["What is $x$ and $y?", "long " * 200],
        [["a", "b", "c"], ["", "two\nlines", "three " * 100]],
        [[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]],
    )
    assert "What is $x$ and $y?" in drawn(plot)
    assert plot.heading == "Best-of-3 gains 1.50 reward over the mean completion"  # (3 + 0) / 2
    assert plot.detail == "2 prompts, 6 completions"


def test_comparison_says_how_many_prompts_it_leaves_out():
    plot = comparison([f"prompt {i}" for i in range(60)], [["a"]] * 60, [[1.0]] * 60)
    assert "prompt 39" in drawn(plot)
    assert "prompt 40" not in drawn(plot)
    assert plot.detail == "60 prompts, 60 completions; the first 40 prompts are drawn"


@pytest.mark.parametrize("values", [[], [3.0], [0.0, 0.0], [-1e-12, 1e-12], [-1e9, 0.5, 1e9]])
def test_degenerate_values_are_drawn_without_warnings(values):
    drawn(margins(values))
    drawn(reward_distributions(values, values))
    drawn(reward_distributions(values, []))
    drawn(reward_against_length(values, range(len(values))))
    drawn(comparison(["p"], [["text"] * len(values)], [values]))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="finite"):
        margins([1.0, float("nan")])
    with pytest.raises(ValueError, match="a reward for each"):
        comparison(["p"], [["a", "b"]], [[1.0]])
    with pytest.raises(ValueError, match="2 rewards for 1 lengths"):
        reward_against_length([1.0, 2.0], [1])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
@settings(max_examples=100)
def test_bins_hold_every_margin_and_none_straddles_zero(values):
    values = np.array(values)
    edges = bin_edges(values, through_zero=True)
    assert 1 <= len(edges) - 1 <= 70
    assert np.histogram(values, edges)[0].sum() == len(values)
    assert not ((edges[:-1] < 0) & (edges[1:] > 0)).any()


def abstaining(rewards, covariances=None):
    rankings = [Ranking(f"What is {n}?", ["a", "b"], [0, 1]) for n in range(len(rewards))]
    return abstention(measure(rankings, rewards, covariances=covariances, resamples=100))


def test_abstention():
    """Eight in ten are right; one wrong pair is the least sure, the other among the surest."""
    rewards = [[3.0, 0.0]] * 7 + [[2.0, 0.0], [0.0, 0.5], [0.0, 9.0]]
    plot = abstaining(rewards)
    assert plot.heading == "Without the 20 % it is least sure of, 87.5 % are right and not 80.0 %"
    assert plot.detail == "10 pairs of 10 prompts"
    words = drawn(plot)
    assert {"at random", "by the difference of rewards"} <= set(words)
    assert "with the uncertainty" not in words


def test_abstention_with_an_uncertainty_says_whether_it_is_better():
    rewards = [[2.0, 0.0]] * 40 + [[0.0, 2.0]] * 10
    small, large = np.eye(2) * 0.1, np.eye(2) * 9.0
    plot = abstaining(rewards, [small] * 40 + [large] * 10)
    assert plot.detail.startswith("Its uncertainty chooses them better, by 20.0 points. 50 pairs")
    assert "with the uncertainty" in drawn(plot)
    plot = abstaining(rewards, [large] * 40 + [small] * 10)
    assert plot.detail.startswith("Its uncertainty chooses them worse, by ")
    plot = abstaining(rewards, [small] * 50)
    begins = "Its uncertainty chooses them no better than the difference of rewards. "
    assert plot.detail.startswith(begins)
    drawn(abstaining([[1.0, 1.0]], [small]))
