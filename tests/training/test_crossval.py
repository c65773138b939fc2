"""Cross-validation as a user runs it: nothing tested on what it was trained on, nothing lost."""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

import forked
import tiny
from plaudit import PlauditError, train
from plaudit.data.readers import load_rankings
from plaudit.data.splits import folds_by_prompt, split_by_prompt
from plaudit.model.reward_model import RewardModel
from plaudit.training.crossval import cross_validate


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    return tiny.write_rankings(tmp_path_factory.mktemp("data") / "ranked.jsonl", 30)


def options(base, tmp_path, **more):
    few = {"num_train_epochs": 2, "per_device_train_batch_size": 4}
    return tiny.head_alone(base, tmp_path, **few | more)


@pytest.fixture(scope="module")
def finished(ranked, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cv")
    return cross_validate(ranked, k=3, repeats=2, output=folder / "run", **options(base, folder))


def rows_of(path):
    return [json.loads(line) for line in path.open()]


def test_every_completion_is_scored_once_in_each_repeat(finished, ranked):
    rows = rows_of(finished.folder / "predictions.jsonl")
    assert len(rows) == 2 * 90
    rankings = load_rankings(ranked)
    for repeat in (1, 2):
        mine = [row for row in rows if row["repeat"] == repeat]
        seen = [(row["prompt"], row["completion"]) for row in mine]
        assert seen == [(r.prompt, text) for r in rankings for text in r.completions]
        folds = folds_by_prompt(rankings, 3, 1 + repeat - 1)
        of = {r.prompt: number + 1 for number, fold in enumerate(folds) for r in fold}
        assert all(row["fold"] == of[row["prompt"]] for row in mine)


def test_a_fold_is_the_training_run_that_train_makes_of_its_prompts(
    finished, ranked, base, tmp_path
):
    rankings = load_rankings(ranked)
    test = folds_by_prompt(rankings, 3, 1)[0]
    rest = [r for r in rankings if r not in test]
    validation, training = split_by_prompt(rest, [0.1], 1)
    files = {}
    for name, part in (("train", training), ("validation", validation), ("test", test)):
        files[name] = tmp_path / f"{name}.jsonl"
        with files[name].open("w") as file:
            for r in part:
                row = {"prompt": r.prompt, "completions": r.completions, "ranks": r.ranks}
                file.write(json.dumps(row) + "\n")
    run = train(
        files["train"],
        output=tmp_path / "run",
        **options(
            base, tmp_path,
            validation_data=str(files["validation"]), test_data=str(files["test"]),
        ),
    )  # fmt: skip
    theirs = {
        (row["prompt"], row["completion"]): row["reward"]
        for row in rows_of(run.folder / "predictions.jsonl")
        if row["split"] == "test"
    }
    ours = {
        (row["prompt"], row["completion"]): row["reward"]
        for row in rows_of(finished.folder / "predictions.jsonl")
        if (row["repeat"], row["fold"]) == (1, 1)
    }
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_figures_are_those_of_the_folds(finished):
    summary = json.loads((finished.folder / "metrics.json").read_text())
    accuracy = summary["metrics"]["pairwise_accuracy"]
    assert len(accuracy["folds"]) == 6
    assert accuracy["mean"] == pytest.approx(sum(accuracy["folds"]) / 6)
    # Nadeau & Bengio: 1/J + test/train prompts in place of 1/J; a tenth of 20 validates.
    for name, most in (("log_loss", np.inf), ("pairwise_accuracy", 1.0)):  # no share is above 1
        found = summary["metrics"][name]
        error = np.sqrt((1 / 6 + 10 / 18) * np.var(found["folds"], ddof=1))
        expected = found["mean"] + stats.t.ppf(0.975, 5) * error
        assert found["high"] == pytest.approx(min(expected, most))
    # Where a value ends, its interval does: no loss is below 0, no temperature below 0.001.
    least = {"temperature": 1e-3, "kendall_tau_b": -1.0, "accuracy_above_length": -1.0}
    least |= dict.fromkeys(["log_loss", "brier", "ndcg", "auc", "pairwise_accuracy"], 0.0)
    for name, end in least.items():
        found = summary["metrics"][name]
        error = np.sqrt((1 / 6 + 10 / 18) * np.var(found["folds"], ddof=1))
        expected = found["mean"] - stats.t.ppf(0.975, 5) * error
        assert found["low"] is None or found["low"] == pytest.approx(max(expected, end))
    assert "6 folds give a wide one" in str(finished)
    assert summary["out_of_fold"]["counts"]["completions"] == 90
    rows = rows_of(finished.folder / "predictions.jsonl")
    first = [row["reward"] for row in rows[:3]]
    assert finished.rewards[0] == first  # not the mean with the second: that is an ensemble
    assert "over 3 folds, 2 times" in str(finished)
    names = {path.name for path in finished.folder.iterdir()}
    assert "checkpoints" not in names
    assert {"report.html", "plots", "folds", "config.yaml", "rejected.jsonl"} <= names
    assert not list(finished.folder.rglob("model"))


def test_the_same_configuration_is_no_better_than_itself(finished, ranked, base, tmp_path):
    again = cross_validate(
        ranked, k=3, repeats=2, against=finished.folder, output=tmp_path / "again",
        **options(base, tmp_path),
    )  # fmt: skip
    found = again.summary["against"]
    assert found["folds"]["pairwise_accuracy"]["difference"]["value"] == 0
    assert found["folds"]["pairwise_accuracy"]["p"] == 1
    assert set(found["settings"]) <= {"features_cache"}
    assert "against" in str(again)
    assert (tmp_path / "again" / "comparison" / "comparison.json").is_file()


def test_another_seed_has_other_folds_and_is_not_compared(finished, ranked, base, tmp_path):
    with pytest.raises(PlauditError, match=r"has split seed 1, not 2, and so other folds"):
        cross_validate(
            ranked, k=3, repeats=2, against=finished.folder, output=tmp_path / "x",
            **options(base, tmp_path, seed=2),
        )  # fmt: skip
    with pytest.raises(PlauditError, match="has k 3, not 4"):
        cross_validate(
            ranked, k=4, repeats=2, against=finished.folder, output=tmp_path / "x",
            **options(base, tmp_path),
        )  # fmt: skip
    assert not (tmp_path / "x").exists()


def test_the_learning_curve_trains_on_growing_parts(ranked, base, tmp_path):
    found = cross_validate(
        ranked, k=2, learning_curve=True, output=tmp_path / "cv",
        **options(base, tmp_path, validation_fraction=0),
    )  # fmt: skip
    curve = found.summary["learning_curve"]
    assert [point["rankings"] for point in curve["points"]] == [2, 4, 8, 15]
    accuracy = found.summary["out_of_fold"]["pairwise_accuracy"]["value"]
    assert curve["points"][-1]["value"] == pytest.approx(accuracy)
    assert curve["answer"] in str(found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"k": 31}, "too few prompts: 30 cannot make 31 folds"),
        ({"k": 1}, "k: give 2 folds or more"),
        ({"test_data": "x.csv"}, "test_data: cross-validation tests on every prompt"),
        ({"streaming": True}, "streaming: only `plaudit train` can"),
        ({"against": "nowhere"}, "nowhere: holds no finished cross-validation"),
    ],
)
def test_what_cannot_be_cross_validated_is_said_before_anything_is_written(
    ranked, base, tmp_path, given, message
):
    with pytest.raises(PlauditError, match=message):
        cross_validate(ranked, output=tmp_path / "cv", **options(base, tmp_path, **given))
    assert not (tmp_path / "cv" / "config.yaml").exists()


def test_a_finished_one_is_not_overwritten_and_not_trained_into(finished, ranked, base, tmp_path):
    with pytest.raises(PlauditError, match=r"already holds a run"):
        cross_validate(ranked, output=finished.folder, **options(base, tmp_path))
    with pytest.raises(PlauditError, match="plaudit cv made it"):
        train(output=finished.folder, resume=True)
    with pytest.raises(PlauditError, match="is finished"):
        cross_validate(output=finished.folder, resume=True)


def test_a_killed_one_goes_on_and_ends_as_if_nothing_had_been(finished, ranked, base, tmp_path):
    settings = options(base, tmp_path)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    folder = tmp_path / "killed"
    process = forked.start(
        "-m", "plaudit", "cv", ranked, "-k", 3, "--repeats", 2, "-o", folder, *flags
    )
    process.wait_for(folder / "folds" / "repeat-1-fold-2" / "config.yaml")
    process.kill()
    shutil.rmtree(tmp_path / "features")  # nothing depends on it
    with pytest.raises(PlauditError, match=r"k: the run in .* has 3, not 5"):
        cross_validate(output=folder, resume=True, k=5)
    first = (folder / "folds" / "repeat-1-fold-1" / "metrics.json").stat().st_mtime_ns
    resumed = cross_validate(output=folder, resume=True)
    assert (folder / "folds" / "repeat-1-fold-1" / "metrics.json").stat().st_mtime_ns == first
    assert resumed.rewards == [pytest.approx(row, abs=1e-5) for row in finished.rewards]


def test_what_a_kill_left_of_a_fold_that_was_measured_goes_when_it_is_gone_on_with(
    finished, tmp_path
):
    folder = tmp_path / "cut off"
    shutil.copytree(finished.folder, folder)
    (folder / "metrics.json").unlink()
    left = folder / "folds" / "repeat-1-fold-1" / "checkpoints" / "checkpoint-2"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"large")
    assert cross_validate(output=folder, resume=True).rewards == finished.rewards
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert names == {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"base": "/nowhere/at/all"}, "no such folder"),
        ({"loss": "plackett-luce", "label_smoothing": 0.1}, "loss has no such option"),
        ({"lora_r": 4}, "leaves LoRA nothing to adapt"),
        ({"against": None}, "is the output itself"),
    ],
)
def test_what_cannot_be_trained_replaces_nothing(finished, ranked, base, tmp_path, given, message):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    given = {"against": folder} if "against" in given else given
    settings = options(base, tmp_path) | given
    with pytest.raises(PlauditError, match=message):
        cross_validate(ranked, k=3, output=folder, overwrite=True, **settings)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize("name", ["metrics.json", "predictions.jsonl"])
def test_a_fold_that_is_damaged_is_named(finished, tmp_path, name):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "metrics.json").unlink()
    file = folder / "folds" / "repeat-1-fold-2" / name
    file.write_text(file.read_text()[:100])
    with pytest.raises(PlauditError, match="repeat-1-fold-2: what it measured is not as plaudit"):
        cross_validate(output=folder, resume=True)


def test_a_folder_without_a_model_says_where_to_find_one(finished):
    with pytest.raises(PlauditError, match=r"keeps no model; .* plaudit train --config .*config"):
        RewardModel.load(str(finished.folder))


def test_several_comparisons_are_corrected_for_their_number(finished, ranked, base, tmp_path):
    few = options(base, tmp_path)
    other = cross_validate(
        ranked, k=3, repeats=2, output=tmp_path / "other", **few | {"learning_rate": 1e-9}
    )
    found = cross_validate(
        ranked, k=3, repeats=2, against=[str(other.folder), str(finished.folder)],
        output=tmp_path / "new", **few | {"seed": 7, "split_seed": 1},
    )  # fmt: skip
    several = found.summary["comparisons"]
    assert [each["name"] for each in several] == [str(other.folder), str(finished.folder)]
    assert found.summary["against"] == several[0]
    for by, p in {
        "folds": [each["folds"]["pairwise_accuracy"]["p"] for each in several],
        "prompts": [each["out_of_fold"]["metrics"]["pairwise_accuracy"]["p"] for each in several],
    }.items():
        first = min(2 * min(p), 1)
        expected = {min(p): first, max(p): max(first, max(p))}
        assert [each["p_holm"][by] for each in several] == [expected[one] for one in p]
    assert (tmp_path / "new" / "comparison" / "2" / "comparison.json").is_file()
    assert str(found).count("corrected for being 2 comparisons (Holm)") == 2


def test_the_seed_of_the_split_is_apart_from_that_of_training(finished, ranked, base, tmp_path):
    again = cross_validate(
        ranked, k=3, output=tmp_path / "x", **options(base, tmp_path, seed=3, split_seed=1)
    )
    rows, before = (rows_of(cv.folder / "predictions.jsonl") for cv in (again, finished))
    assert [row["fold"] for row in rows] == [row["fold"] for row in before[:90]]
    assert [row["reward"] for row in rows] != [row["reward"] for row in before[:90]]
