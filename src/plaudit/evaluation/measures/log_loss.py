"""Mean of −log σ(r_better − r_worse) over the strictly ordered pairs, in nats.

The negative log likelihood of the pairs under Bradley–Terry (Bradley & Terry 1952, Biometrika 39).
A coin toss scores log 2 = 0.693; above that, the model is surer than it is right.

>>> print(MEASURE([[0.0, 0.0]], [[0, 1]], resamples=0))
0.693
"""

import math

import numpy as np

from plaudit.evaluation.items import Items, margin
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def log_loss(layout: Layout, reward: Floats) -> Items:
    """−log of the probability that Bradley–Terry gives the data's order, for each pair."""
    return Items(np.logaddexp(0, -margin(layout, reward).values), layout.pair_ranking)


MEASURE = Measure(
    log_loss,
    "log loss",
    lower_is_better=True,
    group="probabilities",
    compared=True,
    ends=(0.0, math.inf),
    position=20,
    row=10,
    hint="a coin toss gets 0.693; lower is better",
    shown=("report", "printed", "card"),
)
