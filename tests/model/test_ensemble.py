"""Ensembles against their members, one by one, and plain loops."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.model.ensemble import Ensemble, combined_rewards
from plaudit.model.normalisation import Normalisation
from plaudit.model.reward_model import RewardModel

PROMPTS = [
    ("What is two plus two?", ["four", "Two plus two is four.", "", "talk and talk " * 60]),
    ("Is that so?", []),
    ("The quick brown fox", ["jumps over the lazy dog", "is that so?"]),
]


@pytest.fixture
def three(reward_model):
    """A decoder, an encoder and another decoder, whose rewards are normalised differently."""
    return [
        replace(reward_model(name), normalisation=Normalisation(mean, std, 8, ["some.csv"]))
        for name, mean, std in (("llama", 0.5, 2.0), ("bert", -1.0, 0.25), ("qwen2", 3.0, 1.0))
    ]


@pytest.mark.parametrize("combine", ["mean", "min", "mean-spread"])
def test_rewards_are_those_of_the_members_combined(three, combine):
    """Members with other tokenizers, and so with other rows."""
    ensemble = Ensemble(three, combine, spread=0.5)
    by_member = [list(member.score_all(PROMPTS)) for member in three]
    found = list(ensemble.score_all(PROMPTS))
    assert [len(rewards) for rewards in found] == [4, 0, 2]
    for index, rewards in enumerate(found):
        for k, reward in enumerate(rewards):
            each = [member[index][k] for member in by_member]
            expected = {
                "mean": statistics.fmean(each),
                "min": min(each),
                "mean-spread": statistics.fmean(each) - 0.5 * statistics.pstdev(each),
            }[combine]
            assert reward == pytest.approx(expected, abs=1e-4)


@given(
    st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=6),
    st.floats(0, 3),
    st.floats(-10, 10),
)
def test_combining_keeps_its_order_and_follows_a_common_shift(columns, spread, shift):
    rewards = np.array(columns).T  # [3, N]
    mean, least = combined_rewards(rewards, "mean"), combined_rewards(rewards, "min")
    cautious = combined_rewards(rewards, "mean-spread", spread)
    assert (least <= mean + 1e-9).all()
    assert (cautious <= mean + 1e-9).all()
    for how in ("mean", "min", "mean-spread"):
        shifted = combined_rewards(rewards + shift, how, spread)
        assert shifted == pytest.approx(combined_rewards(rewards, how, spread) + shift, abs=1e-6)
    same = np.repeat(rewards[:1], 3, axis=0)  # members of one mind have no spread
    assert combined_rewards(same, "mean-spread", spread) == pytest.approx(rewards[0], abs=1e-6)


def test_several_names_are_loaded_as_one_scorer(base):
    names = [base("llama"), base("bert")]
    options = {"dtype": "float32", "device": "cpu", "max_length": 40, "seed": 3}
    ensemble = RewardModel.load(names, combine="mean", length_penalty=0.1, **options)
    alone = [RewardModel.load(name, length_penalty=0.1, **options) for name in names]
    assert isinstance(ensemble, Ensemble)
    assert ensemble.max_length == 40
    assert ensemble.device == alone[0].device
    prompt, texts = PROMPTS[0]
    expected = np.mean([model.score(prompt, texts) for model in alone], axis=0)
    assert ensemble.score(prompt, texts) == pytest.approx(expected.tolist(), abs=1e-5)
    assert ensemble.score(prompt, "four") == pytest.approx(expected[0], abs=1e-5)


def test_a_texts_laid_out_elsewhere_is_read_by_every_member(three):
    texts = ["What is two plus two? Two plus two is four.", "fox"]
    expected = np.mean([m.rewards(m.encode_rendered(texts)) for m in three], axis=0)
    found = Ensemble(three).rewards(Ensemble(three).encode_rendered(texts))
    assert np.array(found) == pytest.approx(expected, abs=1e-5)


def test_a_row_costs_what_it_costs_all_members(three):
    ensemble = Ensemble(three)
    rows = ensemble.encode(PROMPTS)
    by_member = [member.encode(PROMPTS) for member in three]
    for index, row in enumerate(rows):
        expected = 0
        for encoded in by_member:
            ids, shared = encoded[index].get("input_ids", []), encoded[index]["shared"]
            expected += sum(map(len, ids)) - shared * max(len(ids) - 1, 0)
        assert ensemble.tokens(row) == expected


def test_what_any_member_cuts_is_truncated(three, capsys):
    prompt, texts = "What is two plus two? " * 4, ["four", "talk and talk " * 60]
    whole = three[0].encode([(prompt, ["four"])])[0]["length"]
    short = replace(three[0], encoding=replace(three[0].encoding, max_length=whole - 1))
    ensemble = Ensemble([short, *three[1:]])
    ensemble.score(prompt, ["four", "talk and talk " * 60])
    ensemble.score("p", "four")
    # The first one is cut by one member, the second by all, the third by none.
    assert not any(any(m.encode([(prompt, texts[:1])])[0]["prompt_cut"]) for m in three)
    assert (ensemble.truncation["completions"], ensemble.truncation["truncated"]) == (3, 2)
    ensemble.report_truncation()
    assert f"2 of 3 completions are truncated to {whole - 1} tokens" in capsys.readouterr().err
    assert not ensemble.truncation


def test_an_untrained_member_is_told_of(three, capsys):
    Ensemble(three).warn_if_untrained()
    assert capsys.readouterr().err == ""
    Ensemble([*three, replace(three[0], new_head=True)]).warn_if_untrained()
    assert "no trained reward head" in capsys.readouterr().err


def test_the_mean_pools_probabilities_geometrically(reward_model):
    """σ(scale·(r_a − r_b)) is the renormalised geometric mean of the members' probabilities."""
    raw = [reward_model("llama"), reward_model("bert")]
    unit = [replace(model, normalisation=Normalisation(0.3, 1.7, 8, [])) for model in raw]
    prompt, texts = "What is two plus two?", ["four", "is that so"]

    def probability(scorer):
        a, b = scorer.score(prompt, texts)
        return 1 / (1 + math.exp(-scorer.scale * (a - b)))

    each = [probability(model) for model in raw]
    a, b = math.sqrt(math.prod(each)), math.sqrt(math.prod(1 - p for p in each))
    for members in (raw, unit):
        assert probability(Ensemble(members)) == pytest.approx(a / (a + b), abs=1e-5)
    assert Ensemble(raw).scale == 1.0
    assert Ensemble(unit).scale == pytest.approx(1.7)


@pytest.mark.parametrize("combine", ["min", "mean-spread"])
def test_members_with_zeros_of_their_own_are_not_compared(reward_model, combine):
    raw = [reward_model("llama"), reward_model("bert")]
    with pytest.raises(PlauditError, match=f"combine: {combine}.*plaudit normalise MODEL DATA"):
        Ensemble(raw, combine)


def test_normalised_and_other_rewards_are_not_added_up(reward_model, three):
    with pytest.raises(PlauditError, match="plaudit normalise MODEL DATA"):
        Ensemble([*three, reward_model("gpt2")])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"combine": "median"},
            "combine: there is no median; choose one of mean, min, mean-spread",
        ),
        ({"spread": -1.0}, "spread: -1.0 is not"),
        ({"spread": math.nan}, "spread: nan is not"),
    ],
)
def test_a_setting_that_is_no_good_is_named(three, settings, message):
    with pytest.raises(PlauditError, match=message):
        Ensemble(three, **settings)


def test_one_model_is_no_ensemble(base):
    with pytest.raises(PlauditError, match="two models or more"):
        RewardModel.load([base("bert")])
