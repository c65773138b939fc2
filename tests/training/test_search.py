"""The search for settings as a user runs it, and its space."""

import functools
import json
import math
import shutil

import numpy as np
import optuna
import pytest
from pydantic import TypeAdapter

import forked
import tiny
from plaudit import PlauditError, RewardModel, train
from plaudit.data.readers import load_rankings
from plaudit.data.splits import split_by_prompt
from plaudit.results import SearchMetrics
from plaudit.settings import Settings
from plaudit.training.parts import load_for, split
from plaudit.training.search import _best, tune
from plaudit.training.space import default_space, describe_space, read_space
from plaudit.training.trainer import read_log

SPACE = {
    "learning_rate": {"low": 1e-3, "high": 0.1, "log": True},
    "num_train_epochs": [1, 2],
    "per_device_train_batch_size": {"low": 4, "high": 8, "step": 4},
}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    return tiny.write_rankings(tmp_path_factory.mktemp("data") / "ranked.jsonl", 40)


@pytest.fixture(scope="module")
def finished(ranked, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    return tune(
        ranked, trials=6, space=SPACE, output=folder / "run", **tiny.head_alone(base, folder)
    )


def test_the_best_is_what_validated_best_among_the_whole_trials(finished):
    summary = json.loads((finished.folder / "metrics.json").read_text())
    assert TypeAdapter(SearchMetrics).validate_python(summary) == summary
    assert len(summary["trials"]) == 6
    whole = [trial for trial in summary["trials"] if trial["state"] == "complete"]
    assert summary["best"]["value"] == max(trial["value"] for trial in whole)
    for trial in summary["trials"]:
        assert 1e-3 <= trial["settings"]["learning_rate"] <= 0.1
        assert trial["settings"]["num_train_epochs"] in (1, 2)
        assert trial["settings"]["per_device_train_batch_size"] in (4, 8)
    assert {"report.html", "trials.jsonl", "study.db", "best"} <= {
        path.name for path in finished.folder.iterdir()
    }


def test_of_trials_that_reach_the_same_the_surer_one_is_best():
    trial = functools.partial(optuna.trial.create_trial, params={}, distributions={})
    study = optuna.create_study(direction="maximize")
    assert _best(study) is None
    study.add_trial(trial(value=0.545, user_attrs={"log_loss": 0.908}))
    study.add_trial(trial(value=0.455, user_attrs={"log_loss": 0.1}))
    study.add_trial(trial(value=0.545, user_attrs={"log_loss": 0.727}))
    study.add_trial(trial(value=0.545))  # of an earlier version
    study.add_trial(trial(state=optuna.trial.TrialState.PRUNED, value=0.9))
    assert _best(study).number == 2
    study.add_trial(trial(value=0.6))
    assert _best(study).number == 5
    of_losses = optuna.create_study(direction="minimize")
    for value in (0.7, 0.5, 0.6):
        of_losses.add_trial(trial(value=value))
    assert _best(of_losses).number == 1


def test_the_log_loss_of_a_trial_is_that_of_its_rewards(finished, ranked):
    chosen = Settings.build(finished.folder / "config.yaml")
    parts = split(load_for(ranked, chosen), chosen)
    for row in finished.summary["trials"]:
        rewards = json.loads(
            (finished.folder / "trials" / f"{row['number']:04d}" / "rewards.json").read_text()
        )
        losses = [
            np.log1p(np.exp(each[worse] - each[better]))
            for each, ranking in zip(rewards, parts.validation, strict=True)
            for better, worse in ranking.pairs()
        ]
        assert row["log_loss"] == pytest.approx(np.mean(losses))


def test_trials_are_held_against_the_best(finished):
    summary = finished.summary
    whole = [trial for trial in summary["trials"] if trial["state"] == "complete"]
    best = summary["best"]["value"]
    for trial in whole:
        assert (trial["p_behind"] == 1) == (trial["value"] == best)
        told = trial["p_behind"] <= 0.05
        if trial["number"] != summary["best"]["number"]:
            assert (trial["number"] in summary["best"]["equals"]) != told
    ordered = sorted(whole, key=lambda trial: trial["value"])
    p = [trial["p_behind"] for trial in ordered]
    assert p == sorted(p)  # a larger gap is no likelier


def test_the_test_prompts_are_those_of_train_and_were_in_no_trial(finished, ranked):
    test, validation, training = split_by_prompt(load_rankings(ranked), [0.2, 0.1], 1)
    rows = [json.loads(line) for line in (finished.folder / "best/predictions.jsonl").open()]
    assert {row["prompt"] for row in rows} == {r.prompt for r in test}
    sizes = finished.best.metrics["data"]["rankings"]
    assert sizes == {"train": len(training) + len(validation), "validation": 0, "test": len(test)}
    assert finished.summary["test"]["counts"]["rankings"] == len(test)


def test_the_best_is_a_run_that_can_be_made_again_from_its_config(finished, tmp_path):
    folder = finished.folder / "best"
    again = train(config=folder / "config.yaml", output=tmp_path / "again", report=False)
    prompt, completions = "What is 1?", ["fox fox", "dog"]
    rewards = RewardModel.load(folder, dtype="float32").score(prompt, completions)
    assert again.model.score(prompt, completions) == pytest.approx(rewards, abs=1e-5)
    assert (
        again.metrics["test"]["pairwise_accuracy"]
        == (finished.summary["test"]["pairwise_accuracy"])
    )


def test_a_trial_can_be_made_again_from_its_config(finished, ranked, tmp_path):
    best = finished.summary["best"]
    config = finished.folder / "trials" / f"{best['number']:04d}" / "config.yaml"
    run = train(config=config, output=tmp_path / "again", save_steps=10**6, report=False)
    log = [json.loads(line) for line in (run.folder / "log.jsonl").open()]
    last = [row["eval_pairwise_accuracy"] for row in log if "eval_pairwise_accuracy" in row][-1]
    assert last == pytest.approx(best["value"])


def test_a_trial_fits_the_head_first_as_a_run_does(ranked, base, tmp_path):
    whole = {"recipe": "default", "freeze_layers": 0, "head_epochs": 5, "max_steps": 2}
    given = tiny.head_alone(base, tmp_path, report=False, stress=0, **whole)
    space = {"learning_rate": [1e-12]}
    found = tune(ranked, trials=1, space=space, output=tmp_path / "tune", **given)
    config = found.folder / "trials" / "0000" / "config.yaml"
    again = train(config=config, output=tmp_path / "again", metric_for_best_model="last")
    there, here = (
        [row["eval_log_loss"] for row in read_log(folder / "log.jsonl") if "eval_log_loss" in row]
        for folder in (config.parent, again.folder)
    )
    assert here == pytest.approx(there)


def test_a_killed_search_goes_on_and_processes_share_it(ranked, base, tmp_path):
    folder = tmp_path / "run"
    flags = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in tiny.head_alone(base, tmp_path).items()
    ] + ["--no-report"]
    command = ["-m", "plaudit", "tune", "-o", folder, "--trials", 5]
    first = forked.start(*command, ranked, *flags)
    first.wait_for(folder / "trials" / "0002" / "config.yaml")
    first.kill()
    for process in [forked.start(*command, "--resume") for _ in range(2)]:
        process.succeed()
    summary = json.loads((folder / "metrics.json").read_text())
    states = [trial["state"] for trial in summary["trials"]]
    killed = len(list((folder / "trials").glob("*/killed")))
    assert killed <= 1
    assert len(states) - killed == 5
    assert states.count("failed") == killed
    assert summary["test"]["counts"]["rankings"] == 8
    with pytest.raises(PlauditError, match="is finished"):
        tune(output=folder, resume=True)


def test_a_finished_search_goes_on_with_more_trials(ranked, base, tmp_path, capsys):
    how = tiny.head_alone(base, tmp_path, report=False)
    first = tune(ranked, trials=2, output=tmp_path / "run", **how)
    with pytest.raises(PlauditError, match="is finished, with 2 trials; more --trials than that"):
        tune(output=tmp_path / "run", resume=True, trials=2)
    assert (tmp_path / "run" / "metrics.json").is_file()
    more = tune(output=tmp_path / "run", resume=True, trials=4)
    assert "goes on with a search that ended after 2 trials" in capsys.readouterr().err
    trials = [trial["settings"] for trial in more.summary["trials"]]
    assert trials[:2] == [trial["settings"] for trial in first.summary["trials"]]
    assert len(trials) == 4
    best = Settings.build(tmp_path / "run" / "best" / "config.yaml")
    assert more.summary["best"]["settings"].items() <= best.model_dump().items()


def test_a_trial_that_diverges_does_not_end_the_search(ranked, base, tmp_path):
    space = {"learning_rate": [0.01, 1e30], "optim": ["sgd"]}
    found = tune(
        ranked,
        trials=4,
        space=space,
        output=tmp_path / "run",
        report=False,
        **tiny.head_alone(base, tmp_path),
    )
    assert found.summary["best"]["settings"]["learning_rate"] == 0.01


def test_settings_that_are_fixed_are_not_varied():
    whole = Settings.build(data="x.csv", learning_rate=1e-5)
    assert "learning_rate" in default_space(whole, set())
    assert "learning_rate" not in default_space(whole, {"learning_rate"})
    head = Settings.build(data="x.csv", freeze_layers=-1)
    assert default_space(head, set())["learning_rate"].low == 1e-3


def test_a_space_reads_back_as_it_was_described():
    chosen = Settings.build(data="x.csv")
    space = read_space(SPACE, chosen)
    assert read_space(describe_space(space), chosen) == space
    assert read_space(describe_space(default_space(chosen, set())), chosen) == default_space(
        chosen, set()
    )


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learning_rat": [1e-3]}, r"no setting learning_rat; the nearest is learning_rate"),
        ({"seed": [1, 2]}, r"seed cannot be searched"),
        ({"encoding": ["cp1252", "utf-8"]}, r"encoding cannot be searched"),
        ({"chat_template": ["a.jinja", "b.jinja"]}, r"chat_template cannot be searched"),
        ({"learning_rate": []}, r"learning_rate: \[\] is no list of values"),
        ({"learning_rate": 1e-3}, r"learning_rate: 0.001 is no list of values"),
        ({"learning_rate": {"low": 1}}, r"is no range"),
        ({"learning_rate": {"low": 1e-2, "high": 1e-3}}, r"learning_rate: .*low.*high"),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, r"learning_rate: "),
        ({"learning_rate": [-1.0]}, r"learning_rate: -1.0 is not a number, above 0"),
        ({"loss": ["wrong"]}, r"loss: 'wrong' is not attributes, bradley-terry.* or "),
        ({"num_train_epochs": {"low": "a", "high": "b"}}, r"no range of numbers"),
        ({"learning_rate": {"low": 0.1, "high": 0.4, "step": math.inf}}, r"has no end"),
        ({"learning_rate": {"low": 0.1, "high": 0.4, "log": "yes"}}, r"log is 'yes', neither"),
        ({"learning_rate": [[1e-3]]}, r"space: learning_rate: .* more than plain values"),
        ({}, r"names no setting"),
    ],
)
def test_a_space_that_is_wrong_is_said_before_any_trial(ranked, base, tmp_path, space, message):
    with pytest.raises(PlauditError, match=message):
        tune(
            ranked,
            trials=1,
            space=space,
            output=tmp_path / "run",
            **tiny.head_alone(base, tmp_path),
        )
    assert not (tmp_path / "run").exists()


def test_numbers_of_a_space_may_be_written_as_yaml_does_not_know_them(tmp_path):
    chosen, file = Settings.build(data="x.csv"), tmp_path / "space.yaml"
    file.write_text("learning_rate: {low: 1e-5, high: 1e-3, log: true}\nweight_decay: [0, 1e-2]\n")
    assert describe_space(read_space(file, chosen)) == {
        "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
        "weight_decay": [0, 1e-2],
    }


def test_a_study_that_is_damaged_is_said_in_one_line(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "metrics.json").unlink()
    (folder / "study.db").write_text("no database")
    with pytest.raises(PlauditError, match=r"study.db: cannot be read or written: .*database"):
        tune(output=folder, trials=9, resume=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"test_fraction": 0}, "needs validation prompts to choose by and test prompts"),
        ({"validation_fraction": 0}, "needs validation prompts to choose by and test prompts"),
        ({"metric": "f1"}, "metric: f1 is not log_loss or pairwise_accuracy or length_controlled"),
        # These answers of a prompt are all of one length.
        ({"metric": "length_controlled_accuracy"}, "metric: length_controlled_accuracy needs"),
    ],
)
def test_a_search_without_prompts_to_choose_by_is_refused(ranked, base, tmp_path, given, message):
    with pytest.raises(PlauditError, match=message):
        tune(ranked, trials=1, output=tmp_path / "run", **tiny.head_alone(base, tmp_path, **given))
