"""From rows to rankings: what the columns mean, which rows belong together, which are no good.

`load_rankings` takes whatever the user names and gives `Rankings`. Five formats are told apart by
their columns: "ranked" and "scored" (one completion a row, with a rank or a score), "ranked lists"
and "scored lists" (one prompt a row) and "pairs". A row that cannot be used never stops the reading
unless asked to (`strict`) or unless there are too many (`max_rejected`); it is kept with its place
and its reason. Read eagerly, the rows of a prompt are grouped wherever they stand; streamed, memory
stays flat, and rows belong together when they are adjacent.
"""

import gc
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from plaudit.console import progress, say
from plaudit.data.cells import (
    BadCellError,
    fit,
    implicit_prompt,
    is_messages,
    read_label,
    read_list,
    read_number,
    read_optional_number,
    read_text,
    shown,
)
from plaudit.data.rankings import Ranking, Rejected, Text, check, dense_ranks, text_key
from plaudit.data.rows import Row, Source, find_sources, place
from plaudit.errors import PlauditError
from plaudit.files import write_jsonl

T = TypeVar("T")

# Our name for a column → the names it is recognised by, best first.
NAMES = {
    "prompt": ("prompt", "question", "instruction", "query", "input"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "completion": ("completion", "answer", "response", "output", "text"),
    "rank": ("rank",),
    "score": ("score", "rating"),
    "completions": ("completions", "answers", "responses", "outputs"),
    "ranks": ("ranks", "rank"),
    "scores": ("scores", "ratings", "score", "rating"),
    "category": ("category", "categories"),
    "model": ("model", "models"),
    "margin": ("margin",),
    "weight": ("weight",),
}
OPTIONAL = ("category", "model", "margin", "weight")

STREAMED_FROM = 256 * 2**20  # bytes, as stored
ROWS_LOOKED_AT = 100  # to learn the columns of a file whose rows each name their own
ROWS_BEFORE_STOPPING = 1_000
REJECTED_KEPT = 100  # of a stream, in memory
PAIRS_REMEMBERED = 100_000  # of a stream, to notice contradictions

DUPLICATE = "duplicate: the same completion twice with the same rank"
CONTRADICTION = "contradiction: the same completion twice with different ranks"
CONTRADICTION_IN_LIST = "contradiction in a list: the same completion twice with different ranks"
CONTRADICTION_OF_PAIRS = "contradiction: A over B in one row and B over A in another"
SAME = "chosen equals rejected"
# What costs no row that says something: these do not count towards `max_rejected`.
NOT_COUNTED = ("duplicate", "contradiction in a list")


def load_rankings(
    source: str | Path | Sequence[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    streaming: bool | None = None,
    strict: bool = False,
    max_rejected: float = 0.1,
    split: str | None = None,
) -> "Rankings":
    """Read preference data: files, folders, globs, lists of these, or a data set on the hub.

    `columns` maps our name of a column to the one in the data, where it is not recognised by
    itself: `{"prompt": "question_text"}`. `streaming` reads from disk at every iteration instead of
    holding the data in memory; by default so from 256 MiB on. `strict` stops at the first row that
    cannot be used; otherwise reading stops when more than the share `max_rejected` of the rows
    cannot (duplicates do not count). `split` names the split of a `datasets` data set ("train").

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
    sources = find_sources(source, split, streaming)
    layouts = [_recognise(one, columns or {}) for one in sources]
    for one, layout in zip(sources, layouts, strict=True):
        if layout.format != layouts[0].format:
            raise PlauditError(
                f"{sources[0].name} holds {layouts[0].format} but {one.name} holds {layout.format};"
                " read them one at a time"
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
        format=layouts[0].format,
        columns=layouts[0].columns,
        streaming=streaming,
        strict=strict,
        max_rejected=max_rejected,
    )
    rankings._read = lambda tally: _read(list(zip(sources, layouts, strict=True)), tally, streaming)
    if not streaming:
        rankings._hold()
    return rankings


class Rankings:
    """Rankings to iterate over, any number of times, with what was learned while reading them.

    Held in memory they have a length and can be indexed; streamed (`streaming`), every iteration
    reads the files again, and `rows_read`, `rejected` and `rejected_by_reason` tell of the latest
    one. `rejected` holds every rejected row, of a stream the first hundred; `write_rejected` writes
    all of them. `format` and `columns` (our name → the one in the data) say what was recognised in
    `files`. An iteration of a stream raises `PlauditError` for what `load_rankings` raises it for.
    """

    def __init__(
        self,
        *,
        files: list[str],
        format: str,
        columns: dict[str, str],
        streaming: bool,
        strict: bool = False,
        max_rejected: float = 0.1,
    ) -> None:
        self.files = files
        self.format = format
        self.columns = columns
        self.streaming = streaming
        self._strict = strict
        self._max_rejected = max_rejected
        self._tally = Tally()
        self._held: list[Ranking] = []
        self._read: Callable[[Tally], Iterator[Ranking | Rejected]] = lambda tally: iter(())
        self._said_not_adjacent = False

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

    @property
    def prompts_not_adjacent(self) -> int:
        """In a stream of single rows: how often a prompt came back after others (about)."""
        return self._tally.not_adjacent

    def write_rejected(self, path: str | Path) -> int:
        """Write every rejected row as JSON lines (file, line, reason, row); return how many.

        A stream is read once more for it.
        """
        rejected: Iterable[Rejected] = self._tally.rejected
        if self.streaming:
            rejected = (item for item in self._events() if isinstance(item, Rejected))
        return write_jsonl(path, (item.as_dict() for item in rejected))

    def _hold(self) -> None:
        # Millions of small objects are made here and none of them is garbage; looking for some
        # again and again would take most of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._held = [item for item in self._events() if isinstance(item, Ranking)]
        finally:
            if collecting:
                gc.enable()
        order = {file: number for number, file in enumerate(self.files)}
        self._tally.rejected.sort(key=lambda item: (order.get(item.file, 0), item.line or 0))

    def _events(self) -> Iterator[Ranking | Rejected]:
        """Read everything once: the rankings, and between them the rows that are rejected."""
        tally = self._tally = Tally()
        for item in self._read(tally):
            if isinstance(item, Ranking):
                tally.rankings += 1
            else:
                tally.count(item, keep=not self.streaming or len(tally.rejected) < REJECTED_KEPT)
                if self._strict:
                    where = place(item.file, item.line)
                    raise PlauditError(f"{where}: {item.reason}; mend it, or read without --strict")
                if self.streaming and tally.rows >= ROWS_BEFORE_STOPPING:
                    self._stop_if_too_many(tally)
            yield item
        self._stop_if_too_many(tally)
        if not tally.rankings:
            raise PlauditError(f"{self._name()}: nothing usable in it. {tally.summary()}")
        if tally.not_adjacent and not self._said_not_adjacent:
            self._said_not_adjacent = True
            say(f"{self._name()}: {tally.not_adjacent_advice()}")

    def _stop_if_too_many(self, tally: "Tally") -> None:
        if tally.rows and tally.lost / tally.rows > self._max_rejected:
            raise PlauditError(
                f"{self._name()}: {min(tally.lost / tally.rows, 1):.0%} of the rows cannot be used,"
                f" more than the {self._max_rejected:.0%} allowed. {tally.summary()}."
                " Mend them, or allow it with --max-rejected 1"
            )

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
    not_adjacent: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def count(self, item: Rejected, keep: bool) -> None:
        """Count one rejected row, and keep it when told to."""
        kind = item.reason.partition(": ")[0]
        self.reasons[kind] += 1
        self.lost += kind not in NOT_COUNTED
        self.first.setdefault(kind, place(item.file, item.line))
        if keep:
            self.rejected.append(item)

    def summary(self) -> str:
        """How many rows were rejected and why, on one line."""
        reasons = "; ".join(
            f"{count:,} × {reason} (first at {self.first[reason]})"
            for reason, count in self.reasons.most_common()
        )
        parts = [
            f"Of {self.rows:,} rows, {self.lost:,} rejected" + (f": {reasons}" * bool(reasons))
        ]
        if self.not_adjacent:
            parts.append(self.not_adjacent_advice())
        return ". ".join(parts)

    def not_adjacent_advice(self) -> str:
        """What to do about rows of a prompt that are not adjacent."""
        return (
            f"about {self.not_adjacent:,} times a prompt came back after other prompts: its rows "
            "are not adjacent; sort the file by prompt, or read without --streaming"
        )


# ----------------------------------------------------------------------------- what the columns are


class Layout(NamedTuple):
    """What was recognised in a file: its format, and our name → its name of every column used."""

    format: str
    columns: dict[str, str]


class Columns(NamedTuple):
    """The columns of a source: our name → its name of those known here, all names, and one row."""

    found: dict[str, str]
    names: list[str]
    example: dict[str, Any]


def columns_of(source: Source, mapped: Mapping[str, str]) -> Columns:
    """Recognise columns by their names, or by `mapped` (our name → its name).

    Raises `PlauditError` when the source holds nothing, or has no column that `mapped` names.
    """
    for name in mapped:
        if name not in NAMES:
            raise PlauditError(f"columns: '{name}' is no column known here; {_all_names()}")
    names, example = _look_at(source)
    theirs: dict[str, str] = {}
    for name in names:
        theirs.setdefault(_plain(name), name)
    found = {
        ours: column
        for ours, known in NAMES.items()
        if (column := next((theirs[name] for name in known if name in theirs), None))
    }
    for ours, name in mapped.items():
        if _plain(name) not in theirs:
            raise PlauditError(
                f"{source.name}: no column '{name}' to take as {ours}; found: {_shown(names)}"
            )
        found[ours] = theirs[_plain(name)]
    one = found.get("completion")
    if "completions" not in found and one and _is_plain_list(example.get(one)):
        found["completions"] = found.pop("completion")
    return Columns(found, names, example)


def _recognise(source: Source, mapped: Mapping[str, str]) -> Layout:
    found, names, _ = columns_of(source, mapped)
    if "chosen" in found or "rejected" in found:
        format, needed = "pairs", ["chosen", "rejected"]
    elif "completions" in found:
        by_rank = "ranks" in found or "scores" not in found
        format = "ranked lists" if by_rank else "scored lists"
        needed = ["prompt", "completions", "ranks" if by_rank else "scores"]
    else:
        by_rank = "rank" in found or "score" not in found
        format = "ranked" if by_rank else "scored"
        needed = ["prompt", "completion", "rank" if by_rank else "score"]
    used = ["prompt", *needed, *OPTIONAL]
    layout = Layout(format, {ours: found[ours] for ours in used if ours in found})
    missing = [ours for ours in needed if ours not in layout.columns]
    if missing:
        wanted = " and ".join(f"the {ours} ({', '.join(NAMES[ours])})" for ours in missing)
        options = " ".join(f"--columns {ours}=NAME" for ours in missing)
        raise PlauditError(
            f"{source.name}: no column for {wanted}; found: {_shown(names)}. "
            f"Say which it is with {options}"
        )
    for ours, name in layout.columns.items():
        if sum(_plain(other) == _plain(name) for other in names) > 1:
            raise PlauditError(f"{source.name}: two columns are called '{name}' ({ours})")
    return layout


def _look_at(source: Source) -> tuple[list[str], dict[str, Any]]:
    """The names of the columns and one row, from the first rows of a source."""
    names: dict[str, None] = {}
    stated = source.columns()
    example: dict[str, Any] = {}
    first_bad: Row | None = None
    looked = 0
    for row in source.rows():
        looked += 1
        if row.values is None:
            first_bad = first_bad or row
        else:
            names.update(dict.fromkeys(row.values))
            example = example or row.values
        if example and looked >= ROWS_LOOKED_AT:
            break
    if not looked:
        if stated:
            raise PlauditError(f"{source.name}: only a header, no rows")
        raise PlauditError(f"{source.name}: the file is empty")
    if first_bad and not example and not stated:
        where = place(first_bad.file, first_bad.line)
        raise PlauditError(
            f"{source.name}: nothing usable in it. {looked:,} rows rejected; "
            f"the first at {where}: {first_bad.problem}"
        )
    return stated or list(names), example


def _is_plain_list(value: Any) -> bool:
    return isinstance(value, list) and not is_messages(value)


def _plain(name: str) -> str:
    return name.strip().lower().removeprefix("\ufeff")


def no_column(source: Source, ours: str, names: list[str]) -> PlauditError:
    """What to raise where a column is needed and none of `names` is recognised as it."""
    return PlauditError(
        f"{source.name}: no column for the {ours}; found: {_shown(names)}. "
        f"Say which it is with --columns {ours}=NAME"
    )


def _shown(names: list[str]) -> str:
    """Names of columns on one line of bearable length, even when they are no names at all."""
    short = [" ".join(name.split())[:40] for name in names[:20]]
    return (", ".join(short) or "none") + (" …" if len(names) > 20 else "")


def _all_names() -> str:
    return "known: " + ", ".join(NAMES)


# --------------------------------------------------------------------------- from rows to rankings


class Entry(NamedTuple):
    """One completion with what its row says of it; `rank` is lower for better, also for scores."""

    prompt: Text
    completion: Text
    rank: float
    row: Row
    category: str | None = None
    model: str | None = None
    margin: float | None = None
    weight: float | None = None


def _read(
    parts: list[tuple[Source, Layout]], tally: Tally, streaming: bool
) -> Iterator[Ranking | Rejected]:
    format = parts[0][1].format
    if format == "pairs":
        pairs = _each(parts, tally, streaming, _pair)
        return _unless_contradicted_lately(pairs) if streaming else _unless_contradicted(pairs)
    if format in ("ranked", "scored"):
        entries = _each(parts, tally, streaming, _entry)
        return _adjacent(entries, tally) if streaming else _grouped(entries)
    return _lists(_each(parts, tally, streaming, _list_of_entries))


def _each(
    parts: list[tuple[Source, Layout]],
    tally: Tally,
    streaming: bool,
    parse: Callable[[Row, Layout, bool], T],
) -> Iterator[T | Rejected]:
    """What `parse` makes of every row of every source; a row that is no good as a `Rejected`."""
    for source, layout in parts:
        rows = source.rows()
        for row in rows if streaming else progress(rows, f"reading {source.name}"):
            tally.rows += 1
            if row.problem is not None:
                yield _reject(row, row.problem)
                continue
            try:
                parsed = parse(row, layout, source.all_text)
            except BadCellError as bad:
                yield _reject(row, str(bad))
                continue
            yield parsed


def _reject(row: Row, reason: str, piece: Any = None) -> Rejected:
    what = piece if piece is not None else row.raw if row.values is None else row.values
    return Rejected(row.file, row.line, reason, shown(what))


def _entry(row: Row, layout: Layout, all_text: bool) -> Entry:
    cell = _cells(row, layout)
    prompt, [completion] = fit(
        read_text(cell("prompt"), "prompt", all_text),
        [read_text(cell("completion"), "completion", all_text)],
    )
    by_rank = layout.format == "ranked"
    rank = read_number(cell("rank"), "rank") if by_rank else -read_number(cell("score"), "score")
    return Entry(
        prompt,
        completion,
        rank,
        row,
        read_label(cell("category"), "category"),
        read_label(cell("model"), "model"),
        read_optional_number(cell("margin"), "margin"),
        read_optional_number(cell("weight"), "weight"),
    )


def _list_of_entries(row: Row, layout: Layout, all_text: bool) -> list[Entry]:
    cell = _cells(row, layout)
    ours = "ranks" if layout.format == "ranked lists" else "scores"
    given = read_list(cell("completions"), "completions", all_text)
    ranks = read_list(cell(ours), ours, all_text)
    if not given:
        raise BadCellError("the completions are missing")
    if len(given) != len(ranks):
        raise BadCellError(
            f"lists of different length: {len(given)} completions, {len(ranks)} {ours}"
        )
    prompt, completions = fit(
        read_text(cell("prompt"), "prompt", all_text),
        [read_text(completion, "completion") for completion in given],
    )
    sign = 1 if ours == "ranks" else -1
    margin = read_optional_number(cell("margin"), "margin")
    weight = read_optional_number(cell("weight"), "weight")
    categories = _labels(cell("category"), "category", len(given), all_text)
    models = _labels(cell("model"), "model", len(given), all_text)
    return [
        Entry(
            prompt,
            completion,
            sign * read_number(rank, ours[:-1]),
            row,
            kind,
            model,
            margin,
            weight,
        )
        for completion, rank, kind, model in zip(
            completions, ranks, categories, models, strict=True
        )
    ]


def _pair(row: Row, layout: Layout, all_text: bool) -> tuple[Ranking, Row]:
    cell = _cells(row, layout)
    chosen = read_text(cell("chosen"), "chosen", all_text)
    rejected = read_text(cell("rejected"), "rejected", all_text)
    if chosen == rejected:
        raise BadCellError(SAME)
    if "prompt" in layout.columns:
        prompt, [chosen, rejected] = fit(
            read_text(cell("prompt"), "prompt", all_text), [chosen, rejected]
        )
    else:
        prompt, chosen, rejected = implicit_prompt(chosen, rejected)
    if chosen == rejected:  # now that neither repeats its prompt
        raise BadCellError(SAME)
    weight = read_optional_number(cell("weight"), "weight")
    models = _labels(cell("model"), "model", 2, all_text)
    ranking = Ranking(
        prompt,
        [chosen, rejected],
        [0, 1],
        margin=read_optional_number(cell("margin"), "margin"),
        weight=1.0 if weight is None else weight,
        category=read_label(cell("category"), "category"),
        models=models if any(models) else None,
        origin=place(row.file, row.line),
    )
    return ranking, row


def _cells(row: Row, layout: Layout) -> Callable[[str], Any]:
    values, columns = row.values or {}, layout.columns
    return lambda ours: values.get(columns[ours]) if ours in columns else None


def _labels(value: Any, name: str, count: int, all_text: bool) -> list[str | None]:
    """One label for each of `count` completions, from a list or from one label for all."""
    if all_text and isinstance(value, str) and value.startswith("["):
        value = read_list(value, name, all_text)
    if not isinstance(value, list):
        return [read_label(value, name)] * count
    if len(value) != count:
        raise BadCellError(
            f"lists of different length: {count} completions, {len(value)} of {name}"
        )
    return [read_label(item, name) for item in value]


# ---------------------------------------------------------------------- which rows belong together


def _ranking(entries: list[Entry], in_list: bool = False) -> Iterator[Ranking | Rejected]:
    """The ranking that the entries of one prompt make, and what of them is no good.

    The same completion twice with the same rank: the first stays. With different ranks: none does.
    """
    ranks: dict[str, set[float]] = {}
    for entry in entries:
        ranks.setdefault(text_key(entry.completion), set()).add(entry.rank)
    kept: dict[str, Entry] = {}
    for entry in entries:
        key = text_key(entry.completion)
        piece = {"completion": entry.completion, "rank": entry.rank} if in_list else None
        if len(ranks[key]) > 1:
            reason = CONTRADICTION_IN_LIST if in_list else CONTRADICTION
            yield _reject(entry.row, reason, piece)
        elif key in kept:
            yield _reject(entry.row, DUPLICATE, piece)
        else:
            kept[key] = entry
    used = list(kept.values())
    if not used:
        if in_list:
            yield _reject(entries[0].row, "all completions of this prompt contradict themselves")
        return
    categories = [entry.category for entry in used]
    models = [entry.model for entry in used]
    margins = [entry.margin for entry in used if entry.margin is not None]
    weights = [entry.weight for entry in used if entry.weight is not None]
    ranking = Ranking(
        used[0].prompt,
        [entry.completion for entry in used],
        dense_ranks([entry.rank for entry in used]),
        margin=sum(margins) / len(margins) if margins else None,
        weight=sum(weights) / len(weights) if weights else 1.0,
        category=categories[0] if len(set(categories)) == 1 else None,
        categories=categories if any(categories) else None,
        models=models if any(models) else None,
        origin=place(used[0].row.file, used[0].row.line),
    )
    problem = check(ranking)
    if problem is None:
        yield ranking
    elif in_list:
        yield _reject(entries[0].row, problem)
    else:
        for entry in used:
            yield _reject(entry.row, problem)


def _grouped(entries: Iterator[Entry | Rejected]) -> Iterator[Ranking | Rejected]:
    """Rankings of rows grouped by prompt wherever they stand, in order of first appearance."""
    groups: dict[str, list[Entry]] = {}
    for item in entries:
        if isinstance(item, Rejected):
            yield item
        else:
            groups.setdefault(text_key(item.prompt), []).append(item)
    for group in groups.values():
        yield from _ranking(group)


def _adjacent(entries: Iterator[Entry | Rejected], tally: Tally) -> Iterator[Ranking | Rejected]:
    """Rankings of adjacent rows with the same prompt; prompts that come back are counted."""
    seen = PromptsSeen()
    group: list[Entry] = []
    present: str | None = None
    for item in entries:
        if isinstance(item, Rejected):
            yield item
            continue
        key = text_key(item.prompt)
        if key != present:
            if group:
                yield from _ranking(group)
            tally.not_adjacent += seen.before(key)
            group, present = [], key
        group.append(item)
    if group:
        yield from _ranking(group)


class PromptsSeen:
    """Whether a prompt was there before, in 16 MiB however many there are (a Bloom filter).

    It never forgets one, and takes a new prompt for an old one with a probability of
    (1 − exp(−k n / m))ᵏ (Bloom 1970) after n prompts; with k = 4 probes of m = 2²⁷ bits that is
    10⁻⁶ at a million prompts and 0.4 % at ten million.
    """

    def __init__(self) -> None:
        self._bits = bytearray(1 << 24)

    def before(self, key: str) -> bool:
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


def _lists(items: Iterator[list[Entry] | Rejected]) -> Iterator[Ranking | Rejected]:
    for item in items:
        if isinstance(item, Rejected):
            yield item
        else:
            yield from _ranking(item, in_list=True)


def _direction(ranking: Ranking) -> tuple[int, int]:
    """A number that is the same for A over B and B over A, and 1 or 2 for which of them it is."""
    prompt, a, b = (text_key(text) for text in (ranking.prompt, *ranking.completions))
    return (hash((prompt, a, b)), 1) if a < b else (hash((prompt, b, a)), 2)


def _unless_contradicted(
    items: Iterator[tuple[Ranking, Row] | Rejected],
) -> Iterator[Ranking | Rejected]:
    """The pairs without those that stand in both directions under the same prompt."""
    pairs: list[tuple[int, Ranking, Row]] = []
    directions: dict[int, int] = {}
    for item in items:
        if isinstance(item, Rejected):
            yield item
            continue
        key, direction = _direction(item[0])
        directions[key] = directions.get(key, 0) | direction
        pairs.append((key, *item))
    for key, ranking, row in pairs:
        yield _reject(row, CONTRADICTION_OF_PAIRS) if directions[key] == 3 else ranking


def _unless_contradicted_lately(
    items: Iterator[tuple[Ranking, Row] | Rejected],
) -> Iterator[Ranking | Rejected]:
    """The pairs without those that contradict one of the last hundred thousand."""
    lately: OrderedDict[int, int] = OrderedDict()
    for item in items:
        if isinstance(item, Rejected):
            yield item
            continue
        key, direction = _direction(item[0])
        if lately.setdefault(key, direction) != direction:
            yield _reject(item[1], CONTRADICTION_OF_PAIRS)
            continue
        if len(lately) > PAIRS_REMEMBERED:
            lately.popitem(last=False)
        yield item[0]


def _read_records(given: list[Ranking], tally: Tally) -> Iterator[Ranking | Rejected]:
    for number, ranking in enumerate(given, start=1):
        tally.rows += 1
        if len(ranking.completions) != len(ranking.ranks):
            raise PlauditError(
                f"record {number}: {len(ranking.completions)} completions but "
                f"{len(ranking.ranks)} ranks; give each completion one"
            )
        try:
            ranks = dense_ranks(ranking.ranks)
        except ValueError as error:
            raise PlauditError(f"record {number}: {error}") from error
        problem = check(ranking)
        try:
            prompt, completions = fit(ranking.prompt, list(ranking.completions))
        except BadCellError as bad:
            problem = str(bad)
        if problem is not None:
            row = {"prompt": ranking.prompt, "completions": ranking.completions, "ranks": ranks}
            yield Rejected("records", number, problem, shown(row))
        else:
            yield replace(ranking, prompt=prompt, completions=completions, ranks=ranks)
