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

from plaudit.errors import PlauditError
from plaudit.model.batches import Padded, model_inputs
from plaudit.model.reward_model import RewardModel
from plaudit.verification.rows import Row

# Of float32: other batches are other orders of summation.
ROUNDING = 1e-5
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
    """All checks of the model alone, one after another."""
    for check in CHECKS:
        if (found := check(model, rows)) is not None:
            yield found


def score_rows(model: RewardModel, rows: Sequence[Row]) -> list[float]:
    """The rewards of rows, each prompt with its completions together."""
    return [reward for of in _by_prompt(model, rows) for reward in of]


def _by_prompt(model: RewardModel, rows: Sequence[Row]) -> list[list[float]]:
    prompts: dict[int, tuple[object, list[object]]] = {}
    for row in rows:
        prompts.setdefault(row.prompt_number, (row.prompt, []))[1].append(row.completion)
    return model.rewards(model.encode(list(prompts.values())))  # type: ignore[arg-type]


def largest(here: Sequence[float], there: Sequence[float]) -> float:
    """The largest difference, relative to `here` where that is above 1; infinite for what is no
    number.

    >>> largest([1.0, 2.0], [1.0, 2.5])
    0.25
    """
    a, b = np.array(here, dtype=float), np.array(there, dtype=float)
    each = np.abs(a - b) / np.maximum(np.abs(a), 1.0)
    return float(np.nan_to_num(each, nan=math.inf).max(initial=0.0))


def _head(model: RewardModel, rows: Sequence[Row]) -> Check:
    here = score_rows(model, rows)
    if not all(map(math.isfinite, here)):
        return Check("rewards", False, "some reward is not a finite number")
    if model.new_head:
        return Check("rewards", False, "the head was never trained: rewards are random numbers")
    low, high = min(here), max(here)
    if high - low < 100 * ROUNDING:
        return Check("rewards", False, f"all rewards are about {low:.6g}", high - low)
    return Check("rewards", True, f"from {low:.4g} to {high:.4g}", high - low)


def _batch(model: RewardModel, rows: Sequence[Row]) -> Check:
    some = rows[:: max(len(rows) // SOME, 1)]
    together = score_rows(model, rows)
    alone = [score_rows(model, [row])[0] for row in some]
    return _small("batch", largest(alone, [together[row.number] for row in some]),
                  "a row alone and among others")  # fmt: skip


def _order(model: RewardModel, rows: Sequence[Row]) -> Check:
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    mixed = [replace(rows[place], prompt_number=n) for n, place in enumerate(order)]
    here, there = score_rows(model, rows), score_rows(model, mixed)
    return _small("order", largest([here[place] for place in order], there),
                  "the rows in order and mixed")  # fmt: skip


def _layout(model: RewardModel, rows: Sequence[Row]) -> Check | None:
    if isinstance(model.layout, Padded):
        return None
    here = score_rows(model, rows)
    with padded(model):
        return _small("layout", largest(here, score_rows(model, rows)),
                      "tokens laid flat and padded on the right")  # fmt: skip


def _duplicates(model: RewardModel, rows: Sequence[Row]) -> Check:
    twice = [replace(row, number=len(rows) + row.number, prompt_number=10**9 + row.prompt_number)
             for row in rows[::-1]]  # fmt: skip
    here = score_rows(model, [*rows, *twice])
    differ = sum(a != b for a, b in zip(here[: len(rows)], here[len(rows) :][::-1], strict=True))
    seen = "rows that are there twice have equal rewards to the last bit"
    if differ:
        seen = f"of {len(rows)} rows that are there twice {differ} have two rewards"
    return Check("duplicates", not differ, seen)


def _empty(model: RewardModel, rows: Sequence[Row]) -> Check:
    cases = {
        "an empty completion": ("What is a bond?", ""),
        "white space": ("What is a bond?", "  \n"),
        "an empty prompt": ("", "A loan."),
    }
    told = []
    for what, (prompt, completion) in cases.items():
        try:
            reward = model.score(prompt, completion)
        except PlauditError:
            told.append(f"{what} is refused")
            continue
        if not math.isfinite(reward):
            return Check("empty", False, f"the reward of {what} is not a finite number")
        told.append(f"{what} has {reward:.4g}")
    return Check("empty", True, ", ".join(told))


def _length(model: RewardModel, rows: Sequence[Row]) -> Check:
    """A row of twice as many words as tokens are read."""
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
        bool(of["prompt_cut"][0] or of["completion_cut"][0])
        for of in model.encode([(row.prompt, [row.completion]) for row in rows])
    )
    model.truncation.clear()
    seen = f"at most {model.max_length:,} tokens are read, what is cut is counted"
    if cut:
        seen += f"; {cut} of these {len(rows)} rows are cut"
    return Check("length", True, seen)


def _beginning(model: RewardModel, rows: Sequence[Row]) -> Check | None:
    """The special token that a row begins with stands there once."""
    bos = model.encoding.tokenizer.bos_token_id
    if bos is None or model.encoding.kind == "encoder":
        return None
    ids = [
        of["input_ids"][0] for of in model.encode([(row.prompt, [row.completion]) for row in rows])
    ]
    model.truncation.clear()
    twice = sum(row[:2] == [bos, bos] for row in ids)
    once = sum(row[:1] == [bos] for row in ids)
    word = model.encoding.tokenizer.bos_token
    if twice:
        return Check("beginning", False, f"{twice} rows begin with {word} twice")
    return Check("beginning", True, f"{once} of {len(ids)} rows begin with {word}, none twice")


def _left(model: RewardModel, rows: Sequence[Row]) -> Check:
    """What the model's own class gives for rows that are padded on the left, as some servers do."""
    encoded = model.encode([(row.prompt, [row.completion]) for row in rows[:SOME]])
    model.truncation.clear()
    with padded(model):
        right = [of[0] for of in model.rewards(encoded)]
        pad = model.encoding.pad_token_id
        ids = [torch.tensor(of["input_ids"][0]) for of in encoded]
        longest = max(map(len, ids))
        batch = {
            "input_ids": torch.stack([_on_the_left(row, longest, pad) for row in ids]),
            "attention_mask": torch.stack(
                [_on_the_left(torch.ones_like(row), longest, 0) for row in ids]
            ),
        }
        if "token_type_ids" in encoded[0]:
            types = [torch.tensor(of["token_type_ids"][0]) for of in encoded]
            batch["token_type_ids"] = torch.stack([_on_the_left(t, longest, 0) for t in types])
        with torch.no_grad():
            left = model.model(**model_inputs(batch, model.device)).logits[:, 0].float()
    difference = largest([raw(model, reward) for reward in right], left.tolist())
    if difference <= ROUNDING:
        return Check("padding side", True, "left and right give the same rewards", difference)
    return Check(
        "padding side", None,
        f"padded on the left, rewards differ by up to {difference:.2g}: whatever serves this model "
        "must pad on the right", difference,
    )  # fmt: skip


def _dtype(model: RewardModel, rows: Sequence[Row]) -> Check | None:
    if model.dtype != torch.float32:
        return None
    here = score_rows(model, rows)
    low = score_rows(replace(model, dtype=torch.bfloat16), rows)
    pairs, turned = turned_pairs(rows, here, low, 0.0)
    difference = largest(here, low)
    seen = (
        f"in bfloat16 rewards differ by up to {difference:.2g}, and {len(turned)} of {pairs} pairs "
        "change places"
    )
    return Check("dtype", None if len(turned) > TURNED * pairs else True, seen, difference)


def _saved(model: RewardModel, rows: Sequence[Row]) -> Check | None:
    if model.own_code:  # such a model is not saved
        return None
    if (size := sum(weight.numel() for weight in model.model.parameters())) > LARGE:
        return Check("saved", None, f"not tried, of a model of {size / 1e9:.1f} billion weights")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        model.save(place)
        again = RewardModel.load(place, dtype="float32", device=str(model.device))
        here, there = score_rows(model, rows), score_rows(again, rows)
    return _small("saved", largest(here, there), "the model here and saved and loaded again")


CHECKS: tuple[Callable[[RewardModel, Sequence[Row]], Check | None], ...] = (
    _head, _batch, _order, _layout, _duplicates, _empty, _length, _beginning, _left, _dtype, _saved,
)  # fmt: skip


def turned_pairs(
    rows: Sequence[Row], here: Sequence[float], there: Sequence[float], least: float
) -> tuple[int, list[tuple[int, int]]]:
    """How many pairs of completions of one prompt have rewards here that differ by more than
    `least`, and those whose order is another one there.

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


def _small(name: str, difference: float, between: str) -> Check:
    seen = f"between {between} the largest difference is {difference:.2g}"
    return Check(name, difference <= ROUNDING, seen, difference)


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
