"""The one door for rows: whatever enters becomes a `Ranking` here, or is rejected with a reason.

`make_ranking` makes the record of what a row gives; files, the hub, data frames, HTTP bodies,
Python arguments, the label page and benchmark suites all call it. A record that can be scored need
not be one that something can be learnt from: that is `check` of `rankings`, on top of it.
`Records` reads the rows of a source through it.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from plaudit.data.cells import (
    read_labels,
    read_list,
    read_number,
    read_optional_number,
    read_text,
    shown,
)
from plaudit.data.chat import fit, implicit_prompt, note_rendered, without_reply
from plaudit.data.columns import (
    Columns,
    Fit,
    check_mapped,
    columns_of,
    layouts_that_fit,
    listed,
    missing_columns,
    twin,
)
from plaudit.data.decimal_commas import columns_with_commas, has_comma
from plaudit.data.layouts import WINNER, Cells, Given
from plaudit.data.rankings import (
    BadRowError,
    Fault,
    Ranking,
    Rejected,
    Text,
    different_questions,
)
from plaudit.data.rows import Row, Source, place
from plaudit.errors import PlauditError

# Columns whose content belongs to the question: to leave one out in silence is to misread a row.
CONTENT = (
    *("system", "system_prompt", "input", "history", "context", "documents", "tools", "functions"),
)
# Columns whose content no model of text reads.
MEDIA = ("image", "images", "audio", "audios", "video", "videos")
# What plaudit calls columns of words, beside the texts that a layout needs.
WORDS = (
    "prompt",
    "category",
    "model",
    "model_a",
    "model_b",
    "annotator",
    "reply",
    "winner",
    *CONTENT,
)
# Sets of columns whose meaning is remembered; rows of a file rarely have more.
KNOWN_AT_ONCE = 1000

LARGEST = 1e300  # of a rank or a score
# What was noticed of rows, which readers count and tell the user.
BELOW_ZERO = (
    "a rank is below 0, which is read as better than 0 or more; where it stands for “not ranked”, "
    "take those completions out"
)


def make_ranking(
    given: Given, *, order: bool = True, origin: str = "", notes: Counter[str] | None = None
) -> Ranking:
    """The record of what a row gives.

    Its `ranks` are the numbers that the row has, lower being better; they are made dense when the
    rows of a prompt have come together (`dense_ranks`). Without `order` they are not looked at, and
    a completion may be blank: a policy sometimes writes nothing, and that too has its reward.
    `notes` counts what was done to make prompt and completions fit.

    Raises:
        BadRowError: for what is no such record, with the fault and the reason.

    >>> make_ranking(Given(prompt="2+2?", completions=("4", "5"), ratings=(0.5, "-1"))).ranks
    [-0.5, 1.0]
    """
    prompt, completions = _texts(given, not order, notes)
    if notes is not None:
        note_rendered(prompt, notes)
    ranks, ratings = read_order(given, len(completions)) if order else ([], None)
    if notes is not None and given.ranks is not None and min(ranks, default=0) < 0:
        notes[BELOW_ZERO] += 1
    categories = _labels(given.category, "category", len(completions))
    models = _labels(given.model, "model", len(completions))
    weight = read_optional_number(given.weight, "weight")
    alike = categories is not None and len(set(categories)) == 1
    return Ranking(
        prompt,
        completions,
        ranks,  # type: ignore[arg-type]  # not dense yet
        ratings=ratings,
        attributes=_attributes(given, len(completions)) if order else None,
        strength=read_optional_number(given.strength, "strength") if order else None,
        margin=read_optional_number(given.margin, "margin"),
        weight=1.0 if weight is None else weight,
        category=categories[0] if categories and alike else None,
        categories=None if alike else categories,
        models=models,
        origin=origin,
        annotator=_annotator(given.annotator),
    )


def _annotator(cell: Any) -> str | None:
    """Who made the row; what is no plain value, as a list of several people, names nobody."""
    if isinstance(cell, float) and cell.is_integer():  # a number, of a column with empty cells
        cell = int(cell)
    return str(cell) if isinstance(cell, str | int) and str(cell).strip() else None


def _labels(cell: Any, name: str, count: int) -> list[str | None] | None:
    """A label for each of `count` completions; None where none has one."""
    if cell is None:
        return None
    labels = read_labels(cell, name, count)
    return labels if any(labels) else None


def _texts(given: Given, blank: bool, notes: Counter[str] | None) -> tuple[Text, list[Text]]:
    """Prompt and completions, made to fit each other."""
    cells = given.completions
    if not isinstance(cells, tuple):
        cells = read_list(cells, "completions")
        if not cells:
            raise BadRowError(Fault.MISSING, "the completions are missing")
    names = given.names or ["completion"] * len(cells)
    completions = [read_text(*cell, blank) for cell in zip(cells, names, strict=True)]
    if given.implicit:
        prompt, *completions = implicit_prompt(*completions)
    elif given.empty_prompt and given.prompt in ("", []):
        prompt, completions = fit(given.prompt, completions, notes)
    else:
        prompt, completions = fit(read_text(given.prompt, "prompt"), completions, notes)
    for name, text in zip(names, completions, strict=True):
        if lacks := without_reply(text):
            raise BadRowError(Fault.NO_REPLY, f"the {name} has no reply: {lacks}")
    if given.implicit and not prompt and (told := different_questions(completions)):
        sides = " and ".join(names)
        raise BadRowError(Fault.QUESTIONS, f"{sides} begin with different questions: {told}")
    return prompt, completions


def read_order(given: Given, count: int) -> tuple[list[float], list[float] | None]:
    """A number for each completion, lower being better, and the ratings where there are some.

    Raises `BadRowError` where a number is missing or is none.
    """
    ranks = _numbers(given.ranks, given.order_name, count)
    ratings = _numbers(given.ratings, given.order_name if ranks is None else "rating", count)
    if ranks is None and ratings is None:
        raise BadRowError(Fault.MISSING, f"the {given.order_name}s are missing")
    if ranks is None:
        ranks = [-rating for rating in ratings or ()]
    return ranks, ratings


def _attributes(given: Given, count: int) -> dict[str, list[float]] | None:
    """The attributes by name, NaN for a completion that has none; those that none has are not."""
    found = {}
    for name, cells in (given.attributes or {}).items():
        numbers = [read_optional_number(cell, name) for cell in cells]
        if len(numbers) != count:
            raise BadRowError(
                Fault.LENGTHS,
                f"lists of different length: {count} completions, {len(numbers)} of {name}",
            )
        if any(number is not None for number in numbers):
            found[name] = [math.nan if number is None else number for number in numbers]
    return found or None


def _numbers(cells: Any, name: str, count: int) -> list[float] | None:
    """A number for each of `count` completions, None where there are none at all."""
    if cells is None:
        return None
    if isinstance(cells, BadRowError):
        raise cells
    if not isinstance(cells, tuple):
        cells = read_list(cells, f"{name}s")
    if len(cells) != count:
        raise BadRowError(
            Fault.LENGTHS, f"lists of different length: {count} completions, {len(cells)} {name}s"
        )
    # Whole numbers stay exact, as far as other numbers reach.
    exact = [type(cell) is int and abs(cell) < LARGEST for cell in cells]
    return [
        cell if whole else read_number(cell, name) for cell, whole in zip(cells, exact, strict=True)
    ]


class Record(NamedTuple):
    """A row, the layout it is in, and what it says."""

    row: Row
    fit: Fit
    ranking: Ranking


@dataclass
class Records:
    """The records of a source, in order, and among them the rows that make none.

    With `order` its rows are of one kind (a completion, a pair, a ranking), to be learnt from;
    without, each is read in the first layout whose texts it has, to be scored. `mapped` is our
    name of a column → the one in the data, where it is not recognised. Raises `PlauditError` where
    no layout fits the columns, or a column that one uses stands there twice.
    """

    source: Source
    mapped: Mapping[str, str] = field(default_factory=dict)
    order: bool = True
    columns: Columns = field(init=False)
    fits: list[Fit] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = columns_of(self.source)
        self.mapped = check_mapped(self.source, self.columns, self.mapped)
        self.fits = layouts_that_fit(self.columns, self.mapped, order=self.order)
        if not self.fits:
            raise missing_columns(self.source, self.columns, self.mapped, order=self.order)
        for possible in self.fits[: 1 if self.order else None]:
            if problem := twin(self.columns.names, possible):
                raise PlauditError(f"{self.source.name}: {problem}")
        fit = self.fits[0]
        if self.order and (problem := fit.layout.doubt(fit.columns, self.columns.seen)):
            raise PlauditError(f"{self.source.name}: {problem}")
        self._names = frozenset(self.columns.names)
        self._media = [name for name in self.columns.names if name.lower() in MEDIA]
        self._commas: frozenset[str] | None = None  # known when the first one is met
        self._late: dict[tuple[str, ...], list[Fit]] = {}

    @property
    def unused(self) -> list[str]:
        """The columns that the layout does not use."""
        return [n for n in self.columns.names if n not in self.fits[0].columns.values()]

    def content_left_out(self) -> str:
        """What to tell the user of columns that belong to the question and are not used."""
        left_out = [name for name in self.unused if name.lower() in CONTENT]
        if not left_out:
            return ""
        return (
            f"{self.source.name}: not used: {listed(left_out)}; the model will not see what stands "
            "there. Put it into the prompt, or drop the column"
        )

    def winner_left_out(self) -> str:
        """What to tell the user of a column that looks like a verdict on pairs and is not used."""
        fit = self.fits[0]
        says = fit.told or "winner" in fit.columns
        left_out = [
            f"{name} ({', '.join(sorted(self.columns.seen[name]))})"
            for name in self.unused
            if name.strip().lower() in WINNER and name in self.columns.seen
        ]
        if not left_out or fit.layout.row != "pair" or not says:
            return ""
        return (
            f"{self.source.name}: not looked at: {listed(left_out)}; it may contradict what is "
            f"read, which takes as better: {fit.better}. Where it is the verdict, say so instead, "
            "with --columns winner=NAME --columns response_a=NAME --columns response_b=NAME"
        )

    def __iter__(self) -> Iterator[Record | Rejected]:
        return map(self.of, self.source.rows())

    def of(self, row: Row, notes: Counter[str] | None = None) -> Record | Rejected:
        """What a row of the source says, or why it says nothing."""
        try:
            if row.values is None:
                raise BadRowError(Fault.UNREADABLE, row.problem or "cannot be read")
            for name in self._media:
                if row.values.get(name):
                    raise BadRowError(
                        Fault.NOT_TEXT, f"the row has {name}, which no model of text reads"
                    )
            fit = self._fit(row.values)
            given = fit.layout.give(Cells(self._with_points(row.values, fit), fit.columns))
            origin = place(row.file, row.line)
            ranking = make_ranking(given, order=self.order, origin=origin, notes=notes)
            return Record(row, fit, ranking)
        except BadRowError as bad:
            return reject(row, bad)

    def _with_points(self, values: dict[str, Any], fit: Fit) -> Mapping[str, Any]:
        """The values of a row, numbers with a decimal comma where it is certain with a point."""
        names = [n for n in _numbers_of(fit) if has_comma(values.get(n))]
        if not names:
            return values
        if self._commas is None:
            every = dict.fromkeys(name for one in self.fits for name in _numbers_of(one))
            self._commas = columns_with_commas(self.source, every)
        return values | {n: values[n].replace(",", ".") for n in names if n in self._commas}

    def _fit(self, values: Mapping[str, Any]) -> Fit:
        """The layout of a row, whose columns may be others than those of the first rows."""
        fits = self.fits
        if self._names.issuperset(values):
            if self.order or len(fits) == 1:
                return fits[0]
        else:
            key = tuple(values)
            if key not in self._late:
                if len(self._late) >= KNOWN_AT_ONCE:
                    self._late.clear()
                own = {ours: name for ours, name in self.mapped.items() if name in values}
                columns = Columns(list(values), values)
                self._late[key] = layouts_that_fit(columns, own, order=self.order, before=self.fits)
            fits = self._late[key]
            if problem := next(filter(None, (twin(list(values), fit) for fit in fits)), ""):
                raise BadRowError(Fault.UNREADABLE, f"ambiguous columns: {problem}")
        if self.order:
            kind = self.fits[0].layout.row
            return next((fit for fit in fits if fit.layout.row == kind), self.fits[0])
        return next((fit for fit in fits if _has_texts(values, fit)), fits[0])


def _numbers_of(fit: Fit) -> list[str]:
    """The columns of a layout that may hold a number; in a layout of lists, `1,2` may be one."""
    if fit.layout.lists:
        return []
    words = (*fit.layout.texts, *WORDS)
    return [name for ours, name in fit.columns.items() if ours not in words]


def _has_texts(values: Mapping[str, Any], fit: Fit) -> bool:
    """Whether a row has a completion where the layout expects one."""
    needed = (fit.columns[ours] for ours in fit.layout.texts if ours != "prompt")
    return all(values.get(column) not in (None, "") for column in needed)


def reject(row: Row, bad: BadRowError, what: Any = None) -> Rejected:
    """A row that is not used, and why; `what` of it, where it is not the whole row."""
    if what is None:
        what = row.raw if row.values is None else row.values
    return Rejected(row.file, row.line, str(bad), shown(what), bad.fault)
