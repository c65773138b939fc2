"""Attention by plain products against softmax attention written out row by row, and its gradients
against autograd's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.model import products_attention
from plaudit.model.attention import Segments, Ways, flat_attention
from plaudit.model.products_attention import attend_by_products

ranking = st.tuples(st.integers(0, 9), st.lists(st.integers(0, 9), min_size=1, max_size=4))
laid_out = st.lists(ranking, min_size=1, max_size=3).filter(
    lambda rankings: sum(shared + sum(own) for shared, own in rankings) > 0
)


def plain(query, key, value, segments, causal, window, scale):
    """Every completion as a row of its own, in float64 or as given; `[1, T, H, D]`."""
    group = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(group, 1) for x in (key, value))
    total = query.shape[2]
    outputs = [None] * total
    start = 0
    for shared, own in segments.rankings:
        first = list(range(start, start + shared))
        rows, begin = [first], start + shared
        for length in own:
            rows.append(first + list(range(begin, begin + length)))
            begin += length
        for row in rows:
            for at, place in enumerate(row):
                if outputs[place] is not None:
                    continue
                seen = [
                    other
                    for number, other in enumerate(row)
                    if (number <= at or not causal)
                    and (window is None or abs(number - at) < window)
                    # what is shared sees no completion
                    and (at >= shared or number < shared)
                ]
                scores = torch.einsum("hd,hkd->hk", query[0, :, place], key[0][:, seen]) * scale
                outputs[place] = torch.einsum("hk,hkd->hd", scores.softmax(-1), value[0][:, seen])
        start = begin
    return torch.stack(outputs).unsqueeze(0)


def random(segments, heads, key_heads, size, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    total = sum(segments.lengths)
    return [
        torch.randn(1, total, h, size, generator=generator, dtype=dtype)
        .transpose(1, 2)
        .requires_grad_()
        for h in (heads, key_heads, key_heads)
    ]


@settings(max_examples=60, deadline=None)
@given(
    rankings=laid_out,
    key_heads=st.sampled_from([1, 2, 4]),
    causal=st.booleans(),
    window=st.sampled_from([None, 1, 3, 30]),
    queries=st.sampled_from([1, 2, 4, 256]),
)
def test_it_is_softmax_attention_and_so_are_its_gradients(
    rankings, key_heads, causal, window, queries
):
    segments = Segments(rankings)
    inputs = random(segments, 4, key_heads, 8)
    before, products_attention.QUERIES = products_attention.QUERIES, queries
    products_attention._hidden.cache_clear()
    try:
        ours = attend_by_products(*inputs, segments, causal=causal, window=window, scale=0.3)
        theirs = plain(*inputs, segments, causal, window, 0.3)
        torch.testing.assert_close(ours, theirs)
        seed = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1)).double()
        for mine, autograd in zip(
            torch.autograd.grad(ours, inputs, seed),
            torch.autograd.grad(theirs, inputs, seed),
            strict=True,
        ):
            torch.testing.assert_close(mine, autograd)
    finally:
        products_attention.QUERIES = before
        products_attention._hidden.cache_clear()


def test_no_piece_has_more_scores_than_it_may_however_long_the_row(monkeypatch):
    monkeypatch.setattr(products_attention, "SCORES", 4096)
    segments = Segments([(300, [900, 5]), (0, [2000])])
    found = list(products_attention.pieces(segments, causal=True, window=None))
    sizes = [queries * keys for queries, keys in (piece.lengths for piece in found)]
    assert max(sizes) <= 4096
    covered = [place for piece in found for place in range(*piece.queries)]
    assert covered == list(range(sum(segments.lengths)))


@pytest.mark.parametrize("way", ["sdpa", "products", "sdpa in float32"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_way_gives_the_same_in_the_type_of_the_values(way, dtype):
    segments = Segments([(5, [20, 3, 40]), (0, [30])])
    query, key, value = (x.detach() for x in random(segments, 4, 2, 16, torch.float32))
    exact = plain(query, key, value, segments, True, None, 0.25)
    laid = Segments(segments.rankings, ways=Ways(way, way))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        # As under autocast: rotated queries and keys are float32 still.
        output, _ = flat_attention(
            None, query, key, value.to(dtype), None, segments=laid, is_causal=True
        )
    assert output.dtype == dtype
    torch.testing.assert_close(
        output.float(), exact, atol=1e-5 if dtype == torch.float32 else 0.02, rtol=0
    )


def test_gradients_in_bfloat16_are_as_near_as_those_of_pytorchs_own_attention():
    segments = Segments([(20, [100, 60, 150])])
    inputs = random(segments, 4, 2, 32, torch.float32)
    seed = torch.randn(1, sum(segments.lengths), 4, 32, generator=torch.Generator().manual_seed(1))
    exact = torch.autograd.grad(plain(*inputs, segments, True, None, 32**-0.5), inputs, seed)
    far = {}
    for way in ("sdpa", "products"):
        low = [x.detach().bfloat16().requires_grad_() for x in inputs]
        laid = Segments(segments.rankings, ways=Ways(way, way))
        output, _ = flat_attention(None, *low, None, segments=laid, is_causal=True)
        found = torch.autograd.grad(output, low, seed.bfloat16())
        far[way] = max(
            ((mine.float() - its).norm() / its.norm()).item()
            for mine, its in zip(found, exact, strict=True)
        )
    assert far["products"] < 1.5 * far["sdpa"]
    assert far["products"] < 0.02
