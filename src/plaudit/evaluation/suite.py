"""What a benchmark is: a way to read a row, what is right in it, and a score.

A suite reads a row into an `Item`, a ranking whose ranks say what is right, and turns rewards into
a `Part`: a score with the parts it is made of. Rewards that its authors published with their labels
it reads into a `Judged`, with texts or without. Every score is a function of means over items, and
so a `Statistic`: it is known again whichever prompts are drawn. Equal rewards count as the
benchmark's own code counts them. Pure functions; nothing here reads a file.
"""

import json
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple, NotRequired

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import TypedDict

from plaudit.data.cells import read_label, read_list, read_number
from plaudit.data.layouts import Given
from plaudit.data.parse import make_ranking
from plaudit.data.rankings import BadRowError, Fault, Ranking
from plaudit.data.rows import Row, place
from plaudit.evaluation.layout import Floats
from plaudit.evaluation.statistics import FigureRecord, Statistic, divide, ratios


class Item(NamedTuple):
    """One question of a benchmark. `unit` is what is resampled: items that share it go together.

    `about` is what else its suite's score looks at.
    """

    ranking: Ranking
    id: str
    unit: Hashable
    about: Any = None


def contents(item: Item) -> Any:
    """What is asked, answered and said to be right."""
    return [item.ranking.prompt, item.ranking.completions, list(item.ranking.ranks)]


class Judged(NamedTuple):
    """An item with the rewards that models gave its completions, as somebody published both.

    `rewards` are by the model's name; "" is the one that the file is named after.
    """

    item: Item
    rewards: dict[str, list[float]]


@dataclass
class Part:
    """A score, yet to be resampled, of `n` items.

    `figures` are other numbers about the same items; `parts` are what the score is made of.
    """

    score: Statistic
    n: int
    figures: dict[str, Statistic] = field(default_factory=dict)
    parts: dict[str, "Part"] = field(default_factory=dict)


class PartRecord(TypedDict):
    """A part that was resampled: a score of `n` items, figures of them, and what it is made of."""

    score: FigureRecord | None
    n: int
    figures: NotRequired[dict[str, FigureRecord | None]]
    parts: NotRequired[dict[str, "PartRecord"]]


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
    raises `BadRowError` for a row that cannot be used, and so does `published`, which reads a row
    of rewards in the form in which they are published for this benchmark. `counts` are the items of
    the published data by category, but for those that may stand `beside` them; `totals` are theirs
    as a whole, where they come in several files. `checksums` are those of `checksum` for the
    published items of a category, or for so many items of any, of what `stamp` makes of each. With
    `completions`, how many an item has, a row holds only one of them, and those of an id are put
    together. With `orders=2` rewards may come twice for each item: of the completions in the data's
    order, and then of the same ones asked for in the other order. `unit_of` makes the unit of an
    id, where that is not the prompt alone. `labels` is the pattern of an item's ranks, a digit
    each, which rewards with labels and without data are held against; it is empty where the score
    looks at more than labels, so that rewards need the data. With `others` an item may be of a
    category that is not among `counts`.
    """

    title: str
    fields: tuple[str, ...]
    read: Callable[[Row], Item]
    score: Callable[[Sequence[Item], Sequence[Sequence[float]], Means], Part]
    definition: str
    source: str
    lists: bool | None = None
    published: Callable[[Row], Judged] | None = None
    completions: int = 0
    orders: int = 1
    unit_of: Callable[[str], Hashable] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    totals: tuple[int, ...] = ()
    checksums: dict[str | int, str] = field(default_factory=dict)
    stamp: Callable[[Item], Any] = contents
    hub: str = ""
    split: str = "train"
    labels: str = ""
    others: bool = False

    @property
    def name(self) -> str:
        """Its title, plainly spelt: the name of its module."""
        return plain_name(self.title)


def checksum(items: Iterable[Item], stamp: Callable[[Item], Any] = contents) -> str:
    """16 hex digits that are the same for the same items, in whatever order or kind of file.

    >>> one = make_item(Row("a.csv", 2, {}), None, "2+2?", ["4", "5"], [0, 1])
    >>> checksum([one]) == checksum([one._replace(id="7")]), checksum([one]) == checksum([one, one])
    (True, False)
    """
    digests = sorted(
        blake2b(json.dumps(stamp(item), sort_keys=True).encode(), digest_size=16).digest()
        for item in items
    )
    return blake2b(b"".join(digests), digest_size=8).hexdigest()


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
    about: Any = None,
) -> Item:
    """The item of a row; it is resampled with the others of its `unit`, by default its prompt.

    Prompt and completions are what stands in the row: they are read here, as every row is. A
    completion may be blank: a policy that writes nothing is scored for it. `names` are what reasons
    call the completions.
    """
    given = Given(prompt=prompt, completions=tuple(completions), names=names)
    ranking = make_ranking(given, order=False, origin=place(row.file, row.line))
    ranking = replace(ranking, ranks=list(ranks), category=category)
    unit = ranking.key if unit is None else _known_by(unit)
    return Item(ranking, "" if id is None else str(id), unit, about)


def item_without_texts(
    row: Row, category: str | None, ranks: Sequence[int], id: Any, unit: Hashable = None
) -> Item:
    """The item of a row that has no texts; nobody knows which of them share a prompt."""
    if id is None or id == "":
        raise BadRowError(Fault.MISSING, "the id is missing")
    blank = [""] * len(ranks)
    ranking = Ranking("", blank, list(ranks), category=category, origin=place(row.file, row.line))
    return Item(ranking, str(id), str(id) if unit is None else _known_by(unit))


def _known_by(unit: Any) -> Hashable:
    """What items of one unit share, when it can be told from others."""
    try:
        hash(unit)
    except TypeError as error:
        raise BadRowError(
            Fault.NOT_TEXT, "the field that says which items belong together is a list or an object"
        ) from error
    found: Hashable = unit
    return found


def read_rewards(value: Any, name: str) -> list[float]:
    """The rewards of an item's completions; one may stand in a list of its own.

    >>> read_rewards([0.5, [-1.25]], "scores")
    [0.5, -1.25]
    """
    cells = [
        cell[0] if isinstance(cell, list) and len(cell) == 1 else cell
        for cell in read_list(value, name)
    ]
    return [read_number(cell, f"reward {k} of {name}") for k, cell in enumerate(cells, start=1)]


def read_models(value: Any, name: str) -> dict[str, list[float]]:
    """The rewards of an item's completions by model; a list is that of the file's model.

    >>> read_models({"a/b": [1, 2]}, "scores"), read_models([1, 2], "scores")
    ({'a/b': [1.0, 2.0]}, {'': [1.0, 2.0]})
    """
    if not isinstance(value, dict):
        return {"": read_rewards(value, name)}
    # Arrow gives every row all keys that any of them has, null where it has none.
    there = {model: given for model, given in value.items() if given is not None}
    if not there:
        raise BadRowError(Fault.MISSING, f"the {name} are missing: no model has any")
    return {model: read_rewards(given, f"{name} of {model}") for model, given in there.items()}


def says_first(reward: Sequence[float]) -> tuple[bool, bool]:
    """Whether the first of two completions is called better, when shown first and when second.

    What is shown first must be ahead to be called better. Rewards are those of both, or of both in
    either order; a reward model has only the former, which answer both times.

    >>> says_first([2, 1]), says_first([1, 1]), says_first([2, 1, 1, 2])
    ((True, True), (False, True), (True, False))
    """
    first, second = reward[:2]
    first_again, second_again = reward[-2:]
    return first > second, not second_again > first_again


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


def is_true(value: Any) -> bool:
    """A yes or no in a cell, which in CSV is a word.

    >>> is_true(True), is_true("False"), is_true(1), is_true(None)
    (True, False, True, False)
    """
    return str(value).strip().lower() in ("true", "1", "1.0", "yes")


def higher_is_right(items: Sequence[Item], rewards: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
    """Of pairs [N]: whether the right completion has the higher reward; equal ones are wrong."""
    return np.array(
        [
            reward[item.ranking.ranks.index(0)] > reward[1 - item.ranking.ranks.index(0)]
            for item, reward in zip(items, rewards, strict=True)
        ]
    )


def categories_of(items: Sequence[Item]) -> NDArray[np.str_]:
    """The category of every item [N], "" where it has none."""
    return np.array([item.ranking.category or "" for item in items])
