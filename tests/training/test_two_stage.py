"""Two stages: curves fitted to rewards, and a first training that is not repeated."""

import numpy as np
import pytest
import torch

from plaudit.data.rankings import Ranking
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training import two_stage
from plaudit.training.objectives import Prepared
from plaudit.training.objectives.bradley_terry import bradley_terry
from plaudit.training.parts import encoded
from plaudit.training.setup import build_trainer
from plaudit.training.two_stage import first_stage, fit


def test_curves_that_rewards_are_made_of_are_found_again():
    """Of two nuisances, whatever the level of a prompt's rewards."""
    rng = np.random.default_rng(0)
    rows, rewards = [], []
    for _ in range(50):
        levels = rng.uniform(0, 5, (4, 2))
        of_length = 2 * levels[:, 0] - 1.5 * np.maximum(levels[:, 0] - 2, 0)
        rewards.append((of_length + 0.5 * levels[:, 1] + rng.normal() * 9).tolist())
        rows.append({"nuisances": levels.tolist(), "weight": 1.0})
    (length, lists) = fit(rewards, rows, [[0.0, 2.0], [0.0]])
    assert length == pytest.approx([2.0, -1.5])
    assert lists == pytest.approx([0.5])


def test_rewards_that_are_independent_of_length_leave_nothing_to_take_out():
    rows = [{"nuisances": [[a], [b]], "weight": 1.0} for a, b in [(1.0, 3.0), (3.0, 1.0)]]
    assert fit([[0.0, 1.0], [0.0, 1.0]], rows, [[0.0]]) == [[pytest.approx(0)]]


def texts(count):
    """Pairs of which the longer is the better one."""
    pairs = []
    for number in range(count):
        long = "fox dog " * (3 + number % 5)
        pairs.append(Ranking(f"What is {number}?", [long, "fox dog " * 2], [0, 1]))
    return pairs


def trainer_of(base, folder, **options):
    given = {"data": "d", "base": str(base), "dtype": "float32", "control": "length"}
    given |= {"control_method": "two-stage", "max_steps": 30, "learning_rate": 3e-3, "seed": 3}
    given |= {"max_length": 64, "freeze_layers": -1, "features_cache": str(folder / "features")}
    chosen = Settings.build(**given | options)
    model = RewardModel.load(base, dtype="float32", device="cpu", max_length=64, seed=3)
    rows = encoded(texts(24), model.encoding, "encoding", control=chosen.control)
    return build_trainer(model, rows, None, chosen, folder, checkpoints=False), chosen


def test_of_pure_length_the_second_training_has_nothing_left_to_learn(base, tmp_path, capsys):
    trainer, chosen = trainer_of(base("bert"), tmp_path, max_steps=60, learning_rate=0.03)
    first_stage(trainer, chosen, Prepared(), tmp_path / "control.json")
    expert = trainer.expert
    assert expert.training_accuracy == 1
    assert "length alone orders 100.0 %" in capsys.readouterr().err
    rows = trainer.train_dataset
    ranks, levels = torch.tensor(rows["ranks"]), torch.tensor(rows["nuisances"])
    norms = []
    for offset in (torch.zeros(ranks.shape), expert.offset(levels, ranks)):
        rewards = torch.zeros(ranks.shape, requires_grad=True)
        bradley_terry(rewards + offset, ranks).mean().backward()
        norms.append(rewards.grad.norm().item())
    assert norms[1] < 0.2 * norms[0]


def test_a_resumed_run_does_not_train_the_first_model_again(base, tmp_path, monkeypatch):
    trainer, chosen = trainer_of(base("bert"), tmp_path / "a")
    fitted = trainer.expert.changes.clone()
    first_stage(trainer, chosen, Prepared(), tmp_path / "control.json")
    monkeypatch.setattr(two_stage, "_first_rewards", None)
    again, _ = trainer_of(base("bert"), tmp_path / "b")
    first_stage(again, chosen, Prepared(), tmp_path / "control.json")
    assert torch.equal(again.expert.changes, trainer.expert.changes)
    assert not torch.equal(again.expert.changes, fitted)
