"""From records to rankings: which rows belong together, and which contradict each other.

Single completions are grouped by their prompt, and by annotator where the data name them: wherever
they stand where the data are held in memory, and where they are adjacent in a stream. Pairs stay
pairs; those that stand in both directions under one prompt are rejected, unless the data name
annotators who judged differently.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from plaudit.data.columns import Fit
from plaudit.data.parse import Record, reject
from plaudit.data.rankings import (
    BadRowError,
    Fault,
    Ranking,
    Rejected,
    Text,
    check,
    dense_ranks,
    disagreement,
    text_key,
)

PAIRS_REMEMBERED = 100_000  # of a stream, to notice contradictions

DUPLICATE = "duplicate: the same completion twice with the same rank"
CONTRADICTION = "contradiction: the same completion twice with different ranks"
CONTRADICTION_IN_LIST = "contradiction in a list: the same completion twice with different ranks"
CONTRADICTION_OF_PAIRS = "contradiction: A over B in one row and B over A in another"
SAME = "chosen equals rejected"
# What costs no row that says something: these do not count towards `max_rejected`.
NOT_COUNTED = ("duplicate", "contradiction in a list")

DENSE = ([0, 1], [1, 0])  # the ranks of a pair

Item = Record | Rejected
Outcome = Ranking | Rejected


def grouped(items: Iterable[Item]) -> Iterator[Outcome]:
    """Rankings of rows grouped by prompt wherever they stand, in order of first appearance."""
    groups: dict[tuple[str, str | None], list[Record]] = {}
    for item in items:
        if isinstance(item, Rejected):
            yield item
        else:
            groups.setdefault(_group(item), []).append(item)
    for group in groups.values():
        yield from _merged(group)


class Adjacent:
    """Rankings of adjacent rows with the same prompt; `came_back` counts prompts that come back."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.came_back = 0
        self._items = items

    def __iter__(self) -> Iterator[Outcome]:
        seen = PromptsSeen()
        group: list[Record] = []
        present: tuple[str, str | None] | None = None
        for item in self._items:
            if isinstance(item, Rejected):
                yield item
                continue
            key = _group(item)
            if key != present:
                if group:
                    yield from _merged(group)
                self.came_back += seen.before(key)
                group, present = [], key
            group.append(item)
        if group:
            yield from _merged(group)


def _group(record: Record) -> tuple[str, str | None]:
    """What rows of one ranking share: the prompt, and who ranked it."""
    return text_key(record.ranking.prompt), record.ranking.annotator


def each_alone(items: Iterable[Item]) -> Iterator[Outcome]:
    """Rankings of rows that hold a whole one."""
    for item in items:
        if isinstance(item, Rejected):
            yield item
        else:
            yield from _merged([item], in_list=True)


class Entry(NamedTuple):
    """One completion of a record."""

    key: str
    text: Text
    rank: float
    record: Record
    place: int


def _merged(records: Sequence[Record], in_list: bool = False) -> Iterator[Outcome]:
    """The ranking that the records of one prompt make, and what of them is no good.

    The same completion twice with the same rank: the first stays. With different ranks: none does.
    """
    entries = [
        Entry(text_key(text), text, record.ranking.ranks[place], record, place)
        for record in records
        for place, text in enumerate(record.ranking.completions)
    ]
    used = entries
    if len({entry.key for entry in entries}) < len(entries):
        ranks: dict[str, set[float]] = {}
        for entry in entries:
            ranks.setdefault(entry.key, set()).add(entry.rank)
        kept: dict[str, Entry] = {}
        for entry in entries:
            piece = {"completion": entry.text, "rank": entry.rank} if in_list else None
            if len(ranks[entry.key]) > 1:
                reason = CONTRADICTION_IN_LIST if in_list else CONTRADICTION
                yield _reject(entry.record, Fault.CONTRADICTION, reason, piece)
            elif entry.key in kept:
                yield _reject(entry.record, Fault.DUPLICATE, DUPLICATE, piece)
            else:
                kept[entry.key] = entry
        used = list(kept.values())
        if not used:
            if in_list:
                reason = "all completions of this prompt contradict themselves"
                yield _reject(records[0], Fault.CONTRADICTION, reason)
            return
    ranking = _ranking(used)
    each = [(entry.record.ranking.ratings, entry.place) for entry in used]
    ratings = [None if row is None else row[place] for row, place in each]
    problem = check(ranking) or disagreement_of(records[0].fit, [e.rank for e in used], ratings)
    if problem is None:
        yield ranking
        return
    for entry in used[:1] if in_list else used:
        yield reject(entry.record.row, problem)


def disagreement_of(
    fit: Fit, ranks: Sequence[float], ratings: Sequence[float | None]
) -> BadRowError | None:
    """That the order and the ratings of completions cannot both be right, where the user has not
    said which of them is."""
    if fit.told or (found := disagreement(ranks, ratings)) is None:
        return None
    order = {ours: fit.columns[ours] for ours in fit.layout.order} or {"chosen": "chosen"}
    beside = {ours: fit.columns[ours] for ours in fit.layout.beside if ours in fit.columns}
    names = [next(iter(some.values()), "the ratings") for some in (order, beside)]
    trust = [f"--columns {ours}={name}" for some in (order, beside) for ours, name in some.items()]
    better, worse = (ratings[place] for place in found)
    return BadRowError(
        Fault.DISAGREE,
        f"{names[0]} and {names[1]} contradict each other (name the one that is right, "
        f"{' or '.join(trust)}): the better completion is rated {better:g}, the worse {worse:g}",
    )


def _ranking(used: Sequence[Entry]) -> Ranking:
    """One ranking of completions."""
    each = [(entry.record.ranking, entry.place) for entry in used]
    categories = [r.categories[i] if r.categories else r.category for r, i in each]
    models = [r.models[i] if r.models else None for r, i in each]
    ratings = [r.ratings[i] for r, i in each if r.ratings is not None]
    margins = [r.margin for r, _ in each if r.margin is not None]
    names = dict.fromkeys(name for r, _ in each for name in r.attributes or ())
    attributes = {
        name: [
            r.attributes[name][i] if r.attributes and name in r.attributes else math.nan
            for r, i in each
        ]
        for name in names
    }
    weights = [entry.record.ranking.weight for entry in used if _has_weight(entry.record)]
    first = each[0][0]
    return Ranking(
        first.prompt,
        [entry.text for entry in used],
        dense_ranks([entry.rank for entry in used]),
        margin=sum(margins) / len(margins) if margins else None,
        weight=sum(weights) / len(weights) if weights else 1.0,
        category=categories[0] if len(set(categories)) == 1 else None,
        categories=categories if any(categories) else None,
        models=models if any(models) else None,
        origin=first.origin,
        ratings=ratings if len(ratings) == len(used) else None,
        attributes=attributes or None,
        strength=first.strength,
        annotator=first.annotator,
    )


def _has_weight(record: Record) -> bool:
    column = record.fit.columns.get("weight")
    return column is not None and (record.row.values or {}).get(column) not in (None, "")


def _reject(record: Record, fault: Fault, reason: str, piece: Any = None) -> Rejected:
    return reject(record.row, BadRowError(fault, reason), piece)


class PromptsSeen:
    """Whether a prompt was there before, in 16 MiB however many there are (a Bloom filter).

    It never forgets one, and takes a new prompt for an old one with a probability of
    (1 − exp(−k n / m))ᵏ (Bloom 1970) after n prompts; with k = 4 probes of m = 2²⁷ bits that is
    10⁻⁶ at a million prompts and 0.4 % at ten million.
    """

    def __init__(self) -> None:
        self._bits = bytearray(1 << 24)

    def before(self, key: Hashable) -> bool:
        """Whether `key` was asked for before; from now on it was."""
        value = hash(key) & (1 << 64) - 1
        step = (value >> 27) | 1
        was = True
        for probe in range(4):
            at = (value + probe * step) & (1 << 27) - 1
            bit = 1 << (at & 7)
            was = was and bool(self._bits[at >> 3] & bit)
            self._bits[at >> 3] |= bit
        return was


# ---- pairs ----


def pairs(items: Iterable[Item]) -> Iterator[Outcome]:
    """The pairs without those that one judge put in both directions under the same prompt."""
    kept: list[tuple[int, Record]] = []
    directions: dict[int, int] = {}
    for item in _usable(items):
        if isinstance(item, Rejected):
            yield item
            continue
        key, way = _judgement(item.ranking)
        directions[key] = directions.get(key, 0) | way
        kept.append((key, item))
    for key, record in kept:
        if directions[key] == 3:
            rejected = _reject(record, Fault.CONTRADICTION, CONTRADICTION_OF_PAIRS)
            ranking = record.ranking
            if ranking.annotator is None:
                rejected = replace(rejected, vote=(*direction(ranking), ranking.key))
            yield rejected
        else:
            yield _pair(record)


def pairs_of_stream(items: Iterable[Item]) -> Iterator[Outcome]:
    """The pairs without those that contradict one of the last hundred thousand."""
    lately: OrderedDict[int, int] = OrderedDict()
    for item in _usable(items):
        if isinstance(item, Rejected):
            yield item
            continue
        key, way = _judgement(item.ranking)
        if lately.setdefault(key, way) != way:
            yield _reject(item, Fault.CONTRADICTION, CONTRADICTION_OF_PAIRS)
            continue
        if len(lately) > PAIRS_REMEMBERED:
            lately.popitem(last=False)
        yield _pair(item)


def _usable(items: Iterable[Item]) -> Iterator[Item]:
    """Pairs of two texts that differ, one of them better."""
    for item in items:
        if isinstance(item, Record):
            if item.ranking.completions[0] == item.ranking.completions[1]:
                item = _reject(item, Fault.SAME, SAME)
            elif problem := check(item.ranking) or (
                item.ranking.ratings
                and disagreement_of(item.fit, item.ranking.ranks, item.ranking.ratings)
            ):
                item = reject(item.row, problem)
        yield item


def _pair(record: Record) -> Ranking:
    ranking = record.ranking
    if ranking.ranks in DENSE and type(ranking.ranks[0]) is int:
        return ranking
    return replace(ranking, ranks=dense_ranks(ranking.ranks))


def _judgement(ranking: Ranking) -> tuple[int, int]:
    """As `direction`, of another number for each annotator who is named."""
    key, way = direction(ranking)
    return (key if ranking.annotator is None else hash((key, ranking.annotator))), way


def direction(ranking: Ranking) -> tuple[int, int]:
    """A number that is the same for A over B and B over A, and 1 or 2 for which of them it is."""
    better = 0 if ranking.ranks[0] < ranking.ranks[1] else 1
    a, b = (text_key(ranking.completions[i]) for i in (better, 1 - better))
    prompt = text_key(ranking.prompt)
    return (hash((prompt, a, b)), 1) if a < b else (hash((prompt, b, a)), 2)
