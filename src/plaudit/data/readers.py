"""Preference data to iterate over: whatever the user names, as rankings.

`load_rankings` gives `Rankings`. A row that cannot be used never stops the reading unless asked to
(`on_bad_row="stop"`) or unless there are too many (`max_rejected`); it is kept with its place and
its reason. So is one that a model turns out not to take (`Rankings.leave_out`).
Read eagerly, the rows of a prompt are grouped wherever they stand; streamed, memory stays flat, and
rows belong together when they are adjacent.
"""

import gc
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from plaudit.console import counted, progress, say
from plaudit.data.cells import shown
from plaudit.data.columns import mapped_beside, mapped_in_each
from plaudit.data.grouping import (
    NOT_COUNTED,
    Adjacent,
    each_alone,
    grouped,
    pairs,
    pairs_of_stream,
)
from plaudit.data.layouts import Given
from plaudit.data.parse import Record, Records, make_ranking
from plaudit.data.rankings import (
    QUOTED,
    BadRowError,
    Fault,
    Ranking,
    Rejected,
    check,
    dense_ranks,
    text_key,
)
from plaudit.data.rows import Source, file_and_line, find_sources, place
from plaudit.errors import PlauditError
from plaudit.files import write_jsonl

STREAMED_FROM = 256 * 2**20  # bytes, as stored
UNPAIRED = (
    "labels of single completions, as KTO has them, make a ranking where one prompt has a "
    "completion labelled true and one labelled false: add those"
)
ROWS_BEFORE_STOPPING = 1_000
REJECTED_KEPT = 100  # of a stream, in memory
# What rows are rejected for that hold a value which nobody knows: the commonest ones are told.
WITH_VALUE = (Fault.UNKNOWN, Fault.NOT_A_NUMBER, Fault.NOT_TEXT)
VALUES_KEPT, VALUES_TOLD = 100, 3
READ_TO_COUNT = 2_000  # rankings of a stream, to know how many rows make one

OnBadRow = Literal["reject", "stop"]


def load_rankings(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    streaming: bool | None = None,
    on_bad_row: OnBadRow = "reject",
    strict: bool = False,
    max_rejected: float = 0.1,
    split: str | None = None,
    encoding: str | None = None,
) -> "Rankings":
    """Read preference data: files, folders, globs, a data set on the hub, or rows in memory.

    `source` may also be a data set of `datasets`, a frame of pandas or polars, dictionaries, or a
    list of any of these.

    `columns` maps our name of a column to the one in the data, where it is not recognised by
    itself: `{"prompt": "question_text"}`; of several files, one that has none of these columns is
    read without. `streaming` reads from disk at every iteration instead of
    holding the data in memory; by default so from 256 MiB on. `on_bad_row` "stop" (`strict`, its
    old name) stops at the first row that cannot be used; with "reject" reading stops when more than
    the share `max_rejected` of the rows cannot (duplicates do not count). `split` names the split
    of a `datasets` data set ("train"). `encoding` is that of text files which are not in UTF-8, as
    in "cp1252"; UTF-16 is known by its byte-order mark.

    Grouping is by the exact text of the prompt, over all files. The weight and the margin of a
    ranking are the means over those of its rows that have one.

    Raises `PlauditError` when there is nothing to read, columns are missing, too many rows are bad,
    or nothing usable is left.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "answers.csv"
    >>> _ = file.write_text("question,answer,rank\\n2+2?,4,1\\n2+2?,5,2\\n")
    >>> rankings = load_rankings(file)
    >>> rankings.format, rankings[0].completions, rankings[0].ranks
    ('ranked', ['4', '5'], [0, 1])
    """
    if not 0 <= max_rejected <= 1:
        raise PlauditError(f"max_rejected is {max_rejected}; it is a share, from 0 to 1")
    sources = find_sources(source, split, streaming, encoding)
    each = zip(sources, mapped_in_each(sources, columns), strict=True)
    every = [_records(one, mapped) for one, mapped in each]
    first = every[0].fits[0]
    for records in every:
        if records.fits[0].name != first.name:
            raise PlauditError(
                f"{every[0].source.name} holds {first.format} but {records.source.name} holds "
                f"{records.fits[0].format}; read them one at a time, or train on both as a "
                f"mixture: {every[0].source.name}:N {records.source.name}:M, with weights N and M, "
                "which share out an epoch; those that use all are how many rankings each has"
            )
    size = sum(one.size for one in sources)
    if streaming is None:
        streaming = size > STREAMED_FROM
        if streaming:
            say(
                f"{size / 2**20:,.0f} MiB of data: streaming it from disk, not holding it in memory"
            )
    rankings = Rankings(
        files=[one.name for one in sources],
        format=first.format,
        columns=first.columns,
        unused_columns=every[0].unused,
        better=first.better,
        streaming=streaming,
        on_bad_row="stop" if strict else on_bad_row,
        max_rejected=max_rejected,
        row=first.layout.row,
    )
    rankings._read = lambda tally: _read(every, tally, streaming)
    rankings._count_rows = lambda: [one.count() for one in sources]
    if not streaming:
        rankings._hold()
    return rankings


def _records(source: Source, mapped: Mapping[str, str]) -> Records:
    records = Records(source, mapped)
    for warning in (records.content_left_out(), records.winner_left_out()):
        if warning:
            say(warning)
    return records


def as_rankings(source: Any, **reading: Any) -> "Rankings":
    """What `load_rankings` reads, and also `Ranking` objects; `Rankings` stay what they are.

    >>> len(as_rankings(iter([Ranking("2+2?", ["4", "5"], [0, 1])])))
    1
    """
    if isinstance(source, Rankings):
        return source
    if isinstance(source, Iterator):
        source = list(source)
    if holds_rankings(source):
        return Rankings.from_list(source)
    return load_rankings(source, **reading)


def load_beside(source: Any, **reading: Any) -> "Rankings":
    """`as_rankings` of data beside others, as those to validate on: they need not have the columns
    that `columns` names."""
    if reading.get("columns") and not holds_rankings(source):
        how = {name: reading.get(name) for name in ("split", "streaming", "encoding")}
        source = find_sources(source, **how)
        reading = reading | {"columns": mapped_beside(source, reading["columns"])}
    return as_rankings(source, **reading)


def holds_rankings(source: Any) -> bool:
    """Whether what can be gone through several times gives `Ranking` objects."""
    if isinstance(source, Rankings):
        return True
    texts = isinstance(source, str | Mapping)
    return (
        isinstance(source, Iterable) and not texts and isinstance(next(iter(source), None), Ranking)
    )


class Rankings:
    """Rankings to iterate over, any number of times, with what was learned while reading them.

    Held in memory they have a length and can be indexed; streamed (`streaming`), every iteration
    reads the files again, and `rows_read`, `rejected` and `rejected_by_reason` tell of the latest
    one. `rejected` holds every rejected row, of a stream the first hundred; `write_rejected` writes
    all of them. `format` and `columns` (our name → the one in the data) say what was recognised in
    `files`, `unused_columns` what was not, `better` which completion is better. An iteration of a
    stream raises `PlauditError` for what `load_rankings` raises it for.
    """

    def __init__(
        self,
        *,
        files: list[str],
        format: str,
        columns: dict[str, str],
        streaming: bool,
        unused_columns: Sequence[str] = (),
        better: str = "the lowest rank",
        on_bad_row: OnBadRow = "reject",
        max_rejected: float = 0.1,
        row: str = "ranking",
    ) -> None:
        self.files = files
        self.format = format
        self.columns = columns
        self.unused_columns = list(unused_columns)
        self.better = better
        self.streaming = streaming
        self._stop = on_bad_row == "stop"
        self._max_rejected = max_rejected
        self._row = row  # what a row holds: a completion, a pair or a ranking
        self._left_out: dict[str, Rejected] = {}  # by the place or the texts of the ranking
        self._numbers: dict[int, int] = {}  # of records without a place, by identity
        self._tally = Tally()
        self._held: list[Ranking] = []
        self._read: Callable[[Tally], Iterator[Ranking | Rejected]] = lambda tally: iter(())
        self._count_rows: Callable[[], list[int | None]] = list
        self._said = False  # what was noticed of the rows

    @classmethod
    def from_list(cls, rankings: Iterable[Ranking]) -> "Rankings":
        """Rankings made in Python; those that nothing can be learnt from are rejected.

        Ranks may be any finite numbers, lower is better; they are made dense.

        >>> len(Rankings.from_list([Ranking("2+2?", ["4", "5"], [1, 2])]))
        1
        """
        ours = cls(files=[], format="records", columns={}, streaming=False, max_rejected=1)
        given = list(rankings)
        ours._read = lambda tally: _read_records(given, tally)
        ours._hold()
        return ours

    def __iter__(self) -> Iterator[Ranking]:
        if not self.streaming:
            return iter(self._held)
        return (item for item in self._events() if isinstance(item, Ranking))

    def __len__(self) -> int:
        if self.streaming:
            raise TypeError("streamed rankings have no length before they are read")
        return len(self._held)

    def __bool__(self) -> bool:
        return True  # without this, `if rankings` would ask a stream for its length

    def __getitem__(self, index: int) -> Ranking:
        if self.streaming:
            raise TypeError("streamed rankings cannot be indexed, only iterated over")
        return self._held[index]

    @property
    def rows_read(self) -> int:
        """How many rows were read, good and bad; of a stream, in its latest iteration."""
        return self._tally.rows

    @property
    def rejected(self) -> list[Rejected]:
        """The rows that were not used; of a stream, the first hundred."""
        return self._tally.rejected

    @property
    def rejected_by_reason(self) -> Counter[str]:
        """How many rows were not used for each kind of reason."""
        return self._tally.reasons

    def summary(self) -> str:
        """How many rows were rejected and why, on one line."""
        return self._tally.summary()

    @property
    def notes(self) -> Counter[str]:
        """What was done to rows so that prompt and completions fit, and to how many."""
        return self._tally.notes

    @property
    def prompts_not_adjacent(self) -> int:
        """In a stream of single rows: how often a prompt came back after others (about)."""
        return self._tally.not_adjacent

    def about(self, held_out: Sequence[Ranking] = ()) -> int | None:
        """About how many rankings a stream has, without those that are held out of it: all its rows
        are counted, which is fast, and the first of them are read. None where nobody knows, as of a
        stream from the hub.

        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "answers.csv"
        >>> _ = file.write_text("question,answer,rank\\n2+2?,4,1\\n2+2?,5,2\\n")
        >>> load_rankings(file, streaming=True).about()
        1
        """
        if not self.streaming:
            return max(len(self) - len(held_out), 0)
        counts = self._count_rows()
        rows = sum(count for count in counts if count is not None)
        if None in counts:
            return None
        read = sum(1 for _ in islice(self, READ_TO_COUNT))
        return max(round(rows * read / self.rows_read) - len(held_out), 0)

    def write_rejected(self, path: str | Path) -> int:
        """Write every rejected row as JSON lines (file, line, reason, row); return how many.

        A stream is read once more for it.
        """
        rejected: Iterable[Rejected] = self._tally.rejected
        if self.streaming:
            elsewhere = [r for r in self._left_out.values() if r.file not in self.files]
            read = (item for item in self._events() if isinstance(item, Rejected))
            rejected = chain(read, elsewhere)
        return write_jsonl(path, (item.as_dict() for item in rejected))

    def leave_out(self, ranking: Ranking, bad: BadRowError) -> None:
        """Reject a ranking that was read: one that a model does not take, or learns nothing from.

        It may also be of other files that belong to these data, such as those to validate on. From
        the next iteration on a stream lacks it; one that is held stays among the others.

        Raises `PlauditError` where the first bad row is to stop everything. Whether there are too
        many by now is asked with `stop_if_too_many`.
        """
        key = self._key(ranking)
        if key in self._left_out:
            return
        file, line = file_and_line(ranking.origin)
        if not file:
            file, line = "records", self._numbers.get(id(ranking))
        item = Rejected(file, line, str(bad), _row_of(ranking), bad.fault)
        read_again = self.streaming and file in self.files
        self._left_out[key] = replace(item, row=None) if read_again else item
        self._count(item, self._rows_of(ranking))

    @property
    def left_out(self) -> Counter[str]:
        """How many rankings `leave_out` rejected for each kind of reason."""
        return Counter(item.kind for item in self._left_out.values())

    def describe_left_out(self) -> str:
        """What `leave_out` rejected and why, on one line; empty where it was nothing."""
        if not self._left_out:
            return ""
        first: dict[str, str] = {}
        for item in self._left_out.values():
            first.setdefault(item.kind, place(item.file, item.line))
        reasons = [
            f"{count:,} × {kind} (first at {first[kind]})"
            for kind, count in self.left_out.most_common()
        ]
        return f"{counted(self.left_out.total(), 'ranking')} left out: " + "; ".join(reasons)

    def stop_if_too_many(self) -> None:
        """Raise `PlauditError` when more of the rows than allowed are rejected."""
        self._stop_if_too_many(self._tally)

    def nothing_left(self, what: str) -> PlauditError:
        """The error where all of `what` was rejected, with the reasons."""
        return PlauditError(f"{self._name()}: no ranking is left {what}. {self._tally.summary()}")

    def _key(self, ranking: Ranking) -> str:
        """What tells a ranking from all others: where it stood, or what it says."""
        if ranking.origin:
            return ranking.origin
        return "\0".join([ranking.key, *map(text_key, ranking.completions)])

    def _was_left_out(self, ranking: Ranking) -> Rejected | None:
        return self._left_out.get(self._key(ranking)) if self._left_out else None

    def _rows_of(self, ranking: Ranking) -> int:
        return len(ranking.completions) if self._row == "completion" else 1

    def _count(self, item: Rejected, rows: int) -> None:
        keep = not self.streaming or len(self._tally.rejected) < REJECTED_KEPT
        self._tally.count(item, keep, rows)
        if self._stop:
            raise _first_bad(item)

    def _hold(self) -> None:
        # Millions of small objects are made here and none of them is garbage; looking for some
        # again and again would take most of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            for item in self._events():
                if isinstance(item, Ranking):
                    self._held.append(item)
                    if not item.origin:
                        self._numbers[id(item)] = self._tally.rows
        finally:
            if collecting:
                gc.enable()
        order = {file: number for number, file in enumerate(self.files)}
        self._tally.rejected.sort(key=lambda item: (order.get(item.file, 0), item.line or 0))

    def _events(self) -> Iterator[Ranking | Rejected]:
        """Read everything once: the rankings, and between them the rows that are rejected."""
        tally = self._tally = Tally()
        for item in self._read(tally):
            rows = 1
            left = self._was_left_out(item) if isinstance(item, Ranking) else None
            if isinstance(item, Ranking) and left is not None:
                rows = self._rows_of(item)
                item = replace(left, row=_row_of(item))
            if isinstance(item, Ranking):
                tally.rankings += 1
            else:
                self._count(item, rows)
                if self.streaming and tally.rows >= ROWS_BEFORE_STOPPING:
                    self._stop_if_too_many(tally)
            yield item
        self._stop_if_too_many(tally)
        if not tally.rankings:
            raise PlauditError(f"{self._name()}: nothing usable in it. {tally.summary()}")
        self._say_what_was_noticed(tally)

    def _say_what_was_noticed(self, tally: "Tally") -> None:
        """Say what was noticed of the rows, once, however often they are read."""
        first = int(os.environ.get("RANK", 0)) == 0  # which under a launcher speaks for all
        if self._said or not first:
            return
        self._said = True
        for note, count in tally.notes.items():
            say(f"{self._name()}: {count:,} × {note}")
        if tally.not_adjacent:
            say(f"{self._name()}: {tally.not_adjacent_advice()}")

    def _stop_if_too_many(self, tally: "Tally") -> None:
        if self.format == "kto" and not tally.proposal:
            tally.proposal = UNPAIRED
        tally.stop_if_too_many(self._name(), self._max_rejected)

    def _name(self) -> str:
        if len(self.files) > 1:
            return f"{self.files[0]} and {len(self.files) - 1} more"
        return self.files[0] if self.files else "the records"


@dataclass
class Tally:
    """What one reading has counted so far."""

    rows: int = 0
    rankings: int = 0
    lost: int = 0
    tied: int = 0  # of those, in rankings of one rank
    not_adjacent: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    besides: set[str] = field(default_factory=set)  # the reasons that are no fault that counts
    notes: Counter[str] = field(default_factory=Counter)
    proposal: str = ""  # of an encoding
    values: dict[str, Counter[str]] = field(default_factory=dict)  # that rows were rejected for

    def count(self, item: Rejected, keep: bool, rows: int = 1) -> None:
        """Count what is rejected, which so many rows made, and keep it when told to."""
        kind = item.kind
        self.reasons[kind] += 1
        if item.fault in WITH_VALUE and (value := item.reason[len(kind) + 2 :].partition("; ")[0]):
            values = self.values.setdefault(kind, Counter())
            value = value if item.fault == Fault.NOT_TEXT else f"'{value[:QUOTED]}'"
            if value in values or len(values) < VALUES_KEPT:
                values[value] += 1
        if kind not in NOT_COUNTED and item.fault != Fault.EQUAL:
            self.lost += rows
            # A tie is no fault of the data: it says that nothing is better.
            self.tied += rows if item.fault == Fault.TIED else 0
        else:
            self.besides.add(kind)
        if "--encoding" in item.reason:
            self.proposal = self.proposal or item.reason.partition("; ")[2]
        self.first.setdefault(kind, place(item.file, item.line))
        if keep:
            self.rejected.append(item)

    def stop_if_too_many(self, name: str, max_rejected: float) -> None:
        """Raise `PlauditError` when more than this share of the rows of the data is rejected."""
        bad = self.lost - self.tied
        share = bad / self.rows if self.rows else 0
        if share > max_rejected:
            advice = self.proposal or "mend them"
            enough = math.ceil(round(100 * share, 6)) / 100
            allowed = (
                f", or allow it with --max-rejected {enough:g}" if self.lost < self.rows else ""
            )
            ties = " Ties are no fault, and do not count." if self.tied else ""
            had, most = _told_apart(min(share, 1), max_rejected)
            raise PlauditError(
                f"{name}: {had} of the rows cannot be used ({bad:,} of {self.rows:,}),"
                f" more than the {most} allowed. {self.summary()}.{ties}"
                f" {advice[:1].upper()}{advice[1:]}{allowed}"
            )

    def summary(self) -> str:
        """How many rows were rejected and why, on one line."""
        told: dict[bool, list[str]] = {True: [], False: []}
        for reason, count in self.reasons.most_common():
            told[reason not in self.besides].append(f"{count:,} × {reason}{self._detail(reason)}")
        counted = f": {'; '.join(told[True])}" if told[True] else ""
        # Copies and such are in the file of rejected rows, too.
        besides = f"; besides, {'; '.join(told[False])}" if told[False] else ""
        parts = [f"Of {self.rows:,} rows, {self.lost:,} rejected{counted}{besides}"]
        if self.not_adjacent:
            parts.append(self.not_adjacent_advice())
        return ". ".join(parts)

    def _detail(self, reason: str) -> str:
        """Where the first row of a reason stands, and the values it is about, in brackets."""
        told = [f"first at {self.first[reason]}"] if reason in self.first else []
        values = self.values.get(reason, Counter())
        told += [f"{count:,} × {value}" for value, count in values.most_common(VALUES_TOLD)]
        told += ["…"] * (len(values) > VALUES_TOLD)
        return f" ({', '.join(told)})" if told else ""

    def not_adjacent_advice(self) -> str:
        """What to do about rows of a prompt that are not adjacent."""
        return (
            f"about {self.not_adjacent:,} times a prompt came back after other prompts: its rows "
            "are not adjacent; sort the file by prompt, or read without --streaming"
        )


def _told_apart(*shares: float) -> list[str]:
    """Different shares in per cent, with the fewest digits that tell them apart.

    >>> _told_apart(0.2, 0.1), _told_apart(0.104, 0.1), _told_apart(0.0000004, 0)
    (['20%', '10%'], ['10.4%', '10%'], ['0.00004%', '0%'])
    """
    for digits in range(1, 16):
        told = [f"{100 * share:.{digits}f}".rstrip("0").rstrip(".") + "%" for share in shares]
        if len({*told}) == len(shares):
            break
    return told


def _first_bad(item: Rejected) -> PlauditError:
    where = place(item.file, item.line)
    return PlauditError(f"{where}: {item.reason}; mend it, or read with --on-bad-row reject")


class BadRows:
    """The rows that a command cannot use, counted with their reasons, where it reads no rankings.

    `name` is what messages call the data. With `on_bad_row` "stop" the first such row is an error;
    with "reject" more of them than the share `max_rejected` are. With `keep` they are held, to be
    written.
    """

    def __init__(
        self,
        name: str,
        on_bad_row: OnBadRow = "reject",
        max_rejected: float = 0.1,
        *,
        keep: bool = True,
    ) -> None:
        if not 0 <= max_rejected <= 1:
            raise PlauditError(f"max_rejected is {max_rejected}; it is a share, from 0 to 1")
        self.name = name
        self._stop = on_bad_row == "stop"
        self._max_rejected = max_rejected
        self._keep = keep
        self._tally = Tally()

    @property
    def rejected(self) -> list[Rejected]:
        """The rejected rows, where they are held."""
        return self._tally.rejected

    @property
    def rejected_by_reason(self) -> Counter[str]:
        """How many rows were rejected for each kind of reason."""
        return self._tally.reasons

    def count(self, item: Any) -> bool:
        """Count a row; returns whether it is a good one, and not `Rejected`.

        Raises `PlauditError` where it is bad and the first such row is to stop everything, or where
        too many are bad once a thousand are read.
        """
        self._tally.rows += 1
        if not isinstance(item, Rejected):
            return True
        self.reject(item)
        if self._tally.rows >= ROWS_BEFORE_STOPPING:
            self.stop_if_too_many()
        return False

    def go_on(self, rows: int, rejected: int) -> None:
        """Begin with what was counted before an interruption, of which the reasons are written."""
        self._tally.rows += rows
        self._tally.lost += rejected
        if rejected:
            self._tally.reasons["before the interruption"] += rejected

    def reject(self, item: Rejected) -> None:
        """Reject a row that was counted already, as `count` does."""
        self._tally.count(item, self._keep)
        if self._stop:
            raise _first_bad(item)

    def leave_out(self, ranking: Ranking, bad: BadRowError) -> None:
        """Reject a ranking that was read, as `Rankings.leave_out` does."""
        file, line = file_and_line(ranking.origin)
        self.reject(Rejected(file or self.name, line, str(bad), _row_of(ranking), bad.fault))

    def stop_if_too_many(self) -> None:
        """Raise `PlauditError` when more of the rows than allowed are rejected."""
        self._tally.stop_if_too_many(self.name, self._max_rejected)

    def summary(self) -> str:
        """How many rows were rejected and why, on one line."""
        return self._tally.summary()

    def write_rejected(self, path: str | Path) -> int:
        """Write every rejected row as JSON lines (file, line, reason, row); return how many."""
        return write_jsonl(path, (item.as_dict() for item in self._tally.rejected))


def _row_of(ranking: Ranking) -> Any:
    texts = {"prompt": ranking.prompt, "completions": ranking.completions}
    return shown(texts | {"ranks": ranking.ranks})


def _read(
    sources: Sequence[Records], tally: Tally, streaming: bool
) -> Iterator[Ranking | Rejected]:
    kind = sources[0].fits[0].layout.row
    items = _each(sources, tally, streaming)
    if kind == "pair":
        return pairs_of_stream(items) if streaming else pairs(items)
    if kind == "ranking":
        return each_alone(items)
    return _counted(Adjacent(items), tally) if streaming else grouped(items)


def _each(sources: Sequence[Records], tally: Tally, streaming: bool) -> Iterator[Record | Rejected]:
    for records in sources:
        source = records.source
        rows = source.rows()
        if not streaming:  # to count CSV is to read it: of that there is no total
            rows = progress(rows, f"reading {source.name}", source.counted)
        for row in rows:
            tally.rows += 1
            yield records.of(row, tally.notes)


def _counted(rankings: Adjacent, tally: Tally) -> Iterator[Ranking | Rejected]:
    for item in rankings:
        tally.not_adjacent = rankings.came_back
        yield item
    tally.not_adjacent = rankings.came_back


def _read_records(given: list[Ranking], tally: Tally) -> Iterator[Ranking | Rejected]:
    for number, ranking in enumerate(given, start=1):
        tally.rows += 1
        if len(ranking.completions) != len(ranking.ranks):
            raise PlauditError(
                f"record {number}: {len(ranking.completions)} completions but "
                f"{len(ranking.ranks)} ranks; give each completion one"
            )
        if ranking.ratings is not None and len(ranking.ratings) != len(ranking.completions):
            raise PlauditError(
                f"record {number}: {len(ranking.completions)} completions but "
                f"{len(ranking.ratings)} ratings; give each completion one, or none any"
            )
        try:
            ranks = dense_ranks(ranking.ranks)
        except ValueError as error:
            raise PlauditError(f"record {number}: {error}") from error
        try:
            read = make_ranking(
                Given(
                    prompt=ranking.prompt,
                    completions=tuple(ranking.completions),
                    ranks=tuple(ranks),
                    empty_prompt=True,
                )
            )
            read = replace(ranking, prompt=read.prompt, completions=read.completions, ranks=ranks)
            if problem := check(read):
                raise problem
        except BadRowError as bad:
            row = {"prompt": ranking.prompt, "completions": ranking.completions, "ranks": ranks}
            yield Rejected("records", number, str(bad), shown(row), bad.fault)
        else:
            yield read
