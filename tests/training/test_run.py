"""Whole runs as a user makes them: what they write, refuse, resume and survive."""

import json
import os
import shutil
import subprocess
import sys

import datasets
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

import forked
from plaudit import PlauditError, RewardModel, evaluate, train
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings, load_rankings
from plaudit.model.trained_on import overlap
from plaudit.settings import Settings
from plaudit.training import run as run_module
from plaudit.training.anew import measured_in
from plaudit.training.folder import locked, open_run, what_is_kept
from plaudit.training.trainer import RankingTrainer
from ranked_file import write_ranked

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """A ranked file in which the better answer says `fox` more often, with two bad rows."""
    bad = [["What is no answer?", "", 1], ["What is no rank?", "fox", "first"]]
    return write_ranked(tmp_path_factory.mktemp("data") / "ranked.csv", more=bad)


def options(base, name="bert", **more):
    defaults = {"base": str(base(name)), "dtype": "float32", "max_length": 48, "seed": 1}
    defaults |= {
        "recipe": "plain",
        "learning_rate": 1e-3,
        "max_steps": 8,
        "save_steps": 2,
        "logging_steps": 1,
    }
    return defaults | {"per_device_train_batch_size": 4, "report": False} | more


@pytest.fixture(scope="module")
def finished(ranked, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train(ranked, output=folder, **options(base, max_steps=30, save_steps=10, report=True))


def test_a_run_folder_holds_what_it_should(finished):
    folder = finished.folder
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("model", "checkpoints", "plots"),
        *("config.yaml", "metrics.json", "predictions.jsonl", "rejected.jsonl", "log.jsonl"),
        "report.html",
    }
    assert not list(folder.rglob(".*"))
    assert {p.name for p in (folder / "plots").iterdir()} >= {
        *("training.png", "rewards.png", "margins.png", "reward_against_length.png"),
    }
    rejected = [json.loads(line) for line in (folder / "rejected.jsonl").open()]
    assert [row["line"] for row in rejected] == [122, 123]
    card = (folder / "model" / "README.md").read_text()
    assert "pairwise accuracy" in card
    assert "ranked.csv" in card
    assert "σ(r_a − r_b) is the probability that a is preferred to b." in card
    metrics = json.loads((folder / "metrics.json").read_text())
    published = {each.metric_type: each.metric_value for each in ModelCard(card).data.eval_results}
    assert published["pairwise_accuracy"] == metrics["test"]["pairwise_accuracy"]["value"]
    assert published["log_loss"] == metrics["test"]["log_loss"]["value"]
    assert metrics["data"]["rankings"] == {"train": 28, "validation": 4, "test": 8}
    assert metrics["test"]["pairwise_accuracy"]["value"] > 0.9
    control = metrics["training"].get("control", {"strength": 0.0})
    assert metrics["test"]["length_control"] == control["strength"]


def test_a_run_knows_its_training_texts(finished, ranked, base, tmp_path):
    assert finished.metrics["test"]["training_overlap"]["same_prompt"] == 0
    again = evaluate(finished.folder, ranked, stress=0, max_rejected=0.5)
    record = again.summary["training_overlap"]
    assert record["known"]
    assert record["same_prompt"] == 28  # those of 40 that were trained on
    assert record["alone"]["value"] >= record["without"]["value"] - 0.1
    more = options(base, max_steps=2, save_steps=2)
    streamed = train(ranked, output=tmp_path / "s", streaming=True, **more)
    [texts], [held] = streamed.model.training_texts(), finished.model.training_texts()
    read = load_rankings(ranked, max_rejected=0.5)
    parts = [overlap([each], [*read]) for each in (texts, held)]
    assert np.count_nonzero(parts[0].prompt) > 20
    without = train(ranked, output=tmp_path / "w", training_hashes=False, **more)
    assert not (tmp_path / "w" / "model" / "trained_on.plaudit").exists()
    assert not without.metrics["test"]["training_overlap"]["known"]


def test_predictions_are_the_rewards_of_held_out_prompts(finished):
    rows = [json.loads(line) for line in (finished.folder / "predictions.jsonl").open()]
    assert {row["split"] for row in rows} == {"test", "validation"}
    prompts = {row["prompt"] for row in rows}
    assert len(prompts) == 12
    model = RewardModel.load(finished.folder, dtype="float32")
    for row in rows[:6]:
        assert model.score(row["prompt"], row["completion"]) == pytest.approx(
            row["reward"], abs=1e-5
        )


def test_transformers_alone_loads_the_model(finished):
    model = AutoModelForSequenceClassification.from_pretrained(finished.folder / "model").eval()
    tokenizer = finished.model.encoding.tokenizer
    prompts, completions = ["What is 1 plus 1?"] * 2, ["fox fox", "dog dog dog dog"]
    batch = tokenizer(prompts, completions, return_tensors="pt", padding=True)
    with torch.no_grad():
        rewards = model(**batch).logits[:, 0].tolist()
    assert finished.model.score(prompts[0], completions) == pytest.approx(rewards, abs=1e-5)
    assert rewards[0] > rewards[1]


def test_evaluating_the_run_again_gives_its_figures(finished, ranked):
    held_out = {r.key for r in finished.test.rankings}
    rankings = [r for r in load_rankings(ranked) if r.key in held_out]
    again = evaluate(RewardModel.load(finished.folder, dtype="float32"), rankings)
    assert again.summary["pairwise_accuracy"] == finished.metrics["test"]["pairwise_accuracy"]


def test_its_config_repeats_the_run(finished, tmp_path):
    again = train(config=finished.folder / "config.yaml", output=tmp_path / "again")
    a = load_file(finished.folder / "model" / "model.safetensors")
    b = load_file(tmp_path / "again" / "model" / "model.safetensors")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert again.metrics["test"] == finished.metrics["test"]


def test_an_existing_run_is_never_overwritten_unasked(finished, ranked, base, tmp_path):
    before = (finished.folder / "metrics.json").read_bytes()
    with pytest.raises(PlauditError, match=r"already holds a run; --resume .* --overwrite"):
        train(ranked, output=finished.folder, **options(base))
    with pytest.raises(PlauditError, match="finished"):
        train(output=finished.folder, resume=True)
    assert (finished.folder / "metrics.json").read_bytes() == before
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(PlauditError, match="not a run"):
        train(ranked, output=tmp_path, overwrite=True, **options(base))
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["model/config.json", "report.html", "metrics.json", "checkpoints/checkpoint-5/a"]
)
def test_a_folder_that_only_looks_like_a_run_is_left_alone(ranked, base, tmp_path, name):
    """Others, too, call their model `model`."""
    theirs = tmp_path / name
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(PlauditError, match="not a run"):
            train(ranked, output=tmp_path, overwrite=overwrite, **options(base))
    assert theirs.read_text() == "mine"


@pytest.mark.parametrize("made", ["by another program", "by hand", "by --print-config"])
def test_a_config_yaml_alone_is_no_run_of_ours(finished, ranked, base, tmp_path, made):
    """A project's own, settings for plaudit, or a copy of a run's: `model/` beside it is theirs."""
    texts = {
        "by another program": "data: imagenet\nmodel:\n  depth: 50\nloss: cross-entropy\n",
        "by hand": f"data: {ranked}\nbase: {base}\n",
        "by --print-config": (finished.folder / "config.yaml").read_text(),
    }
    theirs = {"config.yaml": texts[made], "model/weights": "mine", "metrics.json": '{"loss": 1}'}
    for name, text in theirs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for how in ({}, {"overwrite": True}):
        with pytest.raises(PlauditError, match="not a run; choose another folder"):
            train(ranked, output=tmp_path, **how, **options(base))
    with pytest.raises(PlauditError, match="without --resume, in another folder"):
        train(output=tmp_path, resume=True)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path).as_posix(): path.read_text() for path in files} == theirs


def test_a_run_that_is_damaged_is_one_all_the_same(finished, ranked, base, tmp_path):
    damaged = shutil.copytree(finished.folder, tmp_path / "damaged")
    (damaged / "config.yaml").write_text("data: [")
    with pytest.raises(PlauditError, match=r"config\.yaml"):
        train(output=damaged, resume=True)
    with pytest.raises(PlauditError, match="already holds a run"):
        train(ranked, output=damaged, **options(base))
    train(ranked, output=damaged, overwrite=True, **options(base))
    without = shutil.copytree(finished.folder, tmp_path / "without")  # an unfinished one
    (without / "metrics.json").unlink()
    shutil.rmtree(without / "checkpoints")
    with pytest.raises(PlauditError, match="already holds a run"):
        train(ranked, output=without, **options(base))


def test_what_a_kill_left_of_a_run_that_was_replaced_is_none_of_the_users(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / ".replaced-run").touch()
    folder, _ = open_run(tmp_path, None, False, False, {"data": ["d.csv"]})
    assert folder == tmp_path
    (tmp_path / "notes.txt").touch()
    with pytest.raises(PlauditError, match="not a run"):
        open_run(tmp_path, None, False, False, {"data": ["d.csv"]})
    begun = tmp_path / "begun" / "checkpoints"
    begun.mkdir(parents=True)
    for name in ("data.json", "step.json", "checksums.json"):
        (begun / name).touch()
    assert open_run(begun.parent, None, False, False, {"data": ["d.csv"]})[0] == begun.parent


def test_a_start_that_fails_leaves_nothing_behind(ranked, base, tmp_path):
    folder = tmp_path / "run"
    for wrong in ({"report_to": ["nonsense"]}, {"optim": "nonsense"}, {"max_length": 10**6}):
        with pytest.raises(PlauditError) as raised:
            train(ranked, output=folder, **{**options(base), **wrong})
        assert "\n" not in str(raised.value)
        assert not (folder / "config.yaml").exists()
    with pytest.raises(PlauditError, match="no such file"):
        train(ranked.with_name("none.csv"), output=folder, **options(base))
    train(ranked, output=folder, **options(base, max_steps=2))
    metrics = (folder / "metrics.json").read_bytes()
    with pytest.raises(PlauditError, match="no such file"):
        train(ranked.with_name("none.csv"), output=folder, overwrite=True, **options(base))
    assert (folder / "metrics.json").read_bytes() == metrics


def test_bfloat16_trains_under_autocast(ranked, base, tmp_path):
    run = train(ranked, output=tmp_path / "run", **{**options(base), "dtype": "bfloat16"})
    assert run.metrics["training"]["dtype"] == "bfloat16"
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.float32}  # the master weights
    texts = ["fox fox", "dog dog"]
    exact = RewardModel.load(tmp_path / "run", dtype="float32").score("What is 1?", texts)
    coarse = run.model.score("What is 1?", texts)
    assert coarse == pytest.approx(exact, rel=0.05, abs=0.05)
    assert coarse != exact


def test_overwriting_replaces_the_run_and_nothing_else(ranked, base, tmp_path):
    folder = tmp_path / "run"
    train(ranked, output=folder, **options(base, max_steps=2))
    (folder / "notes.txt").write_text("mine")
    train(ranked, output=folder, overwrite=True, **options(base, max_steps=4))
    assert (folder / "notes.txt").read_text() == "mine"
    assert json.loads((folder / "metrics.json").read_text())["training"]["steps"] == 4


def test_a_resumed_run_keeps_its_settings(ranked, base, tmp_path):
    folder = tmp_path / "run"
    train(ranked, output=folder, **options(base, max_steps=2))
    (folder / "metrics.json").unlink()
    with pytest.raises(PlauditError, match=r"learning_rate: the run .* has 0.001, not 0.5"):
        train(output=folder, resume=True, learning_rate=0.5)
    with pytest.raises(PlauditError, match="no run to resume"):
        train(ranked, output=tmp_path / "nowhere", resume=True)


def command(ranked, folder, base, name="bert", **more):
    chosen = options(base, name, **more)
    flags = [] if chosen.pop("report") else ["--no-report"]
    flags += [f"--{setting.replace('_', '-')}={value}" for setting, value in chosen.items()]
    return ["-m", "plaudit", "train", str(ranked), "-o", str(folder), *flags]


def test_a_finished_run_goes_on_with_more_steps(ranked, base, tmp_path, capsys):
    constant = options(base, lr_scheduler_type="constant", warmup_steps=0)
    whole = train(ranked, output=tmp_path / "whole", **constant | {"max_steps": 4})
    train(ranked, output=tmp_path / "run", **constant | {"max_steps": 2})
    for more in ({}, {"max_steps": 2}, {"max_steps": 1}, {"num_train_epochs": 50}):
        with pytest.raises(PlauditError, match=r"run: (this run is finished; --max-steps or|the)"):
            train(output=tmp_path / "run", resume=True, **more)
    longer = train(output=tmp_path / "run", resume=True, max_steps=4)
    assert "goes on with max_steps 4\n" in capsys.readouterr().err
    assert longer.metrics["training"]["steps"] == 4
    ours, theirs = (load_file(tmp_path / n / "model/model.safetensors") for n in ("run", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert whole.metrics["test"] == longer.metrics["test"]
    with pytest.raises(PlauditError, match="this run is finished"):  # the length is kept
        train(output=tmp_path / "run", resume=True, max_steps=4)


def killed(*_):
    raise KeyboardInterrupt


def test_a_finished_run_keeps_its_figures_until_the_longer_one_has_some(
    ranked, base, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    train(ranked, output=folder, **options(base, max_steps=2))
    before = (folder / "metrics.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_train", killed)
        with pytest.raises(KeyboardInterrupt):
            train(output=folder, resume=True, max_steps=4)
    assert (folder / "metrics.json").read_bytes() == before
    assert measured_in(folder).rewards
    # It is unfinished all the same, and goes on to the length that it was given.
    assert "checkpoint of step 2" in what_is_kept(folder)
    with monkeypatch.context() as patch:
        patch.setattr(RewardModel, "save", killed)  # from where on its files are of two models
        with pytest.raises(KeyboardInterrupt):
            train(output=folder, resume=True)
    assert not (folder / "metrics.json").exists()
    assert train(output=folder, resume=True).metrics["training"]["steps"] == 4
    with pytest.raises(PlauditError, match="this run is finished"):
        train(output=folder, resume=True)


def test_steps_for_a_run_of_epochs_that_has_no_checkpoint_are_refused(
    ranked, base, tmp_path, monkeypatch
):
    """How many steps its epochs are is not known, so these may be fewer."""
    folder = tmp_path / "run"
    epochs = options(base, num_train_epochs=2)
    del epochs["max_steps"]
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_train", killed)
        with pytest.raises(KeyboardInterrupt):
            train(ranked, output=folder, **epochs)
    with pytest.raises(PlauditError, match=r"max_steps: .* num_train_epochs 2, and no checkpoint"):
        train(output=folder, resume=True, max_steps=1)
    assert Settings.build(folder / "config.yaml").max_steps == -1


def test_a_longer_run_says_that_its_learning_rate_rises(ranked, base, tmp_path, capsys):
    train(ranked, output=tmp_path / "run", **options(base, max_steps=2))
    train(output=tmp_path / "run", resume=True, max_steps=4)
    assert "which a shorter linear schedule had brought towards 0, rises" in capsys.readouterr().err


def test_killed_and_resumed_reaches_the_same_weights_bit_for_bit(ranked, base, tmp_path):
    forked.start(*command(ranked, tmp_path / "whole", base, max_steps=24)).succeed()
    folder = tmp_path / "killed"
    killed = forked.start(*command(ranked, folder, base, max_steps=24))
    killed.wait_for(folder / "checkpoints" / "checkpoint-6")
    killed.kill()
    assert not (folder / "metrics.json").exists()
    resumed = forked.start("-m", "plaudit", "train", "-o", folder, "--resume").succeed()
    assert "resuming from" in resumed.stderr
    a = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    b = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(a[name], b[name]) for name in a)
    logs = [
        [
            (row["step"], row.get("eval_log_loss"))
            for row in map(json.loads, (f / "log.jsonl").open())
        ]
        for f in (tmp_path / "whole", folder)
    ]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("optimizer.pt", {"state": {}, "param_groups": [{"params": [0], "lr": 0.1}]}),
        ("optimizer.pt", ["of another program"]),
        ("scheduler.pt", None),
        ("rng_state.pth", {"python": 1}),
        ("model.safetensors", None),
    ],
)
def test_a_checkpoint_that_other_versions_wrote_is_refused_with_a_way_out(
    ranked, base, tmp_path, name, stored
):
    """Its checksums are those of what they wrote, or it has none."""
    folder = tmp_path / "run"
    train(ranked, output=folder, **options(base, max_steps=2))
    checkpoint = folder / "checkpoints" / "checkpoint-2"
    (checkpoint / "checksums.json").unlink()
    if stored is None:
        (checkpoint / name).write_bytes(b"no such file of theirs")
    else:
        torch.save(stored, checkpoint / name)
    with pytest.raises(PlauditError, match=r"checkpoint-2: cannot be resumed from .* remove this"):
        train(output=folder, resume=True, max_steps=4)


def test_resuming_after_the_last_checkpoint_trains_no_further(ranked, base, tmp_path):
    folder = tmp_path / "run"
    chosen = options(base, max_steps=6, lr_scheduler_type="constant", validation_fraction=0)
    train(ranked, output=folder, **chosen)
    before = load_file(folder / "model" / "model.safetensors")
    (folder / "metrics.json").unlink()
    again = train(output=folder, resume=True)
    after = load_file(folder / "model" / "model.safetensors")
    assert again.metrics["training"]["steps"] == 6
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_the_last_checkpoint_takes_the_place_of_is_removed_after_a_kill_too(
    ranked, base, tmp_path, monkeypatch
):
    chosen = options(base, max_steps=8, save_steps=2, save_total_limit=2)
    train(ranked, output=tmp_path / "whole", **chosen)
    folder, remove = tmp_path / "killed", RankingTrainer._remove_old_checkpoints

    def killed(trainer, run, newest):
        if newest.name == "checkpoint-8":
            raise KeyboardInterrupt
        remove(trainer, run, newest)

    with monkeypatch.context() as patch:
        patch.setattr(RankingTrainer, "_remove_old_checkpoints", killed)
        with pytest.raises(KeyboardInterrupt):
            train(ranked, output=folder, **chosen)

    def kept(run):
        return sorted(os.listdir(run / "checkpoints"))

    assert kept(folder) != kept(tmp_path / "whole")
    train(output=folder, resume=True)
    assert kept(folder) == kept(tmp_path / "whole")


def test_the_best_checkpoint_is_kept_even_when_the_run_has_moved(ranked, base, tmp_path):
    opposite = tmp_path / "opposite.csv"  # the better it learns, the worse it does on this
    rows = [
        f"Which one is {n}?,{'dog ' * 3}{n},1\nWhich one is {n}?,{'fox ' * 3}{n},2"
        for n in "uvwxyz"
    ]
    opposite.write_text("\n".join(["prompt,answer,rank", *rows]) + "\n")
    chosen = options(base, max_steps=12, learning_rate=5e-3, lr_scheduler_type="constant")
    train(ranked, output=tmp_path / "a", validation_data=str(opposite), **chosen)
    log = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").open()]
    losses = {row["step"]: row["eval_log_loss"] for row in log if "eval_log_loss" in row}
    best = min(losses, key=losses.get)
    assert losses[best] < losses[12] - 0.1  # else this test says nothing
    (tmp_path / "a" / "metrics.json").unlink()
    (tmp_path / "a").rename(tmp_path / "b")
    run = train(output=tmp_path / "b", resume=True)
    assert run.metrics["training"]["best_step"] == best
    assert run.metrics["validation"]["log_loss"]["value"] == pytest.approx(losses[best], abs=1e-5)


def test_other_data_do_not_continue_a_run(ranked, base, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text(ranked.read_text())
    train(data, output=tmp_path / "run", **options(base, max_steps=2))
    (tmp_path / "run" / "metrics.json").unlink()
    data.write_text("\n".join(ranked.read_text().splitlines()[:91]) + "\n")
    with pytest.raises(PlauditError, match="the data have changed since this run began"):
        train(output=tmp_path / "run", resume=True)


def test_a_diverged_run_is_no_success(ranked, base, tmp_path):
    chosen = options(base, max_steps=6, learning_rate=1e30, validation_fraction=0, test_fraction=0)
    with pytest.raises(PlauditError, match="diverged; lower learning_rate"):
        train(ranked, output=tmp_path / "run", **chosen)
    assert not (tmp_path / "run" / "model").exists()


def test_two_runs_do_not_share_a_folder(ranked, base, tmp_path):
    with locked(tmp_path / "run"), pytest.raises(PlauditError, match="another process"):
        train(ranked, output=tmp_path / "run", **options(base, max_steps=2))


def test_two_processes_give_the_losses_of_one(ranked, base, tmp_path):
    def log(folder):
        return [json.loads(line) for line in (folder / "log.jsonl").open()]

    def words(folder, **more):
        return command(ranked, folder, base, "llama", max_steps=3, save_steps=3, **more)

    # `accelerate launch --cpu` starts several processes only through MPI. Three steps are within
    # the first epoch, at whose end accelerate repeats rankings to fill the last batches.
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launcher += ["--num_processes=2", "--num_machines=1", "--mixed_precision=no"]
    launcher += ["--dynamo_backend=no", "--main_process_port=0"]
    forked.start(*words(tmp_path / "one", per_device_train_batch_size=8)).succeed()
    launched = subprocess.run(
        [*launcher, *words(tmp_path / "two", per_device_train_batch_size=4)],
        env={**ENVIRONMENT, "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
    )
    assert launched.returncode == 0, launched.stderr.decode()[-3000:]
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    for name in ("loss", "accuracy", "eval_pairwise_accuracy", "eval_log_loss"):
        expected = [row[name] for row in one if name in row]
        assert expected
        assert [row[name] for row in two if name in row] == pytest.approx(expected, abs=1e-4)
    a = load_file(tmp_path / "one" / "model" / "model.safetensors")
    b = load_file(tmp_path / "two" / "model" / "model.safetensors")
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)


def test_lora_adapters_end_up_in_a_plain_model(ranked, base, tmp_path):
    run = train(
        ranked,
        output=tmp_path / "run",
        **options(base, "llama", lora_r=4, lora_target_modules=["q_proj", "v_proj"]),
    )
    assert not list((tmp_path / "run" / "model").glob("adapter*"))
    loaded = RewardModel.load(tmp_path / "run", dtype="float32")
    assert not any("lora" in name for name, _ in loaded.model.named_parameters())
    texts = ["fox fox", "dog dog"]
    assert loaded.score("What is 1 plus 1?", texts) == pytest.approx(
        run.model.score("What is 1 plus 1?", texts), abs=1e-5
    )
    untrained = RewardModel.load(base("llama"), dtype="float32", max_length=48, seed=1)
    assert untrained.score("What is 1 plus 1?", texts) != pytest.approx(
        run.model.score("What is 1 plus 1?", texts), abs=1e-4
    )


def test_a_stream_trains_and_holds_prompts_out(ranked, base, tmp_path):
    run = train(
        ranked,
        output=tmp_path / "run",
        streaming=True,
        max_rejected=1,
        **options(base, max_steps=20),
    )
    assert run.metrics["data"]["rankings"]["test"] > 0
    assert run.metrics["training"]["steps"] == 20
    # As many were encoded as are left, however often: none of the prompts held out.
    held_out = sum(run.metrics["data"]["rankings"][name] for name in ("validation", "test"))
    assert run.metrics["data"]["truncated"]["completions"] % (3 * (40 - held_out)) == 0


def one(*given, **more):
    if given is None:
        another()


def another():
    one()


def test_a_stream_trains_where_what_its_rows_reach_cannot_be_pickled(
    ranked, base, tmp_path, monkeypatch
):
    """Two functions that name each other: datasets follows them round and round."""
    monkeypatch.setattr("plaudit.console.show", one)
    chosen = options(base, max_steps=2, max_rejected=1)
    run = train(ranked, output=tmp_path / "run", streaming=True, **chosen)
    assert run.metrics["training"]["steps"] == 2


def test_a_stream_goes_by_epochs(ranked, base, tmp_path):
    """Of 40 rankings some are held out; the rest makes steps of 4, twice."""
    epochs = {"num_train_epochs": 2, "max_steps": -1, "max_rejected": 1}
    run = train(ranked, output=tmp_path / "run", streaming=True, **options(base, **epochs))
    held_out = sum(run.metrics["data"]["rankings"][name] for name in ("validation", "test"))
    assert run.metrics["training"]["steps"] == 2 * -(-(40 - held_out) // 4)


def test_a_stream_without_a_length_needs_the_steps(ranked, base, tmp_path):
    rows = [{"prompt": f"What is {n}?", "chosen": "fox", "rejected": "dog"} for n in range(40)]
    stream = datasets.IterableDataset.from_generator(lambda: iter(rows))
    rankings = load_rankings(stream, streaming=True)
    with pytest.raises(PlauditError, match="max_steps: is needed when data are streamed"):
        train(rankings, output=tmp_path / "run", **options(base, max_steps=-1))


def test_a_prompt_is_the_same_as_text_and_as_a_message():
    message = [{"role": "user", "content": "Hi"}]
    assert Ranking("Hi", ["a", "b"], [0, 1]).key == Ranking(message, ["a", "b"], [0, 1]).key


def test_own_test_data_leave_their_prompts_out_of_training(ranked, base, tmp_path):
    test = tmp_path / "test.csv"
    lines = ranked.read_text().splitlines()[:31]
    test.write_text("\n".join(lines) + "\n")
    run = train(ranked, output=tmp_path / "run", test_data=str(test), **options(base, max_steps=2))
    assert run.metrics["data"]["rankings"] == {"train": 27, "validation": 3, "test": 10}


def rated(number, ratings):
    texts = ["fox " * (number % 3 + 1), "dog " * 2]
    return Ranking(f"What is {number}?", texts, [0, 1], ratings=ratings)


def test_rewards_learnt_from_ratings_are_explained_in_the_card(base, tmp_path, capsys):
    data = [rated(number, (5.0, 2.0)) for number in range(8)]
    data += [rated(8, None), rated(9, None)]
    fractions = {"validation_fraction": 0, "test_fraction": 0}
    run = train(
        Rankings.from_list(data),
        output=tmp_path / "run",
        **options(base, loss="squared-error", max_steps=2, **fractions),
    )
    said = capsys.readouterr().err
    assert "2 of 10 training rankings are left out: squared-error learns from ratings" in said
    assert run.metrics["data"]["rankings"]["train"] == 8
    card = (run.folder / "model" / "README.md").read_text()
    assert "It estimates the rating, which is 3.5 + 1.5 · reward" in card
    assert "probability that a is preferred" not in card


def test_a_loss_that_finds_nothing_to_learn_from_says_so_at_once(ranked, base, tmp_path):
    wanted = "loss: strength-margin learns from strength, and the training data have none"
    with pytest.raises(PlauditError, match=wanted):
        train(ranked, output=tmp_path / "run", **options(base, loss="strength-margin"))
    assert not (tmp_path / "run").exists()


def test_nothing_held_out_is_said_in_the_card(ranked, base, tmp_path):
    fractions = {"validation_fraction": 0, "test_fraction": 0}
    run = train(ranked, output=tmp_path / "run", **options(base, max_steps=2, **fractions))
    assert run.test is None
    assert "nothing is known of its quality" in (run.folder / "model" / "README.md").read_text()


def test_the_stored_config_is_the_resolved_one(finished):
    stored = yaml.safe_load((finished.folder / "config.yaml").read_text())
    assert stored["learning_rate"] == 1e-3
    assert stored["loss"] == "bradley-terry"
