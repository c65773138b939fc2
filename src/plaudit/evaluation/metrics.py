"""Measures as functions: `from plaudit.evaluation.metrics import log_loss`, and so on.

Every measure that is installed can be imported from here and called as `Measure.__call__` says.
Beside them stands what each prompt adds to those that models are compared by. Nothing here imports
torch.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from plaudit.errors import PlauditError
from plaudit.evaluation.items import Items
from plaudit.evaluation.layout import Floats, flatten, lay_out
from plaudit.evaluation.measures import MEASURES, Measure, measures


def __getattr__(name: str) -> Measure:
    if name not in MEASURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return MEASURES.get(name)


@dataclass(frozen=True)
class PerPrompt:
    """What P prompts add to M measures: `sums` and `counts` are [P, M] over `prompts` and `names`.

    The values of the measures are `sums.sum(0) / counts.sum(0)`.
    """

    names: list[str]
    sums: Floats
    counts: Floats
    prompts: list[Hashable]


def per_prompt(
    rewards: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
) -> PerPrompt:
    """What each prompt adds to every measure that models are compared by, but for those of lengths.

    For comparing models prompt by prompt, and whatever else resamples or exchanges prompts. Those
    without a strictly ordered pair are left out. Arguments and errors as in `Measure.__call__`;
    `PlauditError` also when a measure has no item for one of the prompts.

    >>> table = per_prompt([[2.0, 1.0, 0.0], [1.0, 1.0]], [[0, 2, 1], [0, 0]], prompts="ab")
    >>> table.prompts, table.names[0], float(table.sums[0, 0]), float(table.counts[0, 0])
    (['a'], 'pairwise_accuracy', 2.0, 3.0)
    """
    layout = lay_out(ranks, prompts)
    reward = flatten(rewards, layout, "reward")
    names, sums, counts = [], [], []
    for name, measure in measures().items():
        if not measure.compared or measure.takes_length or measure.takes_variance:
            continue
        result = measure.measure(layout, reward, None)
        count = layout.per_prompt(result.ranking) if isinstance(result, Items) else np.zeros(1)
        if not isinstance(result, Items) or not count.all():
            raise PlauditError(
                f"measure {name}: models cannot be compared by it, as it has no item for some "
                "prompt; its MEASURE must not say compared=True"
            )
        names.append(name)
        sums.append(layout.per_prompt(result.ranking, result.values))
        counts.append(count)
    return PerPrompt(
        names=names,
        sums=np.stack(sums, axis=1),
        counts=np.stack(counts, axis=1),
        prompts=[layout.prompts[index] for index in layout.asked],
    )
