"""Batches hold every ranking once, within their budget; flat ones have each unique token once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plaudit.data.rankings import PADDING
from plaudit.model.batches import (
    Flat,
    Padded,
    balanced_batches,
    per_ranking,
    token_budget_batches,
    unique_tokens,
)


@st.composite
def encoded_rankings(draw):
    """Rankings of random tokens whose rows begin alike, or not."""
    rankings = []
    for _ in range(draw(st.integers(1, 6))):
        shared = draw(st.lists(st.integers(1, 50), max_size=6))
        own = draw(st.lists(st.lists(st.integers(51, 99), max_size=5), min_size=2, max_size=5))
        rows = [shared + row or [7] for row in own]
        prefix = len(shared) if all(len(row) >= len(shared) for row in rows) and shared else 0
        rankings.append(
            {"input_ids": rows, "shared": prefix, "length": max(map(len, rows))}
            | {"ranks": list(range(len(rows))), "margin": 0.0, "weight": 1.0}
        )
    return rankings


@given(
    rankings=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 8)), max_size=40),
    budget=st.integers(1, 400),
)
def test_batches_are_a_partition_within_the_budget(rankings, budget):
    lengths, sizes = [r[0] for r in rankings], [r[1] for r in rankings]
    batches = token_budget_batches(lengths, sizes, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(rankings)))
    for batch in batches:
        padded = sum(sizes[i] for i in batch) * max(lengths[i] for i in batch)
        assert padded <= budget or len(batch) == 1
    ordered = [lengths[index] for batch in batches for index in batch]
    assert ordered == sorted(lengths, reverse=True)


def test_collate_pads_on_the_right_and_keeps_the_order():
    first = {
        "input_ids": [[5, 6, 7], [8]],
        "token_type_ids": [[0, 1, 1], [0]],
        "ranks": [0, 1],
        "margin": 0.5,
        "weight": 1.0,
    }
    second = {
        "input_ids": [[9, 9]] * 3,
        "token_type_ids": [[0, 1]] * 3,
        "ranks": [2, 1, 0],
        "margin": 0.0,
        "weight": 3.0,
    }
    batch = Padded(4).collate([first, second], [0, 1])
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 4, 4], *[[9, 9, 4]] * 3]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], *[[1, 1, 0]] * 3]
    assert batch["token_type_ids"].tolist() == [[0, 1, 1], [0, 0, 0], *[[0, 1, 0]] * 3]
    assert batch["ranks"].tolist() == [[0, 1, PADDING], [2, 1, 0]]
    assert batch["margin"].tolist() == [0.5, 0.0]
    assert batch["weight"].tolist() == [1.0, 3.0]


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_per_ranking_lays_rewards_out_in_order(sizes):
    rewards = torch.arange(1.0, sum(sizes) + 1)
    ranks = torch.full((len(sizes), max(sizes)), PADDING)
    for row, size in enumerate(sizes):
        ranks[row, :size] = torch.arange(size)
    laid = per_ranking(rewards, ranks)
    left = iter(rewards.tolist())
    for row, size in enumerate(sizes):
        assert laid[row, :size].tolist() == [next(left) for _ in range(size)]
        assert laid[row, size:].eq(0).all()


@pytest.mark.parametrize("layout", [Padded(0), Flat(0)])
@given(rankings=encoded_rankings(), budget=st.integers(1, 80))
def test_batches_hold_every_ranking_once(layout, rankings, budget):
    batches = layout.divide(rankings, budget)
    seen = [place for batch in batches for place in batch["position"].tolist()]
    assert sorted(seen) == list(range(len(rankings)))
    for batch in batches:
        assert batch["input_ids"].numel() <= budget or len(batch["ranks"]) == 1
        sizes = [len(rankings[place]["ranks"]) for place in batch["position"].tolist()]
        assert (batch["ranks"] != PADDING).sum(1).tolist() == sizes


@given(rankings=encoded_rankings(), first=st.integers(0, 2))
def test_a_flat_batch_gives_every_row_back(rankings, first):
    (batch,) = Flat(first).divide(rankings, 10**6)
    rows, expected = batch["segments"].rows(), [r for x in rankings for r in x["input_ids"]]
    assert len(rows) == len(expected)
    for row, tokens in zip(rows, expected, strict=True):
        places = row[row >= 0]
        assert batch["input_ids"][0, places].tolist() == tokens
        wanted = list(range(first, first + len(tokens)))
        assert batch["position_ids"][0, places].tolist() == wanted
    assert batch["input_ids"].shape[1] == sum(map(unique_tokens, rankings))
    assert sorted(rows[rows >= 0].unique().tolist()) == list(range(batch["input_ids"].shape[1]))


@given(tokens=st.lists(st.integers(1, 60), min_size=1, max_size=40), budget=st.integers(1, 400))
def test_balanced_batches_are_alike(tokens, budget):
    batches = balanced_batches(tokens, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(tokens)))
    sums = [sum(tokens[i] for i in batch) for batch in batches]
    assert all(s <= budget or len(b) == 1 for s, b in zip(sums, batches, strict=True))
    # What makes them alike: none is heavier than another by more than one ranking.
    assert max(sums) - min(sums) <= max(tokens)
