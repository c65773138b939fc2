"""Measures as functions: `from plaudit.evaluation.metrics import log_loss`, and so on.

Every measure that is installed can be imported from here and called as `Measure.__call__` says.
Beside them stand measures of other input than one model's rewards, and what each prompt adds to
those that models are compared by. Nothing here imports torch.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from plaudit.errors import PlauditError
from plaudit.evaluation import items
from plaudit.evaluation.items import Items, means
from plaudit.evaluation.layout import Floats, flatten, lay_out
from plaudit.evaluation.measures import MEASURES, Measure, measures
from plaudit.evaluation.statistics import Figure, resample


def __getattr__(name: str) -> Measure:
    if name not in MEASURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return MEASURES.get(name)


def length_baseline(
    lengths: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Pairwise accuracy of always preferring the longer completion; equal lengths count half.

    `lengths` holds one array [K_i] per ranking, in characters. Other arguments and errors as in
    `Measure.__call__`.

    >>> length_baseline([[120, 80], [10, 10]], [[0, 1], [0, 1]], resamples=0).value
    0.75
    """
    return MEASURES.get("length_baseline")(
        lengths, ranks, lengths=lengths, prompts=prompts, resamples=resamples, seed=seed
    )


def accuracy_above_length(
    rewards: Sequence[ArrayLike],
    lengths: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Pairwise accuracy of the rewards minus that of the length baseline, with a paired interval.

    Arguments and errors as in `Measure.__call__` and `length_baseline`.

    >>> accuracy_above_length([[1.0, 0.0]], [[50, 90]], [[0, 1]], resamples=0).value
    1.0
    """
    return MEASURES.get("accuracy_above_length")(
        rewards, ranks, lengths=lengths, prompts=prompts, resamples=resamples, seed=seed
    )


def order_kept(
    rewards: Sequence[ArrayLike],
    changed: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Share of the strictly ordered pairs that two sets of rewards put in the same order.

    `changed` are the rewards of the same completions after a change that should not matter, such as
    one of whitespace. A tie that came or went counts half. It does not say whether the order is
    right. Other arguments and errors as in `Measure.__call__`.

    >>> order_kept([[1.0, 0.0], [0.2, 0.1]], [[1.1, 0.1], [0.1, 0.2]], [[0, 1]] * 2).value
    0.5
    """
    layout = lay_out(ranks, prompts)
    before, after = flatten(rewards, layout, "reward"), flatten(changed, layout, "changed reward")
    statistic = means(layout, [items.order_kept(layout, before, after)], shares=True)
    return resample([statistic], len(layout.asked), resamples=resamples, seed=seed)[0][0]


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
    """What each prompt adds to every measure that models are compared by.

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
        if not measure.compared:
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
