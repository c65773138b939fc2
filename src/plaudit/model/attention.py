"""Attention over the flat layout, registered with transformers as one more implementation.

A model behind transformers' attention interface hands queries, keys and values `[1, H, T, D]` of
all tokens to `flat_attention`, together with the `segments` that its own forward was given. Every
completion attends to the tokens it shares with its siblings and to its own, as if it stood alone in
a row; the shared ones attend among themselves, once. This is all that the flat layout needs of a
model in which nothing but attention mixes tokens; `classifier.try_flat` finds out whether it is
one. Without `segments` it is transformers' own SDPA.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
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

    def block_mask(self, causal: bool, window: int | None, device: torch.device) -> Any:
        """Which tokens see which, as FlexAttention wants it; made once for all layers."""
        if (causal, window, device) not in self._masks:
            ranking, part, number = [], [], 0
            for index, (shared, own) in enumerate(self.rankings):
                ranking += [index] * (shared + sum(own))
                part += [-1] * shared  # what is shared is part of every row of its ranking
                for length in own:
                    part += [number] * length
                    number += 1
            of_ranking, of_part = (torch.tensor(x, device=device) for x in (ranking, part))
            positions = self.positions().to(device)

            def sees(_: Tensor, __: Tensor, query: Tensor, key: Tensor) -> Tensor:
                same_row = (of_ranking[query] == of_ranking[key]) & (
                    (of_part[query] == of_part[key]) | (of_part[key] == -1)
                )
                return same_row & _sees(positions[query], positions[key], causal, window)

            total = len(part)
            # Uncompiled it would fill T² bytes on the way to the blocks.
            self._masks[causal, window, device] = on_device(create_block_mask, device.type)(
                sees, None, None, total, total, device=str(device)
            )
        return self._masks[causal, window, device]

    @cached_property
    def _masks(self) -> dict[tuple[bool, int | None, torch.device], Any]:
        return {}

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
    in_blocks = query.device.type == "cuda" and not dropout
    attend = attend_in_blocks if in_blocks else functools.partial(attend_by_parts, dropout=dropout)
    output = attend(
        query, key, value, segments, causal=causal, window=sliding_window, scale=scaling
    )
    return output.transpose(1, 2), None


def attend_by_parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    *,
    causal: bool,
    window: int | None,
    scale: float | None,
    dropout: float = 0.0,
) -> Tensor:
    """One call of PyTorch's SDPA for each completion, and for the tokens that a ranking shares.

    The backward pass of `split` and `cat` is `cat` and `split`, never a scatter. Many small calls
    suit a CPU. Shapes are those of `flat_attention`; returns `[1, H, T, D]`.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:  # not every device's SDPA knows grouped heads together with a mask
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    queries, keys, values = (x.split(segments.lengths, dim=2) for x in (query, key, value))
    outputs, part = [], 0
    for shared, own in segments.rankings:
        prefix = part
        for number, length in enumerate((shared, *own)):
            if length:
                k, v = keys[part], values[part]
                if number and shared:
                    k, v = torch.cat([keys[prefix], k], 2), torch.cat([values[prefix], v], 2)
                seen = _seen(length, k.shape[2], causal, window, k.device)
                outputs.append(
                    scaled_dot_product_attention(
                        queries[part], k, v, dropout_p=dropout, scale=scale, **seen
                    )
                )
            part += 1
    return torch.cat(outputs, dim=2)


def _seen(
    queries: int, keys: int, causal: bool, window: int | None, device: torch.device
) -> dict[str, Any]:
    """What tells SDPA which keys are seen; the queries are the last of the keys' positions."""
    if window is None or window >= keys:
        if not causal:
            return {}
        if queries == keys:
            return {"is_causal": True}
    positions = torch.arange(keys, device=device)
    return {"attn_mask": _sees(positions[keys - queries :, None], positions, causal, window)}


def _sees(query: Tensor, key: Tensor, causal: bool, window: int | None) -> Tensor:
    """Whether a token at one position of a row sees the token at another."""
    seen = key <= query if causal else torch.ones_like(key <= query)
    return seen if window is None else seen & ((query - key).abs() < window)


def attend_in_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    *,
    causal: bool,
    window: int | None,
    scale: float | None,
) -> Tensor:
    """All completions in one call of FlexAttention, which leaves out blocks where nothing is seen.

    For a GPU, where it is compiled to one kernel (Dong et al. 2024, arXiv:2412.05496). On a CPU it
    computes every product, forward only, which is slow but good for a test. Shapes are those of
    `flat_attention`; returns `[1, H, T, D]`.
    """
    # Under autocast, rotated queries and keys come in float32 and values do not.
    query, key = query.to(value.dtype), key.to(value.dtype)
    mask = segments.block_mask(causal, window, query.device)
    return on_device(flex_attention, query.device.type)(
        query, key, value, block_mask=mask, scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip


@functools.cache
def on_device(function: Any, device: str) -> Any:
    """The function, on a GPU as a kernel that is compiled once for all lengths."""
    return torch.compile(function, dynamic=True) if device == "cuda" else function


AttentionInterface.register(NAME, flat_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)  # what padded rows need
