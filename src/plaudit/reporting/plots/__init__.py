"""Plots of what was measured. Each is one module of this package, found by its name.

A module defines `PLOT`, a `Plot` that says what it is of, under which heading of the report it
stands, and in which file. Its function returns a `Drawing`, whose heading says what the plot shows
of the data at hand. Reports and the folders `plots/` have every plot that is registered here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from numpy.typing import ArrayLike

from plaudit.plugins import Registry
from plaudit.reporting.drawing import Drawing

Subject = Literal[
    "evaluation", "run", "cross-validation", "search", "frontier", "comparison", "policy-test"
]


class Log(NamedTuple):
    """The rows of a run's `log.jsonl`, the step whose checkpoint was kept, and the names of the
    benchmarks that were scored along."""

    rows: Sequence[Mapping[str, Any]]
    best_step: int | None
    suites: Sequence[str] = ()


class Sampled(NamedTuple):
    """Completions that a policy gave to P prompts: n_i texts and n_i rewards for each."""

    prompts: Sequence[str]
    completions: Sequence[Sequence[str]]
    rewards: Sequence[ArrayLike]


@dataclass(frozen=True)
class Plot:
    """A plot that reports and folders `plots/` have.

    Attributes:
        of: what it is a plot of; it says what `draw` is given: an `Evaluation`, of a run its `Log`,
            of a cross-validation, a search or a frontier what its `metrics.json` holds, of a
            test under a policy its `summary.json`, of a comparison of completions what was
            `Sampled`.
        draw: returns the drawing; None where there is nothing to draw. Values are finite, but there
            may be none, one, or all of them equal.
        section: the heading under which it stands in the report; a new heading comes last.
        file: its name in `plots/`; None for a plot of the report alone.
        position: its place among the plots of a section, ascending.
    """

    of: Subject
    draw: Callable[[Any], Drawing | None]
    section: str
    file: str | None = None
    position: int = 1000


PLOTS = Registry("plot", __name__, "PLOT", Plot)


def plots_of(subject: Subject) -> list[Plot]:
    """All plots of a subject, in order.

    >>> [plot.file for plot in plots_of("run")]
    ['training.png', 'suites.png']
    """
    every = [plot for _, plot in PLOTS.each()]
    return sorted((plot for plot in every if plot.of == subject), key=lambda plot: plot.position)


def drawings(subject: Subject, data: Any) -> dict[str, list[Drawing]]:
    """What the report shows: the drawings under each heading."""
    under: dict[str, list[Drawing]] = {}
    for plot in plots_of(subject):
        if drawing := plot.draw(data):
            under.setdefault(plot.section, []).append(drawing)
    return under


def write_plots(subject: Subject, data: Any, folder: Path) -> None:
    """Write every plot that has a file; that of an earlier time goes where there is none now."""
    for plot in plots_of(subject):
        if plot.file is None:
            continue
        if drawing := plot.draw(data):
            drawing.write(folder / plot.file)
        else:
            (folder / plot.file).unlink(missing_ok=True)
