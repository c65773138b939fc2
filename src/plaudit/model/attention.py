"""Attention over the flat layout, registered with transformers as one more implementation.

A model behind transformers' attention interface hands queries, keys and values `[1, H, T, D]` of
all tokens to `flat_attention`, together with the `segments` that its own forward was given. Every
completion attends to the tokens it shares with its siblings and to its own, as if it stood alone in
a row; the shared ones attend among themselves, once. Nothing else in a transformer mixes tokens, so
this is all that the flat layout needs. Without `segments` it is transformers' own SDPA.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "plaudit_flat"


@dataclass(frozen=True, eq=False)
class Segments:
    """Where the completions of a flat batch lie: for each ranking how many tokens its rows share,
    and how many each completion has of its own.

    >>> Segments([(2, [1, 3])]).rows()
    tensor([[ 0,  1,  2, -1, -1],
            [ 0,  1,  3,  4,  5]])
    """

    rankings: Sequence[tuple[int, Sequence[int]]]

    def rows(self) -> Tensor:
        """`[N, L]`: where the tokens of each completion lie among the T, −1 beyond its end."""
        rows, start = [], 0
        for shared, own in self.rankings:
            prefix = torch.arange(start, start + shared)
            start += shared
            for length in own:
                rows.append(torch.cat([prefix, torch.arange(start, start + length)]))
                start += length
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)

    def positions(self, first: int = 0) -> Tensor:
        """`[T]`: the position of each token in its row, counted from `first`."""
        parts = []
        for shared, own in self.rankings:
            parts.append(torch.arange(shared))
            parts += [torch.arange(shared, shared + length) for length in own]
        return torch.cat(parts) + first

    @cached_property
    def lengths(self) -> list[int]:
        """How many tokens each part has, in the order they lie: shared, own, own, …, shared, …"""
        return [n for shared, own in self.rankings for n in (shared, *own)]


def flat_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: Segments | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What transformers' `AttentionInterface` calls in every layer.

    Args:
        module: the attention layer, which knows whether it is causal.
        query: `[1, H, T, D]`.
        key: `[1, H_kv, T, D]`, H a multiple of H_kv.
        value: like `key`.
        attention_mask: used without `segments` only.
        segments: how the T tokens are laid out; None for padded rows.
        scaling: of the scores, by default 1/√D.
        dropout: of the attention weights.
        is_causal: by default what `module` says.
        sliding_window: a token attends to those less than so many positions away.
        **options: of the model; those that change scores are not supported on the flat layout.

    Returns:
        `[1, T, H, D]` and None, for attention weights that are not kept.

    Raises:
        NotImplementedError: for attention that this does not compute.
    """
    if segments is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
            is_causal=is_causal, **options,
        )  # fmt: skip
    for name in ("softcap", "s_aux", "position_bias", "cache"):
        if options.get(name) is not None:
            raise NotImplementedError(f"attention with {name}")
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    queries = query[0].split(segments.lengths, dim=1)
    keys = key[0].split(segments.lengths, dim=1)
    values = value[0].split(segments.lengths, dim=1)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5

    def attend(part: int, k: Tensor, v: Tensor) -> Tensor:
        mask = _mask(queries[part].shape[1], k.shape[1], causal, sliding_window, k.device)
        return _attend(queries[part], k, v, mask, scale, dropout)

    outputs, part = [], 0
    for shared, own in segments.rankings:
        prefix, part = part, part + 1
        if shared:
            outputs.append(attend(prefix, keys[prefix], values[prefix]))
        for length in own:
            if length:
                k, v = keys[part], values[part]
                if shared:
                    k, v = torch.cat([keys[prefix], k], 1), torch.cat([values[prefix], v], 1)
                outputs.append(attend(part, k, v))
            part += 1
    return torch.cat(outputs, dim=1).transpose(0, 1).unsqueeze(0), None


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, dropout: float
) -> Tensor:
    """Attention of `q[H, S, D]` to `k[H_kv, L, D]`, heads of a group together; `[H, S, D]`."""
    heads, length, width = q.shape
    groups = heads // k.shape[0]
    q = q.reshape(k.shape[0], groups * length, width)
    scores = torch.matmul(q * scale, k.transpose(1, 2))
    if mask is not None:
        scores = scores.view(-1, length, k.shape[1]) + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    weights = torch.nn.functional.dropout(weights, dropout).view(k.shape[0], groups * length, -1)
    return torch.matmul(weights, v).view(heads, length, v.shape[-1])


def _mask(
    queries: int, keys: int, causal: bool, window: int | None, device: torch.device
) -> Tensor | None:
    """`[S, L]` to add to the scores; the queries are the last of the keys' positions."""
    if not causal and (window is None or window >= keys):
        return None
    ahead = torch.arange(keys, device=device) - torch.arange(
        keys - queries, keys, device=device
    ).unsqueeze(1)
    hidden = ahead > 0 if causal else torch.zeros_like(ahead, dtype=torch.bool)
    if window is not None:
        hidden = hidden | (ahead.abs() >= window)
    return torch.zeros(queries, keys, device=device).masked_fill(hidden, float("-inf"))


AttentionInterface.register(NAME, flat_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)  # what padded rows need
