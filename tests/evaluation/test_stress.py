"""Rewrites of answers, and what is made of the rewards they get."""

import re
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit import PlauditError, Ranking, RewardModel
from plaudit.evaluation.rewards import rewards_of_rewritten
from plaudit.evaluation.rewrites import REWRITES, rewrites
from plaudit.evaluation.rewrites.list_order import list_order
from plaudit.evaluation.rewrites.whitespace import whitespace
from plaudit.evaluation.stress import Again, stress
from plaudit.reporting.evaluation import evaluate

RNG = np.random.default_rng(0)


@given(st.text(st.sampled_from("ab. \n-`"), max_size=40), st.integers(0, 9))
def test_whitespace_changes_and_nothing_else(text, seed):
    changed = whitespace("?", text, np.random.default_rng(seed))
    assert changed != text
    assert re.sub(r"\s", "", changed) == re.sub(r"\s", "", text)
    messages = [{"role": "user", "content": "Hi. You."}, {"role": "assistant", "content": text}]
    first, last = REWRITES.get("whitespace")("?", messages, np.random.default_rng(seed))
    assert first is messages[0]
    assert last == {"role": "assistant", "content": changed}


def test_every_way_of_changing_whitespace_is_taken():
    rng = np.random.default_rng(0)
    ways = {whitespace("?", "One. Two.\nThree.", rng) for _ in range(50)}
    assert ways == {"One. Two.\nThree.\n", "One. Two.\n\nThree.", "One.  Two.\nThree."}
    code = "Run. This:\n```\nif x:\n    y\n```"
    assert {whitespace("?", code, rng) for _ in range(50)} == {code + "\n"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No list.", None),
        ("- one", None),
        ("- one\n- one", None),
        ("1. first\n2. second", None),
        ("So:\n- one\n- two\n- three\nDone.", "So:\n- three\n- two\n- one\nDone."),
        ("- a\n- b\n\n* c\n* d", "- b\n- a\n\n* d\n* c"),
        ("- a\n  - under a\n- b", None),  # lists of one item each
        ("```\n- a\n- b\n```", None),
    ],
)
def test_bulleted_lists_are_reversed_and_nothing_else(text, expected):
    assert list_order("?", text, RNG) == expected


def test_what_is_rewritten_of_messages_is_the_last():
    asked = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "2+2?"}]
    said = [{"role": "assistant", "content": "Hm."}, {"role": "assistant", "content": "4"}]
    first, last = REWRITES.get("echoed")(asked, said, RNG)
    assert first is said[0]
    assert last == {"role": "assistant", "content": "2+2?\n\n4"}
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "4"}]}]
    assert REWRITES.get("echoed")(asked, parts, RNG) is None
    assert REWRITES.get("empty")("2+2?", "", RNG) is None


def test_the_worse_ones_are_said_to_be_worse():
    worse = {name for name, rewrite in rewrites().items() if rewrite.worse}
    assert worse == {"flattery", "repeated", "echoed", "empty"}
    positions = [rewrite.position for rewrite in rewrites().values()]
    assert len(set(positions)) == len(positions)


def test_figures_are_those_of_plain_counting():
    rewards = [[2.0, 0.0, 1.0], [1.0, 3.0], [5.0, 5.0], [0.0, 4.0]]
    ranks = [[0, 1, 2], [0, 1], [1, 0], [0, 0]]
    again = {
        # Of the first ranking a pair, whose order turns; of the second one side only, which ties.
        "list_order": [Again(0, (0, 1), [0.5, 1.0]), Again(1, (0, 1), [3.0, None])],
        "repeated": [Again(0, (0, 1), [3.0, 0.0]), Again(2, (0, 1), [4.0, 6.0])],
        "empty": [Again(0, (0, 1), [-1.0, -1.0]), Again(2, (0, 1), [9.0, 9.0])],
        "whitespace": [Again(1, (0, 1), [None, None])],
    }
    record = stress(rewards, ranks, "abcd", again)
    found = record["rewrites"]
    spread = np.sqrt((2 + 2 + 0 + 8) / 5)
    moved = {"list_order": (1.5 + 1 + 2) / 3, "repeated": (1 + 0 + 1 + 1) / 4,
             "empty": (3 + 1 + 4 + 4) / 4}  # fmt: skip
    for name, value in moved.items():
        assert found[name]["moved"]["value"] == pytest.approx(value / spread)
    assert found["list_order"]["flipped"]["value"] == (1 + 0.5) / 2
    assert found["list_order"]["preferred"] is None
    assert found["repeated"]["flipped"]["value"] == (0 + 0.5) / 2  # a tie came to be none
    assert found["repeated"]["preferred"]["value"] == (1 + 0.5 + 0 + 1) / 4
    assert found["empty"]["flipped"] is None
    assert found["empty"]["preferred"]["value"] == 2 / 4
    assert found["whitespace"]["moved"] is found["whitespace"]["flipped"] is None
    counts = {name: each["completions"] for name, each in found.items()}
    assert counts == {"list_order": 3, "repeated": 4, "empty": 4, "whitespace": 0}
    assert record["rankings"] == 3
    assert record["score"]["value"] == pytest.approx((0.25 + 0.375 + 0.5) / 3)


def test_steady_rewards_are_no_certainty_and_equal_ones_have_no_unit():
    rewards, again = [[1.0, 0.0]] * 20, [Again(i, (0, 1), [1.0, 0.0]) for i in range(20)]
    record = stress(rewards, [[0, 1]] * 20, range(20), {"whitespace": again})
    assert record["score"]["value"] == record["score"]["high"] == 1
    assert 0.8 < record["score"]["low"] < 1
    record = stress([[1.0, 1.0]], [[0, 1]], "a", {"repeated": [Again(0, (0, 1), [2.0, 1.0])]})
    assert record["rewrites"]["repeated"]["moved"] is None
    assert record["rewrites"]["repeated"]["preferred"]["value"] == 0.75
    assert stress(rewards, [[0, 1]] * 20, range(20), {}) is None
    with pytest.raises(PlauditError, match="the changed reward of completion 1"):
        stress([[1.0, 0.0]], [[0, 1]], "a", {"repeated": [Again(0, (0, 1), [1.0, np.nan])]})


class Longer:
    """Prefers whatever is longer."""

    encodings = ()
    uncertain = False
    scale = 1.0
    remembering = nullcontext

    def __init__(self):
        self.truncation = {"completions": 1}
        self.scored = 0

    def training_texts(self):
        return [None]

    def warn_if_untrained(self): ...

    telling_truncation = nullcontext

    def score_all(self, prompts):
        for _, completions in prompts:
            self.scored += len(completions)
            yield [float(len(text)) for text in completions]


def test_a_model_that_prefers_the_longer_is_shown_for_what_it_is():
    answers = ["- a\n- b", *("x" * (k + 9) for k in range(6))]
    rankings = [Ranking(f"What is {i}?", answers, [0, *range(1, 7)]) for i in range(60)]
    model = Longer()
    result = evaluate(model, rankings, resamples=50)
    # All answers of 50 rankings with other whitespace; of the other rewrites two each at most.
    assert model.scored <= 60 * 7 + 50 * (7 + 6 * 2)
    assert model.truncation == {}
    record = result.summary["stress"]
    assert record["rankings"] == 50
    found = record["rewrites"]
    assert list(found) == list(rewrites())
    for name in ("flattery", "repeated", "echoed"):
        assert found[name]["preferred"]["value"] == 1
        assert found[name]["flipped"]["value"] == 0
    assert found["empty"]["preferred"]["value"] == 0
    assert found["list_order"]["moved"]["value"] == 0
    # Four of the seven keep all they should, three nothing, but where whitespace changes lengths.
    assert 3 / 7 < record["score"]["value"] <= 4 / 7
    assert "stress score" in str(result)
    assert "whitespace changed in" not in str(result)
    off = evaluate(model, rankings, stress=0)
    assert off.summary["stress"] is None
    assert "stress score" not in str(off)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_answers_are_rewritten_and_scored_by_a_model(reward_model, name):
    model = reward_model(name)
    ranking = Ranking("What is two plus two?", ["Four.", "Five."], [0, 1])
    found = rewards_of_rewritten(model, [ranking, Ranking("p", ["a", "b"], [0, 0])], 50, seed=0)
    assert found["list_order"] == [Again(0, (0, 1), [None, None])]
    [repeated], [empty] = found["repeated"], found["empty"]
    again = model.score(ranking.prompt, ["Four.\n\nFour.", "Five.\n\nFive."])
    assert repeated.rewards == pytest.approx([model.scale * reward for reward in again], abs=1e-5)
    assert empty.rewards[0] == pytest.approx(empty.rewards[1], abs=1e-5)
    assert rewards_of_rewritten(model, [ranking], 0, seed=0) == {}


def test_what_the_model_refuses_has_no_reward_and_the_rest_has(base):
    model = RewardModel.load(base("qwen2"), dtype="float32", device="cpu")
    model.encoding.tokenizer.chat_template = (
        "{% for m in messages %}{% if not m.content or 'Five' in m.content %}"
        "{{ raise_exception('no such message') }}{% endif %}{{ m.content }}{% endfor %}"
    )
    ranking = Ranking("What is two plus two?", ["Four.", "Five."], [0, 1])
    found = rewards_of_rewritten(model, [ranking], 1, seed=0)
    assert found["empty"] == [Again(0, (0, 1), [None, None])]
    [repeated] = found["repeated"]
    assert isinstance(repeated.rewards[0], float)
    assert repeated.rewards[1] is None
