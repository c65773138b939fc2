"""Training on a mixture, and with several sets to validate on: what a run does, writes and says."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import yaml
from datasets import IterableDataset

from plaudit import PlauditError, inspect, train, tune
from plaudit.cli import main
from plaudit.data.mixing import load_mixture
from plaudit.data.rankings import Ranking
from plaudit.settings import Settings
from plaudit.training.parts import Parts, load, split, with_steps


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Expert rankings of three and chat pairs; in both `fox` is better; five prompts in both."""
    folder = tmp_path_factory.mktemp("sources")
    rows = ["prompt,answer,rank"]
    rows += [f"e{i},{'fox ' * (3 - r)}dog {i},{r}" for i in range(40) for r in range(3)]
    (folder / "expert.csv").write_text("\n".join([*rows, "e99,,1"]))
    prompts = [f"c{i}" for i in range(80)] + [f"e{i}" for i in range(5)]
    for name, those in (("chat", prompts), ("other", [f"o{i}" for i in range(12)])):
        pairs = [
            {"prompt": p, "chosen": "fox " * (1 + i % 3), "rejected": "dog " * (1 + i % 4)}
            for i, p in enumerate(those)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    return folder


def options(base, **more):
    settings = {
        "base": str(base("bert")), "dtype": "float32", "max_length": 48, "recipe": "plain",
        "max_steps": 4, "save_steps": 2, "logging_steps": 1, "learning_rate": 1e-3,
        "per_device_train_batch_size": 4, "stress": 0, "report": False,
    }  # fmt: skip
    return settings | more


def flags(settings):
    return [
        f"--{'no-' * (value is False)}{name.replace('_', '-')}" + f"={value}" * (value is not False)
        for name, value in settings.items()
    ]


def log_of(run):
    return [json.loads(line) for line in (run.folder / "log.jsonl").open()]


def test_a_mixture_is_drawn_said_and_measured_for_each_source(
    files, base, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(files)
    given = ["train", "expert.csv:0.7", "--data", "chat.jsonl:0.3", "-o", str(tmp_path / "run")]
    assert main([*given, *flags(options(base) | {"report": True})[:-1]]) == 0
    out, err = capfd.readouterr()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    expert, chat = (metrics["data"]["sources"][name] for name in ("expert.csv", "chat.jsonl"))
    assert (expert["share"], chat["share"]) == (0.7, 0.3)
    assert (expert["rows"], expert["rankings"], chat["rankings"]) == (121, 40, 85)
    assert expert["rejected"] == {"the completion is blank": 1}
    assert chat["rejected"] == {}
    # The scarcer source is used whole: of what is not held out, all.
    assert expert["train"] == 40 - expert["validation"] - expert["test"]
    assert chat["train"] == round(expert["train"] / 0.7 * 0.3)
    assert f"expert.csv: {expert['train']} of {expert['train']} training rankings, " in err
    assert f"chat.jsonl: {chat['train']} of " in err
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").open()]
    tested = [row for row in rows if row["split"] == "test"]
    assert {row["source"] for row in tested} == {"expert.csv", "chat.jsonl"}
    by_source = metrics["test"]["by_source"]
    for name, entry in by_source.items():
        pairs = right = 0
        for ranking in {row["ranking"] for row in tested if row["source"] == name}:
            of = [row for row in tested if row["ranking"] == ranking]
            for a in of:
                for b in of:
                    if a["rank"] < b["rank"]:
                        pairs += 1
                        right += (a["reward"] > b["reward"]) + 0.5 * (a["reward"] == b["reward"])
        assert entry["pairs"] == pairs
        assert entry["pairwise_accuracy"]["value"] == pytest.approx(right / pairs)
    assert "source " in out
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"| expert.csv | 70.0 % | {expert['train']} | {expert['test']} | 1 |" in card
    report = (tmp_path / "run" / "report.html").read_text()
    assert "The mixture" in report
    assert "By source" in report
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"] == {"expert.csv": 0.7, "chat.jsonl": 0.3}
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "The mixture" in (tmp_path / "run" / "report.html").read_text()


def test_no_prompt_of_two_sources_is_trained_and_tested_on(files):
    for seed in range(5):
        settings = Settings.build(data=mixture_of(files), seed=seed)
        parts = split(load(None, settings), settings)
        keys = [{r.key for r in part} for part in (parts.train, parts.validation, parts.test)]
        assert sum(map(len, keys)) == len(keys[0] | keys[1] | keys[2]) == 40 + 80


def mixture_of(files):
    return {str(files / "expert.csv"): 0.5, str(files / "chat.jsonl"): 0.5}


def test_a_mixture_is_reproduced_and_resumed(files, base, tmp_path):
    first = train(mixture_of(files), output=tmp_path / "a", **options(base))
    second = train(mixture_of(files), output=tmp_path / "b", **options(base))
    losses = [[row["loss"] for row in log_of(run) if "loss" in row] for run in (first, second)]
    assert losses[0] == losses[1]
    assert first.metrics["data"] == second.metrics["data"]
    (second.folder / "metrics.json").unlink()
    with pytest.raises(PlauditError, match=r"data: the run in .* a resumed run keeps its settings"):
        train({files / "expert.csv": 1.0}, output=tmp_path / "b", resume=True)
    resumed = train(mixture_of(files), output=tmp_path / "b", resume=True)
    assert resumed.metrics["test"] == first.metrics["test"]


def test_scarce_sources_are_repeated_where_asked(files, base, tmp_path):
    run = train(mixture_of(files), output=tmp_path / "a", mixture="repeat", **options(base))
    expert, chat = run.metrics["data"]["sources"].values()
    assert chat["train"] == 85 - chat["validation"] - chat["test"]
    assert expert["train"] == chat["train"] > expert["rankings"]


def test_streams_are_mixed(files, base, tmp_path, capfd):
    run = train(mixture_of(files), output=tmp_path / "a", streaming=True, **options(base))
    assert "a mixture of" in capfd.readouterr().err
    assert {each["train"] for each in run.metrics["data"]["sources"].values()} == {None}
    assert len(run.metrics["test"]["by_source"]) == 2


def test_sources_in_memory_are_mixed(base, tmp_path):
    ours = [Ranking(f"r{i}", ["fox", "dog"], [0, 1]) for i in range(12)]
    rows = ({"prompt": f"g{i}", "chosen": "fox", "rejected": "dog"} for i in range(12))
    run = train([(ours, 2), (rows, 1)], output=tmp_path / "a", **options(base))
    shares = {name: each["share"] for name, each in run.metrics["data"]["sources"].items()}
    assert shares == pytest.approx({"rows": 2 / 3, "rows #2": 1 / 3})


def test_a_search_draws_its_trials_and_the_last_training_by_weight(files, base, tmp_path):
    pytest.importorskip("optuna")
    given = options(base, max_steps=2)
    tune(mixture_of(files), trials=1, output=tmp_path / "a", **given)
    metrics = json.loads((tmp_path / "a" / "best" / "metrics.json").read_text())
    sources = metrics["data"]["sources"]
    expert, chat = sources.values()
    assert expert["train"] == chat["train"] == 40 - expert["test"]


def test_trials_draw_from_what_their_loss_learns_from(tmp_path):
    pytest.importorskip("optuna")
    from plaudit.training.search import _Trials

    def rated(name, ratings):
        every = [Ranking(f"{name}{i}", ["fox", "dog"], [0, 1]) for i in range(40)]
        return [replace(r, ratings=[2.0, 1.0]) for r in every[:ratings]] + every[ratings:]

    mixture = load_mixture([(rated("a", 10), 1), (rated("b", 40), 1)])
    chosen = Settings.build(data="x.csv")
    trials = _Trials(Parts(list(mixture), [], [], frozenset()), mixture, chosen, "", tmp_path)
    for loss, each in (("ordinal", 10), ("bradley-terry", 40), ("ordinal", 10)):
        train = trials._parts(Settings.build(data="x.csv", loss=loss)).train
        assert Counter(ranking.source for ranking in train) == {"rows": each, "rows #2": each}
        assert loss == "bradley-terry" or all(ranking.ratings for ranking in train)


# ---- several sets to validate on ----


def sets_of(files):
    return {"expert": str(files / "expert.csv"), "other": str(files / "other.jsonl")}


def validations(run):
    return [row for row in log_of(run) if "eval_log_loss" in row]


@pytest.mark.parametrize("more", [{}, {"recipe": "default", "head_epochs": 1}])
def test_sets_have_metrics_of_their_own_and_their_mean_chooses(files, base, tmp_path, more, capfd):
    run = train(
        files / "chat.jsonl",
        validation_data=sets_of(files),
        output=tmp_path / "a",
        **options(base, **more),
    )
    rows = validations(run)
    assert [row["step"] for row in rows] == ([0] if more else []) + [2, 4]
    names = {"pairwise_accuracy", "log_loss", "calibrated_log_loss"}
    names |= {"controlled_log_loss"} if more else set()
    for row in rows:
        for name in names:
            both = [row[f"eval_{which}_{name}"] for which in ("expert", "other")]
            assert row[f"eval_{name}"] == pytest.approx(sum(both) / 2)
    metric = "eval_controlled_log_loss" if more else "eval_log_loss"
    best = min((row for row in rows if row["step"]), key=lambda row: row[metric])
    assert run.metrics["training"]["best_step"] in (best["step"], 0)
    # What is logged is what the whole measures, taken apart, measure.
    by_source = run.metrics["validation"]["by_source"]
    assert Counter({n: e["prompts"] for n, e in by_source.items()}) == {"expert": 40, "other": 12}
    err = capfd.readouterr().err
    assert "validation sets: expert (40 rankings), other (12 rankings); the mean of" in err
    assert "(expert 0." in err


def test_one_set_may_choose_the_checkpoint(files, base, tmp_path):
    given = options(base, validation_set="other", metric_for_best_model="pairwise_accuracy")
    sets = [f"{name}={file}" for name, file in sets_of(files).items()]  # as flags have them
    run = train(files / "chat.jsonl", validation_data=sets, output=tmp_path / "a", **given)
    for row in validations(run):
        assert row["eval_log_loss"] == row["eval_other_log_loss"] != row["eval_expert_log_loss"]
    (run.folder / "metrics.json").unlink()
    again = train(output=tmp_path / "a", resume=True)
    assert again.metrics["validation"] == run.metrics["validation"]


def test_prompts_of_every_set_are_left_out_of_training(files):
    settings = Settings.build(data=str(files / "chat.jsonl"), validation_data=sets_of(files))
    parts = split(load(None, settings), settings)
    assert Counter(r.source for r in parts.validation) == {"expert": 40, "other": 12}
    # The five prompts of the chat that are the expert's, too.
    assert {r.key for r in [*parts.train, *parts.test]} == {f"c{i}" for i in range(80)}


def test_a_search_takes_no_named_sets(files, base, tmp_path):
    pytest.importorskip("optuna")
    with pytest.raises(PlauditError, match="a search chooses by one set"):
        tune(files / "chat.jsonl", validation_data=sets_of(files), output=tmp_path / "a")


def test_a_set_without_what_chooses_is_said_before_training(files, base, tmp_path):
    one = tmp_path / "one.jsonl"
    one.write_text(json.dumps({"prompt": "x", "chosen": "fox fox", "rejected": "dog"}))
    given = options(base, metric_for_best_model="length_controlled_accuracy")
    sets = {"expert": files / "expert.csv", "one": one}
    with pytest.raises(PlauditError, match=r"metric_for_best_model of .*: length_controlled_acc"):
        train(files / "chat.jsonl", validation_data=sets, output=tmp_path / "a", **given)
    assert not (tmp_path / "a").exists()


# ---- streams and iterators ----


class Rows:
    """Rows that can be gone through any number of times, and whose number is not known."""

    def __init__(self, make=dict):
        self.make = make
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        for i in range(40):
            yield self.make(prompt=f"p{i}", chosen=f"fox {i}", rejected=f"dog {i}")


def ranking(prompt, chosen, rejected):
    return Ranking(prompt, [chosen, rejected], [0, 1])


WAYS = {
    "generator of rows": lambda: (row for row in Rows()),
    "generator of rankings": lambda: (r for r in Rows(ranking)),
    "iterable of rows": Rows,
    "iterable of rankings": lambda: Rows(ranking),
    "data set without a length": lambda: IterableDataset.from_generator(lambda: iter(Rows())),
}


@pytest.mark.parametrize("way", WAYS)
def test_iterators_are_inspected_and_trained_on(way, base, tmp_path):
    summary = inspect(WAYS[way]()).summary
    assert (summary["prompts"], summary["pairs"]) == (40, 40)
    run = train(WAYS[way](), output=tmp_path / "a", **options(base, max_steps=2))
    assert sum(run.metrics["data"]["rankings"].values()) == 40


def test_what_can_be_gone_through_again_is_streamed(base, tmp_path):
    rows = Rows()
    given = options(base, max_steps=12, save_steps=12)  # beyond the end of the data
    run = train(rows, output=tmp_path / "a", streaming=True, **given)
    assert run.metrics["data"]["rankings"]["train"] is None
    assert rows.passes > 2
    assert inspect(Rows(), streaming=True).summary["pairs"] == 40
    with pytest.raises(PlauditError, match="max_steps: is needed when data are streamed"):
        train(Rows(), output=tmp_path / "b", streaming=True, **options(base, max_steps=-1))


def test_names_of_files_may_come_from_an_iterator(files, base, tmp_path):
    assert inspect(files.glob("chat*")).summary["prompts"] == 85


def test_a_check_looks_at_every_source(files, base, monkeypatch):
    from plaudit.training import checks

    monkeypatch.setattr(checks, "SAMPLE", 10)
    looked = []
    labels = checks._labels

    def kept(model, parts, sample, most):
        looked.extend(sample)
        return labels(model, parts, sample, most)

    monkeypatch.setattr(checks, "_labels", kept)
    train(mixture_of(files), check=True, base=str(base("bert")), max_length=48, dtype="float32")
    counts = Counter(ranking.source.rpartition("/")[2] for ranking in looked)
    assert counts.keys() == {"expert.csv", "chat.jsonl"}
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("mixture", ["once", "repeat"])
def test_held_out_of_streams_is_each_ranking_once_by_the_sizes_of_the_sources(files, mixture):
    sources = {str(files / "expert.csv"): 0.9, str(files / "chat.jsonl"): 0.1}
    settings = Settings.build(
        data=sources, mixture=mixture, streaming=True, validation_fraction=0.3, test_fraction=0.3
    )
    parts = split(load(None, settings), settings)
    held = [(r.source, r.prompt) for part in (parts.validation, parts.test) for r in part]
    assert len(held) == len(set(held))
    # Of 40 and of 85 rankings in the same part of each, whatever the weights.
    of = Counter(source.rpartition("/")[2] for source, _ in held)
    assert of["expert.csv"] == pytest.approx(0.6 * 40, abs=8)
    assert of["chat.jsonl"] == pytest.approx(0.6 * 85, abs=12)


def test_steps_of_a_stream_count_only_what_is_held_out_of_it(files):
    given = {"data": str(files / "chat.jsonl"), "streaming": True, "num_train_epochs": 1}
    given |= {"per_device_train_batch_size": 1, "validation_data": str(files / "other.jsonl")}
    settings = Settings.build(**given, test_data=str(files / "expert.csv"))
    rankings = load(None, settings)
    assert with_steps(settings, rankings, split(rankings, settings)).max_steps == 85
    settings = Settings.build(**given)
    parts = split(rankings, settings)
    assert parts.test
    assert with_steps(settings, rankings, parts).max_steps == 85 - len(parts.test)


def test_a_repeated_stream_is_recorded_by_what_is_in_it(files, base, tmp_path):
    run = train(
        mixture_of(files), output=tmp_path / "a", mixture="repeat", streaming=True,
        **options(base, max_steps=30, save_steps=30),
    )  # fmt: skip
    expert, chat = run.metrics["data"]["sources"].values()
    assert (expert["rows"], expert["rejected"]) == (121, {"the completion is blank": 1})
    assert chat["rows"] == 85


def test_a_file_that_is_named_twice_is_refused(files, base, tmp_path):
    a, b = str(files / "expert.csv"), files / "chat.jsonl"
    for twice in (a, files / "expert.csv"):
        with pytest.raises(PlauditError, match=r"expert\.csv is named twice; give it one weight"):
            train([(a, 0.7), (twice, 0.3), (b, 1)], output=tmp_path / "a", **options(base))
    with pytest.raises(PlauditError, match=r"expert\.csv is named twice; give it one weight"):
        train({a: 0.7, files / "expert.csv": 0.3}, output=tmp_path / "a", **options(base))
