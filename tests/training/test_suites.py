"""Benchmarks that are scored while a run trains: the same items every time, and their own score."""

import json

import pytest

import tiny
from plaudit import PlauditError, train
from plaudit.data.rankings import Ranking
from plaudit.evaluation.suite import Item
from plaudit.evaluation.suite_run import SuiteData, load_suite, run_suite
from plaudit.evaluation.suites import SUITES
from plaudit.reporting.plots.suite_curves import suite_curves
from plaudit.settings import Settings
from plaudit.training.suites import read_suites, some_of
from plaudit.training.trainer import read_log


@pytest.fixture
def suite(tmp_path):
    """Twelve items of two subsets of RewardBench, which the tiny BERT may learn."""
    rows = [
        {
            "prompt": f"What is {n}?", "chosen": "fox " * (2 + n % 3), "rejected": f"dog {n}",
            "subset": ("mt-bench-easy", "llmbar-natural")[n % 2], "id": n,
        }
        for n in range(12)
    ]  # fmt: skip
    path = tmp_path / "rewardbench.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def quick(base, tmp_path):
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 30)
    return {"data": str(data), "base": str(base("bert")), "dtype": "float32", "max_length": 48,
            "max_steps": 4, "save_steps": 2, "stress": 0, "metric_for_best_model": "last",
            "recipe": "plain"}  # fmt: skip


def settings(**given):
    return Settings.build(data="a.csv", **given)


@pytest.mark.parametrize("more", [{}, {"recipe": "default"}, {"freeze_layers": -1}])
def test_a_run_logs_the_score_of_each_suite(quick, suite, tmp_path, more, capfd):
    if more.get("freeze_layers"):
        more = more | {"features_cache": str(tmp_path / "features")}
    run = train(**quick | more, output=tmp_path / "run", eval_suite=[str(suite), f"few={suite}"],
                eval_suite_items=8)  # fmt: skip
    log = [row for row in read_log(run.folder / "log.jsonl") if "eval_log_loss" in row]
    assert {2, 4} <= {row["step"] for row in log}
    assert all(row["eval_rewardbench"] == row["eval_few"] for row in log)
    # The last checkpoint is kept, and gives the same score by itself.
    some = some_of(load_suite(suite, partial=True), settings(eval_suite_items=8))
    assert len(some.items) == 8
    alone = run_suite(run.model, some).summary["score"]["value"]
    assert log[-1]["eval_rewardbench"] == pytest.approx(alone)
    of = {"title": "RewardBench", "items": 8, "of": 12, "completions": 16}
    assert run.metrics["training"]["suites"] == {"rewardbench": of, "few": of}
    assert (run.folder / "plots" / "suites.png").is_file()
    assert "rewardbench, while training" in (run.folder / "report.html").read_text()
    said = capfd.readouterr().err
    assert "8 of the 12 items of RewardBench, 16 completions, are scored at every" in said
    assert f"rewardbench {log[-1]['eval_rewardbench']:.3f}" in said


def test_without_suites_nothing_changes(quick, tmp_path):
    run = train(**quick | {"max_steps": 2}, output=tmp_path / "run")
    assert "suites" not in run.metrics["training"]
    assert not (run.folder / "plots" / "suites.png").exists()


def test_the_items_are_drawn_by_seed_and_units_stay_whole():
    items = [
        Item(Ranking(f"p{n}", ["a", "b"], [0, 1]), str(n), f"unit {n // 2}") for n in range(40)
    ]
    data = SuiteData(SUITES.get("rewardbench"), items)
    first, again, other = (
        [item.id for item in some_of(data, settings(eval_suite_items=9, seed=seed)).items]
        for seed in (0, 0, 1)
    )
    assert first == again != other
    assert len(first) == 8  # four units of two
    assert {int(id) // 2 for id in first} == {int(id) // 2 for id in first[::2]}
    assert some_of(data, settings(eval_suite_items=1)).items  # one unit at least
    assert some_of(data, settings(eval_suite_items=500)).items == items


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["{suite}", "{suite}"], "the name rewardbench is that of another suite"),
        (["log_loss={suite}"], "the name log_loss is taken by a measure"),
        (["llmbar={suite}"], "is not LLMBar"),
        (["{suite}.none"], "no such file or folder"),
    ],
)
def test_a_suite_that_cannot_be_watched_is_refused(suite, given, message):
    names = [text.format(suite=suite) for text in given]
    with pytest.raises(PlauditError, match=message):
        read_suites(settings(eval_suite=names))


def test_without_validation_there_is_no_time_to_score_it(quick, suite, tmp_path):
    with pytest.raises(PlauditError, match="eval_suite: is scored when validating"):
        train(**quick, validation_fraction=0, output=tmp_path / "run", eval_suite=[str(suite)])
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_the_curve_says_where_each_suite_began_and_ended(tmp_path):
    rows = [{"step": 10 * n, "eval_a": 0.5 + n / 10, "eval_b": 0.4} for n in range(3)]
    drawing = suite_curves([*rows, {"step": 25, "loss": 0.1}], ["a", "b", "none"], best_step=20)
    assert drawing.heading == "a went from 0.500 to 0.700; b went from 0.400 to 0.400"
    drawing.write(tmp_path / "suites.png")
    assert (tmp_path / "suites.png").stat().st_size > 1000
    assert suite_curves(rows, []) is None
