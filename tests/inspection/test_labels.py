"""Suspects: in simulations whose wrong labels are known, and against brute force."""

import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.inspection.labels import (
    Fit,
    _prompts,
    _with_other_rankings,
    check_labels,
    read_predictions,
    suspects,
)


def simulated(number, noise, scale=0.5, seed=0):
    """Pairs by Bradley–Terry at temperature `scale`, some turned round: pairs, rewards, which."""
    chance = np.random.default_rng(seed)
    rewards = chance.normal(size=(number, 2))
    first = chance.random(number) < expit((rewards[:, 0] - rewards[:, 1]) / scale)
    turned = chance.random(number) < noise
    pairs = [
        Ranking(f"p{i}", ["a", "b"], [0, 1] if a else [1, 0], origin=f"x.csv:{i}")
        for i, a in enumerate(first != turned)
    ]
    return pairs, rewards.tolist(), turned


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.25])
def test_the_share_of_wrong_labels_is_found_and_probabilities_are_true(noise):
    pairs, rewards, turned = simulated(40_000, noise)
    labels = check_labels(pairs, rewards)
    assert labels.noise_rate == pytest.approx(noise, abs=0.02)
    assert labels.summary()["expected"] == pytest.approx(turned.sum(), rel=0.1)
    assert roc_auc_score(turned, labels.probability) > 0.88
    for part in np.array_split(np.argsort(labels.probability), 5):
        expected = labels.probability[part].mean()
        error = math.sqrt(expected * (1 - expected) / len(part))
        assert turned[part].mean() == pytest.approx(expected, abs=4 * error + 0.03)


def test_probability_is_that_of_bayes():
    """With T and ε known, by summing over both cases: label as it was, label turned round."""
    pairs, rewards, _ = simulated(20_000, 0.1, seed=1)
    labels = check_labels(pairs, rewards)
    margins = np.array([(a - b) * (1 if p.ranks[0] == 0 else -1)
                        for p, (a, b) in zip(pairs, rewards, strict=True)])  # fmt: skip
    right, wrong = 0.9 * expit(margins / 0.5), 0.1 * expit(-margins / 0.5)
    assert np.abs(labels.probability - wrong / (wrong + right)).max() < 0.1
    assert np.abs(labels.probability - wrong / (wrong + right)).mean() < 0.01


def test_units_of_the_reward_do_not_matter():
    pairs, rewards, _ = simulated(500, 0.1)
    small = check_labels(pairs, rewards).probability
    large = check_labels(pairs, (1000 * np.array(rewards) + 5).tolist()).probability
    np.testing.assert_allclose(small, large, atol=1e-4)


def test_suspects_come_in_order_with_their_evidence():
    pairs, rewards, _ = simulated(400, 0.1)
    found = suspects(pairs, rewards)
    assert [one.probability for one in found] == sorted(
        (f.probability for f in found), reverse=True
    )
    # The evidence speaks against each, and for every label that is not among them.
    assert all(one.margin < 0 for one in found)
    against = sum(np.argmax(r) != np.argmin(p.ranks) for p, r in zip(pairs, rewards, strict=True))
    assert len(found) == against
    first = found[0]
    pair, (a, b) = pairs[first.ranking], rewards[first.ranking]
    assert first.origin == pair.origin
    assert {first.better, first.worse} == {"a", "b"}
    assert pair.ranks[pair.completions.index(first.better)] == 0
    assert {first.reward_better, first.reward_worse} == {a, b}
    assert first.margin == first.reward_better - first.reward_worse
    assert (first.better_won, first.worse_won) == ((0, 0), (0, 0))
    assert json.loads(json.dumps(first.as_dict()))["prompt"] == pair.prompt


def tournament(rows, rewards):
    """Pairs of one prompt, of completions 0 … K − 1."""
    pairs = [Ranking("p", [f"c{a}", f"c{b}"], [0, 1]) for a, b in rows]
    return pairs, [[rewards[a], rewards[b]] for a, b in rows]


ROWS = [(0, 1), (1, 2), (0, 2), (2, 0), (3, 0), (1, 3)]


def test_other_rankings_are_evidence_as_if_each_were_left_out():
    """Against leaving the ranking out and maximising the posterior anew."""
    rewards = np.array([1.0, 0.2, -0.4, 0.1])
    pairs, given = tournament(ROWS, rewards)
    indices = np.array([(n, 0, 1) for n in range(len(ROWS))])
    (prompt,) = _prompts(pairs, given, indices)
    found = _with_other_rankings(np.zeros(len(ROWS)), [prompt], Fit(0.5, 0.1, 0.0), spread=1.0)
    for left_out, (a, b) in enumerate(ROWS):
        others = [pair for n, pair in enumerate(ROWS) if n != left_out]

        def loss(theta, others=others):
            prior = ((theta - rewards / 0.5) ** 2).sum() / 2
            return prior - sum(math.log(expit(theta[i] - theta[j])) for i, j in others)

        theta = minimize(loss, rewards, tol=1e-10).x
        assert found[left_out] == pytest.approx(theta[a] - theta[b], abs=0.1)
    # Where a pair has no say elsewhere, its evidence is its margin alone.
    alone = [Ranking("q", ["a", "b"], [0, 1]), Ranking("q", ["c", "d"], [0, 1])]
    (prompt,) = _prompts(alone, [[1.0, 0.0], [0.0, 2.0]], indices[:2])
    assert not prompt.is_linked
    found = _with_other_rankings(np.zeros(2), [prompt], Fit(0.5, 0.1, 0.0), spread=1.0)
    np.testing.assert_allclose(found, [2, -4], atol=0.05)


def test_wins_are_counted_in_other_rankings_only():
    pairs, rewards = tournament(ROWS, [0.0, 0.0, 0.0, 0.0])
    won = check_labels(pairs, rewards).won
    for left_out, row in enumerate(ROWS):
        others = [pair for n, pair in enumerate(ROWS) if n != left_out]
        expected = [
            count
            for side in row
            for count in (sum(a == side for a, _ in others), sum(side in pair for pair in others))
        ]
        assert won[left_out].tolist() == expected


def test_other_pairs_of_the_prompt_find_what_rewards_do_not():
    chance = np.random.default_rng(0)
    pairs, rewards, turned = [], [], []
    for prompt in range(60):
        quality, noisy = chance.normal(size=(2, 6)) * 2
        noisy = quality + noisy
        for i in range(6):
            for j in range(i):
                turned.append(chance.random() < 0.1)
                first = (chance.random() < expit(quality[i] - quality[j])) != turned[-1]
                ranks = [0, 1] if first else [1, 0]
                pairs.append(Ranking(f"p{prompt}", [f"c{i}", f"c{j}"], ranks))
                rewards.append([noisy[i], noisy[j]])
    with_others = check_labels(pairs, rewards).probability
    apart = [Ranking(f"p{n}", p.completions, p.ranks) for n, p in enumerate(pairs)]
    alone = check_labels(apart, rewards).probability
    assert roc_auc_score(turned, with_others) > roc_auc_score(turned, alone) + 0.02


def test_the_pairs_of_one_ranking_do_not_support_each_other():
    pairs, rewards, _ = simulated(300, 0.1)
    one = Ranking("list", ["a", "b", "c"], [0, 1, 2])
    labels = check_labels([*pairs, one], [*rewards, [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(labels.probability[-3:], labels.noise_rate)
    assert not labels.won[-3:].any()


@pytest.mark.parametrize(
    ("rankings", "rewards", "said"),
    [
        (
            [Ranking("p", ["a", "b"], [0, 1], origin="x:1")],
            [[1.0, math.nan]],
            "x:1: needs a finite",
        ),
        ([Ranking("p", ["a", "b"], [0, 1])], [[1.0]], "each of its 2 completions"),
        ([Ranking("p", ["a", "b"], [0, 1])], [], "0 rankings have rewards, but there are 1"),
        ([Ranking("p", ["a", "b"], [0, 0])], [[1.0, 2.0]], "no labels to check"),
    ],
)
def test_what_does_not_fit_is_refused(rankings, rewards, said):
    with pytest.raises(PlauditError, match=said):
        suspects(rankings, rewards)


@pytest.mark.parametrize("rewards", [[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]])
def test_a_single_pair_and_constant_rewards(rewards):
    labels = check_labels([Ranking("p", ["a", "b"], [0, 1])], rewards)
    assert np.isfinite(labels.probability).all()


# ---- predictions.jsonl ----

DATA = [
    Ranking("p", ["a", "b"], [0, 1], origin="x.csv:1"),
    Ranking(
        [{"role": "user", "content": "q"}],
        [[{"role": "assistant", "content": text}] for text in "cd"],
        [1, 0],
        origin="x.csv:3",
    ),
]


def rows(rewards, **extra):
    return [
        {"ranking": n, "prompt": r.prompt, "completion": text, "rank": r.ranks[k],
         "reward": rewards[n][k], "fold": n} | extra
        for n, r in enumerate(DATA) for k, text in enumerate(r.completions)
    ]  # fmt: skip


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "predictions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
        return path

    return write


def test_predictions_are_averaged_over_repeats(written):
    first, second = [[1.0, 2.0], [3.0, 4.0]], [[2.0, 2.0], [5.0, -4.0]]
    path = written(rows(first, repeat=0) + rows(second, repeat=1))
    assert read_predictions(path, DATA) == [[1.5, 2.0], [4.0, 0.0]]
    assert read_predictions(path, DATA[::-1]) == [[4.0, 0.0], [1.5, 2.0]]
    assert read_predictions(path, DATA[1:]) == [[4.0, 0.0]]


def test_predictions_of_other_data_are_refused(written):
    given = rows([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(PlauditError, match=r"no reward for 1 of 2 rankings \(the first is x.csv:3"):
        read_predictions(written(given[:3]), DATA)
    with pytest.raises(PlauditError, match=r"jsonl:2: no fold, so the model may have learnt"):
        read_predictions(written([given[0], {**given[1], "fold": None}]), DATA)
    with pytest.raises(PlauditError, match=r"jsonl:1: no prompt, completion and reward"):
        read_predictions(written([{"prompt": "p"}]), DATA)
    with pytest.raises(PlauditError, match=r"jsonl:1: the reward is not a finite number"):
        read_predictions(written([{**given[0], "reward": math.inf}]), DATA)
    with pytest.raises(PlauditError, match="cannot be read: No such file"):
        read_predictions("nowhere.jsonl", DATA)
    path = written([])
    path.write_text("[1]\n")
    with pytest.raises(PlauditError, match="not JSON lines"):
        read_predictions(path, DATA)
    path.write_text(json.dumps(given[0]) + "\n" + json.dumps(given[1])[:20])
    with pytest.raises(PlauditError, match=r"predictions.jsonl:2: not JSON lines"):
        read_predictions(path, DATA)
    path.write_text("[" * 100_000)
    with pytest.raises(PlauditError, match=r"predictions.jsonl:1: not JSON lines"):
        read_predictions(path, DATA)
