"""Mean over rankings of Kendall's τ-b between rewards and ranks; 1 is full agreement.

τ-b = (C − D) / √(pairs untied in rank × pairs untied in reward), with C concordant and D discordant
pairs (Kendall 1945, Biometrika 33). A ranking with constant rewards makes that 0/0 and counts 0,
what a random order gets on average: to leave it out would let a model raise its score by declining
to order the hard prompts.

>>> MEASURE([[2.0, 1.0, 0.0], [1.0, 1.0]], [[0, 1, 2], [0, 1]], resamples=0).value
0.5
"""

import numpy as np

from plaudit.evaluation.items import Items, margin
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure


def kendall_tau_b(layout: Layout, reward: Floats) -> Items:
    """Kendall's τ-b of each ranking."""
    size = len(layout.sizes)
    signs = np.sign(margin(layout, reward).values)
    agreement = np.bincount(layout.pair_ranking, signs, size)[layout.ordered]
    by_rank = np.bincount(layout.pair_ranking, minlength=size)[layout.ordered]
    differs = reward[layout.first] != reward[layout.second]
    by_reward = np.bincount(layout.any_ranking, differs, size)[layout.ordered]
    return Items(agreement / np.sqrt(np.maximum(by_rank * by_reward, 1)), layout.ordered)


MEASURE = Measure(
    kendall_tau_b,
    "Kendall's τ-b",
    "signed",
    group="rankings",
    compared=True,
    ends=(-1.0, 1.0),
    position=50,
    row=40,
    hint="−1 to 1, 0 is no agreement",
    shown=("report", "printed", "card"),
)
