"""What the reports say: verdict, figures and plots are those of the summary they are given."""

import copy
from dataclasses import replace

import pytest

from plaudit import Ranking
from plaudit.evaluation.comparison import compare_rewards, comparison_verdict
from plaudit.evaluation.overlap import overlap_record
from plaudit.evaluation.summary import summarise
from plaudit.model.trained_on import TrainedOn
from plaudit.model.trained_on import overlap as overlap_of
from plaudit.reporting.contents import (
    cross_validation_report,
    evaluation_report,
    search_report,
)
from plaudit.reporting.evaluation import Evaluation
from plaudit.reporting.page import write_report
from plaudit.reporting.plots import Log


def figure(value, reach=0.05):
    return {"value": value, "low": value - reach, "high": value + reach}


def part(value, pairs=4):
    return {
        "pairwise_accuracy": figure(value),
        "length_baseline": figure(0.5),
        "pairs": pairs,
        "prompts": pairs,
    }


# A summary as `summarise` gives it, with a None wherever there can be one but in length.
SUMMARY = {
    "pairwise_accuracy": figure(0.75),
    "length_baseline": figure(0.6),
    "accuracy_above_length": figure(0.15),
    "log_loss": figure(0.55),
    "mean_margin": figure(-0.25),
    "top1_accuracy": figure(0.7),
    "kendall_tau_b": figure(0.5),
    "spearman": figure(0.45),
    "ndcg": figure(0.9),
    "mean_reciprocal_rank": figure(0.8),
    "tie_agreement": None,
    "auc": figure(0.8),
    "brier": figure(0.2),
    "calibration_error": figure(0.06),
    "temperature": {"value": 1.25, "low": None, "high": None},
    "margins": {"p5": -1.0, "p25": 0.0, "median": 0.5, "p75": 1.0, "p95": 2.0},
    "counts": {"prompts": 40, "rankings": 40, "completions": 80, "pairs": 40},
    "by_category": {},
    "by_rank_distance": {"1": part(0.75)},
    "by_length_difference": {},
    "reliability": [
        {"low": 0.5, "high": 0.6, "predicted": 0.55, "observed": figure(0.5), "pairs": 40}
    ],
    "style": {
        "length": {
            "correlation": figure(0.3),
            "correlation_in_data": figure(0.25),
            "accuracy_where_more": figure(0.9),
            "accuracy_where_less": figure(0.6),
            "controlled_accuracy": figure(0.7),
            "baseline": figure(0.6),
            "pairs_that_differ": 38,
        },
        "lists": None,
        "markdown": None,
    },
    "whitespace": None,
    "baselines": {"a coin toss": {"pairwise_accuracy": figure(0.5, 0.0), "above": figure(0.25)}},
}
RANKINGS = [Ranking(f"prompt {i}", ["good", f"bad {i}"], [0, 1]) for i in range(40)]
REWARDS = [[0.0, i / 10 - 1] for i in range(40)]
EVALUATION = Evaluation(SUMMARY, RANKINGS, REWARDS)
LOG = [{"step": 10, "loss": 0.7, "accuracy": 0.5}, {"step": 10, "eval_log_loss": 0.6}]


def cells(report):
    """Every table's rows by caption and label."""
    return {
        table.caption: {row.label: row.cells for row in table.rows}
        for section in report.sections
        for table in section.tables
    }


def headings(report):
    return [plot.heading for section in report.sections for plot in section.plots]


def test_evaluation(tmp_path):
    report = evaluation_report(EVALUATION, title="My model", facts={"model": "m"}, log=Log(LOG, 10))
    assert report.title == "My model"
    assert "beats preferring the longer completion by 15.0 points" in report.lead[0]
    assert report.lead[1:] == ("That rests on 40 prompts and 40 pairs.",)
    assert list(report.facts) == ["model", "date", "plaudit"]
    tables = cells(report)
    assert tables["Pairs"]["Pairwise accuracy"] == ("75.0\xa0%", "70.0 to 80.0\xa0%")
    assert tables["Pairs"]["Mean margin"] == ("−0.250", "−0.300 to −0.200")
    assert tables["Pairs"]["Above preferring the longer"] == ("+15.0", "+10.0 to +20.0")
    assert tables["Rankings"]["Agreement on ties"] == ("–", "")
    assert tables["Probabilities"]["Temperature"] == ("1.250", "")
    assert tables["Against baselines"]["a coin toss"] == ("50.0\xa0%", "+25.0", "+20.0 to +30.0")
    assert "By distance in rank" in tables
    assert "By category" not in tables
    # Rewards above 0 for the rejected one: i from 11 to 39; that of i = 10 ties.
    assert len(report.pairs.pairs) == 29
    assert report.pairs.of == 40
    assert RANKINGS[report.pairs.pairs[0].ranking].prompt == "prompt 39"
    assert "25 % of margins are above zero" in headings(report)
    assert "Validation loss is lowest, 0.600, at step 10" in headings(report)
    text = write_report(tmp_path / "report.html", report).read_text()
    assert "prompt 39" in text


def test_a_summary_of_real_rewards_is_whole():
    summary = summarise(
        REWARDS,
        [ranking.ranks for ranking in RANKINGS],
        prompts=[ranking.key for ranking in RANKINGS],
        lengths=[[len(text) for text in ranking.completions] for ranking in RANKINGS],
        resamples=100,
    )
    report = evaluation_report(Evaluation(summary, RANKINGS, REWARDS), title="x", facts={})
    # 10 of 40 right, and a tie that counts half.
    assert cells(report)["Pairs"]["Pairwise accuracy"][0] == "26.2\xa0%"
    assert "wrong way round" in report.lead[0]
    # The better one is always the shorter: nothing can be said with length controlled.
    assert cells(report)["Pairs"]["Length-controlled accuracy"] == ("–", "")
    labels = [number.label for number in report.highlights]
    assert labels == ["Pairwise accuracy", "Accuracy where shorter", "Preferring the longer"]


def test_whatever_a_summary_can_leave_undefined_is_no_error(tmp_path):
    summary = copy.deepcopy(SUMMARY)
    summary["style"]["length"] = None
    summary["reliability"] = []
    summary["by_rank_distance"] = {}
    for name in ("pairwise_accuracy", "accuracy_above_length"):
        summary[name] = {"value": 0.5, "low": None, "high": None}
    report = evaluation_report(Evaluation(summary, RANKINGS[:1], [[1.0, 0.0]]), title="x", facts={})
    assert report.lead[0].startswith("Nothing can be concluded")
    assert report.pairs.pairs == ()
    write_report(tmp_path / "report.html", report)


def test_a_measure_that_came_after_an_evaluation_is_not_in_its_report():
    summary = {name: value for name, value in SUMMARY.items() if name != "brier"}
    report = evaluation_report(Evaluation(summary, RANKINGS, REWARDS), title="x", facts={})
    before = evaluation_report(EVALUATION, title="x", facts={})
    names, names_before = (cells(one)["Probabilities"].keys() for one in (report, before))
    assert names == names_before - {"Brier score"} != names_before


def test_formatting_and_whitespace():
    summary = copy.deepcopy(SUMMARY)
    summary["style"]["lists"] = summary["style"]["length"] | {"controlled_accuracy": None}
    summary["whitespace"] = {"agreement": figure(0.95), "mean_change": 0.04, "completions": 80}
    tables = cells(evaluation_report(Evaluation(summary, RANKINGS, REWARDS), title="x", facts={}))
    assert tables["Lists: 38 pairs differ"]["Accuracy where chosen has more list items"] == (
        "90.0\xa0%",
        "85.0 to 95.0\xa0%",
    )
    assert tables["With other whitespace: 80 completions"]["Mean change of a reward"][0] == "0.040"


def test_what_rewriting_does_has_a_table_and_a_score_at_the_top():
    rewrite = {"moved": figure(0.3), "flipped": figure(0.1), "completions": 20}
    stress = {
        "score": figure(0.8),
        "rankings": 10,
        "rewrites": {
            "whitespace": rewrite | {"preferred": None},
            "empty": rewrite | {"flipped": None, "preferred": figure(0.25)},
            "their_own": dict.fromkeys(("moved", "flipped", "preferred")) | {"completions": 0},
        },
    }
    white = {"agreement": figure(0.9), "mean_change": 0.04, "completions": 80}
    summary = SUMMARY | {"stress": stress, "whitespace": white}
    report = evaluation_report(Evaluation(summary, RANKINGS, REWARDS), title="x", facts={})
    assert cells(report)["10 rankings scored again: stress score 0.80"] == {
        "other whitespace": ("0.300", "10.0\xa0%", "–", "5.0 to 15.0\xa0%", "20"),
        "nothing instead of it": ("0.300", "–", "25.0\xa0%", "20.0 to 30.0\xa0%", "20"),
        "their own": ("–", "–", "–", "", "0"),
    }
    assert "With other whitespace: 80 completions" not in cells(report)
    assert [(n.value, n.note) for n in report.highlights if n.label == "Stress score"] == [
        ("0.800", "0.750 to 0.850")
    ]


def metric(mean, *folds):
    return {"mean": mean, "sd": 0.02, "low": mean - 0.1, "high": mean + 0.1, "folds": folds}


@pytest.mark.parametrize("curve", [True, False])
def test_cross_validation(tmp_path, curve):
    points = [{"rankings": n, **figure(0.6 + n / 1000)} for n in (20, 40)]
    cv = {
        "k": 2,
        "repeats": 3,
        "metrics": {"pairwise_accuracy": metric(0.7, 0.6, 0.8), "log_loss": metric(0.5, 0.4, 0.6)},
        "out_of_fold": SUMMARY,
        "learning_curve": {
            "points": points,
            "fit": {"formula": "c − a·n⁻ᵇ", "curve": points},
            "answer": "More would help.",
        }
        if curve
        else None,
        "against": None,
    }
    report = cross_validation_report(cv, EVALUATION, title="Folds", facts={})
    assert "beats preferring the longer completion" in report.lead[0]
    assert report.lead[1] == (
        "Trained anew for each of 2 folds, 3 times over, it gets 70.0\xa0% of the pairs right on "
        "average (95\xa0% interval 60.0 to 80.0\xa0%), between 60.0\xa0% and 80.0\xa0% in a fold."
    )
    rows = cells(report)["Over 2 folds, 3 times over"]
    assert rows["Pairwise accuracy"] == ("70.0\xa0%", "60.0 to 80.0\xa0%", "2.0 points")
    assert rows["Log loss"] == ("0.500", "0.400 to 0.600", "0.020")
    answered = [section for section in report.sections if section.notes == ("More would help.",)]
    assert len(answered) == curve
    write_report(tmp_path / "report.html", report)


def test_a_comparison_stands_before_the_figures(tmp_path):
    others = [[reward + 0.01 * place for place, reward in enumerate(row)] for row in REWARDS]
    found = compare_rewards(RANKINGS, REWARDS, others, names=("mine", "theirs")).summary
    report = evaluation_report(EVALUATION, title="Mine", facts={}, against=found)
    section = report.sections[0]
    assert section.title == "Which is better?"
    assert section.notes == (comparison_verdict(found),)
    accuracy = found["metrics"]["pairwise_accuracy"]
    row = cells(report)["On the same prompts"]["Pairwise accuracy"]
    assert row[0] == f"{100 * accuracy['first']['value']:.1f}\xa0%"
    assert row[1] == f"{100 * accuracy['second']['value']:.1f}\xa0%"
    assert section.tables[0].columns[1:3] == ("mine", "theirs")
    # One of an earlier version, in which nobody asked what either was trained on.
    overlap = overlap_record(
        overlap_of([TrainedOn.of(RANKINGS[:10])], RANKINGS), "pairwise accuracy"
    )
    known = replace(EVALUATION, summary=EVALUATION.summary | {"training_overlap": overlap})
    older = evaluation_report(known, title="Mine", facts={}, against=found).sections[0]
    assert older.notes[1].startswith("That is not of new prompts alone: it was trained on ")
    write_report(tmp_path / "report.html", report)


def test_search(tmp_path):
    trials = [
        {"number": 1, "state": "pruned", "value": 0.5, "seconds": 3.2, "settings": {"lr": 1e-4}},
        {"number": 0, "state": "complete", "value": 0.7, "seconds": 9.0, "settings": {"lr": 1e-3}},
        {"number": 2, "state": "failed", "value": None, "seconds": None, "settings": {"loss": "b"}},
    ]
    search = {"trials": trials, "best": trials[1], "metric": "pairwise_accuracy"}
    report = search_report(search, EVALUATION, title="Search", facts={}, log=Log(LOG, None))
    assert report.lead[1].startswith(
        "Of 3 trials number 0 was best, with a pairwise accuracy of 70.0\xa0% on validation prompts"
    )
    rows = cells(report)
    assert rows["The best settings"] == {"lr": ("0.001",)}
    assert rows["Every trial"] == {
        "0": ("70.0\xa0%", "complete", "9 s", "0.001", "–"),
        "1": ("50.0\xa0%", "pruned", "3 s", "0.0001", "–"),
        "2": ("–", "failed", "–", "–", "b"),
    }
    assert "The best of 3 trials is number 0: pairwise accuracy 70.0 %" in headings(report)
    write_report(tmp_path / "report.html", report)


def test_a_report_of_many_rankings_stays_small(tmp_path):
    text = "a sentence of some length, and then another one. " * 30
    rankings = [
        Ranking(f"{i} {text}", [f"{k} {text}" for k in range(4)], [0, 1, 2, 3]) for i in range(1000)
    ]
    rewards = [[(7 * i + 3 * k) % 11 / 5 for k in range(4)] for i in range(1000)]
    report = evaluation_report(
        Evaluation(SUMMARY, rankings, rewards), title="x", facts={}, log=Log(LOG, None)
    )
    assert len(report.pairs.pairs) > 1000
    assert write_report(tmp_path / "report.html", report).stat().st_size < 6e6
