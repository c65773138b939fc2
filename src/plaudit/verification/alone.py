"""The model against itself: whether a reward depends on anything but its own row.

Each check takes the model and the rows and returns what it saw. Those that fail say that a reward
cannot be relied on; those with `passed` None tell what to know when it is served elsewhere.
"""

import math
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from plaudit.data.rankings import Text
from plaudit.errors import PlauditError
from plaudit.model.batches import Padded, model_inputs
from plaudit.model.engines._network import EngineNetwork
from plaudit.model.reward_model import RewardModel
from plaudit.verification.rows import Row

# Of the spread of rewards, in float32: other batches are other orders of summation.
ROUNDING = 1e-4
# Of the size of a reward: what float32 loses in sums of its products.
NOISE = 4e-6
# A share of pairs that bfloat16 may turn round before it is worth a word.
TURNED = 0.01
# Weights beyond which no second copy of a model is written to disk.
LARGE = 2 * 10**9
SOME = 16  # rows, where each is a batch of its own


@dataclass(frozen=True)
class Check:
    """What a check saw. `passed` is None where it only tells; `measured` is in units of reward."""

    name: str
    passed: bool | None
    seen: str
    measured: float | None = None


def check_alone(model: RewardModel, rows: Sequence[Row]) -> Iterator[Check]:
    """All checks of the model alone, one after another.

    Of a model whose rewards are no numbers that is the first one.
    """
    here = score_rows(model, rows)
    subject = Subject(model, rows, here, Scale.of(here))
    for check in CHECKS:
        if (found := check(subject)) is not None:
            yield found
            if found.name == "rewards" and found.measured is None and not found.passed:
                return


def score_rows(model: RewardModel, rows: Sequence[Row]) -> list[float]:
    """The rewards of rows, each prompt with its completions together."""
    prompts: dict[int, tuple[Text, list[Text]]] = {}
    for row in rows:
        prompts.setdefault(row.prompt_number, (row.prompt, []))[1].append(row.completion)
    encoded = model.encode(list(prompts.values()))
    return [reward for of in model.rewards(encoded) for reward in of]


@dataclass(frozen=True)
class Scale:
    """What a difference between rewards is measured by: the `spread` of a model's rewards, their
    standard deviation, and the `noise` that float32 has at their size."""

    spread: float
    noise: float

    @classmethod
    def of(cls, rewards: Sequence[float]) -> "Scale":
        """The scale of some rewards.

        >>> Scale.of([1.0, 3.0])
        Scale(spread=1.0, noise=1.2e-05)
        """
        each = np.array(rewards, dtype=float)
        return cls(float(each.std()) or 1.0, NOISE * float(np.abs(each).max(initial=0.0)))

    def same(
        self, here: Sequence[float], there: Sequence[float], tolerance: float
    ) -> NDArray[np.bool_]:
        """Which rewards are apart by no more than a share of the spread, and noise."""
        return differences(here, there) <= tolerance * self.spread + self.noise


@dataclass(frozen=True)
class Subject:
    """A model to be checked, and its rewards of the rows."""

    model: RewardModel
    rows: Sequence[Row]
    here: Sequence[float]
    scale: Scale


def differences(here: Sequence[float], there: Sequence[float]) -> NDArray[np.float64]:
    """How far rewards are apart; infinite for what is no number.

    >>> differences([1.0, 2.0], [1.0, float("nan")]).tolist()
    [0.0, inf]
    """
    each = np.abs(np.array(here, dtype=float) - np.array(there, dtype=float))
    return np.nan_to_num(each, nan=math.inf, posinf=math.inf)


def _head(of: Subject) -> Check:
    if not all(map(math.isfinite, of.here)):
        return Check("rewards", False, "some reward is not a finite number")
    if of.model.new_head:
        return Check("rewards", False, "the head was never trained: rewards are random", 0.0)
    low, high = min(of.here), max(of.here)
    if high - low <= 100 * NOISE * max(abs(low), abs(high)):
        return Check("rewards", False, f"all rewards are about {low:.6g}", high - low)
    return Check("rewards", True, f"from {low:.4g} to {high:.4g}", high - low)


def _batch(of: Subject) -> Check:
    some = of.rows[:: max(len(of.rows) // SOME, 1)]
    alone = [score_rows(of.model, [row])[0] for row in some]
    together = [of.here[row.number] for row in some]
    return _small("batch", together, alone, "a row alone and among others", of.scale)


def _order(of: Subject) -> Check:
    order = list(range(len(of.rows)))
    random.Random(0).shuffle(order)
    mixed = [replace(of.rows[place], prompt_number=n) for n, place in enumerate(order)]
    there, here = score_rows(of.model, mixed), [of.here[place] for place in order]
    return _small("order", here, there, "the rows in order and mixed", of.scale)


def _layout(of: Subject) -> Check | None:
    if isinstance(of.model.layout, Padded):
        return None
    with padded(of.model):
        there = score_rows(of.model, of.rows)
    return _small("layout", of.here, there, "tokens laid flat and padded on the right", of.scale)


def _duplicates(of: Subject) -> Check:
    with of.model.remembering():  # as a stream and the service do
        first = score_rows(of.model, of.rows)
        again = [score_rows(of.model, [row])[0] for row in of.rows[::-1]][::-1]
    differ = sum(a != b for a, b in zip(first, again, strict=True))
    seen = "rows that come back have equal rewards to the last bit"
    if differ:
        seen = f"of {len(of.rows)} rows that come back {differ} have two rewards"
    return Check("duplicates", not differ, seen)


def _empty(of: Subject) -> Check:
    cases = {
        "an empty completion": ("What is a bond?", ""),
        "white space": ("What is a bond?", "  \n"),
        "an empty prompt": ("", "A loan."),
    }
    told = []
    for what, (prompt, completion) in cases.items():
        try:
            reward = of.model.score(prompt, completion)
        except PlauditError:
            told.append(f"{what} is refused")
            continue
        if not math.isfinite(reward):
            return Check("empty", False, f"the reward of {what} is not a finite number")
        told.append(f"{what} has {reward:.4g}")
    return Check("empty", True, ", ".join(told))


def _length(of: Subject) -> Check:
    """A row of twice as many words as tokens are read."""
    model, rows = of.model, of.rows
    limit = min(model.max_length, 4096)
    shorter = replace(model, encoding=replace(model.encoding, max_length=limit), truncation={})
    words = "yes " * (2 * limit)
    full = shorter.encode([("Go on.", [words])])[0]
    size = len(full["input_ids"][0])
    reward = shorter.rewards([full])[0][0]
    counted = shorter.truncation.get("truncated", 0)
    if size > limit or not counted or not math.isfinite(reward):
        return Check("length", False, f"a row of {2 * limit} words is read as {size} tokens of "
                     f"{limit}, and {'not ' if not counted else ''}counted as cut")  # fmt: skip
    cut = sum(
        bool(each["prompt_cut"][0] or each["completion_cut"][0])
        for each in model.encode([(row.prompt, [row.completion]) for row in rows])
    )
    model.truncation.clear()
    seen = f"at most {model.max_length:,} tokens are read, what is cut is counted"
    if cut:
        seen += f"; {cut} of these {len(rows)} rows are cut"
    return Check("length", True, seen)


def _beginning(of: Subject) -> Check | None:
    """The special token that a row begins with stands there once."""
    model, rows = of.model, of.rows
    bos = model.encoding.tokenizer.bos_token_id
    if bos is None or model.encoding.kind == "encoder":
        return None
    ids = [
        each["input_ids"][0]
        for each in model.encode([(row.prompt, [row.completion]) for row in rows])
    ]
    model.truncation.clear()
    twice = sum(row[:2] == [bos, bos] for row in ids)
    once = sum(row[:1] == [bos] for row in ids)
    word = model.encoding.tokenizer.bos_token
    if twice:
        return Check("beginning", False, f"{twice} rows begin with {word} twice")
    return Check("beginning", True, f"{once} of {len(ids)} rows begin with {word}, none twice")


def _left(of: Subject) -> Check | None:
    """What the model's own class gives for rows that are padded on the left, as some servers do."""
    model, rows = of.model, of.rows
    if model.own_code:  # which is run on rows padded on the right alone
        return None
    encoded = model.encode([(row.prompt, [row.completion]) for row in rows[:SOME]])
    model.truncation.clear()
    with padded(model):
        right = [each[0] for each in model.rewards(encoded)]
        pad = model.encoding.pad_token_id
        ids = [torch.tensor(each["input_ids"][0]) for each in encoded]
        longest = max(map(len, ids))
        batch = {
            "input_ids": torch.stack([_on_the_left(row, longest, pad) for row in ids]),
            "attention_mask": torch.stack(
                [_on_the_left(torch.ones_like(row), longest, 0) for row in ids]
            ),
        }
        if "token_type_ids" in encoded[0]:
            types = [torch.tensor(each["token_type_ids"][0]) for each in encoded]
            batch["token_type_ids"] = torch.stack([_on_the_left(t, longest, 0) for t in types])
        with torch.no_grad():
            left = model.model(**model_inputs(batch, model.device)).logits[:, 0].float()
    here = [raw(model, reward) for reward in right]
    difference = float(differences(here, left.tolist()).max())
    if Scale.of(here).same(here, left.tolist(), ROUNDING).all():
        return Check("padding side", True, "left and right give the same rewards", difference)
    return Check(
        "padding side", None,
        f"padded on the left, rewards differ by up to {difference:.2g}: whatever serves this model "
        "must pad on the right", difference,
    )  # fmt: skip


def _dtype(of: Subject) -> Check | None:
    model, rows = of.model, of.rows
    if model.dtype != torch.float32 or isinstance(model.model, EngineNetwork):
        return None
    low = score_rows(replace(model, dtype=torch.bfloat16), rows)
    pairs, turned = turned_pairs(rows, of.here, low, 0.0)
    difference = float(differences(of.here, low).max())
    seen = (
        f"in bfloat16 rewards differ by up to {difference:.2g}, and {len(turned)} of {pairs} pairs "
        "change places"
    )
    return Check("dtype", None if len(turned) > TURNED * pairs else True, seen, difference)


def _saved(of: Subject) -> Check | None:
    model, rows = of.model, of.rows
    if model.own_code:  # such a model is not saved
        return None
    if (size := sum(weight.numel() for weight in model.model.parameters())) > LARGE:
        return Check("saved", None, f"not tried, of a model of {size / 1e9:.1f} billion weights")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        model.save(place)
        again = RewardModel.load(place, dtype="float32", device=str(model.device))
        there = score_rows(again, rows)
    return _small("saved", of.here, there, "the model here and saved and loaded again", of.scale)


CHECKS: tuple[Callable[[Subject], Check | None], ...] = (
    _head, _batch, _order, _layout, _duplicates, _empty, _length, _beginning, _left, _dtype, _saved,
)  # fmt: skip


def turned_pairs(
    rows: Sequence[Row], here: Sequence[float], there: Sequence[float], least: float
) -> tuple[int, list[tuple[int, int]]]:
    """How many pairs of completions of one prompt have rewards here that differ by more than
    `least`, and those whose order is another one there.

    >>> from plaudit.verification.rows import rows_of
    >>> turned_pairs(rows_of([("2+2?", ["4", "5", "6"])]), [2.0, 1.0, 1.0], [1.0, 2.0, 0.0], 0.0)
    (2, [(0, 1)])
    """
    prompts = np.array([row.prompt_number for row in rows])
    a, b = np.array(here), np.array(there)
    first, second = np.triu_indices(len(rows), 1)
    same = prompts[first] == prompts[second]
    first, second = first[same], second[same]
    apart = np.abs(a[first] - a[second]) > least
    first, second = first[apart], second[apart]
    turned = np.sign(a[first] - a[second]) != np.sign(b[first] - b[second])
    return len(first), list(zip(first[turned].tolist(), second[turned].tolist(), strict=True))


def _small(
    name: str, here: Sequence[float], there: Sequence[float], between: str, scale: Scale
) -> Check:
    difference = float(differences(here, there).max(initial=0.0))
    seen = f"between {between} the largest difference is {difference:.2g}"
    return Check(name, bool(scale.same(here, there, ROUNDING).all()), seen, difference)


def raw(model: RewardModel, reward: float) -> float:
    """The reward as the weights give it, before it was normalised."""
    of = model.normalisation
    return reward * of.std + of.mean if of else reward


def _on_the_left(row: torch.Tensor, length: int, fill: int) -> torch.Tensor:
    return torch.cat([torch.full((length - len(row),), fill, dtype=row.dtype), row])


@contextmanager
def padded(model: RewardModel) -> Iterator[None]:
    """Within the block the model lays its tokens in rows."""
    before = model.layout
    model.layout = Padded(model.encoding.pad_token_id)
    try:
        yield
    finally:
        model.layout = before
