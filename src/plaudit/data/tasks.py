"""What is to be scored in a row, and how it comes out.

A row may be in any layout, whatever the other rows of its file are in. It comes out as it went in,
with `reward`, `rewards`, or `reward_chosen` and `reward_rejected` added. However rows are read and
wherever they are scored, this is how they are understood.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from plaudit.data.layouts import LAYOUTS
from plaudit.data.parse import Records, reject
from plaudit.data.rankings import BadRowError, Fault, Rejected, Text
from plaudit.data.rows import Row, Source
from plaudit.errors import PlauditError

DEVIATION = "_std"  # ends the name of a column of standard deviations


class Task(NamedTuple):
    """The completions to score in a row, and the columns that their rewards go to."""

    row: Row
    prompt: Text
    completions: Sequence[Text]
    columns: tuple[str, ...]

    def with_rewards(
        self, rewards: Sequence[float], deviations: Sequence[float] | None = None
    ) -> dict[str, Any]:
        """The row's values, and the rewards of its completions in order; beside each column of
        rewards one of their standard deviations, where those are given."""
        values = dict(self.row.values or {})
        for ending, given in (("", rewards), (DEVIATION, deviations)):
            if given is not None:
                columns = [name + ending for name in self.columns]
                each = [list(given)] if self.columns == ("rewards",) else given
                values |= dict(zip(columns, each, strict=True))
        return values


@dataclass
class Tasks:
    """How the rows of a source are understood.

    `names` are all columns seen in its first rows; with `deviations` rows get columns for the
    standard deviations of rewards too. Raises `PlauditError` where there is nothing to
    score in them, or where a column is called as one that rewards go to, or as another one.
    """

    source: Source
    mapped: Mapping[str, str]
    deviations: bool = False
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._records = Records(self.source, self.mapped, order=False)
        self.names = frozenset(self._records.columns.names)
        endings = ("", DEVIATION) if self.deviations else ("",)
        self._added = frozenset(
            name + ending
            for _, layout in LAYOUTS.each()
            for name in layout.rewards
            for ending in endings
        )
        stated = self.source.columns()
        if twice := [name for name in stated if stated.count(name) > 1]:
            raise PlauditError(
                f"{self.source.name}: two columns are called '{twice[0]}', and one would be lost; "
                "rename it"
            )
        if taken := sorted(self.names & self._added):
            raise PlauditError(
                f"{self.source.name}: has a column {taken[0]} already, which would be lost; "
                "rename it"
            )

    @property
    def columns(self) -> list[tuple[str, ...]]:
        """The columns that the rewards of its rows may go to, one for each kind of row."""
        return list(dict.fromkeys(fit.layout.rewards for fit in self._records.fits))

    def __iter__(self) -> Iterator[Task | Rejected]:
        return map(self.of, self.source.rows())

    def of(self, row: Row) -> Task | Rejected:
        """What is to be scored in a row of the source, or why there is nothing."""
        if taken := sorted(self._added.intersection(row.values or ())):
            # Only where rows name their own columns, and this one late.
            return reject(row, BadRowError(Fault.TAKEN, f"the row has a {taken[0]} already"))
        record = self._records.of(row)
        if isinstance(record, Rejected):
            return record
        ranking = record.ranking
        return Task(row, ranking.prompt, ranking.completions, record.fit.layout.rewards)
