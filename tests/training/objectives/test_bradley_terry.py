"""Bradley–Terry against its definition, in plain loops."""

import math

import pytest
from by_hand import loop_pairs, pad, rewards_and_ranks
from hypothesis import given
from hypothesis import strategies as st

from plaudit.training.objectives.bradley_terry import bradley_terry


@given(rewards_and_ranks, st.floats(0, 2), st.floats(0, 0.4))
def test_bradley_terry_is_its_definition(example, margin, smoothing):
    rewards, ranks = example
    pairs = loop_pairs(rewards, ranks)

    def softplus(x):
        return max(x, 0) + math.log1p(math.exp(-abs(x)))

    expected = sum(
        (1 - smoothing) * softplus(-(a - b - margin)) + smoothing * softplus(a - b - margin)
        for a, b in pairs
    ) / max(len(pairs), 1)
    got = bradley_terry(*pad(rewards, ranks, 7), margin=margin, label_smoothing=smoothing)
    assert got.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
