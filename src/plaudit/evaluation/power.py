"""How far apart two models must be to be told apart by the prompts at hand.

Said before they are compared, it keeps people from looking for a difference that the data cannot
show, or from taking "no difference found" for "no difference". Power is the chance to find what is
there, here four in five, at the 5 % at which differences count as found. Assumes that models are
compared on the same pairs: then only pairs on which they part have a say, and how many these will
be is not known beforehand, so it is said for two shares of them.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import ndtri

from plaudit.console import counted
from plaudit.evaluation.statistics import Figure, standard_error

LEVEL = 0.05
POWER = 0.8
# Of the pairs, on which the models part: as two versions of one model do, and as strangers do.
PARTING = (0.1, 0.25)


def independent_pairs(accuracy: Figure, pairs: int, prompts: int) -> float:
    """How many independent pairs these pairs of so many prompts are worth: p (1 − p) / v.

    v is the variance that the interval of a model's accuracy p shows; no more than there are, no
    fewer than prompts. Without an interval, and where all is right or wrong, it is the prompts.

    >>> round(independent_pairs(Figure(0.7, 0.66, 0.74), pairs=3000, prompts=120))
    504
    """
    if accuracy.low is None or accuracy.high is None or not 0 < accuracy.value < 1:
        return float(prompts)
    variance = standard_error(accuracy.low, accuracy.high) ** 2
    worth = accuracy.value * (1 - accuracy.value) / variance if variance > 0 else pairs
    return float(min(max(worth, prompts), max(pairs, prompts)))


def told_apart(pairs: float, parting: float, level: float = LEVEL, power: float = POWER) -> float:
    """The difference in accuracy that is found with this `power` on so many independent pairs, when
    the models part on this share ψ of them; NaN where that share holds none so large.

    δ solves n δ² = (z_{1−α/2} √ψ + z_{power} √(ψ − δ²))², the sample size of McNemar's test
    (Connor 1987, Biometrics 43); no difference can be larger than ψ.

    >>> round(told_apart(200, 0.1), 3), round(told_apart(2000, 0.1), 3)
    (0.062, 0.02)
    """
    a, b = float(ndtri(1 - level / 2)), float(ndtri(power))

    def short(delta: float) -> float:
        spread = a * math.sqrt(parting) + b * math.sqrt(max(parting - delta**2, 0.0))
        return spread - math.sqrt(pairs) * delta

    return math.nan if short(parting) > 0 else float(brentq(short, 0.0, parting))


def told_apart_over_folds(
    deviation: float,
    folds: int,
    train_size: float,
    test_size: float,
    level: float = LEVEL,
    power: float = POWER,
) -> float:
    """The difference of two ways of training that the corrected resampled t-test over folds finds
    with this `power`, when differences vary from fold to fold by this standard deviation.

    t is then noncentral with J − 1 degrees of freedom and δ / (√(1/J + test/train) σ) off centre:
    exactly so under the correlation of folds, test / (test + train), that the test assumes (Nadeau
    & Bengio 2003, Machine Learning 52).

    >>> round(told_apart_over_folds(0.02, folds=5, train_size=400, test_size=100), 3)
    0.05
    """
    error = math.sqrt(1 / folds + test_size / train_size) * deviation
    if error == 0:
        return 0.0
    freedom = folds - 1
    limit = float(stats.t.ppf(1 - level / 2, freedom))

    def short(shift: float) -> float:
        return power - float(stats.nct.sf(limit, freedom, shift))

    most = 1.0
    while short(most) > 0:
        most *= 2
    return float(brentq(short, 0.0, most)) * error


def deviation_of_folds(
    accuracies: Sequence[float], pairs_of_fold: float, parting: float
) -> tuple[float, float]:
    """How differences of two ways of training vary from fold to fold, as far as it can be known
    before the second is trained: at least, as the pairs of a fold make them where models part on
    this share of them, √(ψ / n); at most, as if both varied by themselves, √2 times the spread of
    the one that is known."""
    own = float(np.std(accuracies, ddof=1))
    least = math.sqrt(parting / pairs_of_fold)
    return least, max(math.sqrt(2) * own, least)


def before_comparing(accuracy: Figure, pairs: int, prompts: int) -> str:
    """A sentence for people who are about to compare two models on these prompts; `accuracy` is
    that of one of them.

    >>> before_comparing(Figure(0.7, 0.636, 0.764), pairs=200, prompts=200)
    'These 200 prompts are worth 200 independent pairs. In 4 of 5 such comparisons they show, \
where the two models disagree on 10 % of the pairs, a difference of 6.2 points of accuracy or \
more; where on 25 %, a difference of 9.8 points of accuracy or more. A smaller one will mostly not \
be found.'
    """
    worth = independent_pairs(accuracy, pairs, prompts)
    few, many = (_shown(told_apart(worth, share)) for share in PARTING)
    shares = [f"{100 * share:.0f} %" for share in PARTING]
    return (
        f"These {counted(prompts, 'prompt')} are worth {worth:,.0f} independent pairs. In 4 of 5 "
        f"such comparisons they show, where the two models disagree on {shares[0]} of the pairs, "
        f"{few}; where on {shares[1]}, {many}. A smaller one will mostly not be found."
    )


def _shown(difference: float) -> str:
    """What is shown at least; NaN where the share of pairs holds no difference so large."""
    if math.isnan(difference):
        return "no difference, however large"
    return f"a difference of {_points(difference)} of accuracy or more"


def before_comparing_folds(
    accuracies: Sequence[float], worth: float, train_size: float, test_size: float
) -> str:
    """The same of ways of training over folds: of the earlier one `accuracies`, one a fold, and
    how many independent pairs all its out-of-fold rewards are `worth`."""
    folds = len(accuracies)
    low, high = (
        told_apart_over_folds(sd, folds, train_size, test_size)
        for sd in deviation_of_folds(accuracies, worth / folds, PARTING[0])
    )
    between = _points(low) if low == high else f"between {_points(low)} and {_points(high)}"
    return (
        f"Over {counted(folds, 'fold')} like those, ways of training that are {between} of "
        "accuracy apart are told apart in 4 of 5 such comparisons. What is closer will mostly not "
        "be found."
    )


def _points(difference: float) -> str:
    """A difference in points."""
    return f"{100 * difference:.1f} points"
