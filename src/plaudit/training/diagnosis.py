"""Did a training run learn, and if not, why: read off its log when it ends.

`diagnose` takes the rows of `log.jsonl` and a few facts about the run, and returns findings: what
was seen in numbers, the likeliest cause, the setting to change. It finds nothing in a run that
learns, nor in one too short to judge. A loss that is not finite ends a run where it arises
(`FiniteLosses` in `trainer`). The first row of the log is the untrained model's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from plaudit.model.encoding import too_many_equal
from plaudit.results import Finding
from plaudit.settings import Settings

# A claim that nothing was learnt, or holds for others, is made only where the interval of what was
# measured ends below this accuracy: some useful models of people's judgements are no better.
NEXT_TO_NOTHING = 0.6
ENOUGH_PAIRS = 100  # in the later half of training; with fewer nothing is said of its accuracy
AT_CHANCE = 0.55  # a training accuracy up to here is one half
STILL = 0.01  # a head that moved by less than this share of its norm has hardly begun
COLLAPSED = 0.02  # what is left of the rewards' standard deviation, where they have become equal
DIVERGED = 1.3  # times the loss before training


@dataclass(frozen=True)
class Course:
    """What a run's log and its folder tell of it, for `diagnose`.

    `log` has the rows of `log.jsonl`; `head_moved` is the change of the head's weights as a share
    of their norm, None where that is not known; `head_trains` says whether they require gradients,
    `new_head` whether they were drawn anew and not fitted first; `at_first` is the accuracy on the
    test prompts before training, with the upper end of its interval, where it was measured;
    `validation` counts the validation rankings; `truncated` is what `parts.encoded` counts.
    """

    log: Sequence[Mapping[str, Any]]
    settings: Settings
    head_moved: float | None = None
    head_trains: bool = True
    new_head: bool = True
    at_first: tuple[float, float] | None = None
    validation: int = 0
    truncated: Mapping[str, int] | None = None


class Stretch(NamedTuple):
    """The mean over some rows of a log; `pairs` is the number of pairs that they saw."""

    loss: float
    accuracy: float
    spread: float  # of the rewards
    mean: float
    pairs: int
    gradient: float  # the median norm, before clipping


def diagnose(course: Course) -> list[Finding]:
    """What kept a run from learning, or will keep its model from being of use; weightiest first.

    >>> rows = [{"step": n, "loss": 0.7 / n, "accuracy": 0.9, "pairs": 80} for n in range(1, 9)]
    >>> diagnose(Course(rows, Settings.build(data="ranked.csv"), head_moved=0.3))
    []
    """
    rows = [row for row in course.log if "accuracy" in row]
    found = list(_about_data(course))
    if rows:
        first, early, late = (
            _stretch(rows[:1]),
            _stretch(rows[: max(len(rows) // 4, 1)]),
            _stretch(rows[len(rows) // 2 :]),
        )
        learning = next(_about_learning(course, first, early, late), None)
        if learning is not None:
            found.insert(0, learning)
        else:
            found += _about_validation(course, late)
            found += _about_drift(first, late)
    return found


def _about_learning(
    course: Course, first: Stretch, early: Stretch, late: Stretch
) -> Iterator[Finding]:
    """Why the training prompts themselves were not learnt; the first is the cause of the rest."""
    rate = course.settings.learning_rate
    lower = f"learning_rate: {rate / 10:g} instead of {rate:g}"
    higher = f"learning_rate: {rate * 10:g} instead of {rate:g}"
    loss = _loss(late.loss)
    moved = course.head_moved
    still = f"the weights of the head are what they were before training; {loss}"
    if not course.head_trains:
        yield Finding(
            name="head-frozen",
            seen=still,
            cause="the head requires no gradients",
            change="base: take a model whose head is trained; plaudit freezes none",
        )
    if late.pairs < ENOUGH_PAIRS:
        return
    if moved == 0:
        yield Finding(
            name="head-stands-still",
            seen=still,
            cause="its updates are lost to rounding, or no gradient reaches it",
            change=higher,
        )
    chance = math.log(2)  # of equal rewards, under losses that are means over pairs
    # In float32 a standard deviation is not known better than a thousandth of the mean.
    equal = late.spread < max(COLLAPSED * first.spread, 2e-3 * abs(late.mean))
    if equal and late.accuracy < 0.6:
        yield Finding(
            name="rewards-collapsed",
            seen=f"the standard deviation of the rewards fell from {first.spread:.3g} to "
            f"{late.spread:.3g}: all completions get nearly the same reward; {loss}",
            cause="steps too large have destroyed what the base model knew",
            change=lower,
        )
    if late.loss > DIVERGED * max(first.loss, chance):
        yield Finding(
            name="learning-rate-too-high",
            seen=f"the training loss rose from {first.loss:.3f} to {late.loss:.3f}, where equal "
            f"rewards have {chance:.3f}; training accuracy {late.accuracy:.3f}",
            cause="steps too large: each undoes what the one before learnt",
            change=lower,
        )
    unlearnt = late.accuracy < AT_CHANCE and late.loss > 0.9 * min(first.loss, chance)
    if unlearnt and late.gradient > 1e3 * max(early.gradient, 1.0):
        yield Finding(
            name="gradients-explode",
            seen=f"the norm of the gradient went from {early.gradient:.3g} to {late.gradient:.3g}; "
            f"{loss}",
            cause="steps too large, or extreme margins or weights in the data",
            change=f"{lower}, and max_grad_norm 1" if not course.settings.max_grad_norm else lower,
        )
    if unlearnt and late.gradient < 1e-5:
        begun = early.gradient > 1e-3
        yield Finding(
            name="gradients-vanish",
            seen=f"the norm of the gradient went from {early.gradient:.1g} to {late.gradient:.1g}; "
            f"{loss}",
            cause="steps too large have driven the model to where nothing moves it"
            if begun
            else "nothing that is trained has a part in the differences between rewards",
            change=lower if begun else "pooling, or fewer freeze_layers",
        )
    gained = late.accuracy - early.accuracy
    if moved is not None and moved < STILL and course.new_head and gained < 0.05:
        yield Finding(
            name="learning-rate-too-low",
            seen=f"training moved the weights of the head by {moved:.2%}, accuracy from "
            f"{early.accuracy:.3f} to {late.accuracy:.3f}; {loss}",
            cause="steps too small, or too few of them",
            change=f"{higher}, or more num_train_epochs",
        )
    if unlearnt and late.accuracy + late.pairs**-0.5 < NEXT_TO_NOTHING:
        yield Finding(
            name="nothing-learnt",
            seen=f"{loss}, over the {late.pairs:,} pairs of the later half of training",
            cause="the weights move, but the order of the completions shows nothing that they can "
            "hold on to: labels without a pattern, or texts that lost it",
            change="see with plaudit train --check whether the set-up can learn; then read some "
            "rows (plaudit inspect), and try a learning_rate higher and lower",
        )


def _about_validation(course: Course, late: Stretch) -> Iterator[Finding]:
    """What was learnt of the training prompts, held against other prompts."""
    measured = [row for row in course.log if "eval_pairwise_accuracy" in row]
    if course.at_first and not course.new_head and course.at_first[1] < 0.5:
        yield Finding(
            name="labels-turned-round",
            seen=f"the model that training began from gets {course.at_first[0]:.3f} of the test "
            "pairs right, less than chance",
            cause="these labels say the opposite of what it was trained on",
            change="see that the lowest rank is the best one; otherwise read the column as a "
            "rating: columns rating=NAME",
        )
    if not measured or not course.validation or late.pairs < ENOUGH_PAIRS or late.accuracy < 0.6:
        return
    accuracy = float(measured[-1]["eval_pairwise_accuracy"])
    losses = [float(row["eval_log_loss"]) for row in measured]
    # Two standard errors of a half, over rankings: the pairs of one go the same way.
    error = course.validation**-0.5
    seen = (
        f"training accuracy {late.accuracy:.3f}, validation accuracy {accuracy:.3f} (at the last "
        f"step, {course.validation:,} rankings)"
    )
    if accuracy + error < 0.5:
        yield Finding(
            name="labels-turned-round",
            seen=seen,
            cause="training and validation rank the other way round: one of them has its labels "
            "turned",
            change="validation_data and data must agree on what is better: the lowest rank, or "
            "with columns rating=NAME the highest number",
        )
    elif accuracy + error < min(NEXT_TO_NOTHING, late.accuracy):
        yield Finding(
            name="nothing-carries-over",
            seen=seen,
            cause="next to nothing of what was learnt of the training prompts holds for others: "
            "labels that are shuffled or nearly so, or too few of them",
            change="the data: see that each rank stands with its own completion "
            "(plaudit inspect --mislabelled)",
        )
    elif late.accuracy - accuracy > max(0.2, error) and losses[-1] > 1.25 * min(losses):
        best = measured[losses.index(min(losses))]["step"]
        yield Finding(
            name="learnt-by-heart",
            seen=f"{seen}; validation log loss rose from {min(losses):.3f} at step {best:,} to "
            f"{losses[-1]:.3f}",
            cause="more passes than these data carry",
            change="fewer num_train_epochs, or early_stopping_patience 3",
        )


def _about_drift(first: Stretch, late: Stretch) -> Iterator[Finding]:
    away = abs(late.mean - first.mean)
    if late.pairs >= ENOUGH_PAIRS and away > max(10 * late.spread, 5.0):
        yield Finding(
            name="rewards-drift",
            seen=f"the mean reward went from {first.mean:.3g} to {late.mean:.3g}, with a standard "
            f"deviation of {late.spread:.3g}",
            cause="a loss of differences leaves the mean free",
            change="center_rewards_coefficient 0.01",
        )


def _about_data(course: Course) -> Iterator[Finding]:
    counts = course.truncated or {}
    pairs, equal = counts.get("pairs", 0), counts.get("equal_pairs", 0)
    if too_many_equal(counts):
        cut = counts.get("completion_cut", 0)
        yield Finding(
            name="pairs-equal",
            seen=f"in {equal:,} of {pairs:,} pairs both completions are the same tokens"
            + (f"; {cut:,} completions are cut" if cut else ""),
            cause="truncation takes away what they differ in"
            if cut
            else "they are the same text, or differ in what the tokenizer does not see",
            change="a larger max_length" if cut else "drop these rows, or take another base",
        )


def in_words(finding: Finding) -> str:
    """A finding in one line.

    >>> in_words({"name": "n", "seen": "the loss rose", "cause": "large steps", "change": "x 1"})
    'the loss rose. Likely cause: large steps. Change: x 1'
    """
    return f"{finding['seen']}. Likely cause: {finding['cause']}. Change: {finding['change']}"


def _loss(loss: float) -> str:
    """The loss in words, with ln 2 where it stays there."""
    by = " (ln 2, that of equal rewards)" if abs(loss - math.log(2)) < 0.01 else ""
    return f"training loss {loss:.3f}{by}"


def _stretch(rows: Sequence[Mapping[str, Any]]) -> Stretch:
    def mean(name: str) -> float:
        values = [float(row[name]) for row in rows if row.get(name) is not None]
        return sum(values) / len(values) if values else math.nan

    # A norm that overflowed is None in the log.
    norms = sorted(math.inf if row["grad_norm"] is None else row["grad_norm"]
                   for row in rows if "grad_norm" in row)  # fmt: skip
    return Stretch(
        loss=mean("loss"),
        accuracy=mean("accuracy"),
        spread=mean("reward_std"),
        mean=mean("reward_mean"),
        pairs=sum(row.get("pairs", 0) for row in rows),
        gradient=norms[len(norms) // 2] if norms else math.nan,
    )


class Head:
    """The trained weights outside a model's backbone, as they are before training.

    `trains` says whether any requires gradients. Under peft the head is there twice, of which the
    copy that is trained counts.

    >>> from plaudit import RewardModel
    >>> model = RewardModel.load("runs/first").model
    >>> Head(model).moved(model)
    0.0
    """

    def __init__(self, model: Any) -> None:
        self.weights = {
            name: weight.detach().cpu().clone() for name, weight in _trained_head(model).items()
        }
        self.trains = bool(self.weights)

    def moved(self, model: Any) -> float | None:
        """‖after − before‖ / ‖before‖, `model` being what training left; None without a head."""
        after = _trained_head(model)
        size = math.hypot(*(float(weight.norm()) for weight in self.weights.values()))
        if not size or after.keys() != self.weights.keys():
            return None
        changes = (
            after[name].detach().cpu()[: len(weight)] - weight  # without rows for training alone
            for name, weight in self.weights.items()
        )
        return math.hypot(*(float(change.norm()) for change in changes)) / size


def _trained_head(model: Any) -> dict[str, Tensor]:
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    return {
        f"{name}.{weight}": parameter
        for name, module in inner.named_children()
        if name != inner.base_model_prefix
        for weight, parameter in module.named_parameters()
        if parameter.requires_grad
    }
