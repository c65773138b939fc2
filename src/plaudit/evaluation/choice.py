"""Which of many candidates can be told from the best, where the best was picked by the same data.

All are measured on the same rankings. A test of the best against each of the others that is
corrected for their number alone (Holm's, say) takes the best for one that was named beforehand; it
was picked for its luck, too. So the gaps are held against the range of all candidates, as in
Tukey's test of all pairs (Hsu 1996, Multiple Comparisons, ch. 5), whose distribution is here that
of the bootstrap over prompts: it knows how candidates that share prompts and mistakes move
together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from plaudit.data.cells import lengths_of
from plaudit.data.rankings import Ranking
from plaudit.evaluation.items import Items, statistic
from plaudit.evaluation.layout import Floats, flatten, lay_out
from plaudit.evaluation.measures import measure_named

RESAMPLES = 2000


def behind_best(
    rankings: Sequence[Ranking],
    rewards: Sequence[Sequence[ArrayLike]],
    metric: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[float]:
    """For each of M candidates a p-value: how often so large a gap between any two of them comes
    about where all are equally good. 1 for the best one.

    `rewards` are those of each candidate for the same rankings, K numbers each; `metric` is a
    measure of rewards and, if it takes them, lengths. The chance that any candidate that is as good
    as the best has a p-value of 0.05 or less is about 5 %, whichever the best is.

    >>> rankings = [Ranking(f"{n} + 1?", [f"{n + 1}", "no"], [0, 1]) for n in range(40)]
    >>> right, wrong = [[1.0, 0.0]] * 40, [[0.0, 1.0]] * 40
    >>> p = behind_best(rankings, [right, wrong, right], "pairwise_accuracy")
    >>> p[1] < 0.05, p[0], p[2]
    (True, 1.0, 1.0)
    """
    layout = lay_out([ranking.ranks for ranking in rankings], [ranking.key for ranking in rankings])
    length = flatten(lengths_of(rankings), layout, "length")
    measure = measure_named(metric)
    statistics = []
    for each in rewards:
        found = measure.measure(layout, flatten(each, layout, "reward"), length)
        statistics.append(statistic(layout, found) if isinstance(found, Items) else found)
    values = np.array([float(one.values[0]) for one in statistics])
    size = len(layout.asked)
    rng = np.random.default_rng(seed)
    ranges: list[Floats] = []
    block = max(1, (1 << 22) // size)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        weights = rng.multinomial(size, np.full(size, 1 / size), rows).astype(np.float64)
        drawn = np.hstack([one.of(weights) for one in statistics]) - values
        ranges.append(drawn.max(axis=1) - drawn.min(axis=1))
    spread = np.concatenate(ranges) * np.sqrt(size / max(size - 1, 1))
    spread = spread[~np.isnan(spread)]
    best = values.min() if measure.lower_is_better else values.max()
    gaps = np.abs(values - best)
    return [
        1.0 if gap == 0 else float((np.count_nonzero(spread >= gap) + 1) / (len(spread) + 1))
        for gap in gaps
    ]
