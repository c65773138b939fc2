"""From rows of tokens to batches of a bounded size, in one of two layouts.

`Padded` lays every completion in a row of its own, padded on the right, rows alike in length
together. `Flat` lays the tokens of all rankings in one row without padding, and those that the
completions of a ranking begin with only once; `attention` then sees to it that each completion
attends to its own tokens alone. Rewards and gradients are the same on both. `divide` keeps rankings
whole, since a loss needs all rewards of a ranking; `by_completions` divides one that is larger than
a pass, for who sees to that.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from plaudit.data.rankings import PADDING
from plaudit.model.attention import SDPA, Segments, Ways, to_device

Batch = dict[str, Any]
Encoded = Sequence[dict[str, Any]]

OF_RANKINGS = ("margin", "weight", "strength")  # a number for each ranking
# Numbers of each completion, and what stands there where a ranking has fewer of them.
OF_COMPLETIONS = {
    "ratings": math.nan,
    "attributes": math.nan,
    "nuisances": 0.0,
    "completion_tokens": 0.0,
}


class Layout(Protocol):
    """How encoded rankings become batches."""

    def describe(self) -> str:
        """A few words for the log."""
        ...

    def divide(self, encoded: Encoded, max_tokens: int) -> list[Batch]:
        """Batches of at most `max_tokens` tokens each, but for rankings that alone are larger.

        A batch holds what `model_inputs` picks out; `position[R]`, where its R rankings stood in
        `encoded`; and, where the rankings have ranks, `ranks[R, K]` (`PADDING` beyond a ranking's
        own K), `margin[R]`, `weight[R]`, `origin`, R texts, and, as far as the rankings have them,
        `strength[R]`, `ratings[R, K]`, `attributes[R, K, A]` (NaN where there is none),
        `nuisances[R, K, F]` and `completion_tokens[R, K]`.
        """
        ...


@dataclass(frozen=True)
class Padded:
    """One row for each completion, padded on the right to the longest of its batch.

    A batch has `input_ids[N, L]`, `attention_mask[N, L]` and, where the rows have them,
    `token_type_ids[N, L]`; N counts the completions of all its rankings, in order.
    """

    pad_token_id: int
    reason: str = ""  # why it is not flat, where somebody wants to know

    def describe(self) -> str:
        """See `Layout`."""
        return "padded layout" + (f": {self.reason}" if self.reason else "")

    def divide(self, encoded: Encoded, max_tokens: int) -> list[Batch]:
        """See `Layout`; padding counts as tokens."""
        parts = token_budget_batches(
            [ranking["length"] for ranking in encoded],
            [len(ranking["input_ids"]) for ranking in encoded],
            max_tokens,
        )
        return [self.collate([encoded[i] for i in part], part) for part in parts]

    def collate(self, encoded: Encoded, position: Sequence[int]) -> Batch:
        """One batch of these rankings."""
        rows = [row for ranking in encoded for row in ranking["input_ids"]]
        batch = of_rankings(encoded, position)
        batch["input_ids"] = _pad(rows, self.pad_token_id)
        batch["attention_mask"] = _pad([[1] * len(row) for row in rows], 0)
        if encoded[0].get("token_type_ids") is not None:
            batch["token_type_ids"] = _pad([row for r in encoded for row in r["token_type_ids"]], 0)
        if "features" in encoded[0]:
            features = torch.cat([ranking["features"] for ranking in encoded])
            batch["features"] = pad_sequence(features.split(list(map(len, rows))), batch_first=True)
        return batch


@dataclass(frozen=True)
class Flat:
    """All tokens in one row, each unique one once.

    A batch has `input_ids[1, T]`, `position_ids[1, T]`, where the rows have them
    `token_type_ids[1, T]`, and `segments`: for each ranking first the tokens that all its rows
    begin with, then what each completion has of its own.
    """

    first_position: int  # RoBERTa and its kin do not count from 0
    ways: Ways = SDPA  # of attention on a CPU

    def describe(self) -> str:
        """See `Layout`."""
        return "flat layout"

    def divide(self, encoded: Encoded, max_tokens: int) -> list[Batch]:
        """See `Layout`; batches are about equal in size, so that none is a small remainder."""
        parts = balanced_batches([unique_tokens(ranking) for ranking in encoded], max_tokens)
        return [self.collate([encoded[i] for i in part], part) for part in parts]

    def collate(self, encoded: Encoded, position: Sequence[int]) -> Batch:
        """One batch of these rankings."""
        batch = of_rankings(encoded, position)
        segments = Segments(
            [(r["shared"], [len(row) - r["shared"] for row in r["input_ids"]]) for r in encoded],
            ways=self.ways,
        )
        batch["input_ids"] = _lay_flat(encoded, "input_ids")
        batch["position_ids"] = segments.positions(self.first_position).unsqueeze(0)
        if encoded[0].get("token_type_ids") is not None:
            batch["token_type_ids"] = _lay_flat(encoded, "token_type_ids")
        if "features" in encoded[0]:
            batch["features"] = torch.cat([r["features"] for r in encoded]).unsqueeze(0)
        batch["segments"] = segments
        return batch


@dataclass(frozen=True)
class Pooled:
    """Completions of which nothing is left to compute but the head: a row of one vector for each.

    A batch has `features[N, 1, H]`, and `input_ids[N, 1]` that stand for the tokens but are none.
    """

    def describe(self) -> str:
        """See `Layout`."""
        return "pooled"

    def divide(self, encoded: Encoded, max_tokens: int) -> list[Batch]:
        """See `Layout`; all is one batch, since a completion is less than a token's work."""
        batch = of_rankings(encoded, range(len(encoded)))
        features = torch.cat([ranking["features"] for ranking in encoded]).unsqueeze(1)
        batch["input_ids"] = torch.zeros(features.shape[:2], dtype=torch.long)
        batch["features"] = features
        return [batch]


def model_inputs(batch: Batch, device: torch.device | None = None) -> Batch:
    """What of a batch goes into the model, its tensors on `device` if one is given."""
    names = (
        *("input_ids", "attention_mask", "token_type_ids", "position_ids", "segments"),
        "features",  # what frozen layers gave: see `freezing`
    )
    inputs = {name: batch[name] for name in names if name in batch}
    if device is None:
        return inputs
    return {
        name: to_device(value, device) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
    }


def halves(batch: Batch) -> list[Batch]:
    """A batch of several rankings as two, about equal in tokens.

    Rankings stay whole. On a padded batch rows keep their padding.
    """
    ranks = batch["ranks"]
    if len(ranks) < 2:
        raise ValueError("a batch of one ranking has no halves")
    if "segments" in batch:
        tokens = [shared + sum(own) for shared, own in batch["segments"].rankings]
    else:
        tokens = (ranks != PADDING).sum(1).tolist()
    sums = [sum(tokens[:i]) for i in range(1, len(tokens))]
    cut = 1 + min(range(len(sums)), key=lambda i: abs(2 * sums[i] - sum(tokens)))
    parts = []
    for of_rankings in (slice(0, cut), slice(cut, None)):
        begin, end, _ = of_rankings.indices(len(ranks))
        inside = slice(sum(tokens[:begin]), sum(tokens[:end]))
        part: Batch = {}
        for name, value in batch.items():
            if name == "segments":
                part[name] = replace(value, rankings=value.rankings[of_rankings])
            elif name in (*OF_RANKINGS, *OF_COMPLETIONS, "ranks", "origin", "position"):
                part[name] = value[of_rankings]
            else:  # by tokens of a flat batch, by rows of a padded one
                part[name] = value[:, inside] if "segments" in batch else value[inside]
        parts.append(part)
    return parts


def by_completions(batch: Batch, max_tokens: int) -> list[Batch]:
    """A batch of one ranking as batches of some of its completions each, in order.

    Each has at most `max_tokens` tokens, or is one completion. Of a flat batch each has the tokens
    that all share, on a padded one rows keep their padding. A batch of several rankings stays as it
    is.
    """
    if len(batch["ranks"]) > 1 or batch["input_ids"].numel() <= max_tokens:
        return [batch]
    if "segments" in batch:
        [(shared, tokens)] = batch["segments"].rankings
    else:
        rows, width = batch["input_ids"].shape
        shared, tokens = 0, [width] * rows
    cuts, total = [0], shared
    for number, own in enumerate(tokens):
        if number > cuts[-1] and total + own > max_tokens:
            cuts.append(number)
            total = shared
        total += own
    return [
        _of_completions(batch, begin, end)
        for begin, end in itertools.pairwise([*cuts, len(tokens)])
    ]


def completions(batch: Batch) -> int:
    """How many completions a batch has, of all its rankings."""
    if "segments" in batch:
        return sum(len(own) for _, own in batch["segments"].rankings)
    return len(batch["input_ids"])


def _of_completions(batch: Batch, begin: int, end: int) -> Batch:
    """Of a batch of one ranking, its completions from `begin` to `end`."""
    part: Batch = {}
    for name, value in batch.items():
        if name in (*OF_RANKINGS, "origin", "position"):
            part[name] = value
        elif name in (*OF_COMPLETIONS, "ranks"):
            part[name] = value[:, begin:end]
        elif "segments" not in batch:
            part[name] = value[begin:end]
        else:
            [(shared, own)] = batch["segments"].rankings
            if name == "segments":
                part[name] = replace(value, rankings=[(shared, own[begin:end])])
                continue
            before = shared + sum(own[:begin])
            of_own = value[:, before : before + sum(own[begin:end])]
            part[name] = torch.cat([value[:, :shared], of_own], 1)
    return part


def unique_tokens(ranking: dict[str, Any]) -> int:
    """How many tokens of an encoded ranking are laid flat.

    >>> unique_tokens({"shared": 2, "input_ids": [[5, 6, 7], [5, 6, 8, 9]]})
    5
    """
    rows = ranking["input_ids"]
    return sum(map(len, rows)) - ranking["shared"] * (len(rows) - 1)


def token_budget_batches(
    lengths: Sequence[int], sizes: Sequence[int], max_tokens: int
) -> list[list[int]]:
    """Divide rankings among batches of at most `max_tokens` padded tokens, alike in length.

    `lengths[r]` is the longest row of ranking r and `sizes[r]` its K; a batch of rankings costs
    (number of rows) × (longest row) tokens. A ranking is never divided: one that is larger than the
    budget makes a batch of its own. Returns lists of indices, longest first.

    >>> token_budget_batches([10, 2, 2], [2, 2, 2], 20)
    [[0], [1, 2]]
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    rows = longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (rows + sizes[index]) * longest > max_tokens:
            batches.append(batch)
            batch, rows = [], 0
        if not batch:
            longest = max(lengths[index], 1)
        batch.append(index)
        rows += sizes[index]
    return [*batches, batch] if batch else batches


def balanced_batches(tokens: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Divide rankings of so many tokens among few batches of at most `max_tokens`, alike in size.

    The largest ranking goes first, each to the batch that has the fewest tokens so far (Graham's
    rule); a ranking larger than the budget makes a batch of its own. Returns lists of indices, each
    in order.

    >>> balanced_batches([9, 4, 4, 3, 3], 10)
    [[0], [1, 3], [2, 4]]
    """
    count = max(math.ceil(sum(tokens) / max_tokens), 1)
    while True:
        batches: list[list[int]] = [[] for _ in range(min(count, len(tokens)))]
        sums = [0] * len(batches)
        for index in sorted(range(len(tokens)), key=lambda i: (-tokens[i], i)):
            lightest = min(range(len(sums)), key=sums.__getitem__)
            batches[lightest].append(index)
            sums[lightest] += tokens[index]
        fits = all(
            total <= max_tokens or len(batch) == 1
            for total, batch in zip(sums, batches, strict=True)
        )
        if fits:
            return [sorted(batch) for batch in batches]
        count += 1


def of_rankings(encoded: Encoded, position: Sequence[int]) -> Batch:
    """What a batch holds of its rankings whatever the layout of tokens: see `Layout.divide`."""
    batch: Batch = {}
    if "ranks" in encoded[0]:
        # First: whoever asks for the size of this batch wants its number of rankings.
        batch["ranks"] = _pad([ranking["ranks"] for ranking in encoded], PADDING)
        for name in OF_RANKINGS:
            if name in encoded[0]:
                batch[name] = torch.tensor([r[name] for r in encoded], dtype=torch.float32)
        for name, absent in OF_COMPLETIONS.items():
            if name in encoded[0]:
                rows = [torch.tensor(r[name], dtype=torch.float32) for r in encoded]
                batch[name] = pad_sequence(rows, batch_first=True, padding_value=absent)
        batch["origin"] = [ranking.get("origin", "") for ranking in encoded]
    batch["position"] = torch.tensor(position)
    return batch


def _lay_flat(encoded: Encoded, name: str) -> Tensor:
    tokens: list[int] = []
    for ranking in encoded:
        rows, shared = ranking[name], ranking["shared"]
        tokens += rows[0][:shared]
        for row in rows:
            tokens += row[shared:]
    return torch.tensor([tokens])


def _pad(rows: Iterable[Sequence[int]], value: int) -> Tensor:
    rows = list(rows)
    padded = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.long)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = torch.as_tensor(row, dtype=torch.long)
    return padded


def per_ranking(rewards: Tensor, ranks: Tensor) -> Tensor:
    """Lay rewards `[N]` of consecutive completions out as `[R, K]`, 0 where there is none.

    >>> per_ranking(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[0, 1], [0, PADDING]]))
    tensor([[1., 2.],
            [3., 0.]])
    """
    present = ranks != PADDING
    # By place and not by mask, for whose gradient a GPU would be waited for.
    place = (present.flatten().cumsum(0) - 1).clamp(min=0)
    return torch.where(present, rewards.index_select(0, place).view(ranks.shape), 0.0)
