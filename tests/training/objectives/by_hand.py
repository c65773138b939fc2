"""Random rankings, padded as the trainer pads them, and their pairs in plain loops."""

import torch
from hypothesis import strategies as st

from plaudit.data.rankings import PADDING

rewards_and_ranks = st.integers(2, 6).flatmap(
    lambda k: st.tuples(
        st.lists(st.floats(-8, 8), min_size=k, max_size=k),
        st.lists(st.integers(0, k - 1), min_size=k, max_size=k),
    )
)


def pad(rewards, ranks, k):
    extra = k - len(rewards)
    return (
        torch.tensor([rewards + [3.7] * extra], dtype=torch.float64),
        torch.tensor([ranks + [PADDING] * extra]),
    )


def loop_pairs(rewards, ranks):
    k = len(ranks)
    return [(rewards[i], rewards[j]) for i in range(k) for j in range(k) if ranks[i] < ranks[j]]
