"""Attention over the flat layout, registered with transformers as one more implementation.

A model behind transformers' attention interface hands queries, keys and values `[1, H, T, D]` of
all tokens to `flat_attention`, together with the `segments` that its own forward was given. Every
completion attends to the tokens it shares with its siblings and to its own, as if it stood alone in
a row; the shared ones attend among themselves, once. This is all that the flat layout needs of a
model in which nothing but attention mixes tokens; `classifier.try_flat` finds out whether it is
one. Without `segments` it is transformers' own SDPA.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from plaudit.model.products_attention import attend_by_products

NAME = "plaudit_flat"


# Tokens of a side of a block, as FlexAttention's kernels take them.
BLOCK = 128
# For wide heads in float32 PyTorch's own choice spills 7 KB of each thread's registers on a Hopper,
# and this one nothing. Read off the compiled kernels, not timed.
FLOAT32_BLOCKS: Any = {"fwd_BLOCK_M": 32, "fwd_BLOCK_N": 32, "fwd_num_warps": 8}
# Scores of a head beyond which a mask for them, which SDPA makes 4 bytes each of, is too large.
LARGEST_MASK = 2**24


Way = Literal["sdpa", "products", "sdpa in float32"]
WAYS: tuple[Way, ...] = get_args(Way)


class Ways(NamedTuple):
    """How attention is computed on a CPU, whichever is faster there: by PyTorch's SDPA, by plain
    matrix products, or by SDPA in float32, whatever comes in."""

    scoring: Way = "sdpa"
    training: Way = "sdpa"


SDPA = Ways()


@dataclass(frozen=True, eq=False)
class Segments:
    """Where the completions of a flat batch lie: for each ranking how many tokens its rows share,
    and how many each completion has of its own.

    >>> Segments([(2, [1, 3])]).rows()
    tensor([[ 0,  1,  2, -1, -1],
            [ 0,  1,  3,  4,  5]])
    """

    rankings: Sequence[tuple[int, Sequence[int]]]
    by_parts: bool = False  # on a GPU, too: nothing is compiled
    ways: Ways = SDPA  # on a CPU

    @cached_property
    def lengths(self) -> list[int]:
        """How many tokens each part has, in the order they lie: shared, own, own, …, shared, …"""
        return [n for shared, own in self.rankings for n in (shared, *own)]

    def largest_mask(self, window: int | None) -> int:
        """How many scores of one head SDPA would be given a mask for: of a part that sees what is
        shared, or that is longer than a window."""
        masks = [
            length * (before + length)
            for shared, own in self.rankings
            for before, length in [(0, shared), *((shared, length) for length in own)]
            if before or (window is not None and length > window)
        ]
        return max(masks, default=0)

    @cached_property
    def _completions(self) -> np.ndarray:
        """`[N, 4]`: for each completion where the shared tokens of its ranking begin and end, and
        where its own do."""
        found, start = [], 0
        for shared, own in self.rankings:
            ends = start + shared + np.cumsum([0, *own])
            found.append(np.empty((len(own), 4), dtype=np.int64))
            found[-1][:, 0], found[-1][:, 1] = start, start + shared
            found[-1][:, 2], found[-1][:, 3] = ends[:-1], ends[1:]
            start = int(ends[-1])
        return np.concatenate(found)

    @cached_property
    def last(self) -> Tensor:
        """`[N]`: where the last token of each completion's row lies among the T."""
        _, shared_end, begin, end = self._completions.T
        return torch.from_numpy(np.where(end > begin, end, shared_end) - 1)

    @cached_property
    def first(self) -> Tensor:
        """`[N]`: where the first token of each completion's row lies among the T."""
        shared_begin, shared_end, begin, _ = self._completions.T
        return torch.from_numpy(np.where(shared_end > shared_begin, shared_begin, begin))

    def rows(self) -> Tensor:
        """`[N, L]`: where the tokens of each completion lie among the T, −1 beyond its end."""
        shared_begin, shared_end, begin, end = (x[:, None] for x in self._completions.T)
        shared = shared_end - shared_begin
        place = np.arange((shared + end - begin).max())[None]
        own = begin + place - shared
        return torch.from_numpy(
            np.where(place < shared, shared_begin + place, np.where(own < end, own, -1))
        )

    def positions(self, first: int = 0) -> Tensor:
        """`[T]`: the position of each token in its row, counted from `first`."""
        return torch.from_numpy(self._tokens[4].astype(np.int64)) + first

    @cached_property
    def _tokens(self) -> np.ndarray:
        """`[5, T]`: for each token where what its ranking shares begins and ends, where its own
        part does, and its position in its row. What is shared is a part, too."""
        parts, start = [], 0
        for shared, own in self.rankings:
            shared_end = begin = start + shared
            parts.append((start, shared_end, start, shared_end, 0))
            for length in own:
                parts.append((start, shared_end, begin, begin + length, shared))
                begin += length
            start = begin
        table = np.array(parts, dtype=np.int32)
        tokens = np.repeat(table, table[:, 3] - table[:, 2], axis=0).T
        tokens[4] += np.arange(tokens.shape[1], dtype=np.int32) - tokens[2]
        return np.ascontiguousarray(tokens)

    def block_mask(self, causal: bool, window: int | None, device: torch.device) -> "Blocks":
        """Which tokens see which, as FlexAttention wants it; made once for all layers.

        It is made on the host, from where the parts lie: a device is neither waited for nor kept
        busy with T² comparisons. Blocks in which nothing is seen are left out; in those in which
        everything is, the kernel asks no further. `kernel_length(T)` tokens are described.
        """
        if (causal, window, device) not in self._masks:
            total = self._tokens.shape[1]
            # Those that fill up a short batch see themselves, and nothing else sees them.
            filling = np.arange(total, kernel_length(total), dtype=np.int32)
            alone = np.stack([filling, filling, filling, filling + 1, np.zeros_like(filling)])
            tokens = np.concatenate([self._tokens, alone], axis=1)
            seen, whole = _blocks(tokens, causal, window)
            part = seen & ~whole
            orders = [_in_order(blocks) for blocks in (part, whole, part.T, whole.T)]
            self._masks[causal, window, device] = Blocks(
                _on(tokens, device),
                *(_on(x[None, None], device) for order in orders for x in order),
            )
        return self._masks[causal, window, device]

    @cached_property
    def _masks(self) -> dict[tuple[bool, int | None, torch.device], "Blocks"]:
        return {}


class Blocks(NamedTuple):
    """A block mask as tensors.

    `tokens[5, T]` are `Segments._tokens`. Of B blocks of queries each sees some in part and some as
    a whole: how many, `[1, 1, B]`, and first of all which, `[1, 1, B, B]`. Then the same from the
    keys' side: which queries see a block of keys.
    """

    tokens: Tensor
    parts: Tensor
    part: Tensor
    wholes: Tensor
    whole: Tensor
    back_parts: Tensor
    back_part: Tensor
    back_wholes: Tensor
    back_whole: Tensor

    def mask(self, causal: bool, window: int | None) -> BlockMask:
        """The same as a `BlockMask`."""
        length = self.tokens.shape[1]
        return BlockMask(
            seq_lengths=(length, length),
            kv_num_blocks=self.parts,
            kv_indices=self.part,
            full_kv_num_blocks=self.wholes,
            full_kv_indices=self.whole,
            q_num_blocks=self.back_parts,
            q_indices=self.back_part,
            full_q_num_blocks=self.back_wholes,
            full_q_indices=self.back_whole,
            BLOCK_SIZE=(BLOCK, BLOCK),
            mask_mod=_mask(self.tokens, causal, window),
        )


def kernel_length(tokens: int) -> int:
    """How many tokens the kernel is given: two blocks at least, or it would be compiled anew for
    fewer."""
    return max(tokens, 2 * BLOCK)


def _mask(tokens: Tensor, causal: bool, window: int | None) -> Callable[..., Tensor]:
    """`Segments._tokens` as a function of two tokens' places, which the kernel compiles."""
    shared_begin, shared_end, begin, end, position = tokens

    def sees(_: Tensor, __: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = (key >= begin[query]) & (key < end[query])
        shared = (key >= shared_begin[query]) & (key < shared_end[query])
        # Within what a token may see, places are in the order of positions.
        seen = (own | shared) & (key <= query) if causal else own | shared
        if window is None:
            return seen
        return seen & ((position[query] - position[key]).abs() < window)

    return sees


def _blocks(tokens: np.ndarray, causal: bool, window: int | None) -> tuple[np.ndarray, np.ndarray]:
    """`[B, B]`, query by key: whether a block may hold something that is seen, and whether all of
    it is. The first may err towards true, the second towards false."""
    starts = np.arange(0, tokens.shape[1], BLOCK)
    low = np.minimum.reduceat(tokens, starts, axis=1)
    high = np.maximum.reduceat(tokens, starts, axis=1)
    first, last = starts, np.minimum(starts + BLOCK, tokens.shape[1]) - 1
    at_query, at_key = np.s_[:, None], np.s_[None, :]
    # Parts lie in order, so those of a block's tokens reach from the lowest begin to the highest
    # end; what is shared by several rankings has gaps, which makes the first of the two err.
    own = (last[at_key] >= low[2][at_query]) & (first[at_key] < high[3][at_query])
    shared = (last[at_key] >= low[0][at_query]) & (first[at_key] < high[1][at_query])
    seen = own | shared
    one_part = (low[2] == high[2])[at_query] & (low[3] == high[3])[at_query]
    one_ranking = (low[0] == high[0])[at_query] & (low[1] == high[1])[at_query]
    whole = one_part & (first[at_key] >= low[2][at_query]) & (last[at_key] < low[3][at_query])
    whole |= one_ranking & (first[at_key] >= low[0][at_query]) & (last[at_key] < low[1][at_query])
    if causal:
        seen &= first[at_key] <= last[at_query]
        whole &= last[at_key] <= first[at_query]
    if window is not None:
        ahead = low[4][at_query] - high[4][at_key]  # the least difference of positions
        behind = low[4][at_key] - high[4][at_query]
        seen &= (ahead < window) & (behind < window)
        whole &= (high[4][at_query] - low[4][at_key] < window) & (
            high[4][at_key] - low[4][at_query] < window
        )
    complete = last - first + 1 == BLOCK  # beyond the end of the last block there is nothing
    return seen, whole & seen & complete[at_query] & complete[at_key]


def _in_order(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of `[B, B]`: how many are true in each row, `[B]`, and where, `[B, B]`, the others after."""
    places = np.argsort(~blocks, axis=1, kind="stable")
    return blocks.sum(1).astype(np.int32), places.astype(np.int32)


def _on(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on a device."""
    return to_device(torch.from_numpy(np.ascontiguousarray(array)), device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; for a copy to a GPU the host does not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


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
    how: Any = {"causal": causal, "window": sliding_window, "scale": scaling}
    if query.device.type == "cuda" and not segments.by_parts and not dropout:
        return attend_in_blocks(query, key, value, segments, **how).transpose(1, 2), None
    way: Way = "sdpa"
    if query.device.type == "cpu" and not dropout:
        with_graph = torch.is_grad_enabled() and (query.requires_grad or value.requires_grad)
        way = segments.ways.training if with_graph else segments.ways.scoring
        if way != "products" and segments.largest_mask(sliding_window) > LARGEST_MASK:
            way = "products"
    if way == "products":
        return attend_by_products(query, key, value, segments, **how), None
    kind = value.dtype
    if way == "sdpa in float32":
        value = value.float()
    # Under autocast, rotated queries and keys come in float32 and values do not.
    query, key = query.to(value.dtype), key.to(value.dtype)
    with torch.autocast(query.device.type, enabled=False):
        output = attend_by_parts(query, key, value, segments, dropout=dropout, **how)
    return output.to(kind).transpose(1, 2), None


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
    total = query.shape[2]
    query, key, value = (_tokens_first(x, kernel_length(total)) for x in (query, key, value))
    blocks = segments.block_mask(causal, window, query.device)
    attend = compiled() if query.device.type == "cuda" else _flex
    output = attend(query, key, value, *blocks, causal=causal, window=window, scale=scale)
    return output[:, :, :total]


def _tokens_first(x: Tensor, total: int) -> Tensor:
    """`[1, H, T, D]` that lies in memory as `[1, T, H, D]`, zeros after its T tokens up to `total`.

    Most models have it so already. Another layout in memory would have another kernel compiled.
    """
    x = x.transpose(1, 2)
    if filling := total - x.shape[1]:
        x = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, filling))
    x = x.contiguous()
    if x._is_view():  # of what it is a view, is part of what a kernel is compiled for
        x = x.clone()
    return x.transpose(1, 2)


def _flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *blocks: Tensor,
    causal: bool,
    window: int | None,
    scale: float | None,
) -> Tensor:
    """FlexAttention over `Blocks`, given as tensors: a plain number would be compiled into the
    kernel, and each batch would have one compiled anew."""
    wide = query.dtype == torch.float32 and query.shape[-1] >= 64
    output = flex_attention(
        query,
        key,
        value,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
        block_mask=Blocks(*blocks).mask(causal, window),
        kernel_options=FLOAT32_BLOCKS if wide else None,
    )
    assert isinstance(output, Tensor)
    return output


@functools.cache
def compiled(backend: str = "inductor") -> Callable[..., Tensor]:
    """`_flex` as a kernel for all lengths, compiled when it is first used.

    A kernel is compiled for each number type, head shape and window, and for training. These are
    more than Dynamo's own limit, beyond which it runs uncompiled, on T² numbers, without a word.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, 64)
    kernel = torch.compile(_flex, backend=backend)

    def attend(
        query: Tensor, key: Tensor, value: Tensor, *blocks: Tensor, **options: Any
    ) -> Tensor:
        # Lengths alone differ from batch to batch. Were all sizes free, one that happens to equal
        # a number of heads would be tied to it, and the kernel compiled anew for the next batch.
        for tensor in (query, key, value):
            torch._dynamo.mark_dynamic(tensor, 2)
        torch._dynamo.mark_dynamic(blocks[0], 1)
        for order in blocks[1:]:
            torch._dynamo.mark_dynamic(order, list(range(2, order.dim())))
        return kernel(query, key, value, *blocks, **options)

    return attend


AttentionInterface.register(NAME, flat_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)  # what padded rows need
