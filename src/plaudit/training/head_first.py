"""A new head fitted to the base model as it is, before the whole model is trained.

Through a head that was just drawn, the first steps of training change what the base model knows at
random. Fitted first, the head asks of it only what is missing: Kumar et al. 2022, "Fine-tuning can
distort pretrained features and underperform out-of-distribution" (arXiv 2202.10054). The base model
runs once over a bounded number of rankings, and what it gives is kept; the passes over that are
cheap. Assumes a new head: one that was trained already is left as it is.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
from safetensors.torch import load_file, save_file
from torch import Tensor

from plaudit.errors import PlauditError
from plaudit.files import writing_folder
from plaudit.model.base_models import quiet
from plaudit.model.freezing import FrozenLayout
from plaudit.model.poolings import POOLINGS
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training.checksums import damaged, seal
from plaudit.training.control import some
from plaudit.training.objectives import OBJECTIVES, Prepared
from plaudit.training.processes import say_once, sharded
from plaudit.training.setup import build_trainer, run_frozen_layers

KEPT = "head"  # the folder in a run's checkpoints
HEAD = "head.safetensors"
AT_MOST = 2000  # rankings: a head has few weights, and more of them change it little


def wanted(model: RewardModel, settings: Settings) -> bool:
    """Whether the settings ask for it, and there is a new head beside what else is trained."""
    return bool(settings.head_epochs) and model.new_head and settings.freeze_layers != -1


def fit_head(
    model: RewardModel, rows: Any, settings: Settings, start: Prepared
) -> dict[str, Tensor] | None:
    """Fit the head of a base model, in place, where the settings ask for it and it is new.

    Args:
        model: what training will begin from.
        rows: its encoded training rankings.
        settings: of the run; its loss and control, with the learning rate of a head alone.
        start: what the loss took from the training data.

    Returns the weights that were fitted, by name; None where nothing was done.
    """
    if not wanted(model, settings):
        return None
    if OBJECTIVES.get(settings.loss).mix is not None:
        _not_fitted(f"{settings.loss} trains several in its place", settings)
        return None
    if sharded():
        _not_fitted("that does not go with FSDP", settings)
        return None
    alone = _alone(settings, model.pooling)
    few = datasets.Dataset.from_list(list(some(rows, AT_MOST)))
    with TemporaryDirectory() as folder:
        try:
            trainer = build_trainer(
                model, few, None, alone, Path(folder), checkpoints=False, start=start, log=False
            )
        except PlauditError as error:
            if not str(error).startswith("freeze_layers"):
                raise
            _not_fitted(str(error), settings)
            return None
        say_once(
            f"first the head alone: {settings.head_epochs:g} times over {len(few):,} rankings, on "
            "what the base model gives as it is"
        )
        if trainer.expert is not None:
            say_once(trainer.expert.describe())
        frozen = run_frozen_layers(trainer, alone)
        with quiet():
            trainer.train()
    assert isinstance(frozen, FrozenLayout)
    trained = model.model.named_parameters()
    fitted = {name: p.detach().cpu().clone() for name, p in trained if p.requires_grad}
    # In bfloat16 accelerate puts a forward of its own on the model, round that of frozen layers. A
    # model that it takes for prepared gets no other one: all of it would be trained in float32.
    for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
        vars(model.model).pop(name, None)
    frozen.release()
    say_once("now all of the model, from there")
    return fitted


def _not_fitted(reason: str, settings: Settings) -> None:
    """Say that a head begins at random, for which the rate of one that fits is low."""
    given = settings.model_fields_set & {"learning_rate", "num_train_epochs"}
    advice = "" if given else "; --head-epochs 0 takes the rate and the epochs that suit that"
    say_once(f"the head is not fitted first: {reason}{advice}")


def keep_head(fitted: dict[str, Tensor], folder: Path) -> None:
    """Keep a fitted head beside a run's checkpoints: LoRA's have no part of it that lies within the
    base model, as BERT's pooler does."""
    with writing_folder(folder / KEPT) as kept:
        save_file(fitted, kept / HEAD)
        seal(kept)


def kept_head(model: RewardModel, folder: Path) -> dict[str, Tensor] | None:
    """Put a head that `keep_head` kept back into the model, and return it; None where none is, or
    it is damaged, which is said."""
    file = folder / KEPT / HEAD
    if not file.is_file():
        return None
    if damaged(file.parent):
        say_once(f"{file}: is damaged; the head is fitted anew")
        return None
    fitted = load_file(file)
    with_head(model, fitted)
    return fitted


def was_kept(folder: Path) -> bool:
    """Whether `keep_head` kept a head, in whatever state it is now."""
    return (folder / KEPT).exists()


def with_head(model: RewardModel, fitted: dict[str, Tensor]) -> RewardModel:
    """A base model, with a head that was fitted to it."""
    model.model.load_state_dict(fitted, strict=False)
    model.new_head = False
    return model


def _alone(settings: Settings, pooling: str) -> Settings:
    """The settings of a run, for its head alone."""
    rate = Settings.build(data="unused", freeze_layers=-1, pooling=pooling).learning_rate
    return settings.model_copy(
        update={
            "freeze_layers": -1,
            "lora_r": 0,
            "control_method": "expert",  # which needs no more of a head than its reward
            "sft_coefficient": 0.0,
            "num_train_epochs": settings.head_epochs,
            "max_steps": -1,
            # A head with layers of its own is no linear one, which steps of any size suit.
            "learning_rate": 1e-3 if POOLINGS.get(pooling).own_head else rate,
            "gradient_checkpointing": False,
            "early_stopping_patience": 0,
            "metric_for_best_model": "last",
            "report_to": [],
        }
    )
