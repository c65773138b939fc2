"""The pairs to look through: the right ones, in the right order, each text once and whole."""

import json

import numpy as np
import pytest

from plaudit import PlauditError, Ranking
from plaudit.reporting.pairs import in_all, mistakes, partings


def test_mistakes_are_those_of_a_plain_search():
    rng = np.random.default_rng(0)
    rankings, rewards = [], []
    for i in range(40):
        size = int(rng.integers(2, 6))
        ranks = rng.permutation(rng.integers(0, 3, size)).tolist()
        rankings.append(Ranking(f"p{i % 30}", [f"{i} {k}" for k in range(size)], ranks))
        rewards.append(rng.integers(-3, 4, size).astype(float).tolist())
    expected, of = [], 0
    for number, (ranking, given) in enumerate(zip(rankings, rewards, strict=True)):
        for i, better in enumerate(ranking.ranks):
            for j, worse in enumerate(ranking.ranks):
                of += better < worse
                if better < worse and given[i] < given[j]:
                    expected.append((given[j] - given[i], number, i, j))
    found = mistakes(rankings, rewards)
    assert found.of == of
    assert {(p.apart, p.ranking, p.better, p.worse) for p in found.pairs} == set(expected)
    assert [p.apart for p in found.pairs] == sorted((row[0] for row in expected), reverse=True)


def test_models_part_where_one_is_right_and_another_is_not():
    rankings = [Ranking(f"p{i}", ["a", "b"], [0, 1]) for i in range(5)]
    mine = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 9.0]]
    theirs = [[2.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 4.0], [0.0, 4.0]]
    found = partings(rankings, {"mine": mine, "theirs": theirs})
    assert found.models == ("mine", "theirs")
    # An equal reward is not right: with one that is wrong, as of p3, nobody is.
    assert {pair.ranking for pair in found.pairs} == {1, 2}
    spread = [np.std(np.concatenate(each)) for each in (mine, theirs)]
    apart = {pair.ranking: pair.apart for pair in found.pairs}
    assert apart[1] == pytest.approx(3 / spread[1] + 1 / spread[0])
    assert apart[2] == pytest.approx(1 / spread[1] + 1 / spread[0])


def test_rankings_of_all_models_are_found_whatever_their_order():
    one = [Ranking("a", ["x", "y"], [0, 1]), Ranking("b", ["x", "y", "z"], [0, 1, 1])]
    two = [
        Ranking("b", ["z", "x", "y"], [1, 0, 1]),
        Ranking("c", ["x", "y"], [0, 1]),
        Ranking("a", ["x", "y"], [1, 0]),  # in the other order: another ranking
    ]
    common, rewards = in_all(
        {
            "one": (one, [[1.0, 2.0], [3.0, 4.0, 5.0]]),
            "two": (two, [[50.0, 30.0, 40.0], [0.0, 0.0], [0.0, 0.0]]),
        }
    )
    assert [ranking.prompt for ranking in common] == ["b"]
    assert rewards == {"one": [[3.0, 4.0, 5.0]], "two": [[30.0, 40.0, 50.0]]}
    with pytest.raises(PlauditError, match="no ranking was measured by all"):
        in_all({"one": (one[:1], [[1.0, 2.0]]), "two": (two, [[0.0] * 3, [0.0] * 2, [0.0] * 2])})


def test_a_ranking_that_stands_twice_is_taken_as_often_as_all_have_it():
    ranking = Ranking("a", ["x", "y"], [0, 1])
    common, rewards = in_all(
        {
            "one": ([ranking] * 3, [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]),
            "two": ([ranking] * 2, [[4.0, 0.0], [5.0, 0.0]]),
        }
    )
    assert len(common) == 2
    assert rewards == {"one": [[1.0, 0.0], [2.0, 0.0]], "two": [[4.0, 0.0], [5.0, 0.0]]}


def test_every_text_is_embedded_once_and_dialogues_whole():
    call = {"name": "add", "arguments": {"a": 2}}
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "2+2?"}, {"type": "image", "url": "u"}],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    ranking = Ranking(
        messages, ["4", "5", "6"], [0, 1, 2], categories=["x", "y", None], models=["m", None, "n"]
    )
    found = mistakes([ranking], [[0.0, 1.0, 2.0]])
    data = json.loads(found.as_json())
    assert data["texts"] == [
        [
            ["user", '2+2?\n{"type": "image", "url": "u"}'],
            ["assistant", '{"tool_calls": [{"name": "add", "arguments": {"a": 2}}]}'],
        ],
        "4",
        "6",
        "5",
    ]
    # 4 against 6, the furthest apart; then 4 against 5 and 5 against 6.
    assert data["shown"] == [[0, 1, 2], [0, 1, 3], [0, 3, 2]]
    assert data["columns"]["rewards"] == [[[0.0, 0.0, 1.0], [2.0, 1.0, 2.0]]]
    assert data["columns"]["category"] == [-1, 0, -1]
    assert data["categories"] == ["y"]
    assert data["columns"]["writer"] == [[0, 0, -1], [1, -1, 1]]


def test_texts_are_embedded_up_to_a_limit_and_figures_of_all(monkeypatch):
    rankings = [Ranking(f"p{i}", ["a", "b" * 90], [0, 1]) for i in range(300)]
    found = mistakes(rankings, [[0.0, 1.0 + i] for i in range(300)])
    monkeypatch.setattr("plaudit.reporting.pairs.MOST_TEXT", 400)
    data = json.loads(found.as_json())
    # The long one is of all of them; a prompt of four characters each, until there are more.
    assert 60 <= len(data["shown"]) < 90
    assert len(data["columns"]["apart"]) == 300
    monkeypatch.setattr("plaudit.reporting.pairs.MOST_TEXT", 5)
    assert len(json.loads(found.as_json())["shown"]) == 1
