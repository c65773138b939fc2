"""The trainer against TRL's own on the same pairs, and against itself however a step is divided."""

import json
import math
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerState
from trl import RewardConfig, RewardTrainer

from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training.objectives import OBJECTIVES
from plaudit.training.parts import encoded
from plaudit.training.setup import build_trainer, prepared
from plaudit.training.trainer import RankingTrainer, RunLog, last_checkpoint, read_log

TEXT = "fox dog answer reward better worse two plus four user talk lazy quick"
WORDS = TEXT.split()


def rankings(count, sizes=(2,), seed=0):
    """Rankings whose better completions hold more of the word `fox`; K cycles through `sizes`."""
    generator = torch.Generator().manual_seed(seed)

    def words(n):
        return " ".join(
            WORDS[i] for i in torch.randint(len(WORDS), (n,), generator=generator).tolist()
        )

    made = []
    for number in range(count):
        k = sizes[number % len(sizes)]
        completions = [words(3 + 2 * i) + " fox" * (k - i) for i in range(k)]
        ranks = [0, *range(k - 1)] if k > 3 else list(range(k))  # a tie where there is room
        made.append(Ranking(f"What is {number}? {words(4)}", completions, ranks))
    return made


@pytest.fixture(scope="module")
def bases(base):
    return {name: base(name) for name in ("llama", "gpt2", "bert")}


def settings(base, **options):
    defaults = {"data": "unused", "base": str(base), "dtype": "float32", "max_length": 64}
    defaults |= {
        "recipe": "plain",
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "max_steps": 6,
        "seed": 3,
    }
    return Settings.build(**{**defaults, **options})


def trained(base, folder, data, validation=(), **options):
    """Train and return the trainer, its model and its logged losses."""
    chosen = settings(base, **options)
    model = RewardModel.load(base, dtype="float32", device="cpu", max_length=64, seed=3)
    train_set = encoded(data, model.encoding, "encoding")
    (folder / "checkpoints").mkdir(parents=True)
    held_out = encoded(list(validation), model.encoding, "encoding") if validation else None
    start = prepared(chosen, data)
    trainer = build_trainer(
        model, train_set, held_out, chosen, folder, start=start, validation=validation
    )
    trainer.train()
    return trainer, model, [row["loss"] for row in read_log(folder / "log.jsonl") if "loss" in row]


# Decoders: a classifier with a bias is not comparable, since no pair says anything of the bias, and
# Adam makes steps of the rounding errors that are its gradient; so it does of the biases of GPT-2's
# keys, which move all scores alike. TRL passes no token types, either.
@pytest.mark.parametrize(
    ("name", "optim", "rate"), [("llama", "adamw_torch_fused", 1e-3), ("gpt2", "sgd", 0.05)]
)
def test_pairs_give_the_losses_and_rewards_of_trl(bases, tmp_path, name, optim, rate):
    data = rankings(24)
    options = {"per_device_train_batch_size": 4, "optim": optim, "learning_rate": rate}
    _, ours, losses = trained(bases[name], tmp_path / "ours", data, **options)

    model = RewardModel.load(bases[name], dtype="float32", device="cpu", max_length=64, seed=3)
    rows = model.encoding.encode(data)
    pairs = {"chosen_ids": [r["input_ids"][0] for r in rows]}
    pairs["rejected_ids"] = [r["input_ids"][1] for r in rows]
    config = RewardConfig(
        output_dir=str(tmp_path / "trl"),
        learning_rate=rate,
        optim=optim,
        max_steps=6,
        per_device_train_batch_size=4,
        warmup_steps=0.1,
        weight_decay=0.01,
        logging_steps=1,
        seed=3,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        max_length=None,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trl = RewardTrainer(
        model=model.model,
        args=config,
        train_dataset=datasets.Dataset.from_dict(pairs),
        processing_class=model.encoding.tokenizer,
    )
    trl.train()
    theirs = [row["loss"] for row in trl.state.log_history if "loss" in row]
    assert losses == pytest.approx(theirs, abs=1e-4)
    assert losses[-1] < losses[0]
    for ranking in data[:6]:
        assert ours.score(ranking.prompt, ranking.completions) == pytest.approx(
            model.score(ranking.prompt, ranking.completions), abs=1e-4
        )


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.model.parameters()])


def test_how_a_step_is_divided_does_not_change_it(bases, tmp_path):
    data = rankings(16, sizes=(2, 5, 3))
    options = {"per_device_train_batch_size": 8, "max_grad_norm": 0.5}
    whole = trained(bases["llama"], tmp_path / "a", data, max_tokens_per_batch=10**6, **options)
    parts = trained(bases["llama"], tmp_path / "b", data, max_tokens_per_batch=60, **options)
    assert parts[2] == pytest.approx(whole[2], abs=1e-5)
    assert torch.allclose(weights(parts[1]), weights(whole[1]), atol=1e-5)


def out_of_memory_above(tokens, monkeypatch, sizes):
    """Have every forward pass of more tokens fail midway, its gradients half made; `sizes` gets
    those that succeeded."""
    forward = RankingTrainer._logits

    def limited(self, model, batch):
        if batch["input_ids"].numel() > tokens:
            if torch.is_grad_enabled():  # what a backward pass leaves that fails
                next(model.parameters()).sum().backward()
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB.\nMore.")
        sizes.append(batch["input_ids"].numel())
        return forward(self, model, batch)

    monkeypatch.setattr(RankingTrainer, "_logits", limited)


@pytest.mark.parametrize("name", ["llama", "bert"])
@pytest.mark.parametrize("layout", ["flat", "padded"])
def test_a_step_that_runs_out_of_memory_is_done_anew_in_halves(
    name, layout, bases, tmp_path, monkeypatch, capsys
):
    data = rankings(32, sizes=(2, 5, 3))
    options = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8}
    # Adam would make steps of the rounding errors that are some gradients, as of the head's bias.
    options |= {"max_steps": 2, "layout": layout, "optim": "sgd", "learning_rate": 0.1}
    chosen = {"base": bases[name], "data": data, "validation": data[:12], "save_steps": 1}
    whole = trained(folder=tmp_path / "a", **chosen, **options)
    sizes = []
    out_of_memory_above(max(sizes_of(whole)) // 2, monkeypatch, sizes)
    parts = trained(folder=tmp_path / "b", **chosen, **options)
    assert max(sizes) <= max(sizes_of(whole)) // 2
    assert parts[2] == pytest.approx(whole[2], abs=1e-5)
    assert torch.allclose(weights(parts[1]), weights(whole[1]), atol=1e-5)
    logs = [read_log(tmp_path / run / "log.jsonl") for run in ("a", "b")]
    for ours, theirs in zip(*logs, strict=True):
        for figure in ("accuracy", "margin", "reward_mean", "eval_pairwise_accuracy"):
            assert ours.get(figure) == pytest.approx(theirs.get(figure), abs=1e-4)
    assert "out of memory on the cpu device: a pass takes at most" in capsys.readouterr().err


def sizes_of(run):
    """Tokens of the passes of a step over the data of a run."""
    trainer = run[0]
    batches = trainer.layout.divide([trainer.train_dataset[i] for i in range(8)], 10**6)
    return [batch["input_ids"].numel() for batch in batches]


@pytest.mark.parametrize("layout", ["flat", "padded"])
def test_a_ranking_that_runs_out_of_memory_is_done_anew_by_completions(
    layout, bases, tmp_path, monkeypatch
):
    """And one among small ones, which fit long since."""
    data = [*rankings(7), Ranking("What?", ["fox " * 12, "dog " * 12, "two " * 12], [0, 1, 2])]
    options = {"per_device_train_batch_size": 8, "max_steps": 2, "layout": layout, "optim": "sgd"}
    whole = trained(bases["llama"], tmp_path / "a", data, **options)
    longest = max(row["length"] for row in whole[0].train_dataset)
    assert max(sizes_of(whole)) > 3 * longest  # passes of several completions are what fails
    sizes = []
    out_of_memory_above(longest, monkeypatch, sizes)
    parts = trained(bases["llama"], tmp_path / "b", data, **options)
    assert max(sizes) <= longest
    assert parts[2] == pytest.approx(whole[2], abs=1e-5)
    assert torch.allclose(weights(parts[1]), weights(whole[1]), atol=1e-5)


def test_a_completion_that_alone_does_not_fit_is_an_error_that_says_what_to_set(
    bases, tmp_path, monkeypatch
):
    out_of_memory_above(10, monkeypatch, [])
    with pytest.raises(PlauditError, match=r"one completion of .* set gradient_checkpointing, lo"):
        trained(bases["llama"], tmp_path, rankings(8, sizes=(4,)))


def test_accumulated_batches_are_one_larger_batch(bases, tmp_path):
    data = [
        Ranking(**{**vars_of(r), "weight": float(n % 5)})
        for n, r in enumerate(rankings(16, sizes=(3, 2)))
    ]
    one = trained(bases["llama"], tmp_path / "a", data, per_device_train_batch_size=8, max_steps=2)
    two = trained(
        bases["llama"],
        tmp_path / "b",
        data,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_steps=2,
    )
    assert torch.allclose(weights(one[1]), weights(two[1]), atol=1e-5)


def test_accumulated_batches_of_unequal_weight_are_one_batch(bases, tmp_path):
    """The last batch is smaller, its rankings weigh otherwise and have other K: what a ranking
    counts for is its weight, in whichever batch it stands."""
    data = [
        Ranking(**{**vars_of(r), "weight": weight})
        for r, weight in zip(
            rankings(7, (2, 5, 3)), (1.0, 0.5, 4.0, 0.0, 2.0, 9.0, 0.25), strict=True
        )
    ]
    # One step at rate 1, not clipped: what the weights move by is the gradient.
    options = {"optim": "sgd", "learning_rate": 1.0, "warmup_steps": 0, "max_grad_norm": 0}
    options |= {"weight_decay": 0, "max_steps": 1, "lr_scheduler_type": "constant"}
    before = weights(RewardModel.load(bases["llama"], dtype="float32", device="cpu", seed=3))
    moved = []
    for batch, steps in ((7, 1), (4, 2), (1, 7)):
        more = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": steps}
        _, model, _ = trained(bases["llama"], tmp_path / str(batch), data, **more, **options)
        moved.append(before - weights(model))
    assert moved[0].abs().max() > 0.1
    assert torch.allclose(moved[1], moved[0], atol=1e-5)
    assert torch.allclose(moved[2], moved[0], atol=1e-5)


# One whose head has several rows is held to the same in `test_attributes`.
@pytest.mark.parametrize("loss", [n for n in OBJECTIVES if OBJECTIVES.get(n).mix is None])
def test_the_first_logged_loss_is_the_loss_of_the_data(bases, tmp_path, loss):
    data = [
        Ranking(**{**vars_of(r), "ratings": [7.0 - 2 * rank for rank in r.ranks], "strength": s})
        for s, r in enumerate(rankings(6, sizes=(4, 2)), start=1)
    ]
    data[0] = Ranking(**{**vars_of(data[0]), "weight": 3.0})
    model = RewardModel.load(bases["bert"], dtype="float32", device="cpu", max_length=64, seed=3)
    objective = OBJECTIVES.get(loss)
    start = prepared(settings(bases["bert"], loss=loss), data)
    total = weight = 0.0
    for ranking in data:
        rewards = torch.tensor([model.score(ranking.prompt, ranking.completions)])
        given = {"ratings": torch.tensor([ranking.ratings])}
        given["strength"] = torch.tensor([float(ranking.strength)])
        options = {name: value for name, value in given.items() if objective.takes(name)}
        options |= {**start.fixed, **start.learnt}
        value = objective.loss(rewards, torch.tensor([ranking.ranks]), **options)
        total += ranking.weight * value.item()
        weight += ranking.weight
    _, _, losses = trained(
        bases["bert"], tmp_path / "run", data, per_device_train_batch_size=6, max_steps=1, loss=loss
    )
    assert losses[0] == pytest.approx(total / weight, abs=1e-5)


def test_what_a_loss_learns_is_learnt_kept_in_checkpoints_and_thrown_away(bases, tmp_path):
    data = rankings(16, sizes=(4,))  # one pair of six is tied
    options = {"loss": "davidson", "save_steps": 2, "max_steps": 4, "lr_scheduler_type": "constant"}
    options |= {"per_device_train_batch_size": 4, "metric_for_best_model": "log_loss"}
    whole, model, _ = trained(bases["llama"], tmp_path / "a", data, data[:4], **options)
    begin = math.log(2 / 5)  # as often as the training data tie
    checkpoints = {
        step: load_file(tmp_path / f"a/checkpoints/checkpoint-{step}/objective.safetensors")
        for step in (2, 4)
    }
    after = [begin, *(values["log_tie"].item() for values in checkpoints.values())]
    assert 0.01 < abs(after[1] - after[0]) < 0.1
    assert 0.01 < abs(after[2] - after[1]) < 0.1
    best = whole.state.best_global_step
    assert whole.learnt["log_tie"].item() == checkpoints[best]["log_tie"].item()
    assert not any("tie" in name for name in model.model.state_dict())

    model = RewardModel.load(bases["llama"], dtype="float32", device="cpu", max_length=64, seed=3)
    rows, held_out = (encoded(part, model.encoding, "encoding") for part in (data, data[:4]))
    chosen = settings(bases["llama"], **options)
    start = prepared(chosen, data)
    resumed = build_trainer(model, rows, held_out, chosen, tmp_path / "a", start=start)
    shutil.rmtree(tmp_path / "a/checkpoints/checkpoint-4")
    resumed.train(resume_from_checkpoint=str(tmp_path / "a/checkpoints/checkpoint-2"))
    again = load_file(tmp_path / "a/checkpoints/checkpoint-4/objective.safetensors")
    assert again["log_tie"].item() == checkpoints[4]["log_tie"].item()


def vars_of(ranking):
    return {name: getattr(ranking, name) for name in ranking.__dataclass_fields__}


def test_margins_are_used(bases, tmp_path):
    data = [Ranking(**{**vars_of(r), "margin": 2.0}) for r in rankings(4)]
    model = RewardModel.load(bases["bert"], dtype="float32", device="cpu", max_length=64, seed=3)
    expected = []
    for ranking in data:
        better, worse = model.score(ranking.prompt, ranking.completions)
        expected.append(math.log1p(math.exp(-(better - worse - 2.0))))
    _, _, losses = trained(
        bases["bert"], tmp_path / "run", data, per_device_train_batch_size=4, max_steps=1
    )
    assert losses[0] == pytest.approx(sum(expected) / 4, abs=1e-5)


def test_a_loss_that_is_not_finite_names_the_rows_that_made_it(bases, tmp_path):
    data = [Ranking(**{**vars_of(r), "origin": f"d.csv:{n}"}) for n, r in enumerate(rankings(4))]
    data[2] = Ranking(**{**vars_of(data[2]), "margin": 1e39})  # infinite in float32
    with pytest.raises(PlauditError, match=r"loss is inf at step 1: d\.csv:2 made it, the other"):
        trained(bases["bert"], tmp_path, data, per_device_train_batch_size=4)


def test_the_first_and_the_last_step_are_logged_whatever_logging_steps_says(bases, tmp_path):
    data, batch = rankings(8), {"per_device_train_batch_size": 4}
    trained(bases["bert"], tmp_path, data, max_steps=3, logging_steps=10, **batch)
    rows = [row for row in read_log(tmp_path / "log.jsonl") if "loss" in row]
    assert [(row["step"], row["pairs"]) for row in rows] == [(1, 4), (3, 8)]


@pytest.mark.parametrize(
    ("metric", "better"),
    [("log_loss", min), ("pairwise_accuracy", max), ("length_controlled_accuracy", max)],
)
def test_validation_is_measured_on_every_ranking(bases, tmp_path, metric, better):
    data, validation = rankings(8), rankings(7, sizes=(2, 4, 3), seed=1)
    validation[0].completions[0] += " dog" * 9  # else no better one is longer
    options = {"max_steps": 4, "save_steps": 2, "metric_for_best_model": metric}
    trainer, model, _ = trained(bases["bert"], tmp_path / "run", data, validation, **options)
    logged = [row for row in read_log(tmp_path / "run" / "log.jsonl") if "eval_log_loss" in row]
    assert [row["step"] for row in logged] == [2, 4]
    # The trainer ends with the best checkpoint loaded.
    best = better(logged, key=lambda row: row[f"eval_{metric}"])
    right = pairs = 0.0
    halves = {True: [], False: []}  # by whether the better one is longer
    for ranking in validation:
        rewards = model.score(ranking.prompt, ranking.completions)
        for i, j in ranking.pairs():
            right += rewards[i] > rewards[j]
            pairs += 1
            lengths = [len(ranking.completions[k]) for k in (i, j)]
            if lengths[0] != lengths[1]:
                halves[lengths[0] > lengths[1]].append(rewards[i] > rewards[j])
    assert trainer.state.best_global_step == best["step"]
    assert best["eval_pairwise_accuracy"] == pytest.approx(right / pairs, abs=1e-6)
    controlled = sum(sum(half) / len(half) for half in halves.values()) / 2
    assert best["eval_length_controlled_accuracy"] == pytest.approx(controlled, abs=1e-6)


def test_checkpoints_appear_whole_and_old_ones_go(bases, tmp_path):
    trained(bases["bert"], tmp_path, rankings(8), max_steps=6, save_steps=1, save_total_limit=2)
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint-5", "checkpoint-6"]
    (folder / ".saving" / "checkpoint-7").mkdir(parents=True)
    (folder / ".removing-checkpoint-4").mkdir()
    assert last_checkpoint(folder) == folder / "checkpoint-6"
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint-5", "checkpoint-6"]


def test_a_resumed_log_drops_what_came_after_the_checkpoint(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    rows = [{"step": n, "loss": 1.0} for n in (1, 2, 3, 4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 5, "lo')
    RunLog(path).on_train_begin(None, TrainerState(global_step=2), None)
    assert [row["step"] for row in read_log(path)] == [1, 2]
