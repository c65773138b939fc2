"""How long a training will take on this machine, by timing a few rankings before it begins.

A few training rankings of about the mean size go through the base model, for a few seconds, and
what the whole run has to do is multiplied by that. Assumes that time grows with tokens, as it does
until attention outweighs all else; what is told is a range. Of frozen layers it counts what they
have not given yet: their features are kept, of what is measured too. The report, plots and what is
fetched are not in it.
"""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from plaudit.console import counted, duration
from plaudit.errors import PlauditError
from plaudit.evaluation.rewrites import REWRITES
from plaudit.model.batches import model_inputs
from plaudit.model.freezing import freeze
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training import head_first
from plaudit.training.control import some
from plaudit.training.parts import Parts
from plaudit.training.processes import processes
from plaudit.training.setup import pass_tokens

SAMPLE = 200  # rankings whose mean size is taken
SECONDS = 3.0  # that are spent on each timing, where one ranking does not take longer
# Forward passes that a step costs: with the backward pass two where few weights are trained, else
# three, and the optimiser more.
STEP = (2.0, 4.0)
SLACK = (0.6, 1.4)  # of what was timed itself: other texts, a warmer machine, other programs
HEAD_STEP = (0.002, 0.04)  # seconds of a step that takes kept vectors to rewards, and no more
AT_ONCE = 32  # rankings of a pass without gradients, where those are soon done

Encoded = list[dict[str, Any]]
Range = tuple[float, float]


class Kept(NamedTuple):
    """Which shares of the rankings have what frozen layers give of them kept already."""

    train: float = 0.0
    validation: float = 0.0
    test: float = 0.0


class Work(NamedTuple):
    """What a run has to do: `steps` of `each` rankings in one process, of whose layers the share
    `trained` runs; `heads` steps more of a head alone; and as many rankings as would go through the
    whole base model, `once` before training, and as they are `measured`, at least and at most."""

    steps: int
    each: int
    once: float
    measured: Range
    heads: int = 0
    trained: float = 1.0


class Expected(NamedTuple):
    """How many seconds steps and measuring will take, from and to."""

    work: Work
    training: Range
    measuring: Range

    def __str__(self) -> str:
        steps = f"{counted(self.work.steps, 'step')} of {counted(self.work.each, 'ranking')}"
        also = " and what comes before them" if self.work.once else ""
        return (
            f"{_between(self.training)} on this machine for {steps}{also}, and "
            f"{_between(self.measuring)} to validate, measure and stress-test; the report comes on "
            "top"
        )


def keeps_features(chosen: Settings) -> bool:
    """Whether what frozen layers give in one run is kept for others."""
    return bool(chosen.freeze_layers and chosen.features_cache_gb)


def kept_of(model: RewardModel, chosen: Settings, train: Any, validation: Any, test: Any) -> Kept:
    """What is in the features cache already, by a sample of encoded rankings of each part."""
    layers = chosen.freeze_layers or (-1 if head_first.wanted(model, chosen) else 0)
    if not (layers and chosen.features_cache_gb):
        return Kept()
    try:
        frozen = freeze(model, layers)
    except PlauditError:  # which training will say, or do without
        return Kept()
    try:
        parts = [_sample(rows) for rows in (train, validation, test)]
        shares = frozen.shares_kept(chosen.features_cache, chosen.features_cache_gb, parts)
    finally:
        frozen.release()
    return Kept(*shares)


def work_of(
    model: RewardModel,
    chosen: Settings,
    train: int,
    validation: int,
    test: int,
    kept: Kept = Kept(),  # noqa: B008  it is a tuple
    completions: float = 2.0,
) -> Work:
    """What a run does with so many rankings of so many completions, of a stream 0; early stopping
    may make it less."""
    each = chosen.per_device_train_batch_size * chosen.gradient_accumulation_steps
    here = processes().num_processes
    steps = chosen.max_steps
    if steps < 0:
        of_an_epoch = math.ceil(train / (each * here))  # the last of an epoch may be smaller
        steps = math.ceil(chosen.num_train_epochs * of_an_epoch)
    fits = head_first.wanted(model, chosen)
    validations = steps // chosen.save_steps + 1 + fits if validation else 0
    # A rewritten ranking is a pair of it.
    rewrites = sum(1 for _ in REWRITES.each())
    stress = min(chosen.stress, test) * rewrites * min(2 / completions, 1.0)
    train = train or steps * each  # of a stream the steps are known
    frozen = 0.0
    if layers := chosen.freeze_layers:
        count = model.model.config.get_text_config().num_hidden_layers
        frozen = 1.0 if layers == -1 else min(layers / count, 1.0)
    passes = float((validations + 1) * validation + 2 * test)
    once, heads, new = 0.0, 0, 1.0
    if frozen and chosen.features_cache_gb:
        once = frozen * (train * (1 - kept.train) + validation * (1 - kept.validation))
        passes = (1 - frozen) * passes + frozen * test * (1 - kept.test)
        new = 1 - frozen * kept.test  # of the rewritten ones: a run before made the same, or not
    elif frozen:  # nothing is kept: each step runs them anew
        once = frozen * steps * each * here
    if fits:
        few = min(train, head_first.AT_MOST)
        once += few * (1 - kept.train)
        heads = math.ceil(chosen.head_epochs * few / each)
    heads += steps if frozen == 1 else 0
    return Work(steps, each, once, (passes + new * stress, passes + stress), heads, 1 - frozen)


def work_at_hand(
    model: RewardModel, chosen: Settings, train_set: Any, parts: Parts, count: int
) -> Work:
    """`work_of` so many training rankings, some of them encoded, with what is kept of all parts as
    it is before training."""
    held = [
        [row for row in model.encoding.encode_each(part[:SAMPLE]) if isinstance(row, dict)]
        for part in (parts.validation, parts.test)
    ]
    kept = kept_of(model, chosen, train_set if count else [], *held)
    sizes = [len(row["input_ids"]) for rows in held for row in rows]
    return work_of(
        model, chosen, count, len(parts.validation), len(parts.test), kept,
        sum(sizes) / len(sizes) if sizes else 2.0,
    )  # fmt: skip


def expected(work: Work, forward: float, step: float | None = None) -> Expected:
    """The seconds that work takes.

    Args:
        work: of a run.
        forward: seconds that a ranking takes through the model.
        step: seconds of one step of layers that train, where it was timed itself.
    """
    rough = STEP if step is None else SLACK
    one = work.trained * forward * work.each if step is None else step
    training, measuring = (
        tuple(slack * forward * count for slack, count in zip(SLACK, counts, strict=True))
        for counts in ((work.once, work.once), work.measured)
    )
    steps = [
        times * one * work.steps + head * work.heads
        for times, head in zip(rough, HEAD_STEP, strict=True)
    ]
    return Expected(
        work, (steps[0] + training[0], steps[1] + training[1]), (measuring[0], measuring[1])
    )


def forward_seconds(model: RewardModel, rows: Any, chosen: Settings) -> float:
    """How long a ranking of mean size takes through a model; nothing of it changes."""

    def forward(batch: Any) -> None:
        with torch.no_grad(), model.autocast():
            model.model(**model_inputs(batch, model.device)).logits.sum().item()

    was = model.model.training
    model.model.eval()
    try:
        return _seconds_each(rows, model.layout.divide, forward, AT_ONCE, pass_tokens(chosen))
    finally:
        model.model.train(was)


def step_seconds(trainer: Any, rows: Any, each: int, chosen: Settings) -> float:
    """How long a step of `each` rankings takes in a trainer: this changes its model."""

    def both(batch: Any) -> None:
        inner.train()
        device = trainer.args.device
        # accelerate's own is put on by `train` alone.
        with torch.autocast(device.type, torch.bfloat16, enabled=trainer.args.bf16):
            loss = inner(**model_inputs(batch, device)).logits.float().mean()
        loss.backward()
        loss.item()

    inner = trainer.model
    at_once = chosen.per_device_train_batch_size
    ranking = _seconds_each(rows, trainer.layout.divide, both, at_once, pass_tokens(chosen))
    optimiser = 0.0
    for _ in range(2):  # the first makes its state
        started = time.monotonic()
        trainer.optimizer.step()
        inner.zero_grad(set_to_none=False)
        optimiser = time.monotonic() - started
    return ranking * each + optimiser


def _seconds_each(
    rows: Any,
    divide: Callable[..., Any],
    run: Callable[[Any], None],
    at_once: int,
    max_tokens: int,
) -> float:
    """Seconds for a ranking of mean size: of one, and of several if that is soon done and there is
    memory for them; without memory for one it raises `torch.OutOfMemoryError`."""
    few = _sample(rows)
    sizes = [sum(map(len, row["input_ids"])) for row in few]
    mean = sum(sizes) / len(sizes)
    order = sorted(range(len(few)), key=lambda i: abs(sizes[i] - mean))

    def seconds(places: Sequence[int]) -> float:
        started = time.monotonic()
        for batch in divide([few[i] for i in places], max_tokens):
            run(batch)
        return time.monotonic() - started

    places = order[:1]
    took = seconds(places)
    if took < SECONDS:
        took = seconds(places)  # without what only the first one waits for
        several = (order * at_once)[: max(1, min(at_once, int(SECONDS / max(took, 1e-6))))]
        with contextlib.suppress(torch.OutOfMemoryError):  # a training takes fewer then
            took, places = seconds(several), several
    return took * mean / sum(sizes[i] for i in places)


def _sample(rows: Any) -> Encoded:
    return rows[:SAMPLE] if isinstance(rows, list) else list(some(rows, SAMPLE))


def _between(seconds: Range) -> str:
    low, high = (duration(end) for end in seconds)
    if low == duration(0):
        return f"up to {high}"
    return f"about {low}" if low == high else f"{low} to {high}"
