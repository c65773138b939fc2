"""The summary of everything, the table and the verdict made from it."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawn import RANKINGS, ordered_pairs, some_rankings
from plaudit.errors import PlauditError
from plaudit.evaluation import metrics
from plaudit.evaluation.measures import measures
from plaudit.evaluation.rewrites import rewrites
from plaudit.evaluation.statistics import Figure
from plaudit.evaluation.stress import Again
from plaudit.evaluation.summary import (
    COIN_TOSS,
    LENGTH_RULE,
    format_summary,
    prefers_worse,
    sentences,
    summarise,
    verdict,
    where_it_matters,
)

OF_REWARDS = {
    name: measure
    for name, measure in measures().items()
    if not (measure.takes_length or measure.takes_variance)
}


def test_every_figure_is_that_of_its_function():
    rewards, ranks, lengths, prompts = some_rankings()
    marks = [length // 40 for length in lengths]
    other = [np.sin(7 * reward) for reward in rewards]
    options = {"prompts": prompts, "resamples": 100, "seed": 1}
    summary = summarise(
        rewards,
        ranks,
        lengths=lengths,
        styles={"markdown": marks, "lists": [0 * length for length in lengths]},
        baselines={"another": other},
        **options,
    )

    def same(found, figure):
        assert found == pytest.approx(figure.as_dict(), abs=1e-12)

    for name, metric in OF_REWARDS.items():
        same(summary[name], metric(rewards, ranks, **options))
        if name != "mean_margin":
            same(summary["baselines"]["another"][name], metric(other, ranks, **options))
    for name in ("length_baseline", "accuracy_where_shorter", "length_controlled_accuracy"):
        same(summary[name], measures()[name](rewards, ranks, lengths=lengths, **options))
    for name in ("accuracy_where_shorter", "length_controlled_accuracy"):
        figure = measures()[name](other, ranks, lengths=lengths, **options)
        same(summary["baselines"]["another"][name], figure)
    assert "length_baseline" not in summary["baselines"]["another"]
    rule = summary["baselines"][LENGTH_RULE]
    assert rule["accuracy_where_shorter"]["value"] == 0
    same(rule["length_controlled_accuracy"], Figure(0.5, 0.5, 0.5))
    above = metrics.accuracy_above_length(rewards, ranks, lengths=lengths, **options)
    same(summary["accuracy_above_length"], above)
    same(summary["baselines"][LENGTH_RULE]["above"], above)
    same(summary["baselines"][LENGTH_RULE]["auc"], metrics.auc(lengths, ranks, **options))
    assert "log_loss" not in summary["baselines"][LENGTH_RULE]
    above_other = metrics.accuracy_above_length(rewards, ranks, lengths=other, **options)
    same(summary["baselines"]["another"]["above"], above_other)

    assert set(summary["style"]) == {"length", "markdown", "lists"}
    assert summary["style"]["lists"] is None
    length = summary["style"]["length"]
    assert length["accuracy_where_less"] == summary["accuracy_where_shorter"]
    assert length["controlled_accuracy"] == summary["length_controlled_accuracy"]
    assert length["baseline"] == summary["length_baseline"]
    # Every amount is held against the rewards in the same way; `test_style` says in which.
    marked = summarise(rewards, ranks, lengths=marks, **options)["style"]["length"]
    assert summary["style"]["markdown"] == marked

    again = summarise(rewards, ranks, lengths=lengths, **options)
    assert again["auc"] == summary["auc"]
    other_seed = summarise(rewards, ranks, lengths=lengths, **(options | {"seed": 2}))
    assert other_seed["pairwise_accuracy"] != summary["pairwise_accuracy"]


def scored_again(changed, ranks):
    """Rankings with an ordered pair, scored again whole; None for those that were not."""
    return [
        Again(i, range(len(k)), rewards)
        for i, (rewards, k) in enumerate(zip(changed, ranks, strict=True))
        if rewards is not None and len(set(k)) > 1
    ]


def white(changed):
    return {"whitespace": scored_again(changed, [[0, 1]] * 4)}


@given(RANKINGS, st.booleans())
@settings(max_examples=60)
def test_parts_agree_with_plain_loops_and_anything_can_be_shown(rankings, again):
    rewards, ranks, lengths, categories, prompts = map(list, zip(*rankings, strict=True))
    summary = summarise(
        rewards,
        ranks,
        prompts=prompts,
        lengths=lengths,
        categories=categories,
        styles={"lists": [[n % 3 for n in length] for length in lengths]},
        rewritten={"whitespace": scored_again([[n + 0.5 for n in r] for r in rewards], ranks)}
        if again
        else None,
        baselines={"another": lengths},
        resamples=20,
    )
    pairs = []
    for r, k, n, c in zip(rewards, ranks, lengths, categories, strict=True):
        for i, j in ordered_pairs(k):
            dense = sorted(set(k))
            longer, shorter = max(n[i], n[j], 1), max(min(n[i], n[j]), 1)
            step = (longer > 1.25 * shorter) + (longer > 2 * shorter)
            pairs.append(
                {
                    "gap": r[i] - r[j],
                    "right": (np.sign(r[i] - r[j]) + 1) / 2,
                    "longer": (np.sign(n[i] - n[j]) + 1) / 2,
                    "by_category": c[j] or "(no category)",
                    "by_rank_distance": str(dense.index(k[j]) - dense.index(k[i])),
                    "by_length_difference": step if n[i] > n[j] else -step,
                }
            )
    for part in ("by_category", "by_rank_distance", "by_length_difference"):
        groups = {}
        for pair in pairs:
            groups.setdefault(pair[part], []).append((pair["right"], pair["longer"]))
        if part == "by_category" and set(groups) == {"(no category)"}:
            groups = {}
        if part == "by_rank_distance":
            groups = groups if len(groups) > 1 else {}
            assert list(summary[part]) == sorted(summary[part])
        if part == "by_length_difference":  # its names are in this order
            groups = dict(zip(summary[part], (groups[k] for k in sorted(groups)), strict=True))
        assert set(summary[part]) == set(groups)
        for name, own in groups.items():
            entry = summary[part][name]
            assert entry["pairs"] == len(own)
            accuracy, longer = np.mean(own, axis=0)
            assert entry["pairwise_accuracy"]["value"] == pytest.approx(accuracy, abs=1e-9)
            assert entry["length_baseline"]["value"] == pytest.approx(longer, abs=1e-9)
    gaps = [pair["gap"] for pair in pairs]
    assert list(summary["margins"].values()) == pytest.approx(
        [np.quantile(gaps, q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
    )
    bins = summary["reliability"]
    assert sum(row["pairs"] for row in bins) == len(pairs)
    error = sum(row["pairs"] * abs(row["predicted"] - row["observed"]["value"]) for row in bins)
    assert summary["calibration_error"]["value"] == pytest.approx(error / len(pairs), abs=1e-9)
    assert all(row["low"] <= row["predicted"] <= row["high"] for row in bins)
    assert summary["counts"] == {
        "prompts": len(set(prompts)),
        "rankings": len(rankings),
        "completions": sum(map(len, ranks)),
        "pairs": len(pairs),
    }
    json.dumps(summary, allow_nan=False)
    says = sentences(summary)
    assert says[:2] == [verdict(summary), where_it_matters(summary)]
    assert format_summary(summary).splitlines()[-len(says) :] == says


def test_a_coin_toss_knows_nothing():
    rewards, ranks, lengths, prompts = some_rankings()
    toss = summarise(rewards, ranks, prompts=prompts, lengths=lengths)["baselines"][COIN_TOSS]
    for key in ("pairwise_accuracy", "auc", "tie_agreement"):
        assert toss[key] == Figure(0.5, 0.5, 0.5).as_dict()
    assert toss["log_loss"]["value"] == pytest.approx(math.log(2))
    assert toss["kendall_tau_b"]["value"] == toss["spearman"]["value"] == 0


def test_whitespace_is_measured_on_what_was_scored_again():
    rewards = [[1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [0.0, 0.0]]
    changed = [[0.5, 0.0], None, [0.0, 1.0], [0.0, 0.0]]
    summary = summarise(
        rewards, [[0, 1]] * 4, prompts="abcd", lengths=[[1, 1]] * 4, rewritten=white(changed)
    )
    found = summary["whitespace"]
    assert found["agreement"]["value"] == pytest.approx(2 / 3)
    assert found["completions"] == 6
    assert found["mean_change"] == pytest.approx(
        (0.5 + 4 + 1) / 6 / np.std(np.concatenate(rewards))
    )
    steady = summarise(
        rewards, [[0, 1]] * 4, prompts="abcd", lengths=[[1, 1]] * 4, rewritten=white(rewards)
    )
    assert steady["whitespace"]["agreement"]["value"] == 1
    assert steady["whitespace"]["mean_change"] == 0
    nothing = [None] * 4
    summary = summarise(
        rewards, [[0, 1]] * 4, prompts="abcd", lengths=[[1, 1]] * 4, rewritten=white(nothing)
    )
    assert summary["whitespace"] is None
    with pytest.raises(PlauditError, match="the changed reward of completion 0"):
        summarise(
            rewards,
            [[0, 1]] * 4,
            prompts="abcd",
            lengths=[[1, 1]] * 4,
            rewritten=white([[math.nan, 0.0], None, None, None]),
        )


def test_a_category_takes_one_line_and_no_more_than_it_needs():
    names = ["two\nlines\tof it", "x" * 500]
    summary = summarise([[1.0, 0.0]] * 2, [[0, 1]] * 2, prompts="pq", lengths=[[2, 1]] * 2,
                        categories=names)  # fmt: skip
    table = format_summary(summary).splitlines()
    assert any(line.startswith("two lines of it ") for line in table)
    assert set(names) <= set(summary["by_category"])
    assert max(len(line) for line in table if line.startswith(("two", "xxx"))) < 120


def test_category_of_a_pair_is_that_of_its_ranking_or_its_worse_completion():
    summary = summarise(
        [[1.0, 0.0], [1.0, 2.0, 0.0], [3.0, 4.0]],
        [[0, 1], [0, 1, 2], [0, 1]],
        prompts=[0, 1, 2],
        lengths=[[3, 2], [2, 2, 1], [1, 2]],
        categories=["maths", [None, "maths", "code"], None],
    )
    values = {
        name: (entry["pairwise_accuracy"]["value"], entry["length_baseline"]["value"])
        for name, entry in summary["by_category"].items()
    }
    assert values == {"code": (1.0, 1.0), "maths": (0.5, 0.75), "(no category)": (0.0, 0.0)}
    assert [entry["prompts"] for entry in summary["by_category"].values()] == [1, 2, 1]


def test_one_prompt_has_figures_without_intervals():
    summary = summarise([[1.0, 0.0]], [[0, 1]], prompts=["p"], lengths=[[1, 2]])
    assert summary["auc"] == {"value": 1.0, "low": None, "high": None}
    assert summary["tie_agreement"] is None
    assert "Nothing can be concluded: 1 prompt" in format_summary(summary)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_named(bad):
    rewards, ranks = [[1.0, 0.0], [1.0, 2.0, bad]], [[0, 1], [0, 1, 2]]
    with pytest.raises(PlauditError, match=r'completion 2 in ranking 1 .*prompt "second"'):
        summarise(rewards, ranks, prompts=["first", "second"], lengths=[[1, 2], [1, 2, 3]])


def test_nothing_to_measure_is_said():
    with pytest.raises(PlauditError, match="nothing to measure"):
        summarise([], [], prompts=[], lengths=[])


@pytest.mark.parametrize(
    ("right", "longer", "says"),
    [
        (90, 50, "beats preferring the longer completion by 40.0 points"),
        (70, 90, "is worse than preferring the longer completion by 20.0 points"),
        (72, 70, "cannot be told from preferring the longer completion"),
        (52, 20, "cannot be told from a coin toss"),
        (20, 20, "the wrong way round"),
    ],
)
def test_verdict_says_what_the_intervals_allow(right, longer, says):
    rng = np.random.default_rng(0)
    rewards = [[1.0, 0.0] if i < right else [0.0, 1.0] for i in rng.permutation(100)]
    lengths = [[2, 1] if i < longer else [1, 2] for i in rng.permutation(100)]
    summary = summarise(rewards, [[0, 1]] * 100, prompts=range(100), lengths=lengths)
    assert says in verdict(summary)
    few = summarise(rewards[:20], [[0, 1]] * 20, prompts=range(20), lengths=lengths[:20])
    assert verdict(few).endswith("20 prompts are too few to rely on the interval.")


def where(more, less, *, shorter=50):
    """What is said of 100 prompts, of which so many have a shorter better completion; so many of
    100 are right where the better one has more characters, and where it has fewer."""
    lengths = [[1, 2]] * shorter + [[2, 1]] * (100 - shorter)
    rng = np.random.default_rng(0)
    halves = ((less, shorter), (more, 100 - shorter))
    right = [rng.permutation(n) < share * n / 100 for share, n in halves]
    rewards = [[float(one), 0.5] for one in np.concatenate(right)]
    return where_it_matters(summarise(rewards, [[0, 1]] * 100, prompts=range(100), lengths=lengths))


@pytest.mark.parametrize(
    ("more", "less", "says", "ends"),
    [
        (90, 80, "beats length where it matters: with length controlled, 85.0 % ",
         "of those whose better completion is the shorter one."),
        (98, 30, "beats length where it matters: with length controlled, 64.0 % ",
         "shorter one, where it prefers the longer."),
        (70, 40, "cannot be told from length alone where it matters: with length controlled, 55",
         "of those whose better completion is the shorter one."),
        (100, 0, "cannot be told from length alone where it matters: with length controlled, 50",
         "shorter one, where it prefers the longer."),
        (60, 10, "is worse than length alone where it matters: with length controlled, 35.0 % ",
         "shorter one, where it prefers the longer."),
    ],
)  # fmt: skip
def test_where_it_matters_is_what_the_intervals_allow(more, less, says, ends):
    sentence = where(more, less)
    assert sentence.startswith(f"The reward {says}")
    assert f"{less:.1f} % (" in sentence
    assert sentence.endswith(ends)
    # "But" is between what is better than length and what is not.
    assert ("but only" in sentence) == ("beats" in says and less < 50)


def test_where_length_cannot_mislead_that_is_said():
    lacking = "cannot be measured: no pair has a better completion that is the {} one."
    assert where(90, 90, shorter=0).endswith(lacking.format("shorter"))
    assert where(90, 90, shorter=100).endswith(lacking.format("longer"))
    alike = summarise([[1.0, 0.0]], [[0, 1]], prompts=["p"], lengths=[[3, 3]])
    assert alike["accuracy_where_shorter"] is alike["length_controlled_accuracy"] is None
    assert where_it_matters(alike).endswith("completions of a pair are always of one length.")
    few = summarise([[1.0, 0.0]] * 2, [[0, 1]] * 2, prompts="pq", lengths=[[3, 2], [2, 3]])
    assert where_it_matters(few).startswith("The reward may or may not beat length")
    assert "(without an interval;" in where_it_matters(few)


def test_a_model_that_only_looks_at_length_is_shown_for_what_it_is():
    _, ranks, lengths, prompts = some_rankings()
    table = format_summary(summarise(lengths, ranks, prompts=prompts, lengths=lengths))
    row = next(line for line in table.splitlines() if line.startswith("  length"))
    assert row.split()[1:] == [
        "+1.000",
        row.split()[2],
        "1.000",
        "0.000",
        "0.500",
        "[0.500,",
        "0.500]",
    ]


@pytest.mark.parametrize(("share", "said"), [(0.2, False), (0.6, True)])
def test_a_reward_that_prefers_nothing_to_the_answer_is_not_to_be_trained_against(share, said):
    summary = summarise([[1.0, 0.0]] * 40, [[0, 1]] * 40, prompts=range(40), lengths=[[5, 9]] * 40)
    figure = {"value": share, "low": 0.1, "high": 0.9}
    entry = {"moved": None, "flipped": None, "preferred": figure, "completions": 80}
    summary["stress"] = {"score": None, "rankings": 40, "rewrites": {"empty": entry}}
    text = format_summary(summary)
    assert ("Do not train a policy against it yet" in text) is said
    assert ("in 60 % of the 80 cases tried" in text) is said
    assert ("--control-strength" in text) is said
    theirs = format_summary(summary | {"from_elsewhere": True})
    assert "--control-strength" not in theirs
    assert ("take another model" in theirs) is said


@pytest.mark.parametrize(
    ("preferred", "strength", "says"),
    [
        # What makes an answer longer is cured by more control of length, if there is more.
        ({"repeated": 0.9}, 0.0, "take length out of training"),
        (
            {"repeated": 0.9},
            0.5,
            "of training (--control-strength: 0.5 here",
        ),
        (
            {"echoed": 0.9, "flattery": 0.3},
            None,
            "(a higher --control-strength, if below 1; the more, the less accuracy where",
        ),
        ({"repeated": 0.9}, 1.0, "a --control-strength of 1 takes out all that length explains"),
        ({"repeated": 0.9}, 1.5, "a --control-strength of 1.5 takes out all"),
        # What makes it shorter by less, if there is less.
        ({"empty": 0.9}, 0.0, "nothing of length is taken out of training: see what else"),
        (
            {"empty": 0.9},
            0.5,
            "(a lower --control-strength, 0.5",
        ),
        (
            {"empty": 0.9},
            None,
            "take less of length out of training (a lower --control-strength, if",
        ),
        # What is not preferred too often has no say; both ways at once no strength mends.
        ({"empty": 0.2, "repeated": 0.9}, 0.5, "take more of length out"),
        ({"empty": 0.3, "repeated": 0.9}, 0.5, "does not mend it: see what else drives it"),
        ({"their_own": 0.9}, 0.5, "of the 80 cases tried; see what drives it."),
    ],
)
def test_advice_goes_the_way_that_the_worse_version_goes(preferred, strength, says):
    summary = summarise([[1.0, 0.0]] * 40, [[0, 1]] * 40, prompts=range(40), lengths=[[5, 9]] * 40)
    rewritten = {
        name: {"moved": None, "flipped": None, "completions": 80}
        | {"preferred": {"value": share, "low": 0.1, "high": 0.9}}
        for name, share in preferred.items()
    }
    summary["stress"] = {"score": None, "rankings": 40, "rewrites": rewritten}
    if strength is not None:
        summary["length_control"] = strength
    sentence = prefers_worse(summary)
    assert says in sentence
    ways = [way for way in ("take length out", "take more of", "take less of") if way in sentence]
    assert len(ways) <= 1
    # Nothing is advised that a setting does not allow, or that was done already.
    assert not (ways == ["take less of"] and not (strength or strength is None))
    assert not (ways in (["take more of"], ["take length out"]) and (strength or 0) >= 1)


def test_rewrites_are_as_long_as_they_say():
    rng = np.random.default_rng(0)
    answers = ["4", "Because:\n- cost\n- time", "It is. It was."]
    for name, rewrite in rewrites().items():
        for answer in answers:
            new = rewrite.of("2+2?", answer, rng)
            if new is None or rewrite.longer is None:
                continue
            assert (len(new) > len(answer)) is rewrite.longer, name
            assert len(new) != len(answer), name


def test_a_source_is_measured_as_if_it_were_alone():
    rng = np.random.default_rng(0)
    n = 60
    rewards, lengths = rng.normal(size=(n, 3)), rng.integers(1, 90, size=(n, 3))
    ranks = [rng.permutation([0, 1, 1]) for _ in range(n)]
    sources = rng.choice(["a", "b"], size=n).tolist()
    whole = summarise(
        list(rewards), ranks, prompts=range(n), lengths=list(lengths), sources=sources, resamples=10
    )
    assert whole["by_source"].keys() == {"a", "b"}
    for name, entry in whole["by_source"].items():
        those = [i for i in range(n) if sources[i] == name]
        alone = summarise(
            [rewards[i] for i in those],
            [ranks[i] for i in those],
            prompts=those,
            lengths=[lengths[i] for i in those],
            resamples=10,
        )
        assert (entry["prompts"], entry["pairs"]) == (len(those), alone["counts"]["pairs"])
        for measure in ("pairwise_accuracy", "length_baseline", "log_loss"):
            assert entry[measure]["value"] == pytest.approx(alone[measure]["value"])
        controlled = entry["length_controlled_accuracy"]["value"]
        assert controlled == pytest.approx(alone["length_controlled_accuracy"]["value"])
    without = summarise(list(rewards), ranks, prompts=range(n), lengths=list(lengths), resamples=10)
    assert "by_source" not in without
    assert "source " in format_summary(whole)


def test_categories_come_by_how_sure_their_difference_is():
    rng = np.random.default_rng(0)
    share = {"alike": (400, 0.7), "worse": (150, 0.3), "better, but few": (8, 1.0), "three": (3, 0)}
    names = [name for name, (number, _) in share.items() for _ in range(number)]
    right = np.concatenate([rng.random(number) < p for number, p in share.values()])
    rewards = [[1.0, 0.0] if one else [0.0, 1.0] for one in right]
    summary = summarise(
        rewards,
        [[0, 1]] * len(rewards),
        prompts=range(len(rewards)),
        lengths=[[1, 2]] * len(rewards),
        categories=names,
    )
    found = summary["by_category"]
    assert next(iter(found)) == "worse"
    assert [*found][-1] == "three"  # of which there is no interval
    assert found["three"]["p_holm"] is None
    for name, entry in found.items():
        own = np.mean([one for one, of in zip(right, names, strict=True) if of == name])
        assert entry["difference"]["value"] == pytest.approx(own - right.mean())
    assert found["worse"]["p_holm"] < 0.001
    # Without a category the same figures, of another spread: independent pairs of prompts.
    entry, p = found["worse"]["difference"], found["worse"]["pairwise_accuracy"]["value"]
    n, rest = 150, [one for one, of in zip(right, names, strict=True) if of != "worse"]
    weight = len(rest) / len(right)  # the difference from all is so much of that from the rest
    error = weight * np.sqrt(p * (1 - p) / n + np.var(rest) / len(rest))
    assert (entry["high"] - entry["low"]) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert "from all   p (Holm)" in format_summary(summary)


def test_of_many_alike_categories_none_differs():
    rng = np.random.default_rng(1)
    told = 0
    for _ in range(60):
        right = rng.random(400) < 0.7
        summary = summarise(
            [[1.0, 0.0] if one else [0.0, 1.0] for one in right],
            [[0, 1]] * 400,
            prompts=range(400),
            lengths=[[1, 2]] * 400,
            categories=[f"c{n % 10}" for n in range(400)],
            resamples=200,
        )
        told += min(entry["p_holm"] for entry in summary["by_category"].values()) < 0.05
    assert told <= 9  # 5 %: 3 of 60, and three deviations of that


def test_a_summary_of_an_earlier_version_is_shown():
    summary = summarise([[2.0, 1.0]] * 9, [[0, 1]] * 9, prompts=range(9), lengths=[[1, 2]] * 9,
                        categories=["a"] * 9)  # fmt: skip
    for entry in summary["by_category"].values():
        del entry["difference"], entry["p_holm"]
    assert "from all" not in format_summary(summary)
