"""The front page: each answer follows from its figure, and weaknesses from what is surely wrong."""

import copy

import pytest

from plaudit.reporting.front import uses, weaknesses

NBSP = "\xa0"


def figure(value, reach=0.05):
    return {"value": value, "low": value - reach, "high": value + reach}


def without_interval(value):
    return {"value": value, "low": None, "high": None}


def summary(**more):
    """One of a good model on rankings of five: above length, steady, calibrated."""
    length = {
        "accuracy_where_more": figure(0.8),
        "accuracy_where_less": figure(0.78),
        "controlled_accuracy": figure(0.79),
    }
    rewrite = {"moved": figure(0.1), "completions": 100}
    return {
        "pairwise_accuracy": figure(0.8),
        "length_baseline": figure(0.6),
        "accuracy_above_length": figure(0.2),
        "auc": figure(0.85),
        "calibration_error": figure(0.02, 0.02),
        "temperature": figure(1.1),
        "top1_accuracy": figure(0.6),
        "baselines": {
            "preferring the longer completion": {"top1_accuracy": figure(0.3)},
            "a coin toss": {"top1_accuracy": figure(0.2, 0)},
        },
        "counts": {"prompts": 100, "rankings": 100, "completions": 500, "pairs": 1000},
        "style": {"length": length, "lists": None},
        "stress": {
            "score": figure(0.9),
            "rankings": 50,
            "rewrites": {
                "whitespace": rewrite | {"flipped": figure(0.0, 0), "preferred": None},
                "empty": rewrite | {"flipped": None, "preferred": figure(0.06)},
            },
        },
        "by_category": {},
    } | more


def answers(given):
    return {use.purpose: use.answers[""] for use in uses({"": given})}


BETTER = "To choose the better of two answers"
BEST = "To pick the best of several answers"
TEACH = "To train a policy against it"
FILTER = "To filter answers of many prompts by one threshold"
PROBABILITIES = "To read differences of rewards as probabilities"


def test_a_good_model_may_be_used_for_all():
    found = answers(summary())
    assert {purpose: answer.verdict for purpose, answer in found.items()} == {
        BETTER: "yes",
        BEST: "yes",
        TEACH: "yes",
        FILTER: "yes",
        PROBABILITIES: "yes",
    }
    assert found[BETTER].why == (
        f"80.0{NBSP}% of the pairs are right (75.0 to 85.0{NBSP}%), 20.0 points above preferring "
        "the longer one (+15.0 to +25.0)."
    )
    assert found[BEST].why == (
        f"Of 5 answers it picks a best one for 60.0{NBSP}% of the prompts (55.0 to 65.0{NBSP}%); "
        f"length does for 30.0{NBSP}%, a coin for 20.0{NBSP}%."
    )
    assert found[PROBABILITIES].why == "It is off by 2.0 points on average (0.0 to 4.0)."


@pytest.mark.parametrize(
    ("accuracy", "above", "controlled", "verdict", "says"),
    [
        (figure(0.4), figure(-0.2), figure(0.4), "no", "the wrong way round"),
        (figure(0.52), figure(0.1), figure(0.6), "no", "cannot be told from a coin toss"),
        (
            figure(0.6),
            figure(0.02),
            figure(0.6),
            "care",
            "cannot be told from preferring the longer one: +2.0 points",
        ),
        (figure(0.6), figure(-0.1), figure(0.6), "care", ", 10.0 points below"),
        (figure(0.6), figure(-0.1), figure(0.5), "no", ", 10.0 points below"),
        (without_interval(0.6), figure(0.2), figure(0.6), "unknown", "no interval"),
    ],
)
def test_choosing_the_better_one(accuracy, above, controlled, verdict, says):
    given = summary(pairwise_accuracy=accuracy, accuracy_above_length=above)
    given["style"]["length"]["controlled_accuracy"] = controlled
    answer = answers(given)[BETTER]
    assert answer.verdict == verdict
    assert says in answer.why


@pytest.mark.parametrize(
    ("top", "longer", "verdict"),
    [
        (figure(0.4), figure(0.32), "care"),  # their intervals meet
        (figure(0.22), figure(0.3), "no"),  # a coin toss is inside
        (without_interval(0.9), figure(0.3), "unknown"),
    ],
)
def test_picking_the_best(top, longer, verdict):
    given = summary(top1_accuracy=top)
    given["baselines"]["preferring the longer completion"]["top1_accuracy"] = longer
    assert answers(given)[BEST].verdict == verdict


def test_of_pairs_alone_nothing_is_said_of_best_of_n():
    counts = {"prompts": 100, "rankings": 100, "completions": 200, "pairs": 100}
    assert BEST not in answers(summary(counts=counts))


def stressed(preferred):
    stress = copy.deepcopy(summary()["stress"])
    stress["rewrites"]["empty"]["preferred"] = preferred
    return stress


@pytest.mark.parametrize(
    ("controlled", "stress", "verdict", "says"),
    [
        (
            figure(0.79),
            stressed(figure(0.3)),
            "no",
            "(nothing instead of it) to the answer in 30.0",
        ),
        (figure(0.52), stressed(figure(0.1)), "care", "little more than length"),
        (figure(0.4), stressed(figure(0.1)), "no", "length alone gets 50"),
        (figure(0.79), None, "unknown", "was not tried"),
        (figure(0.52), None, "unknown", "little more than length; with answers rewritten"),
        (figure(0.4), None, "no", "length alone gets 50"),
        (None, stressed(figure(0.1)), "unknown", "whether it knows more than length"),
    ],
)
def test_teaching_a_policy(controlled, stress, verdict, says):
    given = summary(stress=stress)
    given["style"]["length"]["controlled_accuracy"] = controlled
    answer = answers(given)[TEACH]
    assert answer.verdict == verdict
    assert says in answer.why


def test_thresholds_and_probabilities():
    assert answers(summary(auc=figure(0.76)))[FILTER].verdict == "care"
    assert answers(summary(auc=figure(0.6)))[FILTER].verdict == "no"
    found = answers(summary(calibration_error=figure(0.12), temperature=figure(0.2)))
    assert found[PROBABILITIES].verdict == "care"
    assert found[PROBABILITIES].why == (
        "It is off by 12.0 points on average (7.0 to 17.0). It is less sure than it is right: "
        "divide rewards by 0.200 first."
    )
    unclear = summary(calibration_error=figure(0.06), temperature=figure(1.02))
    assert answers(unclear)[PROBABILITIES].why == (
        "It is off by 6.0 points on average (1.0 to 11.0), which may be more than 5."
    )


def test_summaries_of_earlier_versions_have_answers():
    given = summary()
    for name in ("stress", "auc", "top1_accuracy", "calibration_error", "temperature"):
        del given[name]
    assert {purpose: answer.verdict for purpose, answer in answers(given).items()} == {
        BETTER: "yes",
        TEACH: "unknown",
    }
    assert [one.title for one in weaknesses(given)] == ["It leans on length"]


def test_several_models_are_answered_side_by_side():
    (first, *_) = uses({"a": summary(), "b": summary(pairwise_accuracy=figure(0.4))})
    assert {name: answer.verdict for name, answer in first.answers.items()} == {
        "a": "yes",
        "b": "no",
    }


def test_weaknesses_come_by_what_is_surely_wrong():
    given = summary(stress=stressed(figure(0.3, 0.1)), calibration_error=figure(0.2, 0.01))
    given["style"]["length"] |= {
        "accuracy_where_more": figure(0.9),
        "accuracy_where_less": figure(0.5),
    }
    found = weaknesses(given)
    # Off for sure: 0.85 − 0.55 of accuracy, 0.2 of answers, 0.19 − 0.05 of probabilities.
    assert [one.title for one in found] == [
        "It leans on length",
        "It prefers worse answers",
        "It is surer than it is right",
    ]
    assert found[0].text == (
        f"90.0{NBSP}% of the pairs are right where the better answer is the longer one (85.0 to "
        f"95.0{NBSP}%), 50.0{NBSP}% where it is the shorter one (45.0 to 55.0{NBSP}%)."
    )
    assert not any("not certain" in one.text for one in found)


def test_what_is_not_certain_comes_last_and_is_said_to_be_so():
    given = summary(stress=stressed(figure(0.2, 0.19)))
    given["style"]["length"] |= {"accuracy_where_less": figure(0.5, 0.3)}
    assert [("not certain" in one.text) for one in weaknesses(given)] == [False, True, True]


def part(value, reach, pairs=50):
    return {
        "pairwise_accuracy": figure(value, reach),
        "length_baseline": figure(0.5),
        "pairs": pairs,
        "prompts": pairs,
    }


def test_a_weak_category_must_be_so_for_how_many_there_are():
    alone = {"sums": part(0.6, 0.15), "facts": part(0.85, 0.05)}
    many = alone | {f"other {n}": part(0.85, 0.05) for n in range(40)}
    of_two, of_many = (
        next(
            one
            for one in weaknesses(summary(by_category=of, stress=None))
            if "category" in one.title
        )
        for of in (alone, many)
    )
    assert of_two.title == of_many.title == "Its weakest category: sums"
    assert "not certain" not in of_two.text  # 0.77 with 1.14 times the reach, below 0.8
    assert "not certain" in of_many.text  # 0.85 with 1.65 times the reach


def test_length_that_does_better_alone_is_a_weakness():
    given = summary(accuracy_above_length=figure(-0.3), length_baseline=figure(0.9))
    assert weaknesses(given)[0].title == "Length alone does better"
    assert weaknesses(given)[0].text.endswith("−30.0 points (−35.0 to −25.0).")
