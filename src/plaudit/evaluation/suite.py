"""What a benchmark is: a way to read a row, what is right in it, and a score.

A suite reads a row into an `Item`, a ranking whose ranks say what is right, and turns rewards into
a `Part`: a score with the parts it is made of. Every score is a function of means over items, and
so a `Statistic`: it is known again whichever prompts are drawn. Equal rewards count as the
benchmark's own code counts them. Pure functions; nothing here reads a file.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plaudit.data.cells import read_label, read_list
from plaudit.data.layouts import Given
from plaudit.data.parse import make_ranking
from plaudit.data.rankings import BadRowError, Fault, Ranking
from plaudit.data.rows import Row, place
from plaudit.evaluation.layout import Floats
from plaudit.evaluation.statistics import Statistic, divide, ratios


class Item(NamedTuple):
    """One question of a benchmark. `unit` is what is resampled: items that share it go together."""

    ranking: Ranking
    id: str
    unit: Hashable


@dataclass
class Part:
    """A score, yet to be resampled, of `n` items.

    `figures` are other numbers about the same items; `parts` are what the score is made of.
    """

    score: Statistic
    n: int
    figures: dict[str, Statistic] = field(default_factory=dict)
    parts: dict[str, "Part"] = field(default_factory=dict)


class Means:
    """Means over some of the items, of which those of one unit are resampled together.

    >>> mean = Means(["a", "a", "b"])
    >>> mean([1.0, 0.0, 0.0]).of(np.array([[1.0, 1.0], [2.0, 0.0]])).ravel()
    array([0.33333333, 0.5       ])
    """

    def __init__(self, units: Sequence[Hashable]) -> None:
        number = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
        self.size = len(number)
        self.unit = np.array([number[unit] for unit in units])

    def __call__(
        self,
        values: ArrayLike,
        among: NDArray[np.bool_] | None = None,
        *,
        trials: int = 1,
        times: ArrayLike | None = None,
    ) -> Statistic:
        """The mean of `values` [N], or of those `among`; NaN where there are none.

        A value is the share of so many trials that are right; it is none with `trials=0`. With
        `times` [N] each of `values` is the sum over so many.
        """
        sums, counts = self.totals(values, among, times)
        total = trials * counts.sum(axis=0) if trials else None
        return replace(ratios(sums, counts), trials=total)

    def totals(
        self,
        values: ArrayLike,
        among: NDArray[np.bool_] | None = None,
        times: ArrayLike | None = None,
    ) -> tuple[Floats, Floats]:
        """What the values of each unit add up to, and how many they are: [P, 1] each."""
        values, unit = np.asarray(values, dtype=np.float64), self.unit
        number = None if times is None else np.asarray(times, dtype=np.float64)
        if among is not None:
            values, unit = values[among], unit[among]
            number = None if number is None else number[among]
        sums, counts = (
            np.bincount(unit, of, self.size)[:, None].astype(np.float64) for of in (values, number)
        )
        return sums, counts

    def part(self, values: ArrayLike, among: NDArray[np.bool_] | None = None, **how: Any) -> Part:
        """The mean of `values` [N], or of those `among`, as a part of a score."""
        n = len(self.unit) if among is None else int(among.sum())
        return Part(self(values, among, **how), n)


def combined(function: Callable[[Floats], Floats], statistics: Sequence[Statistic]) -> Statistic:
    """A function of several figures, from [B, S] to [B]; it rests on the fewest prompts of them."""

    def of(weights: Floats) -> Floats:
        return function(np.hstack([each.of(weights) for each in statistics]))[:, None]

    values = function(np.stack([each.values for each in statistics], axis=1))
    return Statistic(values, of, np.min([each.prompts for each in statistics], axis=0))


def average(scores: Sequence[Statistic], weights: Sequence[float] | None = None) -> Statistic:
    """The weighted average of scores of different items, without those that are NaN.

    It has an interval where each of them has one. As many prompts as they amount to are those of
    equal weight in it: 1 / Σ w² / n, with weights w that add up to 1.
    """
    weight = np.ones(len(scores)) if weights is None else np.array(weights, dtype=np.float64)

    def mean(table: Floats) -> Floats:
        there = ~np.isnan(table) * weight
        return divide((np.nan_to_num(table) * there).sum(axis=1), there.sum(axis=1))

    whole = combined(mean, scores)
    measured = [(s, w) for s, w in zip(scores, weight, strict=True) if not np.isnan(s.values[0])]
    if not measured:
        return whole
    prompts = np.array([score.prompts[0] for score, _ in measured])
    share = np.array([w for _, w in measured]) / sum(w for _, w in measured)
    amount = 1 / (share**2 / prompts).sum() if prompts.all() else 0.0
    trials = [np.full(1, np.nan) if score.trials is None else score.trials for score, _ in measured]
    return replace(whole, prompts=np.array([amount]), trials=np.sum(trials, axis=0))


def together(parts: dict[str, Part], weights: Sequence[float] | None = None) -> Part:
    """The weighted average of some parts, as a part made of them."""
    inner = list(parts.values())
    score = average([part.score for part in inner], weights)
    return Part(score, sum(part.n for part in inner), parts=parts)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One benchmark: how it is recognised, read and scored, and what published it.

    `lists` says whether `chosen` holds a list of completions (None: there is no such field). `read`
    raises `BadRowError` for a row that cannot be used. `counts` are the items of the published
    data by category; `totals` are theirs as a whole, where they come in several files.
    """

    title: str
    fields: tuple[str, ...]
    read: Callable[[Row], Item]
    score: Callable[[Sequence[Item], Sequence[Sequence[float]], Means], Part]
    definition: str
    source: str
    lists: bool | None = None
    counts: dict[str, int] = field(default_factory=dict)
    totals: tuple[int, ...] = ()
    hub: str = ""
    split: str = "train"

    @property
    def name(self) -> str:
        """Its title, plainly spelt: the name of its module."""
        return plain_name(self.title)


def plain_name(title: str) -> str:
    """Small letters and digits alone.

    >>> plain_name("RM-Bench"), plain_name("reward-bench-2")
    ('rmbench', 'rewardbench2')
    """
    return re.sub(r"[^a-z0-9]", "", title.lower())


def make_item(
    row: Row,
    category: str | None,
    prompt: Any,
    completions: Any,
    ranks: Sequence[int],
    names: Sequence[str] = (),
    id: Any = None,
    unit: Hashable = None,
) -> Item:
    """The item of a row; it is resampled with the others of its `unit`, by default its prompt.

    Prompt and completions are what stands in the row: they are read here, as every row is. A
    completion may be blank: a policy that writes nothing is scored for it. `names` are what reasons
    call the completions.
    """
    given = Given(prompt=prompt, completions=tuple(completions), names=names)
    ranking = make_ranking(given, order=False, origin=place(row.file, row.line))
    ranking = replace(ranking, ranks=list(ranks), category=category)
    return Item(ranking, "" if id is None else str(id), ranking.key if unit is None else unit)


def read_completions(value: Any, name: str) -> list[Any]:
    """A list of completions with at least one in it."""
    texts = read_list(value, name)
    if not texts:
        raise BadRowError(Fault.MISSING, f"the {name} are missing")
    return texts


def read_category(value: Any, name: str, known: Sequence[str]) -> str:
    """A category that the suite knows."""
    label = read_label(value, name)
    if label is None:
        raise BadRowError(Fault.MISSING, f"the {name} is missing")
    if label not in known:
        raise BadRowError(Fault.UNKNOWN, f"unknown {name}: '{label}'")
    return label


def read_choice(value: Any, name: str, choices: dict[str, int]) -> int:
    """What a label stands for; 1, 1.0 and "1" are the same label."""
    if value is None or value == "":
        raise BadRowError(Fault.MISSING, f"the {name} is missing")
    text = f"{value:g}" if isinstance(value, float) else str(value).strip()
    if text not in choices:
        raise BadRowError(
            Fault.UNKNOWN, f"unknown {name}: {value!r}, wanted {' or '.join(choices)}"
        )
    return choices[text]


def categories_of(items: Sequence[Item]) -> NDArray[np.str_]:
    """The category of every item [N], "" where it has none."""
    return np.array([item.ranking.category or "" for item in items])
