"""How much more is right of the surest 80 % when the uncertainty chooses them.

`accuracy_where_certain` less `accuracy_where_sure`, on the same prompts. Where its interval holds 0
the uncertainty finds mistakes no better than the difference of rewards does.
"""

from plaudit.evaluation.abstention import accuracy_of_surest
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.measures import Measure
from plaudit.evaluation.statistics import Statistic


def uncertainty_gain(layout: Layout, reward: Floats, variance: Floats) -> Statistic:
    """The difference of the two accuracies, in the same resamples."""
    with_it, without = (accuracy_of_surest(layout, reward, each) for each in (variance, None))

    def of(weights: Floats) -> Floats:
        return with_it.of(weights) - without.of(weights)

    return Statistic(with_it.values - without.values, of, with_it.prompts)


MEASURE = Measure(
    uncertainty_gain,
    "gain by the uncertainty",
    "points",
    position=143,
    row=46,
    hint="in the accuracy of the surest 80 %; none where the interval holds 0",
)
