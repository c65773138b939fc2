"""Models side by side: on what all of them were measured on, with the figures of each."""

import json

import pytest

from plaudit import PlauditError, Ranking, report
from plaudit.evaluation.comparison import compare_rewards, comparison_verdict
from plaudit.evaluation.overlap import measure_overlap
from plaudit.evaluation.statistics import holm
from plaudit.model.trained_on import TrainedOn, overlap
from plaudit.reporting.evaluation import measure
from plaudit.reporting.page import write_report
from plaudit.reporting.side_by_side import side_by_side

RANKINGS = [
    Ranking(f"prompt {i}", ["good" * (1 + i % 3), f"bad {i}"], [0, 1], category=f"c{i % 2}")
    for i in range(40)
]


def rewards(wrong):
    return [[0.0, 1.0] if i % wrong == 0 else [1.0, i / 100] for i in range(40)]


def cells(report, caption):
    (table,) = (t for section in report.sections for t in section.tables if t.caption == caption)
    return {row.label: row.cells for row in table.rows}


def test_two_models_on_the_same_rankings(tmp_path):
    mine, theirs = measure(RANKINGS, rewards(2)), measure(RANKINGS[::-1], rewards(10)[::-1])
    report = side_by_side({"mine": mine, "theirs": theirs})
    assert report.title == "mine and theirs"
    expected = compare_rewards(RANKINGS, rewards(2), rewards(10), names=("mine", "theirs")).summary
    assert report.lead[0].replace("\xa0", " ").replace("−", "-") == comparison_verdict(expected)
    assert report.facts["measured by all"] == "40 rankings"
    assert {one.label: one.value for one in report.highlights} == {
        "mine: pairwise accuracy": "50.0\xa0%",
        "theirs: pairwise accuracy": "90.0\xa0%",
    }
    row = cells(report, "All measures")["Pairwise accuracy"]
    assert [cell.split()[0] for cell in row] == ["50.0", "90.0"]
    # Wrong by `mine` alone: even numbers but the tens.
    assert {pair.ranking for pair in report.pairs.pairs} == set(range(0, 40, 2)) - {0, 10, 20, 30}
    # All of the first model's mistakes are of one category, in which they are furthest apart.
    assert list(cells(report, "Pairwise accuracy by category")) == ["c0", "c1"]
    text = write_report(tmp_path / "both.html", report).read_text()
    assert "Where they part" in text


def test_what_one_was_not_measured_on_is_left_out_of_all_figures():
    mine, theirs = measure(RANKINGS, rewards(2)), measure(RANKINGS[20:], rewards(10)[20:])
    report = side_by_side({"mine": mine, "theirs": theirs})
    assert report.facts["measured by all"] == "20 rankings"
    assert report.facts["left out of mine"] == "20 rankings"
    common = measure(RANKINGS[20:], rewards(2)[20:]).summary["pairwise_accuracy"]
    assert report.highlights[0].value == f"{100 * common['value']:.1f}\xa0%"
    assert report.highlights[0].note.startswith(f"{100 * common['low']:.1f} to")


def test_of_rows_that_a_model_was_trained_on_no_verdict_is_given():
    found = {name: measure(RANKINGS, rewards(n)) for name, n in (("mine", 2), ("theirs", 10))}
    trained_on = overlap([TrainedOn.of(RANKINGS[:30])], RANKINGS)
    theirs = found["theirs"]
    theirs.summary["training_overlap"] = measure_overlap(trained_on, RANKINGS, theirs.rewards)
    seen = theirs.summary["training_overlap"]["same_prompt"]
    report = side_by_side(found)
    [said] = report.lead
    assert [one.note.endswith("rankings trained on") for one in report.highlights] == [False, True]
    assert said.startswith("Nothing can be concluded of new prompts here: theirs was trained on ")
    assert seen >= 30
    assert " of the 40 rankings that it was measured on" in said


def test_of_several_models_each_is_compared_with_the_first():
    models = {"a": rewards(2), "b": rewards(3), "c": rewards(40)}
    report = side_by_side({name: measure(RANKINGS, each) for name, each in models.items()})
    assert len(report.lead) == 2
    raw = [
        compare_rewards(RANKINGS, models["a"], models[name], names=("a", name)).summary["metrics"][
            "pairwise_accuracy"
        ]["p"]
        for name in "bc"
    ]
    for name, p in zip("bc", holm(raw), strict=True):
        row = cells(report, f"a and {name}, on the same prompts")["Pairwise accuracy"]
        assert row[-1] == ("< 0.001" if p < 0.001 else f"{p:.3f}")


def test_figures_that_are_damaged_are_said(tmp_path):
    rankings = [Ranking(f"Why {n}?", ["a", "b"], [0, 1]) for n in range(8)]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        measure(rankings, [[1.0, 0.0]] * 8, resamples=20).write(folder)
    file = folders[1] / "metrics.json"
    whole = json.loads(file.read_text())
    for damaged in (
        {name: value for name, value in whole.items() if name != "pairwise_accuracy"},
        whole | {"log_loss": {"value": None, "low": None, "high": None}},
    ):
        file.write_text(json.dumps(damaged))
        with pytest.raises(PlauditError, match="two: its files are not as plaudit wrote them"):
            report(folders, output=tmp_path / "both.html")
        assert not (tmp_path / "both.html").exists()
