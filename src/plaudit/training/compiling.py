"""Whether a run's norms, gates and rotary embeddings are compiled: where it pays for itself.

A run that is resumed does as it began, since compiled kernels round otherwise.
"""

from typing import Any

import torch
from accelerate.utils import broadcast_object_list

from plaudit.errors import PlauditError
from plaudit.model.batches import unique_tokens
from plaudit.model.fused import compiler, fuse, fusible, unfuse
from plaudit.model.precision import work_of
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training.control import some
from plaudit.training.folder import rankings_a_step
from plaudit.training.processes import say_once, sharded
from plaudit.training.trainer import RankingTrainer

# Operations of a run, in its linear layers and of each thread, from which `auto` compiles: some ten
# minutes on the processors measured, of which compiling saves a minute and a half and costs half.
ENOUGH = 10**14
SAMPLE = 256  # rankings that say how many tokens one has


def compiles(
    trainer: RankingTrainer, model: RewardModel, settings: Settings, begun: bool | None = None
) -> bool:
    """Whether this run compiles; `begun`, whether one that is resumed did when it began.

    Raises:
        PlauditError: where `compile` is on, and the run's device, number type or processes are
            others than those for which there is something to win.
    """
    if settings.compile == "off" or begun is False:
        return False
    why_not = None
    if model.device.type != "cpu":
        why_not = f"is for CPUs, and this run is on {model.device}"
    elif model.dtype != torch.bfloat16:
        why_not = "is for bfloat16, and this run computes in float32"
    elif sharded():
        why_not = "does not go with FSDP"
    if begun:
        if why_not:
            say_once(f"compiling: {why_not}; training, which began compiled, goes on without")
        return not why_not
    if settings.compile == "on":
        if why_not:
            raise PlauditError(f"compile: on {why_not}; leave it out")
        return True
    return not why_not and compiler() is not None and _work(trainer, model, settings) >= ENOUGH


def _work(trainer: RankingTrainer, model: RewardModel, settings: Settings) -> float:
    """Operations of this run in its linear layers, about, of each thread of this process."""
    train: Any = trainer.train_dataset
    rows = list(some(train, SAMPLE))
    tokens = sum(map(unique_tokens, rows)) / max(len(rows), 1)
    step = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    share = step / rankings_a_step(settings)  # of this process
    rankings = max(settings.max_steps, 0) * step or len(train) * settings.num_train_epochs * share
    weights = work_of(model.model, model.encoding.kind, flat=False).weights
    return 6 * weights * tokens * rankings / torch.get_num_threads()


def compile_layers(
    trainer: RankingTrainer, model: RewardModel, settings: Settings, begun: bool | None = None
) -> bool:
    """Compile what can be of the model that is trained, where the settings say so, or one that is
    resumed did when it began, `begun`.

    Returns:
        Whether anything is compiled. With `compile: auto` a compiler that fails is told of.

    Raises:
        PlauditError: where `compile` is on, and that cannot be.
    """
    # All processes do what the first one does, which rounds alike.
    (wanted,) = broadcast_object_list([compiles(trainer, model, settings, begun)])
    model_in_training: Any = trainer.model
    unfuse(model_in_training)  # what an earlier run of this process has left
    if not wanted:
        return False
    if not fusible(model_in_training):
        if settings.compile == "on":
            say_once("compile: on changes nothing: there is nothing in this model to compile")
        return False
    say_once("compiling norms and gates: half a minute the first time on a machine")
    try:
        fuse(model_in_training)
    except PlauditError as error:
        if settings.compile == "on" and not begun:
            raise PlauditError(f"compile: {error}; or leave it out") from error
        say_once(f"compiling: {error}; training goes on without")
        return False
    return True
