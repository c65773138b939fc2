"""Random rankings, padded as the trainer pads them, and their pairs in plain loops."""

import functools
import inspect
import math

import torch
from hypothesis import strategies as st

from plaudit.data.rankings import PADDING
from plaudit.training.objectives import OBJECTIVES

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


def all_pairs(rewards, ranks):
    """Every pair once: the better one's reward first, and whether they tie."""
    k = len(ranks)
    each = [(i, j) for i in range(k) for j in range(i + 1, k)]
    ordered = [(i, j) if ranks[i] <= ranks[j] else (j, i) for i, j in each]
    return [(rewards[i], rewards[j], ranks[i] == ranks[j]) for i, j in ordered]


def recovered(loss, items, ranks, start, **data):
    """Item rewards and options of a loss that fit the data best, by a full-batch search.

    `items[R, K]` says which item each completion is; `start` are the options to be learnt.
    """
    rewards = torch.zeros(int(items.max()) + 1, dtype=torch.float64, requires_grad=True)
    learnt = {name: value.double().requires_grad_() for name, value in start.items()}
    search = torch.optim.LBFGS(
        [rewards, *learnt.values()], max_iter=200, line_search_fn="strong_wolfe"
    )

    def closure():
        search.zero_grad()
        value = loss(rewards[items], ranks, **learnt, **data).mean()
        value.backward()
        return value

    search.step(closure)
    return rewards.detach(), {name: value.detach() for name, value in learnt.items()}


def loss_of(name, ranks):
    """An objective's loss of rewards alone, on these ranks, with ratings that fall with them."""
    ranks = torch.tensor(ranks)
    data = {"ratings": torch.where(ranks == PADDING, math.nan, 5.0 - 2 * ranks)}
    data |= {"strength": torch.arange(1.0, len(ranks) + 1), "ranks": ranks}
    data["attributes"] = torch.stack([data["ratings"], -data["ratings"]], -1)
    data["predictions"] = torch.zeros(*ranks.shape, 2)
    objective = OBJECTIVES.get(name)
    given = {key: value for key, value in data.items() if objective.takes(key)}  # ranks, too
    if objective.prepare is not None:
        wanted = inspect.signature(objective.prepare).parameters
        prepared = objective.prepare(**{key: data[key] for key in wanted})
        given |= {**prepared.fixed, **prepared.learnt}
    return functools.partial(objective.loss, **given)
