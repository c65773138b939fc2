"""Two stages: what a first training makes of length is fitted, and taken out of a second one.

A first training, without control, ends with rewards that have the bias. Curves of the nuisances are
fitted to them. The second begins from the base model again and sees its own reward plus the curves,
as with an expert, so that it need not learn them.

Source: Zhao et al. 2025, "Bias Fitting to Mitigate Length Bias of Reward Model in RLHF",
arXiv:2505.12843. There the curve is a small network of the length, fitted by −|ρ| + squared error;
of curves that are linear in what is fitted, least squares has the most of both. Here it is fitted
within prompts, since only differences of rewards for one prompt mean something; that the second
training begins anew, beside the curves, is this package's reading of its last step.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plaudit import console
from plaudit.errors import PlauditError
from plaudit.evaluation.layout import Floats
from plaudit.files import read_json, write_json
from plaudit.model.base_models import quiet
from plaudit.model.freezing import FrozenLayout
from plaudit.settings import Settings
from plaudit.training.checksums import damaged, seal
from plaudit.training.control import sample, some
from plaudit.training.expert import Expert, by_curve, pieces
from plaudit.training.objectives import Prepared
from plaudit.training.processes import processes, say_once, sharded
from plaudit.training.setup import build_trainer, load_base, trained_model
from plaudit.training.trainer import RankingTrainer

Row = dict[str, Any]  # an encoded ranking
SCORED = 1000  # rankings whose rewards the curves are fitted to


def first_stage(
    trainer: RankingTrainer, settings: Settings, start: Prepared, file: Path | None = None
) -> None:
    """With control_method two-stage, train a first model and let the trainer's expert follow it.

    Args:
        trainer: of the second training, on the same rankings.
        settings: of both.
        start: what the loss took from the training data.
        file: keeps the curves, so that a run which is resumed need not train the first model again.

    Raises:
        PlauditError: under FSDP, where the first model's rewards cannot be had.
    """
    expert = trainer.expert
    if settings.control_method != "two-stage" or not isinstance(expert, Expert):
        return
    if sharded():
        raise PlauditError("control_method: two-stage does not go with FSDP; choose LoRA instead")
    if file is not None and file.is_file() and not damaged(file.parent, [file.name]):
        changes = read_json(file)["changes"]
    else:
        say_once("control: a first training, without control, shows what is to be taken out")
        rows = list(some(trainer.train_dataset, SCORED))
        rewards = _first_rewards(trainer, rows, settings, start)
        knots = [row[torch.isfinite(row)].tolist() for row in expert.knots.cpu()]
        changes = fit(rewards, rows, knots)
        if file is not None and processes().is_main_process:
            write_json(file, {"changes": changes})
            seal(file.parent, [file.name])
    expert.follow(changes, sample(trainer.train_dataset))
    say_once(expert.describe())


def _first_rewards(
    trainer: RankingTrainer, rows: Sequence[Row], settings: Settings, start: Prepared
) -> list[list[float]]:
    """What a model trained without control makes of encoded rankings."""
    alone = settings.model_copy(
        update={"control": [], "control_method": "expert", "metric_for_best_model": "last"}
        | {"early_stopping_patience": 0, "report_to": []}
    )
    with tempfile.TemporaryDirectory() as folder, console.within("first training"), quiet():
        model = load_base(alone)
        first = build_trainer(
            model, trainer.train_dataset, None, alone, Path(folder), checkpoints=False, start=start
        )
        try:
            first.train()
            rewards = trained_model(first, model, alone).rewards(rows)
        finally:
            if isinstance(first.layout, FrozenLayout):
                first.layout.close()
    return rewards


def fit(
    rewards: Sequence[Sequence[float]], rows: Sequence[Row], knots: Sequence[Sequence[float]]
) -> list[list[float]]:
    """The curves nearest to rewards within each ranking, by least squares, a ranking counting once.

    Args:
        rewards: R lists of K_i.
        rows: the encoded rankings, with their `nuisances`.
        knots: of each curve.

    Returns:
        The changes at the knots; see `Expert`.
    """
    each = []
    for row, of_ranking in zip(rows, rewards, strict=True):
        table = np.column_stack([pieces(np.array(row["nuisances"]), knots), of_ranking])
        each.append((table - table.mean(0)) * (row["weight"] / len(table)) ** 0.5)
    both: Floats = np.concatenate(each)
    changes = np.linalg.lstsq(both[:, :-1], both[:, -1], rcond=1e-6)[0]
    return by_curve(changes.astype(np.float64), knots)
