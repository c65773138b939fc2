"""What is to be scored in a row: a completion, a list of completions, or chosen and rejected.

A row may hold any of them, whatever the other rows of its file hold. It comes out as it went in,
with `reward`, `rewards`, or `reward_chosen` and `reward_rejected` added. However rows are read and
wherever they are scored, this is how they are understood.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from plaudit.data.cells import BadCellError, fit, implicit_prompt, read_list, read_text, shown
from plaudit.data.rankings import Rejected, Text
from plaudit.data.readers import columns_of, no_column
from plaudit.data.rows import Row, Source, place
from plaudit.errors import PlauditError

REWARDS_OF = {
    "pair": ("reward_chosen", "reward_rejected"),
    "many": ("rewards",),
    "one": ("reward",),
}
ADDED = [name for names in REWARDS_OF.values() for name in names]
# Sets of columns whose meaning is remembered; rows of a file rarely have more.
KNOWN_AT_ONCE = 1000


class Task(NamedTuple):
    """What is to be scored in a row, and of what kind it is (`REWARDS_OF`)."""

    row: Row
    kind: str
    prompt: Text
    completions: list[Text]

    def with_rewards(self, rewards: Sequence[float]) -> dict[str, Any]:
        """The row's values, and the rewards of its completions in order.

        Raises `PlauditError` when a reward is not a finite number.
        """
        if not all(map(math.isfinite, rewards)):
            raise PlauditError(
                f"{place(self.row.file, self.row.line)}: the model's reward is not a finite "
                "number; was it trained to the end, without an overflow?"
            )
        values = self.row.values or {}
        if self.kind == "many":
            return {**values, "rewards": list(rewards)}
        return {**values, **dict(zip(REWARDS_OF[self.kind], rewards, strict=True))}


def columns_to_score(source: Source, mapped: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Our name → its name of the columns of a source, and all names it has.

    Raises `PlauditError` where there is nothing in them that could be scored.
    """
    found, names, _ = columns_of(source, mapped)
    if not _kinds(found):
        raise no_column(source, "completion" if "prompt" in found else "prompt", names)
    return found, names


def _kinds(found: Mapping[str, str]) -> list[str]:
    """The kinds of rows that such columns can hold."""
    prompt = "prompt" in found
    return [
        kind
        for kind, can in (
            ("pair", "chosen" in found and "rejected" in found),
            ("many", prompt and "completions" in found),
            ("one", prompt and "completion" in found),
        )
        if can
    ]


@dataclass
class Tasks:
    """How the rows of a source are understood.

    `found` is our name → its name of the columns seen in the source's first rows, `names` are all
    of those. Raises `PlauditError` where there is nothing to score in them, or where a column is
    called as one of `ADDED`, or as another one.
    """

    source: Source
    mapped: Mapping[str, str]
    found: dict[str, str] = field(init=False)
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.found, names = columns_to_score(self.source, self.mapped)
        self.names = frozenset(names)
        self._late: dict[tuple[str, ...], dict[str, str]] = {}
        stated = self.source.columns()
        if twice := [name for name in stated if stated.count(name) > 1]:
            raise PlauditError(
                f"{self.source.name}: two columns are called '{twice[0]}', and one would be lost; "
                "rename it"
            )
        if taken := [name for name in names if name in ADDED]:
            raise PlauditError(
                f"{self.source.name}: has a column {taken[0]} already, which would be lost; "
                "rename it"
            )

    @property
    def kinds(self) -> list[str]:
        """The kinds of rows that its columns can hold."""
        return _kinds(self.found)

    def __iter__(self) -> Iterator[Task | Rejected]:
        return map(self.of, self.source.rows())

    def of(self, row: Row) -> Task | Rejected:
        """What is to be scored in a row of the source, or why there is nothing."""
        try:
            if row.values is None:
                raise BadCellError(row.problem or "cannot be read")
            return Task(row, *_texts(row.values, self._columns(row), self.source.all_text))
        except BadCellError as bad:
            what = row.raw if row.values is None else row.values
            return Rejected(row.file, row.line, str(bad), shown(what))

    def _columns(self, row: Row) -> dict[str, str]:
        """`found`, or what else a row's own columns mean where it has some that came late."""
        values = row.values or {}
        if self.names.issuperset(values):
            return self.found
        key = tuple(values)
        if key not in self._late:
            alone = Source(row.file, 0, lambda: iter([row]), self.source.all_text)
            own = {ours: name for ours, name in self.mapped.items() if name in values}
            if len(self._late) >= KNOWN_AT_ONCE:
                self._late.clear()
            self._late[key] = self.found | columns_of(alone, own).found
        return self._late[key]


def _texts(
    values: dict[str, Any], found: dict[str, str], all_text: bool
) -> tuple[str, Text, list[Text]]:
    """What kind of row it is, its prompt, and the completions to score."""

    def cell(ours: str) -> Any:
        return values.get(found[ours])

    for name in ADDED:
        if name in values:  # only where rows name their own columns, and this one late
            raise BadCellError(f"the row has a {name} already")

    def has(*names: str) -> bool:
        return all(name in found and cell(name) is not None for name in names)

    pairs = "chosen" in found and "rejected" in found
    if has("chosen", "rejected") or (pairs and not has("completions") and not has("completion")):
        chosen, rejected = (read_text(cell(k), k, all_text) for k in ("chosen", "rejected"))
        if "prompt" not in found:
            prompt, chosen, rejected = implicit_prompt(chosen, rejected)
            return "pair", prompt, [chosen, rejected]
        return "pair", *fit(read_text(cell("prompt"), "prompt", all_text), [chosen, rejected])
    prompt = read_text(cell("prompt"), "prompt", all_text)
    if has("completions") or "completion" not in found:
        given = read_list(cell("completions"), "completions", all_text)
        if not given:
            raise BadCellError("the completions are missing")
        return "many", *fit(prompt, [read_text(text, "completion") for text in given])
    return "one", *fit(prompt, [read_text(cell("completion"), "completion", all_text)])
