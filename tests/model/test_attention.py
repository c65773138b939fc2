"""The block mask that a GPU is given, against the definition of who sees whom, token by token."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask

from plaudit.model import attention
from plaudit.model.attention import BLOCK, Segments

CPU = torch.device("cpu")
LENGTHS = st.sampled_from([1, 2, 40, 127, 128, 129, 300])


@st.composite
def laid_out(draw):
    """Segments of several rankings: parts shorter and longer than a block, some without any."""
    rankings = []
    for _ in range(draw(st.integers(1, 3))):
        shared = draw(st.sampled_from([0, 1, 5, 130, 400]))
        own = draw(
            st.lists(LENGTHS if not shared else LENGTHS | st.just(0), min_size=1, max_size=6)
        )
        rankings.append((shared, own))
    return Segments(rankings)


def rows_of(segments):
    """The places of each completion's tokens, in plain loops."""
    rows, start = [], 0
    for shared, own in segments.rankings:
        prefix = list(range(start, start + shared))
        start += shared
        for length in own:
            rows.append(prefix + list(range(start, start + length)))
            start += length
    return rows


def seen_by_definition(segments, causal, window):
    """A token sees those that stand in a row with it, in plain loops over rows; what is shared
    sees only what is shared."""
    total = attention.kernel_length(sum(segments.lengths))
    seen = torch.eye(total, dtype=torch.bool)
    start = 0
    for shared, own in segments.rankings:
        parts = [list(range(start, start + shared))]
        start += shared
        for length in own:
            parts.append(list(range(start, start + length)))
            start += length
        for number, part in enumerate(parts):
            row = parts[0] + part if number else part
            place = torch.tensor(row, dtype=torch.long)
            position = torch.arange(len(row))
            distance = position[:, None] - position[None]
            sees = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
            if window is not None:
                sees &= distance.abs() < window
            queries = slice(shared, None) if number else slice(None)
            seen[place[queries][:, None], place[None]] = sees[queries]
    return seen


def dense(numbers, places):
    """Block by block whether it is listed."""
    count = numbers.shape[-1]
    listed = torch.zeros(count, count, dtype=torch.bool)
    for row in range(count):
        listed[row, places[0, 0, row, : numbers[0, 0, row]].long()] = True
    return listed


@pytest.mark.parametrize(
    ("causal", "window"), [(True, None), (False, None), (True, 50), (False, 33), (True, 260)]
)
@settings(max_examples=12)
@given(segments=laid_out())
def test_the_block_mask_is_who_sees_whom(causal, window, segments):
    seen = seen_by_definition(segments, causal, window)
    mask = segments.block_mask(causal, window, CPU).mask(causal, window)
    places = torch.arange(len(seen))
    assert torch.equal(mask.mask_mod(None, None, places[:, None], places[None]), seen)

    part = dense(mask.kv_num_blocks, mask.kv_indices)
    whole = dense(mask.full_kv_num_blocks, mask.full_kv_indices)
    theirs = create_block_mask(
        lambda b, h, q, k: seen[q, k], None, None, len(seen), len(seen), device="cpu"
    )
    their_part = dense(theirs.kv_num_blocks, theirs.kv_indices)
    their_whole = dense(theirs.full_kv_num_blocks, theirs.full_kv_indices)
    assert not (part & whole).any()
    assert not (whole & ~their_whole).any()  # else something unseen would be looked at
    assert not ((their_part | their_whole) & ~(part | whole)).any()  # else something be overlooked
    assert torch.equal(dense(mask.q_num_blocks, mask.q_indices), part.T)
    assert torch.equal(dense(mask.full_q_num_blocks, mask.full_q_indices), whole.T)


def test_a_long_shared_beginning_is_mostly_whole_blocks_and_siblings_are_left_out():
    segments = Segments([(8 * BLOCK, [4 * BLOCK] * 3)])
    mask = segments.block_mask(True, None, CPU).mask(True, None)
    part = dense(mask.kv_num_blocks, mask.kv_indices)
    whole = dense(mask.full_kv_num_blocks, mask.full_kv_indices)
    assert part.sum() == 8 + 3 * 4  # the diagonal alone
    assert whole.sum() == 8 * 7 / 2 + 3 * (4 * 8 + 4 * 3 / 2)


@settings(max_examples=30)
@given(segments=laid_out())
def test_rows_and_their_ends_are_where_the_tokens_lie(segments):
    rows = rows_of(segments)
    width = max(map(len, rows))
    assert segments.rows().tolist() == [row + [-1] * (width - len(row)) for row in rows]
    if all(rows):
        assert segments.first.tolist() == [row[0] for row in rows]
        assert segments.last.tolist() == [row[-1] for row in rows]
    positions = segments.positions(2).tolist()
    for row in rows:
        assert [positions[place] for place in row] == list(range(2, 2 + len(row)))


def test_one_kernel_serves_all_lengths(monkeypatch):
    """As a GPU has it: compiled once, whatever the lengths, a fused projection or a batch that is
    shorter than two blocks."""
    compiled = attention.compiled("aot_eager")
    monkeypatch.setattr(attention, "_flex", compiled)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    layouts = [[(3, [2, 9, 1])], [(0, [200, 150])], [(130, [60] * 4), (5, [7, 8])], [(0, [1, 1])]]
    for number, layout in enumerate(layouts):
        segments = Segments(layout)
        total = sum(segments.lengths)
        if number % 2:  # one projection makes all three, and they lie in one tensor
            query, key, value = random(1, total, 12, 16).transpose(1, 2).chunk(3, dim=1)
            key, value = key[:, :2], value[:, :2]
        else:
            query = random(1, total, 4, 16).transpose(1, 2)
            key, value = (random(1, total, 2, 16).transpose(1, 2) for _ in range(2))
        options = {"causal": True, "window": None, "scale": None}
        with torch.no_grad():
            ours = attention.attend_in_blocks(query, key, value, segments, **options)
            theirs = attention.attend_by_parts(query, key, value, segments, **options)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()
