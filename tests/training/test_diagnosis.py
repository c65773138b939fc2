"""Planted faults are named, and a healthy run is left in peace."""

import json
import math

import pytest
import torch

from plaudit import RewardModel, train
from plaudit.data.rankings import Ranking, dense_ranks
from plaudit.model.head import widen
from plaudit.settings import Settings
from plaudit.training.diagnosis import Course, Head, diagnose
from plaudit.training.parts import encoded
from plaudit.training.setup import build_trainer, load_base
from plaudit.training.trainer import read_log

LN2 = math.log(2)


def rankings(count=60, first=0, turned=()):
    """Pairs of which the better one says `fox`, or `dog` where `turned` is 1."""
    return [
        Ranking(f"What is {n}?", [f"fox {n % 7} talk", f"dog {n % 7} talk"], [t, 1 - t])
        for n, t in zip(range(first, first + count), turned or [0] * count, strict=True)
    ]


def course_of(data, folder, base, validation=(), freeze_head=False, **more):
    """Train on rankings, without a run around it."""
    settings = {"base": str(base), "dtype": "float32", "max_length": 32, "seed": 1}
    settings |= {
        "recipe": "plain",
        "learning_rate": 1e-3,
        "max_steps": 40,
        "save_steps": 40,
        "logging_steps": 2,
    }
    chosen = Settings.build(data="unused", **settings | {"per_device_train_batch_size": 8} | more)
    model = load_base(chosen)
    if freeze_head:
        model.model.classifier.requires_grad_(False)
    counts = {}
    train_set = encoded(data, model.encoding, "", counts)
    held_out = encoded(validation, model.encoding, "") if validation else None
    folder.mkdir(exist_ok=True)
    trainer = build_trainer(model, train_set, held_out, chosen, folder, checkpoints=False)
    head, new_head = Head(trainer.model), model.new_head
    trainer.train()
    return Course(
        read_log(folder / "log.jsonl"),
        chosen,
        head_moved=head.moved(trainer.model),
        head_trains=head.trains,
        new_head=new_head,
        validation=len(validation),
        truncated=counts,
    )


def test_a_healthy_training_has_no_finding(base, tmp_path):
    watched = course_of(rankings(), tmp_path, base("bert"), rankings(40, first=60))
    assert diagnose(watched) == []
    assert watched.log[-1]["eval_pairwise_accuracy"] == 1


@pytest.mark.parametrize(
    ("rate", "names", "change"),
    [
        (1e-7, {"learning-rate-too-low"}, "learning_rate: 1e-06 instead of 1e-07"),
        (1.0, {"learning-rate-too-high", "rewards-collapsed"}, "learning_rate: 0.1 instead of 1"),
    ],
)
def test_a_learning_rate_too_low_or_too_high_is_named(rate, names, change, base, tmp_path):
    (finding,) = diagnose(course_of(rankings(), tmp_path, base("bert"), learning_rate=rate))
    assert finding["name"] in names
    assert finding["change"].startswith(change)


def test_a_frozen_head_is_named(base, tmp_path):
    (finding,) = diagnose(course_of(rankings(), tmp_path, base("bert"), freeze_head=True))
    assert finding["name"] == "head-frozen"


def test_shuffled_labels_are_learnt_and_carry_over_to_nothing(base, tmp_path):
    toss = torch.randint(2, (420,), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = rankings(420, turned=toss)
    settings = {"recipe": "plain", "max_steps": 60, "save_steps": 60, "learning_rate": 3e-3}
    watched = course_of(shuffled[:24], tmp_path, base("bert"), shuffled[24:], **settings)
    (finding,) = diagnose(watched)
    assert finding["name"] == "nothing-carries-over"


def test_validation_data_with_its_labels_turned_round_are_named(base, tmp_path):
    turned = rankings(40, first=60, turned=[1] * 40)
    (finding,) = diagnose(course_of(rankings(), tmp_path, base("bert"), turned))
    assert finding["name"] == "labels-turned-round"


def test_truncation_that_makes_pairs_equal_is_named(base, tmp_path):
    texts = [f"{'talk ' * 40}{word}" for word in ("fox", "dog")]
    data = [Ranking(f"What is {n}?", texts, [0, 1]) for n in range(8)]
    (finding,) = diagnose(course_of(data, tmp_path, base("bert"), max_steps=1))
    assert finding["name"] == "pairs-equal"
    assert finding["seen"].startswith("in 8 of 8 pairs both completions are the same tokens")
    assert finding["change"] == "a larger max_length"


def test_a_run_says_what_it_found_in_metrics_report_and_log(base, tmp_path, capsys):
    """Labels against the model that training begins from: they are turned round."""
    first = RewardModel.load(base("bert"), dtype="float32", max_length=32)
    told = [first.score(r.prompt, r.completions) for r in rankings(40)]
    data = [
        Ranking(r.prompt, r.completions, dense_ranks(rewards))  # the higher reward is the worse
        for r, rewards in zip(rankings(40), told, strict=True)
    ]
    first.save(tmp_path / "model")
    settings = {"recipe": "plain", "test_fraction": 0.5, "max_steps": 1, "dtype": "float32"}
    run = train(data, output=tmp_path / "run", base=str(tmp_path / "model"), **settings)
    (finding,) = json.loads((run.folder / "metrics.json").read_text())["training"]["diagnosis"]
    assert finding["name"] == "labels-turned-round"
    assert "began from gets 0.000 of the test pairs right" in finding["seen"]
    assert finding["change"] in capsys.readouterr().err
    assert "What went wrong in training" in (run.folder / "report.html").read_text()


def test_how_far_a_head_moved(reward_model):
    model = reward_model("bert").model
    head = Head(model)
    assert head.trains
    assert head.moved(model) == 0
    with torch.no_grad():
        model.classifier.weight *= 1.5
        moved = head.moved(model)
        model.classifier.weight /= 1.5
    before = torch.cat([w.flatten() for w in head.weights.values()])
    expected = 0.5 * model.classifier.weight.norm() / before.norm()
    assert moved == pytest.approx(expected.item(), rel=1e-4)


def course(loss, accuracy=0.5, spread=1.0, gradient=1.0, mean=0.0, **more):
    """A log of ten rows; a pair of numbers is what it starts with and what it ends with."""
    figures = {"loss": loss, "accuracy": accuracy, "reward_std": spread}
    figures |= {"grad_norm": gradient, "reward_mean": mean}
    rows = []
    for n in range(10):
        row = {"step": 1 + n, "pairs": 100}
        for name, value in figures.items():
            a, b = value if isinstance(value, tuple) else (value, value)
            row[name] = a if n < 3 else b
        rows.append(row)
    rows += [{"step": 10, "eval_pairwise_accuracy": 0.75, "eval_log_loss": 0.5}]
    facts = {"head_moved": 0.3, "validation": 100} | more
    return Course(rows, Settings.build(data="ranked.csv"), **facts)


@pytest.mark.parametrize(
    ("watched", "name"),
    [
        (course(LN2), "nothing-learnt"),
        (course(LN2, head_moved=0.0), "head-stands-still"),
        (course((0.8, LN2), spread=(1.0, 0.01)), "rewards-collapsed"),
        (course((0.7, 4.0)), "learning-rate-too-high"),
        (course((0.7, 0.72), gradient=(1.0, None)), "gradients-explode"),
        (course(LN2, gradient=1e-9), "gradients-vanish"),
        (course(LN2, head_moved=1e-4), "learning-rate-too-low"),
        (course((LN2, 0.5), accuracy=(0.5, 0.75), mean=(0.0, 40.0)), "rewards-drift"),
        (course((LN2, 0.5), accuracy=(0.5, 0.75)), None),
        (course((LN2, 0.2), accuracy=(0.5, 0.9), gradient=(1.0, 1e-8)), None),
    ],
)
def test_each_pattern_of_a_log_has_its_name(watched, name):
    assert [finding["name"] for finding in diagnose(watched)] == ([name] if name else [])


def test_what_is_learnt_by_heart_is_named_with_the_step_to_stop_at():
    watched = course((LN2, 0.1), accuracy=(0.6, 0.99))
    evals = [{"step": 5, "eval_pairwise_accuracy": 0.72, "eval_log_loss": 0.6}]
    evals += [{"step": 10, "eval_pairwise_accuracy": 0.7, "eval_log_loss": 1.1}]
    rows = [*watched.log[:10], *evals]
    (finding,) = diagnose(Course(rows, watched.settings, head_moved=0.3, validation=400))
    assert finding["name"] == "learnt-by-heart"
    assert "rose from 0.600 at step 5 to 1.100" in finding["seen"]


def test_rows_that_only_training_has_are_no_movement_of_the_head(base):
    model = RewardModel.load(base("bert"), dtype="float32", device="cpu").model
    head = Head(model)
    widen(model, 3, seed=0)
    assert head.moved(model) == 0


@pytest.mark.parametrize(
    ("accuracy", "validation", "name"),
    [
        (0.641, 39, None),  # of whose 95 % interval 0.76 is within
        (0.5, 60, None),
        (0.52, 1000, "nothing-carries-over"),
        (0.59, 1000, None),
        (0.3, 60, "labels-turned-round"),
        (0.48, 60, None),
    ],
)
def test_few_validation_rankings_deny_nothing_that_their_interval_holds(accuracy, validation, name):
    watched = course((LN2, 0.4), accuracy=(0.5, 0.863))
    evals = [{"step": 10, "eval_pairwise_accuracy": accuracy, "eval_log_loss": 0.7}]
    rows = [*watched.log[:10], *evals]
    found = diagnose(Course(rows, watched.settings, head_moved=0.3, validation=validation))
    assert [finding["name"] for finding in found] == ([name] if name else [])


def test_few_training_pairs_do_not_show_that_nothing_was_learnt():
    watched = course(LN2, accuracy=0.53)
    few = [row | {"pairs": 21} for row in watched.log]  # 105 in the later half
    assert diagnose(Course(few, watched.settings, head_moved=0.3)) == []
    many = [row | {"pairs": 400} for row in watched.log]
    (finding,) = diagnose(Course(many, watched.settings, head_moved=0.3))
    assert finding["name"] == "nothing-learnt"
