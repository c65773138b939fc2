"""Mean of (1 − σ(r_better − r_worse))² over the strictly ordered pairs; lower is better.

The squared error of the predicted probabilities (Brier 1950, Monthly Weather Review 78). Like log
loss it is least for true probabilities, but no single pair costs more than 1. A coin toss scores
0.25.

>>> MEASURE([[0.0, 0.0]], [[0, 1]], resamples=0).value
0.25
"""

from scipy.special import expit

from plaudit.evaluation.items import Items, margin
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def brier(layout: Layout, reward: Floats) -> Items:
    """Squared probability that Bradley–Terry gives the wrong order, for each pair."""
    return Items(expit(-margin(layout, reward).values) ** 2, layout.pair_ranking)


MEASURE = Measure(
    brier,
    "Brier score",
    lower_is_better=True,
    group="probabilities",
    compared=True,
    ends=(0.0, 1.0),
    position=30,
    row=20,
    hint="a coin toss gets 0.25; lower is better",
)
