"""Texts of many rankings, each once."""

from plaudit.data.rankings import Ranking
from plaudit.evaluation.once import asked_once, keys_of


def test_every_text_of_every_ranking_is_asked_for_once():
    message = [{"role": "user", "content": "a"}]
    rankings = [
        Ranking("a", ["1", "2", "1"], [0, 1, 2]),
        Ranking(message, ["1", "3"], [0, 1]),  # the same prompt to a split, laid out otherwise
        Ranking("b", ["1", "2"], [0, 1]),
        Ranking("a", ["3", "2"], [0, 1]),
    ]
    asked = asked_once(rankings)
    assert asked == [("a", ["1", "2", "3"]), (message, ["1", "3"]), ("b", ["1", "2"])]
    keys = [key for prompt, completions in asked for key in keys_of(prompt, completions)]
    wanted = {key for one in rankings for key in keys_of(one.prompt, one.completions)}
    assert len(keys) == len(set(keys))
    assert set(keys) == wanted
