"""How long a training will take on this machine, by timing a few rankings before it begins.

A few training rankings of about the mean size go through the base model, for a few seconds, and
what the whole run has to do is multiplied by that. Assumes that time grows with tokens, as it does
until attention outweighs all else; what is told is a range. The report, plots and what is fetched
are not in it.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from plaudit.console import counted, duration
from plaudit.evaluation.rewrites import REWRITES
from plaudit.model.batches import model_inputs
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training import head_first
from plaudit.training.control import some
from plaudit.training.processes import processes
from plaudit.training.setup import pass_tokens

SAMPLE = 200  # rankings whose mean size is taken
SECONDS = 3.0  # that are spent on each timing, where one ranking does not take longer
# Forward passes that a step costs: with the backward pass two where few weights are trained, else
# three, and the optimiser more.
STEP = (2.0, 4.0)
SLACK = (0.8, 1.4)  # of what was timed itself: other texts, a warmer machine, other programs

Encoded = list[dict[str, Any]]
Range = tuple[float, float]


class Work(NamedTuple):
    """What a run has to do: `steps` of so many rankings each in one process, rankings that go
    through the base model `once` before, and those that are `measured`, counted as often."""

    steps: int
    each: int
    once: int
    measured: int


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


def work_of(model: RewardModel, chosen: Settings, train: int, validation: int, test: int) -> Work:
    """What a run does with so many rankings, of a stream 0; early stopping may make it less."""
    each = chosen.per_device_train_batch_size * chosen.gradient_accumulation_steps
    steps = chosen.max_steps
    if steps < 0:
        steps = math.ceil(chosen.num_train_epochs * train / (each * processes().num_processes))
    validations = steps // chosen.save_steps + 1 if validation else 0
    stress = min(chosen.stress, test) * sum(1 for _ in REWRITES.each())
    train = train or steps * each  # of a stream the steps are known
    once = train if chosen.freeze_layers else 0
    if head_first.wanted(model, chosen):
        once += min(train, head_first.AT_MOST)
    return Work(steps, each, once, (validations + 1) * validation + 2 * test + stress)


def expected(
    work: Work, forward: float, step: float | None = None, chosen: Settings | None = None
) -> Expected:
    """The seconds that work takes.

    Args:
        work: of a run.
        forward: seconds that a ranking takes through the model.
        step: seconds of one step, where it was timed itself.
        chosen: the settings; where layers are frozen, a step may cost next to nothing.
    """
    low, high = SLACK if step is not None else STEP
    one = step if step is not None else forward * work.each
    if chosen is not None and chosen.freeze_layers:
        low, high = 0.0, (0.0 if chosen.freeze_layers == -1 else high)
    once = [slack * forward * work.once for slack in SLACK]
    measuring = [slack * forward * work.measured for slack in SLACK]
    return Expected(
        work,
        (low * one * work.steps + once[0], high * one * work.steps + once[1]),
        (measuring[0], measuring[1]),
    )


def forward_seconds(model: RewardModel, rows: Any, chosen: Settings) -> float:
    """How long a ranking of mean size takes through a model; nothing of it changes."""

    def forward(batch: Any) -> None:
        with torch.no_grad():
            model.model(**model_inputs(batch, model.device)).logits.sum().item()

    was = model.model.training
    model.model.eval()
    try:
        return _seconds_each(
            rows,
            model.layout.divide,
            forward,
            chosen.per_device_train_batch_size,
            pass_tokens(chosen),
        )
    finally:
        model.model.train(was)


def step_seconds(trainer: Any, rows: Any, each: int, chosen: Settings) -> float:
    """How long a step of `each` rankings takes in a trainer: this changes its model."""

    def both(batch: Any) -> None:
        inner.train()
        loss = inner(**model_inputs(batch, trainer.args.device)).logits.float().mean()
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
    """Seconds for a ranking of mean size: of one, and of several if that is soon done."""
    few = list(some(rows, SAMPLE))
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
        places = (order * at_once)[: max(1, min(at_once, int(SECONDS / max(took, 1e-6))))]
        took = seconds(places)
    return took * mean / sum(sizes[i] for i in places)


def _between(seconds: Range) -> str:
    low, high = (duration(end) for end in seconds)
    return f"about {low}" if low == high else f"{low} to {high}"
