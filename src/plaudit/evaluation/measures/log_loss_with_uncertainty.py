"""Log loss by the probabilities that take the uncertainty into account.

−log σ(m / √(1 + π v / 8)), with m = r_better − r_worse and v its variance, in nats.
"""

import math

import numpy as np

from plaudit.evaluation.abstention import log_odds
from plaudit.evaluation.items import Items
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def log_loss_with_uncertainty(layout: Layout, reward: Floats, variance: Floats) -> Items:
    """The loss of every strictly ordered pair."""
    return Items(np.logaddexp(0, -log_odds(layout, reward, variance)), layout.pair_ranking)


MEASURE = Measure(
    log_loss_with_uncertainty,
    "log loss with the uncertainty",
    lower_is_better=True,
    group="probabilities",
    ends=(0.0, math.inf),
    position=145,
    row=58,
    hint="by probabilities nearer to one half where the head is uncertain",
    short="log loss, uncertain",
)
