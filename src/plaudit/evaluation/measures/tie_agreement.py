"""Whether completions tied in rank are closer in reward than those that are not.

For every ranking that has both, the share of its (tied pair, ordered pair) couples in which the
tied pair has the smaller |difference of rewards|, equal differences counting half; then the mean
over those rankings. That is the area under the ROC curve of a rule that separates ordered pairs
from tied ones by the size of their difference in reward: 0.5 is chance; at 1, every tied pair
differs less than every ordered pair. Only the order of the differences matters, so no threshold for
"tied in reward" is needed. The definition is plaudit's own.

>>> MEASURE([[3.0, 0.1, 0.0]], [[0, 1, 1]], resamples=0).value
1.0
"""

import numpy as np

from plaudit.evaluation.items import Items
from plaudit.evaluation.layout import Floats, Layout, midranks
from plaudit.evaluation.measures import Measure


def tie_agreement(layout: Layout, reward: Floats) -> Items:
    """How often a tied pair of a ranking is closer in reward than an ordered pair of it."""
    gap = np.abs(reward[layout.first] - reward[layout.second])
    strict = layout.rank[layout.first] != layout.rank[layout.second]
    place = midranks(layout.any_ranking, gap)
    size = len(layout.sizes)
    ordered = np.bincount(layout.any_ranking, strict, size)
    tied = np.bincount(layout.any_ranking, ~strict, size)
    total = np.bincount(layout.any_ranking, place * strict, size)
    both = np.flatnonzero((ordered > 0) & (tied > 0))
    # Mann and Whitney's U of the ordered pairs' gaps over the tied ones', as a share.
    u = total[both] - ordered[both] * (ordered[both] + 1) / 2
    return Items(u / (ordered[both] * tied[both]), both)


MEASURE = Measure(
    tie_agreement,
    "agreement on ties",
    group="rankings",
    position=100,
    row=60,
    hint="are tied completions closer in reward? chance gets 0.5",
)
