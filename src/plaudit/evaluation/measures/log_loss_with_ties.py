"""Log loss over all pairs, ties too: a tie counts as half a preference for either completion.

Mean of −y log σ(m) − (1 − y) log σ(−m) over the pairs with difference of rewards m, where y is 1
for a strictly ordered pair, m being taken from the better side, and 1/2 for a tied one: the cross
entropy with soft labels, by which a tie asks for equal rewards. A coin toss scores log 2 = 0.693;
with ties no model can reach 0. Of all pairs of prompts that have an ordered one; where no pair is
tied there is nothing to measure that `log_loss` does not.

>>> round(MEASURE([[2.0, 0.0, 0.0]], [[0, 1, 1]], resamples=0).value, 3)  # the tie costs log 2
0.316
"""

import math

import numpy as np

from plaudit.evaluation.calibration import with_ties
from plaudit.evaluation.items import Items
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def log_loss_with_ties(layout: Layout, reward: Floats) -> Items:
    """The cross entropy of each pair with its label, 1 or 1/2."""
    pairs = with_ties(layout, reward)
    loss = pairs.label * np.logaddexp(0, -pairs.margin)
    return Items(loss + (1 - pairs.label) * np.logaddexp(0, pairs.margin), pairs.ranking)


MEASURE = Measure(
    log_loss_with_ties,
    "log loss with ties",
    lower_is_better=True,
    group="probabilities",
    ends=(0.0, math.inf),
    position=148,
    row=12,
    hint="a tie is half a preference for either; a coin toss gets 0.693",
    short="log loss, ties too",
)
