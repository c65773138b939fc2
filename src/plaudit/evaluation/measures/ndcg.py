"""Mean over rankings of the normalised discounted cumulative gain; 1 is the best order.

DCG = Σ gain / log₂(1 + place) over the completions by falling reward, divided by that of the best
order. Discounting gains by place, against the best order, is Järvelin & Kekäläinen's (2002, ACM
TOIS 20), who divide by log₂(place) from place 2 on. The divisor log₂(1 + place), for which places 1
and 2 differ, is that of Burges et al. (2005, ICML, "Learning to rank using gradient descent"). The
gain of a completion is the number of distinct ranks below its own, so the worst rank gains nothing
and each rank one more. It is linear, since ranks do not say how much better the best is.
Completions of equal reward share the mean of their discounts (McSherry & Najork 2008, ECIR). A
random order scores well above 0: read it beside the coin toss.

>>> MEASURE([[0.0, 1.0]], [[0, 1]], resamples=0).value  # 1 / log₂ 3
0.6309297535714575
"""

import numpy as np

from plaudit.evaluation.items import Items
from plaudit.evaluation.layout import Floats, Layout, sort_within
from plaudit.evaluation.measures import Measure


def ndcg(layout: Layout, reward: Floats) -> Items:
    """Discounted gain of each ranking's order by reward, over that of its best order."""
    worst = np.maximum.reduceat(layout.rank, layout.starts)
    gain = (np.repeat(worst, layout.sizes) - layout.rank).astype(np.float64)
    by_reward = sort_within(layout.ranking, -reward)
    discount = 1 / np.log2(np.arange(len(reward)) - by_reward.start + 2)
    runs = np.flatnonzero(np.append(True, np.diff(by_reward.run) != 0))
    shared = np.add.reduceat(discount, runs) / np.diff(np.append(runs, len(reward)))
    reached = np.add.reduceat(gain[by_reward.order] * shared[by_reward.run], layout.starts)
    by_rank = sort_within(layout.ranking, layout.rank)
    ideal = np.add.reduceat(gain[by_rank.order] * discount, layout.starts)
    return Items(reached[layout.ordered] / ideal[layout.ordered], layout.ordered)


MEASURE = Measure(
    ndcg,
    "NDCG",
    group="rankings",
    compared=True,
    ends=(0.0, 1.0),
    position=70,
    row=30,
    hint="the whole order, its top counting most; 1 is perfect",
)
