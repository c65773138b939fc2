"""Benchmarks that a run scores at every validation, so that their curves stand beside its own.

Some items of each, the same all through the run, go through the model as validation rankings do;
the score is the benchmark's own. It is logged as `eval_NAME` and chooses nothing: a benchmark that
chose the checkpoint would no longer measure it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from plaudit.errors import PlauditError
from plaudit.evaluation.measures import MEASURES
from plaudit.evaluation.suite import Means
from plaudit.evaluation.suite_run import SuiteData, load_called, notes_of, taken_by
from plaudit.model.encoding import Encoding
from plaudit.results import SuiteOfRun
from plaudit.settings import Settings
from plaudit.sources import SET
from plaudit.training.parts import encoded
from plaudit.training.processes import say_once

# What validation logs besides measures, as eval_NAME.
LOGGED = ("loss", "runtime", "samples_per_second", "steps_per_second", "model_preparation_time")


@dataclass(frozen=True)
class Watched:
    """Items of a benchmark, `of` so many; `rows` are their tokens, once there is a model."""

    name: str
    data: SuiteData
    of: int
    rows: Any = field(default=None, repr=False)

    def score(self, rewards: Sequence[Sequence[float]]) -> float:
        """The benchmark's own score of the rewards of its items."""
        means = Means([item.unit for item in self.data.items])
        return float(self.data.suite.score(self.data.items, rewards, means).score.values[0])

    def record(self) -> SuiteOfRun:
        """What `metrics.json` says of it."""
        items, title = len(self.data.items), self.data.suite.title
        return {"title": title, "items": items, "of": self.of, "completions": self.completions}

    @property
    def completions(self) -> int:
        """How many are scored at each validation."""
        return sum(len(ranking.ranks) for ranking in self.data.rankings)


def read_suites(settings: Settings) -> list[Watched]:
    """The benchmarks that `eval_suite` names, and of each the items that are to be scored.

    Raises:
        PlauditError: where one cannot be read, or two, or one and a measure, have one name.
    """
    found: dict[str, Watched] = {}
    for text in settings.eval_suite:
        # Only some of the items are scored anyway.
        name, source, data = load_called(text, partial=True)
        for note in notes_of(data):
            say_once(f"{source}: {note}")
        name = name or data.suite.name
        of_measure = any(name == m or name.endswith(f"_{m}") for m in [*MEASURES, *LOGGED])
        if name in found or of_measure or not SET.fullmatch(f"{name}=x"):
            what = "that of another suite" if name in found else "taken by a measure of validation"
            raise PlauditError(f"eval_suite: the name {name} is {what}; give NAME={source}")
        found[name] = Watched(name, some_of(data, settings), len(data.items))
    return [*found.values()]


def some_of(data: SuiteData, settings: Settings) -> SuiteData:
    """At most `eval_suite_items` of the items, drawn by `seed`, those of one unit together."""
    units = list(dict.fromkeys(item.unit for item in data.items))
    size = dict.fromkeys(units, 0)
    for item in data.items:
        size[item.unit] += 1
    kept, count = set(), 0
    for place in np.random.default_rng(settings.seed).permutation(len(units)).tolist():
        if count and count + size[units[place]] > settings.eval_suite_items:
            break
        kept.add(units[place])
        count += size[units[place]]
    return replace(data, items=[item for item in data.items if item.unit in kept])


def encoded_suites(
    suites: Sequence[Watched], encoding: Encoding, settings: Settings, attributes: Sequence[str]
) -> list[Watched]:
    """The benchmarks with the tokens of those items that the model takes."""
    ready = []
    for suite in suites:
        data = taken_by([encoding], suite.data, say_once)
        rows = encoded(data.rankings, encoding, f"encoding {suite.name}",
                       control=settings.control, attributes=attributes)  # fmt: skip
        suite = replace(suite, data=data, rows=rows)
        say_once(
            f"eval_suite: {len(data.items):,} of the {suite.of:,} items of {data.suite.title}, "
            f"{suite.completions:,} completions, are scored at every validation, as "
            f"eval_{suite.name}"
        )
        ready.append(suite)
    return ready
