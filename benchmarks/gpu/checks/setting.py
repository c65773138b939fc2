"""Where a check runs, and what it reports: statements, goals and tables, on disk at once.

A check that is ended midway keeps what it reported, since every change is written when it is made.
"""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setting:
    """Where a check runs.

    `tiny` asks for small models and few repetitions: the rehearsal, in which every line runs and no
    figure means anything. `scratch` is an empty folder, `data` has `sample_ranked.csv` and
    `sample_pairs.jsonl`. `ends` is when the check will be stopped, by `time.monotonic`.
    """

    device: str
    tiny: bool
    scratch: Path
    data: Path
    ends: float

    @property
    def ranked(self) -> Path:
        """Ranked answers."""
        return self.data / "sample_ranked.csv"

    def left(self) -> float:
        """Seconds until the check will be stopped."""
        return self.ends - time.monotonic()


@dataclass
class Report:
    """What a check found. Written to `path` at every change."""

    path: Path
    statements: list[tuple[bool, str]] = field(default_factory=list)
    goals: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    error: str = ""
    finished: bool = False
    judge_goals: bool = True

    def holds(self, what: str, held: bool) -> None:
        """State something that must hold."""
        self.statements.append((bool(held), what))
        self.write()

    def goal(self, what: str, got: float, wanted: str) -> None:
        """A figure beside the one that is wanted, such as `>= 0.45` or `< 5`."""
        got = float(got)
        relation, bound = wanted.split()
        reached = {">=": got >= float(bound), "<": got < float(bound), "<=": got <= float(bound)}
        self.goals.append(
            {"what": what, "got": round(got, 4), "wanted": wanted}
            | {"reached": reached[relation] if self.judge_goals else None}
        )
        self.write()

    def row(self, table: str, **values: Any) -> None:
        """Add a row to one of the check's tables."""
        self.tables.setdefault(table, []).append(values)
        self.write()

    def held(self) -> bool:
        """Whether everything held and every goal that was judged was reached."""
        return all(held for held, _ in self.statements) and all(
            goal["reached"] is not False for goal in self.goals
        )

    def write(self) -> None:
        """The file, replaced whole."""
        names = ("statements", "goals", "tables", "error", "finished")
        text = json.dumps({name: getattr(self, name) for name in names}, default=str)
        partial = self.path.with_name(f".{self.path.name}")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, self.path)
