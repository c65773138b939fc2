"""What is kept of n completions: what its definition says, in plain loops over random ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.sampling.selection import Choice, NothingKeptError, Scored, candidates, pairs, top

rewards = st.integers(-3, 3).map(float)
drawn = st.lists(
    st.builds(Scored, st.sampled_from(["", " ", "a", " a", "b", "c"]), st.booleans(), rewards),
    min_size=1, max_size=10,
)  # fmt: skip


def kept(function, *arguments):
    try:
        return function(*arguments)
    except NothingKeptError:
        return []


@given(drawn, st.booleans())
def test_candidates_are_distinct_and_every_other_one_is_counted(completions, unfinished):
    found = candidates(completions, unfinished)
    texts = [one.text.strip() for one in found.best_first]
    may = [one for one in completions if one.text.strip() and (one.finished or unfinished)]
    assert sorted(texts) == sorted({one.text.strip() for one in may})
    values = [one.reward for one in found.best_first]
    assert values == sorted(values, reverse=True)
    assert set(found.best_first) <= set(completions)
    for one in found.best_first:  # of equal texts a finished one
        assert one.finished or not any(
            other.finished and other.text.strip() == one.text.strip() for other in may
        )
    assert found.blank == sum(not one.text.strip() for one in completions)
    assert found.unfinished == len(completions) - found.blank - len(may)
    assert found.duplicates == len(may) - len(texts)


@given(drawn, st.integers(1, 5), st.none() | rewards)
def test_the_top_are_the_first_with_enough_reward(completions, k, least):
    found = candidates(completions, True)
    enough = [one for one in found.best_first if least is None or one.reward >= least]
    assert kept(top, found, Choice(keep="top-k", k=k, min_reward=least)) == enough[:k]
    assert kept(top, found, Choice(keep="best", k=k, min_reward=least)) == enough[:1]


@given(drawn, st.none() | rewards, st.integers(0, 4), st.integers(0, 2**64 - 1))
def test_pairs_are_those_of_their_definition(completions, least, margin, chance):
    found = candidates(completions, True)

    def of(which):
        choice = Choice(keep="pairs", pairs=which, min_reward=least, min_margin=margin)
        return kept(pairs, found, choice, chance)

    every = [
        (a, b)
        for a in found.best_first
        for b in found.best_first
        if a.reward > b.reward and a.reward - b.reward >= margin
        if least is None or a.reward >= least
    ]
    assert sorted(of("all")) == sorted(every)
    margins = [a.reward - b.reward for a, b in of("all")]
    assert margins == sorted(margins, reverse=True)
    best_worst, best_random = of("best-worst"), of("best-random")
    assert len(best_worst) == len(best_random) == bool(every)
    if every:
        ((chosen, rejected),) = best_worst
        assert chosen == found.best_first[0]
        assert rejected.reward == min(one.reward for one in found.best_first)
        assert best_random[0] in every
        assert best_random[0][0] == chosen
        assert of("best-random") == best_random


def test_a_random_one_is_each_worse_one_as_often():
    found = candidates([Scored(text, True, ord(text)) for text in "abcde"], False)
    choice = Choice(keep="pairs", pairs="best-random")
    drawn = [pairs(found, choice, chance)[0][1].text for chance in range(4000)]
    for text in "abcd":
        assert drawn.count(text) == pytest.approx(1000, abs=120)  # over four standard deviations


@pytest.mark.parametrize(
    ("completions", "choice", "reason"),
    [
        ([("a", False, 0), (" ", True, 1)], {}, "no completion left: 1 unfinished, 1 blank"),
        ([("a", True, 0.5)], {"min_reward": 2}, "a reward of 2 or more: the best has 0.5"),
        ([("a", True, 0), ("a ", True, 1)], {"keep": "pairs"}, "only one completion left"),
        ([("a", True, 1), ("b", True, 1)], {"keep": "pairs"}, "above 0 .* the largest is 0"),
        (
            [("a", True, 1), ("b", True, 0.5)],
            {"keep": "pairs", "min_margin": 0.6},
            "of 0.6 or more: the largest is 0.5",
        ),
    ],
)
def test_the_reason_for_nothing_is_said(completions, choice, reason):
    found = candidates([Scored(*one) for one in completions], False)
    chosen = Choice(**choice)
    with pytest.raises(NothingKeptError, match=reason):
        pairs(found, chosen, 0) if chosen.keep == "pairs" else top(found, chosen)
