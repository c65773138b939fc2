"""The frontier: what it costs in accuracy to take a nuisance out of the reward, and what it gives.

`frontier` reads top to bottom: one split of the prompts, a whole training run at each strength of
the control, and a table of what each reaches. Strength 0 is training without control. The strength
that is marked is chosen on the validation prompts; what is shown of the test prompts is no part of
the choice. Assumes data that fit into memory and one process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit import console
from plaudit.errors import PlauditError
from plaudit.evaluation.measures import label
from plaudit.evaluation.statistics import Figure
from plaudit.evaluation.summary import figures
from plaudit.files import SCHEMA_VERSION, read_json, write_results
from plaudit.reporting.plots import write_plots
from plaudit.results import FrontierMetrics, FrontierPoint
from plaudit.settings import Settings
from plaudit.training.duration import keeps_features
from plaudit.training.folder import begin, locked, open_run, resolve_plan
from plaudit.training.parts import (
    Given,
    load_for,
    name_data,
    say_how_read,
    split,
)
from plaudit.training.processes import one_process
from plaudit.training.run import train_on, try_out

STRENGTHS = (0.0, 0.5, 1.0, 1.5)
SHOWN = ("pairwise_accuracy", "accuracy_where_shorter", "length_controlled_accuracy")
RULE = (
    "the most length-controlled accuracy on the validation prompts, of the strengths whose "
    "accuracy there lies within the interval of the highest"
)


@dataclass(frozen=True)
class Frontier:
    """The result of `frontier`: `summary` is what `metrics.json` holds; each run is in `folder`."""

    summary: FrontierMetrics
    folder: Path

    def __str__(self) -> str:
        return format_frontier(self.summary)

    def as_json(self) -> FrontierMetrics:
        """What `--json` prints."""
        return self.summary


def frontier(
    data: Given = None,
    *,
    strengths: str | Sequence[float] | None = None,
    output: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Frontier:
    """Train at each strength of the control and compare; see `plaudit.frontier`."""
    one_process("frontier")
    settings |= name_data(data)
    folder, chosen = open_run(output, config, resume, overwrite, settings, "frontier")
    asked = {
        "command": "frontier",
        "strengths": None if strengths is None else _numbers(strengths),
    }
    plan = resolve_plan(folder, resume, asked, {"strengths": list(STRENGTHS)})
    if len(plan["strengths"]) < 2 or min(plan["strengths"]) < 0:
        raise PlauditError("strengths: give two different numbers or more, none below 0")
    if not chosen.control:
        chosen = Settings.build(**chosen.model_dump() | {"control": ["length"]})
    rankings = load_for(data, chosen)
    say_how_read(rankings, "see rejected.jsonl in the run")
    parts = split(rankings, chosen)
    for name, part in (("validation", parts.validation), ("test", parts.test)):
        if not part:
            raise PlauditError(f"{name}_fraction: leaves no prompts to compare strengths on")
    at = {strength: _settings_at(strength, chosen) for strength in plan["strengths"]}

    if not resume:
        try_out(parts, at[max(at)])
    with locked(folder):
        begin(folder, chosen, rankings, resume, plan)
        points = []
        pace = console.Pace(len(at), "strengths", warms=keeps_features(chosen))
        for strength, of_run in at.items():
            run = folder / "strengths" / f"{strength:g}"
            there = (run / "metrics.json").is_file()
            with pace.part(there), console.within(f"strength {strength:g}"):
                if not there:
                    begun = (run / "config.yaml").is_file()
                    train_on(parts, rankings, of_run, run, resume=begun)
            points.append(_point(strength, run))
        summary: FrontierMetrics = {
            "schema_version": SCHEMA_VERSION,
            "settings": chosen.model_dump(),
            "control": list(chosen.control),
            "points": points,
            "chosen": choose(points),
            "rule": RULE,
        }
        write_plots("frontier", summary, folder / "plots")
        write_results(folder / "metrics.json", summary)
        console.say(f"saved to {folder}")
    return Frontier(summary, folder)


def _numbers(strengths: str | Sequence[float]) -> list[float]:
    given = strengths.split(",") if isinstance(strengths, str) else strengths
    try:
        return sorted(set(map(float, given)))
    except (TypeError, ValueError) as error:
        raise PlauditError(
            f"strengths: {strengths!r} is no list of numbers; write it as 0,0.5,1"
        ) from error


def _settings_at(strength: float, chosen: Settings) -> Settings:
    given = chosen.model_dump() | {"control_strength": strength}
    none = {"control": [], "control_method": "expert", "control_weight": "fitted"}
    return Settings.build(**given | ({} if strength else none))


def _point(strength: float, run: Path) -> FrontierPoint:
    metrics = read_json(run / "metrics.json")
    return {
        "strength": strength,
        "run": str(run),
        "validation": _shown(metrics["validation"]),
        "test": _shown(metrics["test"]),
    }


def _shown(summary: Mapping[str, Any]) -> dict[str, Any]:
    measured = figures(summary)
    return {name: measured[name] for name in (*SHOWN, "length_baseline") if measured.get(name)}


def choose(points: Sequence[FrontierPoint]) -> float:
    """The strength that `RULE` takes; the smaller of two that do equally well.

    >>> def point(strength, accuracy, low, controlled):
    ...     figures = {"pairwise_accuracy": {"value": accuracy, "low": low, "high": 1.0}}
    ...     figures["length_controlled_accuracy"] = {"value": controlled, "low": 0.0, "high": 1.0}
    ...     return {"strength": strength, "run": "", "validation": figures, "test": {}}
    >>> choose([point(0, 0.75, 0.71, 0.60), point(1, 0.72, 0.68, 0.66), point(2, 0.65, 0.6, 0.7)])
    1
    """

    def value(point: FrontierPoint, name: str) -> float:
        figure = point["validation"].get(name)
        return 0.0 if figure is None else float(figure["value"])

    best = max(points, key=lambda point: value(point, "pairwise_accuracy"))
    low = best["validation"]["pairwise_accuracy"]["low"]
    bound = value(best, "pairwise_accuracy") if low is None else low
    within = [point for point in points if value(point, "pairwise_accuracy") >= bound]
    return max(within, key=lambda point: value(point, "length_controlled_accuracy"))["strength"]


def format_frontier(summary: FrontierMetrics) -> str:
    """The result of `frontier` as text for a person."""
    names = ", ".join(summary["control"])
    head = "".join(f"{name:>36}" for name in [*map(label, SHOWN), "the last on validation"])
    lines = [f"on the test prompts, with {names} taken out in training", "", f"strength{head}"]
    for point in summary["points"]:
        mark = "*" if point["strength"] == summary["chosen"] else " "
        cells = [point["test"].get(name) for name in SHOWN]
        cells.append(point["validation"].get(SHOWN[-1]))  # by which one is marked
        written = [str(Figure(**cell)) if cell else "no such pair" for cell in cells]
        lines.append(f"{point['strength']:>7g}{mark}" + "".join(f"{cell:>36}" for cell in written))
    run = next(p["run"] for p in summary["points"] if p["strength"] == summary["chosen"])
    return "\n".join([*lines, "", f"* {summary['rule']}: {run}"])
