"""Area under the ROC curve of separating better completions from worse by one threshold for all.

Every strictly ordered pair gives a positive, its better completion, and a negative, its worse. AUC
is the chance that a random positive has a higher reward than a random negative, whatever their
prompts, equal rewards counting half (Hanley & McNeil 1982, Radiology 143). Bradley–Terry leaves
rewards of different prompts free to differ, so AUC is as a rule below the pairwise accuracy. It is
what filtering data by a reward threshold relies on.

>>> MEASURE([[5.0, 4.0], [2.0, 1.0]], [[0, 1], [0, 1]], resamples=0).value
0.75
"""

import numpy as np

from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure
from plaudit.evaluation.statistics import Statistic, effective


def auc(layout: Layout, reward: Floats) -> Statistic:
    """Completions are sorted once; each resample then sums along."""
    sides = []
    for side in (layout.better, layout.worse):
        times = np.bincount(side, minlength=len(reward))
        which = np.flatnonzero(times)
        which = which[np.argsort(reward[which], kind="stable")]
        owner = layout.slot[layout.ranking[which]]
        sides.append((reward[which], owner, times[which].astype(np.float64)))
    (high, high_owner, high_times), (low, low_owner, low_times) = sides
    # How many negatives lie below each positive, and how many do not lie above it.
    below, upto = (np.searchsorted(low, high, side=side) for side in ("left", "right"))

    def of(weights: Floats) -> Floats:
        values = np.empty((len(weights), 1))
        passed = np.zeros(len(low) + 1)
        for row, weight in enumerate(weights):
            positives = weight.take(high_owner) * high_times
            np.cumsum(weight.take(low_owner) * low_times, out=passed[1:])
            won = positives @ (passed.take(below) + passed.take(upto)) / 2
            values[row] = won / (positives.sum() * passed[-1])
        return values

    value = of(np.ones((1, len(layout.asked))))[0]
    return Statistic(value, of, effective(layout.per_prompt(layout.pair_ranking)[:, None]))


MEASURE = Measure(
    auc,
    "AUC",
    ends=(0.0, 1.0),
    position=150,
    row=40,
    hint="one threshold for all prompts; a coin toss gets 0.5",
    short="AUC over all prompts",
)
