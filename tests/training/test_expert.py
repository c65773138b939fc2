"""The nuisance expert: its curves against what data were made with, and what training makes of it.

Data are made with exact shares: each pair stands there in both orders, weighted by how often each
would win. So a fit has a known answer, with no noise about it.
"""

import math

import datasets
import numpy as np
import pytest
import torch
from by_hand import loss_of
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, EvalPrediction

from plaudit.data.rankings import PADDING, Ranking
from plaudit.errors import PlauditError
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training.control import check_columns, read_nuisances, sample
from plaudit.training.expert import Expert, make_expert
from plaudit.training.objectives import OBJECTIVES, Prepared
from plaudit.training.objectives.bradley_terry import bradley_terry
from plaudit.training.parts import encoded
from plaudit.training.setup import build_trainer, trained_model
from plaudit.training.trainer import read_log, validation_metrics
from plaudit.training.two_stage import first_stage


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def rows_with(curve, levels):
    """Every pair of these levels in both orders, weighted as Bradley–Terry with a curve has it.

    A hundred times, since an expert's prior counts for more where there are few rankings.
    """
    rows = []
    for a in levels:
        for b in levels:
            if a != b:
                weight = sigmoid(curve(a) - curve(b))
                rows.append({"nuisances": [[a], [b]], "ranks": [0, 1], "weight": weight})
    return rows * 100


def fitted(rows, control="length", **settings):
    return make_expert(Settings.build(data="d", control=control, **settings), read_nuisances(rows))


def values(expert, *levels):
    return expert.scores([[level] for level in levels]).tolist()


def test_an_expert_that_sees_one_difference_says_how_often_it_wins():
    """Three quarters of the pairs prefer the longer: log 3."""
    rows = [{"nuisances": [[0.0], [1.0]], "ranks": [1, 0], "weight": 1.0}] * 750
    rows += [{"nuisances": [[0.0], [1.0]], "ranks": [0, 1], "weight": 1.0}] * 250
    expert = fitted(rows)
    low, high = values(expert, 0.0, 1.0)
    assert high - low == pytest.approx(math.log(3), abs=0.01)
    assert expert.training_accuracy == 0.75
    assert "length alone orders 75.0 % of the training pairs" in expert.describe()
    assert "pairs, by a curve of its tokens; what" in expert.describe()  # not of its characters
    assert "; what this explains is taken out of training (strength 0.5)" in expert.describe()
    expert.strength = 0.0
    assert "; nothing of what this explains is taken out of training" in expert.describe()


def test_a_curve_bends_where_the_data_do():
    """Steep for short completions and flat for long ones, as published for length."""

    def curve(level):
        return 2 * min(level, 2.0)

    expert = fitted(rows_with(curve, np.linspace(0, 5, 11)))
    got = np.array(values(expert, 0.0, 1.0, 2.0, 4.0, 5.0))
    assert got - got[0] == pytest.approx([0, 2, 4, 4, 4], abs=0.35)
    slopes = expert.record(None)["curves"][0]["slopes"]
    assert slopes[0] > 1.5
    assert abs(slopes[-1]) < 0.15


def test_quality_that_has_nothing_to_do_with_length_leaves_nothing_to_take_out():
    expert = fitted(rows_with(lambda level: 0.0, np.linspace(0, 5, 6)))
    assert values(expert, 0.0, 1.0, 5.0) == pytest.approx([0, 0, 0], abs=1e-6)


def test_two_nuisances_share_what_they_explain():
    """Only the second one decides, and the first goes with it half of the time."""
    rows = []
    for first in (0.0, 1.0):
        for winner, weight in ((0, sigmoid(1.5)), (1, sigmoid(-1.5))):
            ranks = [1, 0] if winner == 0 else [0, 1]
            rows.append({"nuisances": [[first, 0.0], [1.0, 1.0]], "ranks": ranks, "weight": weight})
    expert = fitted(rows * 500, "length,lists")
    (a, b, c) = expert.scores([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert b - a == pytest.approx(0, abs=0.02)
    assert c - a == pytest.approx(1.5, abs=0.03)


def test_a_weight_is_so_much_for_a_unit_of_the_level():
    rows = rows_with(lambda level: level, [0.0, 1.0, 2.0])
    expert = fitted(rows, control_weight=1.0, control_strength=0.5)
    ranks = torch.tensor([[0, 1, PADDING]])
    [a, b, padded] = expert.offset(torch.tensor([[[0.7], [2.0], [3.0]]]), ranks)[0].tolist()
    assert b - a == pytest.approx(0.5 * (2.0 - 0.7))
    assert padded == 0


def test_the_strength_is_given_up_step_by_step():
    expert = Expert(["length"], [[0.0]], [[2.0]], anneal=0.5)
    levels, ranks = torch.ones(1, 2, 1), torch.tensor([[0, 1]])
    got = [expert.offset(levels, ranks, done)[0, 0].item() for done in (0.0, 0.5, 1.0)]
    assert got == [2.0, 1.5, 1.0]


def test_the_gradient_is_the_residual_of_what_the_expert_explains():
    """Of −log σ(r_a − r_b + e_a − e_b) by r_a it is σ(r_a − r_b + e_a − e_b) − 1."""
    expert = Expert(["length"], [[0.0, 2.0]], [[1.0, -0.75]])
    levels, ranks = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[1, 0]])
    rewards = torch.tensor([[0.3, 0.1]], requires_grad=True)
    bradley_terry(rewards + expert.offset(levels, ranks), ranks).sum().backward()
    residual = sigmoid((0.1 + 2.25) - (0.3 + 1.0)) - 1
    assert rewards.grad.tolist() == [pytest.approx([-residual, residual])]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_takes_an_expert(name):
    """Its gradients are those at rewards that are so much higher, and of the curve by the chain."""
    expert = Expert(["length"], [[0.0, 1.0]], [[1.0, -0.5]], weight="learned").double()
    levels = torch.tensor([[[0.2], [2.0], [1.1], [9.0]], [[1.0], [2.0], [0.0], [0.0]]]).double()
    ranks = torch.tensor([[0, 1, 1, PADDING], [0, 0, PADDING, PADDING]])
    loss = loss_of(name, ranks.tolist())
    rewards = torch.tensor([[0.3, -1.0, 0.9, 5.0], [0.1, 0.7, 0.0, 0.0]]).double()
    rewards.requires_grad_()
    loss(rewards + expert.offset(levels, ranks)).sum().backward()
    # By hand: 1 · level, less a half of what is above 1.
    higher = torch.tensor([[0.2, 2.0 - 0.5, 1.1 - 0.05, 0.0], [1.0, 2.0 - 0.5, 0.0, 0.0]])
    other = (rewards.detach() + higher).requires_grad_()
    loss(other).sum().backward()
    assert torch.allclose(rewards.grad, other.grad, atol=1e-6)
    assert rewards.grad.abs().sum() > 0
    assert rewards.grad[0, 3] == 0
    pieces = torch.stack([levels[..., 0], (levels[..., 0] - 1).relu()])
    assert torch.allclose(expert.changes.grad[0], (pieces * other.grad).sum((1, 2)), atol=1e-6)


def test_pure_length_leaves_no_gradient():
    rows = [
        {"nuisances": [[0.3 * n], [0.3 * n + 0.5]], "ranks": [1, 0], "weight": 1.0}
        for n in range(10)
    ] * 50
    expert = fitted(rows, control_strength=1.0)
    ranks = torch.tensor([row["ranks"] for row in rows])
    levels = torch.tensor([row["nuisances"] for row in rows])
    norms = []
    for offset in (0.0, expert.offset(levels, ranks)):
        rewards = torch.zeros(len(rows), 2, requires_grad=True)
        bradley_terry(rewards + offset, ranks).mean().backward()
        norms.append(rewards.grad.norm().item())
    assert norms[1] < 0.03 * norms[0]


def test_a_column_in_which_nothing_differs_is_an_error():
    rows = [{"nuisances": [[0.0], [0.0]], "ranks": [0, 1], "weight": 1.0}]
    with pytest.raises(PlauditError, match=r"column:harm: no two completions .* differ"):
        check_columns(["column:harm"], read_nuisances(rows))
    assert values(fitted(rows), 0.0, 3.0) == [0.0, 0.0]


def test_what_is_added_has_mean_zero_over_the_training_completions():
    """So that losses that look at rewards themselves, as those of ratings, are not shifted."""
    rows = rows_with(lambda level: level, [0.0, 1.0, 4.0])
    for weight in ("fitted", 1.0):
        expert = fitted(rows, control_weight=weight)
        assert np.mean(values(expert, 0.0, 1.0, 4.0)) == pytest.approx(0, abs=1e-6)


def test_a_stream_and_a_table_give_the_same_sample():
    rows = rows_with(lambda level: level, [0.0, 1.0, 2.0])
    table = sample(datasets.Dataset.from_list(rows))
    stream = sample(datasets.IterableDataset.from_generator(lambda: iter(rows)))
    assert (table.levels == stream.levels).all()
    assert (table.weights == stream.weights).all()


# ---- validation ----


def test_validation_knows_what_a_checkpoint_can_be_chosen_by():
    rewards = np.array([[2.0, 0.0, PADDING], [0.0, 1.0, 3.0]])
    ranks = np.array([[0, 1, PADDING], [0, 0, 1]])
    lengths, offsets = [[9, 4], [1, 7, 5]], [np.array([-1.0, 0.0]), np.array([0.0, 0.0, -2.0])]
    got = validation_metrics(EvalPrediction(rewards, ranks), lengths, offsets)
    margins = np.array([2.0, -3.0, -2.0])  # longer wins, shorter wins, longer wins

    def log_loss(x):
        return np.logaddexp(0, -x).mean()

    assert got["pairwise_accuracy"] == pytest.approx(1 / 3)
    assert got["log_loss"] == pytest.approx(log_loss(margins))
    assert got["length_controlled_accuracy"] == pytest.approx((1 / 2 + 0) / 2)
    assert got["controlled_log_loss"] == pytest.approx(log_loss(np.array([1.0, -1.0, 0.0])))
    best = min(log_loss(margins / t) for t in np.geomspace(1e-3, 1e3, 400))
    assert got["calibrated_log_loss"] == pytest.approx(best, abs=1e-3)
    alone = validation_metrics(EvalPrediction(rewards[:1], ranks[:1]), lengths[:1])
    assert not alone.keys() & {"length_controlled_accuracy", "controlled_log_loss"}


# ---- training ----

WORDS = ["fox", "dog", "answer", "reward", "better", "worse", "two", "plus", "four", "user"]
WEIGHTS = "model.safetensors"


def texts(count, better, sizes=(2,), seed=0, among=tuple(range(2, 16))):
    """Rankings of random words, so many as some of `among`; the more `better` makes of a
    completion's words, the better it is."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        k = sizes[number % len(sizes)]
        lengths = rng.permutation(among)[:k]
        words = [[WORDS[i] for i in rng.integers(len(WORDS), size=n)] for n in lengths]
        order = np.argsort(np.argsort([-better(w) for w in words], kind="stable"))
        made.append(Ranking(f"What is {number}?", [" ".join(w) for w in words], order.tolist()))
    return made


def trained(base, folder, data, validation=(), resume=None, **options):
    """Train a tiny model; return the trainer, its model and its log."""
    defaults = {"data": "unused", "base": str(base), "dtype": "float32", "max_length": 64}
    defaults |= {
        "recipe": "plain",
        "control_strength": 1.0,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "max_steps": 6,
        "seed": 3,
    }
    chosen = Settings.build(**defaults | options)
    model = RewardModel.load(base, dtype="float32", device="cpu", max_length=64, seed=3)
    train_set = encoded(data, model.encoding, "encoding", control=chosen.control)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    held_out = None
    if validation:
        held_out = encoded(validation, model.encoding, "encoding", control=chosen.control)
    trainer = build_trainer(model, train_set, held_out, chosen, folder, validation=validation)
    first_stage(trainer, chosen, Prepared())
    trainer.train(resume_from_checkpoint=resume)
    return trainer, model, read_log(folder / "log.jsonl")


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.model.parameters()])


def test_a_model_learns_nothing_of_length_where_length_is_all_there_is(base, tmp_path):
    data = texts(64, len, among=(3, 14))
    runs = {}
    for control in ("none", "length"):
        options = {"control": control, "max_steps": 4, "optim": "sgd", "learning_rate": 0.1}
        options |= {"weight_decay": 0.0, "max_grad_norm": 0.0}
        _, model, _ = trained(base("bert"), tmp_path / control, data, **options)
        runs[control] = weights(model)
    start = RewardModel.load(base("bert"), dtype="float32", device="cpu", max_length=64, seed=3)
    moved = {name: (after - weights(start)).norm() for name, after in runs.items()}
    assert moved["length"] < 0.1 * moved["none"]


@pytest.mark.parametrize(("name", "weight"), [("llama", "learned"), ("bert", "fitted")])
def test_how_a_step_is_divided_does_not_change_it(base, tmp_path, name, weight):
    data = texts(16, len, sizes=(2, 5, 3))
    options = {"control": "length", "control_weight": weight, "max_grad_norm": 0.5}
    options |= {"optim": "sgd", "learning_rate": 0.1, "max_steps": 2}
    whole = trained(base(name), tmp_path / "a", data, max_tokens_per_batch=10**6, **options)
    parts = trained(
        base(name),
        tmp_path / "b",
        data,
        max_tokens_per_batch=60,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        **options,
    )
    losses = [[row["loss"] for row in run[2] if "loss" in row] for run in (whole, parts)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert torch.allclose(weights(parts[1]), weights(whole[1]), atol=1e-5)
    changes = [run[0].expert.changes for run in (whole, parts)]
    assert torch.allclose(*changes, atol=1e-5)
    fixed = make_expert(Settings.build(data="d", control="length"), sample(whole[0].train_dataset))
    assert torch.equal(changes[0], fixed.changes) == (weight == "fitted")


@pytest.mark.parametrize(
    ("method", "lora_r"), [("expert", 0), ("odin", 0), ("odin", 2), ("two-stage", 0)]
)
def test_the_saved_model_has_no_trace_of_the_control(base, tmp_path, method, lora_r):
    data = texts(16, lambda words: words.count("fox"))
    weight = {"control_weight": 1.0} if method == "expert" else {}
    options = {"control": "length,markdown", "control_method": method, "max_steps": 2} | weight
    options |= {"lora_r": lora_r}
    trainer, model, _ = trained(base("llama"), tmp_path / "run", data, **options)
    expert = trainer.expert
    model = trained_model(trainer, model, Settings.build(data="d", lora_r=lora_r))
    rewards = model.score(data[0].prompt, data[0].completions)
    model.save(tmp_path / "model")
    alone = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    plain = RewardModel.load(base("llama"), device="cpu").model.state_dict()
    saved = alone.state_dict()
    assert {k: v.shape for k, v in saved.items()} == {k: v.shape for k, v in plain.items()}
    rows = model.encoding.encode(data[:1])[0]
    for reward, ids in zip(rewards, rows["input_ids"], strict=True):
        assert alone(torch.tensor([ids])).logits.item() == pytest.approx(reward, abs=1e-5)
    assert tokenizer.vocab_size
    if method != "expert":
        return
    # What the loss saw beside the rewards was log(tokens), but for a constant.
    row = trainer.train_dataset[0]
    (a, b), tokens = expert.scores(row["nuisances"]), row["completion_tokens"]
    assert b - a == pytest.approx(math.log(tokens[1] / tokens[0]), abs=1e-6)


def test_a_checkpoint_is_chosen_by_what_the_settings_say(base, tmp_path):
    data = texts(24, len)
    options = {"max_steps": 3, "save_steps": 1, "save_total_limit": 1, "learning_rate": 3e-3}
    chosen = {
        "controlled_log_loss": {"control": "length"},
        "length_controlled_accuracy": {"metric_for_best_model": "length_controlled_accuracy"},
        "last": {"metric_for_best_model": "last"},
    }
    held_out = texts(12, lambda words: words.count("fox") - 0.1 * len(words), seed=1)
    for metric, more in chosen.items():
        trainer, model, log = trained(
            base("bert"), tmp_path / metric, data, held_out, **options | more
        )
        if metric == "last":
            assert not trainer.state.best_global_step
            saved = load_file(tmp_path / "last" / "checkpoints" / "checkpoint-3" / WEIGHTS)
            now = model.model.state_dict()
            assert all(torch.equal(tensor, now[name]) for name, tensor in saved.items())
            continue
        values = {row["step"]: row[f"eval_{metric}"] for row in log if f"eval_{metric}" in row}
        best = max(values.values()) if "accuracy" in metric else min(values.values())
        assert values[trainer.state.best_global_step] == best


def test_a_learned_expert_goes_on_where_a_checkpoint_left_it(base, tmp_path):
    data = texts(16, len)
    options = {"control": "length", "control_weight": "learned", "save_steps": 2, "max_steps": 4}
    whole, model, _ = trained(base("bert"), tmp_path, data, **options)
    resume = str(tmp_path / "checkpoints" / "checkpoint-2")
    begun = load_file(tmp_path / "checkpoints" / "checkpoint-2" / "objective.safetensors")
    again, resumed, _ = trained(base("bert"), tmp_path, data, resume=resume, **options)
    assert torch.equal(again.expert.changes, whole.expert.changes)
    assert torch.equal(weights(resumed), weights(model))
    assert not torch.equal(begun["control"], whole.expert.changes)
