"""Which pairs a model is surest of, and what is left of its mistakes where it abstains from others.

Pairs are ordered by how far the probability that a is preferred to b is from one half. Without an
uncertainty that is the order of |r_a − r_b|; with one, a difference counts for less, the less is
known of it (`moderated` of `model.posterior`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from plaudit.evaluation.items import margin, pairwise_accuracy
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.statistics import Statistic, ratios
from plaudit.model.posterior import moderated, pair_variance

KEPT = 0.8  # of the pairs, by the measures


def variances(layout: Layout, covariances: Sequence[ArrayLike]) -> Floats:
    """The variance `[N]` of r_better − r_worse of every ordered pair.

    `covariances` are those of each ranking's rewards, `[K_i, K_i]`.

    >>> from plaudit.evaluation.layout import lay_out
    >>> variances(lay_out([[0, 1], [1, 0]], None), [np.eye(2), 2 * np.eye(2)]).tolist()
    [2.0, 4.0]
    """
    if [np.shape(each) for each in covariances] != [(size, size) for size in layout.sizes]:
        raise ValueError("covariances must be one matrix [K, K] for each ranking of K completions")
    found = np.empty(len(layout.better))
    order = np.argsort(layout.pair_ranking, kind="stable")
    starts = np.flatnonzero(np.diff(layout.pair_ranking[order], prepend=-1))
    for pairs in np.split(order, starts[1:]):
        ranking = layout.pair_ranking[pairs[0]]
        first = layout.starts[ranking]
        matrix = np.asarray(covariances[ranking], dtype=np.float64)
        found[pairs] = pair_variance(
            matrix, layout.better[pairs] - first, layout.worse[pairs] - first
        )
    return found


def log_odds(layout: Layout, reward: Floats, variance: Floats | None = None) -> Floats:
    """How sure the model is that the better completion of each pair is the better one, `[N]`."""
    margins = margin(layout, reward).values
    return margins if variance is None else moderated(margins, variance)


def surest(certainty: Floats, share: float = KEPT) -> Floats:
    """Of each pair how much of it is among this share of the surest, `[N]` from 0 to 1.

    Where equally sure pairs do not all fit, each is there in part, as if some were drawn.

    >>> surest(np.array([3.0, 1.0, 1.0, 0.0]), 0.5).tolist()
    [1.0, 0.5, 0.5, 0.0]
    """
    room = share * len(certainty)
    _, place, counts = np.unique(-certainty, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    kept: Floats = np.clip((room - before) / counts, 0.0, 1.0)[place]
    return kept


def accuracy_of_surest(layout: Layout, reward: Floats, variance: Floats | None = None) -> Statistic:
    """Pairwise accuracy where the model does not abstain."""
    kept = surest(np.abs(log_odds(layout, reward, variance)))
    right, ranking, _ = pairwise_accuracy(layout, reward)
    sums, counts = layout.per_prompt(ranking, kept * right), layout.per_prompt(ranking, kept)
    return ratios(sums[:, None], counts[:, None], shares=True)


def accuracy_by_share(
    layout: Layout, reward: Floats, variance: Floats | None, shares: Sequence[float]
) -> Floats:
    """Pairwise accuracy of the surest pairs, for each share of them that is kept."""
    certainty = np.abs(log_odds(layout, reward, variance))
    right = pairwise_accuracy(layout, reward).values
    return np.array([np.average(right, weights=surest(certainty, share)) for share in shares])
