"""Several sources of preference data at once, each with a weight: its share of what is trained on.

Each source is read by itself, so that sources may be of different formats, and what is rejected is
counted for each. A weight is a share of the training rankings: 0.7 and 0.3 mean the same as 7 and
3. How many rankings that makes is set by the source that is scarcest for its share (`once`), which
is then used whole, or by the one that is most plentiful for it (`repeat`), the others being gone
through several times. Held out is a part of each source, as large as without weights, each ranking
once; of streams, the beginning of each source, in proportion to how much it holds, or by the shares
where nobody knows how much that is. Assumes that rankings of one prompt in two sources are
different judgements: they are not merged.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

from plaudit.console import counted, say
from plaudit.data.columns import check_somewhere
from plaudit.data.rankings import BadRowError, Ranking, Rejected
from plaudit.data.readers import Rankings, Tally, as_rankings, holds_rankings, load_beside
from plaudit.data.rows import find_sources
from plaudit.data.splits import prompt_hash
from plaudit.errors import PlauditError
from plaudit.sources import SourceError, checked_weight

Way = Literal["once", "repeat"]
# Of the largest weight; of a source with less no epoch has a ranking, however many there are.
SMALLEST_SHARE = 1e-9


@dataclass(frozen=True)
class MixedSource:
    """A source of a mixture: its name, its share of the training rankings, and what it holds."""

    name: str
    share: float
    rankings: Rankings


class Mixture(Rankings):
    """Rankings of several sources; each has the name of its own in `Ranking.source`.

    Held in memory it has all rankings of all sources, one source after another, and `draw` takes
    from those to train on as many of each as its share allows. Streamed, an iteration takes from
    the sources in turn, by their shares, and ends where `way` says.
    """

    def __init__(self, sources: Sequence[MixedSource], way: Way = "once") -> None:
        each = [source.rankings for source in sources]
        super().__init__(
            files=[file for rankings in each for file in rankings.files],
            format=" and ".join(dict.fromkeys(rankings.format for rankings in each)),
            columns={name: column for r in each for name, column in r.columns.items()},
            streaming=each[0].streaming,
            unused_columns=list(dict.fromkeys(c for r in each for c in r.unused_columns)),
            better=" or ".join(dict.fromkeys(rankings.better for rankings in each)),
            max_rejected=1,  # of each source by itself
        )
        self.sources = list(sources)
        self.way = way
        self._of = {source.name: source.rankings for source in sources}
        self._before: dict[int, Ranking] = {}  # of a source, by identity here, without a place
        self._fullest: dict[str, Tally] = {}  # of streams, the reading that came furthest
        self._read = self._turns if self.streaming else self._one_after_another
        if not self.streaming:
            self._hold()

    def _one_after_another(self, tally: Tally) -> Iterator[Ranking | Rejected]:
        for source in self.sources:
            self._add_up(tally, [source.rankings._tally for source in self.sources])
            yield from source.rankings.rejected
            for before in source.rankings:
                now = replace(before, source=source.name)
                if not now.origin:
                    self._before[id(now)] = before
                yield now

    def about(self, held_out: Sequence[Ranking] = ()) -> int | None:
        """About how many rankings an iteration over a stream gives; see `Rankings.about`.

        What is held out of a source is missing each time that the source is gone through.
        """
        if not self.streaming:
            return super().about(held_out)
        there = self._about_each()
        if there is None:
            return None
        given = sizes(there, {source.name: source.share for source in self.sources}, self.way)
        held = Counter(ranking.source for ranking in held_out)
        return round(sum(n * max(1 - held[name] / there[name], 0) for name, n in given.items()))

    def _about_each(self) -> dict[str, int] | None:
        """About how many rankings each source has, at least one; None where nobody knows."""
        there = {source.name: source.rankings.about() for source in self.sources}
        known = {name: max(count, 1) for name, count in there.items() if count is not None}
        return known if len(known) == len(there) else None

    def each_once(self) -> Iterator[Ranking]:
        """Every ranking of every source once, whatever the shares and the way.

        The sources are taken in turn by how much they hold, so that the first rankings are of each
        as all of them are; of a stream whose length nobody knows, by the shares.
        """
        if not self.streaming:
            yield from self
            return
        part: Mapping[str, float] = self._about_each() or {s.name: s.share for s in self.sources}
        streams = {source.name: iter(source.rankings) for source in self.sources}
        taken = Counter[str]()
        while streams:
            name = min(streams, key=lambda name: (taken[name] + 1) / part[name])
            if (ranking := next(streams[name], None)) is None:
                del streams[name]
            else:
                taken[name] += 1
                yield replace(ranking, source=name)

    def _turns(self, tally: Tally) -> Iterator[Ranking | Rejected]:
        """One of the source that is furthest behind its share, again and again."""
        streams = [source.rankings._events() for source in self.sources]
        taken, through = [0] * len(streams), set[int]()
        tallies = [Tally() for _ in streams]  # of the first time through each
        while True:
            total = sum(taken) + 1
            behind = [s.share * total - n for s, n in zip(self.sources, taken, strict=True)]
            turn = behind.index(max(behind))
            source = self.sources[turn]
            for item in streams[turn]:
                self._keep_fullest(source)
                if turn not in through:
                    tallies[turn] = source.rankings._tally
                    self._add_up(tally, tallies)
                if isinstance(item, Ranking):
                    taken[turn] += 1
                    yield replace(item, source=source.name)
                    break
                if turn not in through:
                    yield item
            else:
                through.add(turn)
                if self.way == "once" or len(through) == len(streams):
                    return
                streams[turn] = source.rankings._events()

    def _hold(self) -> None:
        super()._hold()
        for ranking in self._held:
            if (before := self._before.get(id(ranking))) is not None:
                self._numbers[id(ranking)] = self._of[ranking.source]._numbers[id(before)]

    def _say_what_was_noticed(self, tally: Tally) -> None:
        """Nothing: each source has said it of its own rows."""

    def _keep_fullest(self, source: MixedSource) -> None:
        latest, kept = source.rankings._tally, self._fullest.get(source.name)
        if kept is None or latest.rows > kept.rows:
            self._fullest[source.name] = latest

    def tally_of(self, name: str) -> Tally:
        """What was counted of a source: of a stream in the reading of it that came furthest."""
        return self._fullest.get(name, self._of[name]._tally)

    def _add_up(self, tally: Tally, each: Sequence[Tally]) -> None:
        tally.rows = sum(of_source.rows for of_source in each)
        tally.notes = sum((of_source.notes for of_source in each), Counter())
        tally.not_adjacent = sum(of_source.not_adjacent for of_source in each)

    def _rows_of(self, ranking: Ranking) -> int:
        of = self._of.get(ranking.source)
        return super()._rows_of(ranking) if of is None else of._rows_of(ranking)

    def _key(self, ranking: Ranking) -> str:
        # What lies in memory may be called the same in two sources.
        return f"{ranking.source}\0{super()._key(ranking)}"

    def leave_out(self, ranking: Ranking, bad: BadRowError) -> None:
        """Reject a ranking that was read, of its source as well; see `Rankings.leave_out`."""
        super().leave_out(ranking, bad)
        if (of := self._of.get(ranking.source)) is None:
            return
        before = of.left_out.total()
        of.leave_out(self._before.get(id(ranking), ranking), bad)
        tally = self.tally_of(ranking.source)
        if tally is not of._tally and of.left_out.total() > before:
            # Read ahead, it is found when the next reading of its source has begun.
            tally.count(list(of._left_out.values())[-1], keep=False, rows=of._rows_of(ranking))

    def stop_if_too_many(self) -> None:
        """Raise `PlauditError` when more rows of a source than allowed are rejected."""
        for source in self.sources:
            source.rankings.stop_if_too_many()

    def draw(self, train: Sequence[Ranking], seed: int) -> list[Ranking]:
        """The rankings of an epoch, by the shares of the sources, in the data's order.

        Which ones are drawn depends on the seed and their prompts alone. With the way `repeat` a
        ranking may stand in it several times.

        Raises `PlauditError` where nothing of a source is left to draw from.
        """
        of: dict[str, list[Ranking]] = {source.name: [] for source in self.sources}
        for ranking in train:
            of[ranking.source].append(ranking)
        for name, rankings in of.items():
            if not rankings:
                raise PlauditError(
                    f"{name}: none of its rankings is left to train on; leave it out, or hold out "
                    "less"
                )
        shares = {source.name: source.share for source in self.sources}
        wanted = sizes({name: len(rankings) for name, rankings in of.items()}, shares, self.way)
        return list(chain(*(_drawn(of[name], wanted[name], seed) for name in of)))

    def describe(self) -> str:
        """Its sources with their shares, on one line."""
        return ", ".join(f"{source.name} {source.share:.1%}" for source in self.sources)

    def describe_draw(self, train: Sequence[Ranking], drawn: Sequence[Ranking]) -> list[str]:
        """A line for each source: how many of its rankings are trained on, and what share it is."""
        there, used = Counter(r.source for r in train), Counter(r.source for r in drawn)
        lines = []
        for source in self.sources:
            name, n = source.name, used[source.name]
            of = f"{n:,} of {counted(there[name], 'training ranking')}"
            if n > there[name]:
                times = f"{n / there[name]:.3g}"
                of = f"{counted(there[name], 'training ranking')}, {times} times each: {n:,}"
            lines.append(f"{name}: {of}, {n / len(drawn):.1%} of an epoch")
        return lines


def sizes(there: Mapping[str, int], shares: Mapping[str, float], way: Way) -> dict[str, int]:
    """How many rankings to take of each source, at least one.

    >>> sizes({"a": 70, "b": 300}, {"a": 0.5, "b": 0.5}, "once")
    {'a': 70, 'b': 70}
    >>> sizes({"a": 70, "b": 300}, {"a": 0.5, "b": 0.5}, "repeat")
    {'a': 300, 'b': 300}
    """
    totals = [there[name] / shares[name] for name in there]
    total = min(totals) if way == "once" else max(totals)
    wanted = {name: max(round(total * shares[name]), 1) for name in there}
    return {n: min(k, there[n]) for n, k in wanted.items()} if way == "once" else wanted


def _drawn(rankings: Sequence[Ranking], wanted: int, seed: int) -> list[Ranking]:
    """So many of the rankings, in their order: all as often as they go in, and the first of the
    rest by a hash of their prompts."""
    whole, rest = divmod(wanted, len(rankings))

    def place(index: int) -> tuple[int, str, int]:
        key = rankings[index].key
        # Not by the hash that holds out prompts, or it would be those next to the held-out ones.
        return prompt_hash(f"mixture\0{key}", seed), key, index

    once_more = set(sorted(range(len(rankings)), key=place)[:rest]) if rest else set[int]()
    return [ranking for i, ranking in enumerate(rankings) for _ in range(whole + (i in once_more))]


def load_mixture(
    sources: Mapping[str, float] | Iterable[tuple[Any, float]], way: Way = "once", **reading: Any
) -> Mixture:
    """Read each source of a mixture; `reading` are further arguments of `load_rankings`.

    Args:
        sources: with their weights; pairs where a source is no path, but in memory.
        way: how many rankings the shares are of; see the module.

    Raises:
        PlauditError: as `load_rankings` does, and for a weight that is none.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "answers.csv"
    >>> _ = file.write_text("question,answer,rank\\n2+2?,4,1\\n2+2?,5,2\\n")
    >>> pair = {"prompt": "3+3?", "chosen": "6", "rejected": "7"}
    >>> [ranking.source for ranking in load_mixture([(file, 0.7), ([pair], 0.3)])][1:]
    ['rows']
    """
    given = sources.items() if isinstance(sources, Mapping) else sources
    # An iterator can be gone through once, and sources may be read more than once.
    pairs = [(list(one) if isinstance(one, Iterator) else one, weight) for one, weight in given]
    names: list[str] = []
    for source, _ in pairs:
        name = str(source) if isinstance(source, str | os.PathLike) else _name_of(source)
        number = 1 + sum(other.partition(" #")[0] == name for other in names)
        names.append(name if number == 1 else f"{name} #{number}")
    try:
        weights = [checked_weight(w, name) for name, (_, w) in zip(names, pairs, strict=True)]
    except SourceError as error:
        raise PlauditError(str(error)) from error
    for name, weight in zip(names, weights, strict=True):
        if weight < SMALLEST_SHARE * max(weights):
            raise PlauditError(
                f"{name}: its weight {weight:g} is nothing beside {max(weights):g}; leave the "
                "source out, or give weights that are shares, as in a.csv:0.7 b.jsonl:0.3"
            )
    each = _read_each([source for source, _ in pairs], reading)
    streamed = [rankings.streaming for rankings in each]
    if any(streamed) and not all(streamed):
        # A stream cannot wait until the others are read whole.
        for name, (source, _), rankings in zip(names, pairs, each, strict=True):
            if not rankings.streaming and (isinstance(source, Rankings) or not rankings.files):
                advice = "give the file itself" if rankings.files else "write it to a file"
                raise PlauditError(
                    f"{name}: lies in memory and cannot be mixed with data that are streamed; set "
                    f"streaming false, or {advice}"
                )
        each = _read_each([source for source, _ in pairs], reading | {"streaming": True})
        say("one source is streamed, so all of them are")
    files = Counter(
        path for rankings in each for path in {os.path.realpath(file) for file in rankings.files}
    )
    for path, count in files.items():
        if count > 1 and os.path.exists(path.partition(":split=")[0]):
            raise PlauditError(f"{path}: is in two sources of the mixture; name it in one")
    found = [
        MixedSource(name, weight / sum(weights), rankings)
        for name, weight, rankings in zip(names, weights, each, strict=True)
    ]
    return Mixture(found, way)


def _read_each(sources: Sequence[Any], reading: Mapping[str, Any]) -> list[Rankings]:
    """Each source by itself; what lies in memory has a name that no other source has."""
    how = {name: reading.get(name) for name in ("split", "streaming", "encoding")}
    held = Counter[str]()
    found = [
        source if holds_rankings(source) else find_sources(source, **how, held=held)
        for source in sources
    ]
    files = [one for source in found if not holds_rankings(source) for one in source]
    check_somewhere(files, reading.get("columns"))
    read = load_beside if len(found) > 1 else as_rankings
    return [read(source, **reading) for source in found]


def _name_of(source: Any) -> str:
    """What a source in memory is called."""
    if isinstance(source, Rankings):
        return source.files[0] if len(source.files) == 1 else "rankings"
    if isinstance(source, list | tuple):
        return "rows"
    return type(source).__name__
