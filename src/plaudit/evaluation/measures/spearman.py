"""Mean over rankings of Spearman's ρ between rewards and ranks; 1 is full agreement.

The correlation of the places in both orders, where equal values share their mean place (Spearman
1904, American Journal of Psychology 15). Compared with τ-b, completions that are far from their
place count more. A ranking with constant rewards counts 0, as in `kendall_tau_b`.

>>> MEASURE([[2.0, 1.0, 0.0], [1.0, 1.0]], [[0, 1, 2], [0, 1]], resamples=0).value
0.5
"""

import numpy as np

from plaudit.evaluation import items
from plaudit.evaluation.items import Items
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def spearman(layout: Layout, reward: Floats) -> Items:
    """Spearman's ρ of each ranking between its rewards and its ranks, the best rank highest."""
    return items.spearman(layout, reward, -layout.rank.astype(np.float64))


MEASURE = Measure(
    spearman,
    "Spearman's ρ",
    "signed",
    group="rankings",
    compared=True,
    ends=(-1.0, 1.0),
    position=60,
    row=50,
    hint="−1 to 1, 0 is no agreement",
)
