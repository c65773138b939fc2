"""How much of what a measure varies by is the split, and how much the seed: variance components.

S splits are crossed with K seeds: of every split there is a training with every seed. The model is
y_sk = μ + split_s + seed_k + both_sk, all but μ random with mean zero and independent. The mean
squares of a two-way table with one value a cell give their variances (Searle, Casella & McCulloch
1992, Variance Components, ch. 4):

    σ²_both = MS_both,  σ²_split = (MS_split − MS_both) / K,  σ²_seed = (MS_seed − MS_both) / S,

zero where that is below zero. Intervals are Weerahandi's generalised ones (1993, Journal of the
American Statistical Association 88): the sums of squares over draws of their χ². With few splits
and seeds they are wide, which is the truth: three seeds say little of how seeds vary.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import TypedDict

from plaudit.evaluation.layout import Floats
from plaudit.evaluation.statistics import FigureRecord

DRAWS = 20_000
PARTS = ("split", "seed", "both")


class ComponentsRecord(TypedDict):
    """A measure over S × K trainings: its mean, and the standard deviations it is made of.

    `split`, `seed` and `both` (what one seed does in one split alone) are standard deviations with
    95 % intervals, `share` their part in the variance of a single training, whose standard
    deviation is `total`. `test_prompts` is that of drawing other test prompts alone, the root mean
    square over the trainings: what the interval of a single one knows of; None where some training
    has no interval.
    """

    mean: float
    least: float
    most: float
    total: float
    split: FigureRecord
    seed: FigureRecord
    both: FigureRecord
    share: dict[str, float]
    test_prompts: float | None
    values: list[list[float]]  # [S][K]


def components(
    values: ArrayLike, errors: ArrayLike | None = None, *, seed: int = 0
) -> ComponentsRecord:
    """The components of `values` [S, K], S ≥ 2 splits by K ≥ 2 seeds; `errors` [S, K] are the
    standard errors of each value, for its test prompts alone, NaN where there is none.

    >>> found = components([[0.70, 0.72], [0.60, 0.62], [0.65, 0.67]])
    >>> round(found["split"]["value"], 3), round(found["seed"]["value"], 3)
    (0.05, 0.014)
    """
    y = np.asarray(values, dtype=np.float64)
    splits, seeds = y.shape
    if splits < 2 or seeds < 2:
        raise ValueError(f"{splits} splits and {seeds} seeds; it takes two of each")
    shifted = y - y[0, 0]  # so that equal values have no spread, not even by rounding
    of_split, of_seed, mean = shifted.mean(axis=1), shifted.mean(axis=0), float(shifted.mean())
    left = shifted - of_split[:, None] - of_seed + mean
    sums = {
        "split": seeds * float(((of_split - mean) ** 2).sum()),
        "seed": splits * float(((of_seed - mean) ** 2).sum()),
        "both": float((left**2).sum()),
    }
    freedom = {"split": splits - 1, "seed": seeds - 1, "both": (splits - 1) * (seeds - 1)}
    rng = np.random.default_rng(seed)
    found = _variances(sums, {name: np.array([float(n)]) for name, n in freedom.items()}, y.shape)
    drawn = _variances(sums, {n: rng.chisquare(f, DRAWS) for n, f in freedom.items()}, y.shape)
    total = sum(float(each[0]) for each in found.values())
    known = None if errors is None else np.asarray(errors, dtype=np.float64)

    def figure(name: str) -> FigureRecord:
        low, high = np.sqrt(np.quantile(drawn[name], (0.025, 0.975)))
        return {"value": math.sqrt(found[name][0]), "low": float(low), "high": float(high)}

    return {
        "mean": float(y.mean()),
        "least": float(y.min()),
        "most": float(y.max()),
        "total": math.sqrt(total),
        "split": figure("split"),
        "seed": figure("seed"),
        "both": figure("both"),
        "share": {name: float(found[name][0]) / total if total else 0.0 for name in PARTS},
        "test_prompts": None
        if known is None or np.isnan(known).any()
        else float(np.sqrt((known**2).mean())),
        "values": y.tolist(),
    }


def _variances(
    sums: dict[str, float], freedom: dict[str, Floats], shape: tuple[int, ...]
) -> dict[str, Floats]:
    """The variances where each sum of squares is divided by these, degrees of freedom or draws."""
    splits, seeds = shape
    squares = {name: sums[name] / freedom[name] for name in PARTS}
    return {
        "split": np.maximum(squares["split"] - squares["both"], 0) / seeds,
        "seed": np.maximum(squares["seed"] - squares["both"], 0) / splits,
        "both": squares["both"],
    }
