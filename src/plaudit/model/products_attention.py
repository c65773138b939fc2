"""Attention on a CPU as plain matrix products, a piece of a completion at a time.

On many CPUs PyTorch's SDPA is no faster in bfloat16 than in float32, and its backward pass slower;
plain products use what the processor has. So here a piece is some queries of one completion and the
keys that they see: q·kᵀ, softmax, weights·v. The backward pass computes the weights again, so that
none are kept; a piece has at most `SCORES` scores of a head, however long the row. Keys and values
of grouped heads are not copied: the queries of a group are rows of one product. Assumes no dropout.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from plaudit.model.attention import Segments

# Queries of a piece at most. More would compute more scores that a causal mask then hides.
QUERIES = 256
# Scores of a piece and a head at most: 4 MiB in bfloat16, about a core's share of a cache.
SCORES = 2**21

Places = tuple[int, int]  # of tokens among the T: begin and end


class Piece(NamedTuple):
    """Some queries of a completion and the keys that at least one of them sees.

    The keys lie in one or two places: those that the ranking shares, and the completion's own. Keys
    begin at the position `first_key` of the row, queries at `first_query`.
    """

    queries: Places
    keys: tuple[Places, ...]
    first_query: int
    first_key: int

    @property
    def lengths(self) -> tuple[int, int]:
        """How many queries and keys there are."""
        return self.queries[1] - self.queries[0], sum(end - begin for begin, end in self.keys)

    def of(self, x: Tensor) -> Tensor:
        """Those of `x[H, T, D]` that belong to the keys, `[H, L, D]`."""
        parts = [x[:, begin:end] for begin, end in self.keys]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def add_to(self, x: Tensor, gradient: Tensor) -> None:
        """Add what belongs to the keys, `[H, L, D]`, to `x[H, T, D]`."""
        start = 0
        for begin, end in self.keys:
            x[:, begin:end] += gradient[:, start : start + end - begin]
            start += end - begin


def pieces(segments: "Segments", causal: bool, window: int | None) -> Iterator[Piece]:
    """The pieces of all completions, and of what rankings share.

    >>> from plaudit.model.attention import Segments
    >>> [piece[:2] for piece in pieces(Segments([(2, [1, 3])]), causal=True, window=None)]
    [((0, 2), ((0, 2),)), ((2, 3), ((0, 2), (2, 3))), ((3, 6), ((0, 2), (3, 6)))]
    """
    start = 0
    for shared, own in segments.rankings:
        prefix = start
        for number, length in enumerate((shared, *own)):
            before = shared if number else 0  # tokens of the row that lie in the shared place
            most = max(min(QUERIES, SCORES // (before + length or 1)), 1)
            for begin in range(0, length, most):
                end = min(begin + most, length)
                low, high = 0, before + (end if causal else length)  # positions of keys
                if window is not None:
                    low = max(low, before + begin - window + 1)
                    high = min(high, before + end + window - 1)
                keys = []
                if low < before:
                    keys.append((prefix + low, prefix + before))
                if high > before:
                    keys.append((start + max(low - before, 0), start + high - before))
                yield Piece((start + begin, start + end), tuple(keys), before + begin, low)
            start += length


def _weights(query: Tensor, key: Tensor, piece: Piece, causal: bool, window: int | None) -> Tensor:
    """The attention weights `[H_kv, G·L, keys]` of queries `[H_kv, G·L, D]`, scaled already."""
    scores = torch.bmm(query, key.transpose(1, 2))
    queries, keys = piece.lengths
    by_query = scores.view(key.shape[0], -1, queries, keys)
    if window is not None:
        ahead = piece.first_query - piece.first_key
        by_query += _hidden(queries, keys, ahead, causal, window, scores.dtype)
    elif causal:  # only the last keys, which stand where the queries do, may lie ahead of one
        hidden = _hidden(QUERIES, QUERIES, 0, True, None, scores.dtype)
        by_query[..., keys - queries :] += hidden[:queries, :queries]
    return torch.softmax(scores, -1)


@lru_cache(maxsize=64)
def _hidden(
    queries: int, keys: int, ahead: int, causal: bool, window: int | None, dtype: torch.dtype
) -> Tensor:
    """`[queries, keys]`: 0 where a query sees a key and −∞ where it does not.

    The first query stands `ahead` positions after the first key.
    """
    distance = torch.arange(queries)[:, None] + ahead - torch.arange(keys)
    seen = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    if window is not None:
        seen &= distance.abs() < window
    return torch.zeros(queries, keys, dtype=dtype).masked_fill_(~seen, float("-inf"))


def _weighted(
    scaled: Tensor, key: Tensor, segments: "Segments", causal: bool, window: int | None
) -> Iterator[tuple[Piece, Tensor, Tensor, Tensor]]:
    """Each piece with its queries `[H_kv, G·L, D]`, its keys `[H_kv, keys, D]` and the attention
    weights, of scaled queries `[H_kv, G, T, D]` and keys `[H_kv, T, D]`."""
    for piece in pieces(segments, causal, window):
        begin, end = piece.queries
        rows = scaled[:, :, begin:end].reshape(key.shape[0], -1, key.shape[-1])
        keys = piece.of(key)
        yield piece, rows, keys, _weights(rows, keys, piece, causal, window)


class _Attention(torch.autograd.Function):
    """Queries `[1, H, T, D]`, keys and values `[1, H_kv, T, D]` → `[1, T, H, D]`."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segments: "Segments",
        causal: bool,
        window: int | None,
        scale: float,
    ) -> Tensor:
        # Under autocast, rotated queries and keys come in float32 and values do not.
        kind, ctx.kinds = value.dtype, (query.dtype, key.dtype)
        heads, total, size = query.shape[1:]
        of_keys = key.shape[1]
        grouped = (of_keys, heads // of_keys, total, size)
        scaled = (query[0] * scale).to(kind).contiguous().view(grouped)
        key, value = key[0].to(kind), value[0]
        output = torch.empty(total, *grouped[:2], size, dtype=kind)
        for piece, _, _, weights in _weighted(scaled, key, segments, causal, window):
            begin, end = piece.queries
            seen = torch.bmm(weights, piece.of(value))
            output[begin:end] = seen.view(of_keys, -1, end - begin, size).permute(2, 0, 1, 3)
        ctx.save_for_backward(scaled, key, value)
        ctx.how = segments, causal, window, scale
        return output.view(1, total, heads, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled, key, value = ctx.saved_tensors
        segments, causal, window, scale = ctx.how
        of_keys, group, total, size = scaled.shape
        given = gradient.view(total, of_keys, group, size)
        to_query = torch.empty_like(scaled)
        to_key, to_value = (torch.zeros(of_keys, total, size, dtype=value.dtype) for _ in range(2))
        for piece, rows, keys, weights in _weighted(scaled, key, segments, causal, window):
            begin, end = piece.queries
            back = given[begin:end].permute(1, 2, 0, 3).reshape(of_keys, -1, size)
            piece.add_to(to_value, torch.bmm(weights.transpose(1, 2), back))
            to_weights = torch.bmm(back, piece.of(value).transpose(1, 2))
            to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
            to_query[:, :, begin:end] = torch.bmm(to_scores, keys).view(of_keys, group, -1, size)
            piece.add_to(to_key, torch.bmm(to_scores.transpose(1, 2), rows))
        heads = (1, of_keys * group, total, size)
        return (
            (to_query.view(heads) * scale).to(ctx.kinds[0]),
            to_key.unsqueeze(0).to(ctx.kinds[1]),
            to_value.unsqueeze(0),
            *(None,) * 4,
        )


def attend_by_products(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: "Segments",
    *,
    causal: bool,
    window: int | None,
    scale: float | None,
) -> Tensor:
    """Attention of all completions of a flat batch on a CPU.

    Args:
        query: `[1, H, T, D]`.
        key: `[1, H_kv, T, D]`, H a multiple of H_kv.
        value: like `key`; its type is the one that products run in.
        segments: how the T tokens are laid out.
        causal: whether a token sees only those before it.
        window: a token sees those less than so many positions away; None for all.
        scale: of the scores, by default 1/√D.

    Returns:
        `[1, T, H, D]`.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    output: Tensor = _Attention.apply(query, key, value, segments, causal, window, scale)  # type: ignore[no-untyped-call]
    return output
