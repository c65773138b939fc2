"""How much of a result is the split and how much the seed: the same training, many times over.

`variance` reads top to bottom: of every split of the prompts a training run with every seed, in
`grid/`, and a table of what each measure varies by (`evaluation.components`). Settings are the same
in all of them. Assumes data that fit into memory and one process.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plaudit import console
from plaudit.errors import PlauditError
from plaudit.evaluation.components import PARTS, ComponentsRecord, components
from plaudit.evaluation.measures import label, measure_named
from plaudit.evaluation.statistics import Figure, Z, standard_error
from plaudit.evaluation.summary import figures
from plaudit.files import SCHEMA_VERSION, read_json, write_results
from plaudit.results import VarianceMetrics
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
from plaudit.training.run import train_for_figures, try_out

DEFAULT_NUMBER = 3  # of splits, and of seeds
WORDS = {
    "split": "another split",
    "seed": "another seed",
    "both": "both together",
}


@dataclass(frozen=True)
class Variance:
    """The result of `variance`: `summary` is what `metrics.json` holds; runs are in `folder`."""

    summary: VarianceMetrics
    folder: Path

    def __str__(self) -> str:
        return format_variance(self.summary)

    def as_json(self) -> VarianceMetrics:
        """What `--json` prints."""
        return self.summary


def variance(
    data: Given = None,
    *,
    splits: int | None = None,
    seeds: int | None = None,
    output: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Variance:
    """Train on several splits with several seeds each; see `plaudit.variance`."""
    one_process("variance")
    settings |= name_data(data)
    folder, chosen = open_run(output, config, resume, overwrite, settings, "variance")
    asked = {"command": "variance", "splits": splits, "seeds": seeds}
    plan = resolve_plan(folder, resume, asked, {"splits": DEFAULT_NUMBER, "seeds": DEFAULT_NUMBER})
    if plan["splits"] < 2 or plan["seeds"] < 2:
        raise PlauditError("splits and seeds: give two of each or more, to see them vary")
    if chosen.test_data is not None and chosen.validation_data is not None:
        raise PlauditError(
            "validation_data and test_data: leave nothing to split; let one of them be a part of "
            "the data"
        )
    rankings = load_for(data, chosen)
    say_how_read(rankings, "see rejected.jsonl in the run")
    grid = {
        (number, times): _settings_of(chosen, number, times)
        for number in range(plan["splits"])
        for times in range(plan["seeds"])
    }
    parts = {number: split(rankings, grid[number, 0]) for number in range(plan["splits"])}
    if not parts[0].test:
        raise PlauditError("test_fraction: leaves no prompts to measure on")

    if not resume:
        try_out(parts[0], chosen)
    with locked(folder):
        begin(folder, chosen, rankings, resume, plan)
        tested: dict[tuple[int, int], Any] = {}
        pace = console.Pace(len(grid), "runs", warms=keeps_features(chosen))
        for (number, times), of_run in grid.items():
            run = folder / "grid" / f"split-{number + 1}-seed-{times + 1}"
            what = f"split {number + 1} of {plan['splits']}, seed {times + 1} of {plan['seeds']}"
            there = (run / "metrics.json").is_file()
            hushed = console.hushed() if tested else nullcontext()
            with pace.part(there), console.within(what), hushed:
                train_for_figures(parts[number], rankings, of_run, run)
                tested[number, times] = read_json(run / "metrics.json")["test"]
        summary: VarianceMetrics = {
            "schema_version": SCHEMA_VERSION,
            "settings": chosen.model_dump(),
            "splits": plan["splits"],
            "seeds": plan["seeds"],
            "metrics": _components(tested, plan["splits"], plan["seeds"]),
        }
        write_results(folder / "metrics.json", summary)
        console.say(f"saved to {folder}")
    return Variance(summary, folder)


def _settings_of(chosen: Settings, number: int, times: int) -> Settings:
    seeds = {"split_seed": chosen.seed_of_split + number, "seed": chosen.seed + times}
    return Settings.build(**chosen.model_dump() | seeds)


def _components(
    tested: Mapping[tuple[int, int], Mapping[str, Any]], splits: int, seeds: int
) -> dict[str, ComponentsRecord]:
    """Of every measure that models are compared by, and that all runs have."""
    found = {}
    for name in figures(tested[0, 0]):
        each = [figures(summary).get(name) for summary in tested.values()]
        if not measure_named(name).compared or not all(each):
            continue
        values = np.array([one["value"] for one in each if one]).reshape(splits, seeds)
        ends = [(one["low"], one["high"]) for one in each if one]
        errors = np.array(
            [
                np.nan if low is None or high is None else standard_error(low, high)
                for low, high in ends
            ]
        )
        found[name] = components(values, errors.reshape(splits, seeds))
    return found


def format_variance(summary: VarianceMetrics) -> str:
    """The result of `variance` as text for a person."""
    lines = [f"{summary['splits']} splits, with {summary['seeds']} seeds each"]
    for name, found in summary["metrics"].items():
        lines += [
            "",
            f"{label(name)}: {found['mean']:.3f} on average, from {found['least']:.3f} to "
            f"{found['most']:.3f}",
            f"  {'varies with':<16}{'by (sd)':>8}   {'95 % interval':<16}  of the variance",
        ]
        for part in PARTS:
            figure = Figure(**found[part])  # type: ignore[literal-required]
            lines.append(
                f"  {WORDS[part]:<16}{figure.value:>8.3f}   {figure.interval():<16}  "
                f"{100 * found['share'][part]:>4.0f} %"
            )
    return "\n".join([*lines, "", in_words(summary["metrics"]["pairwise_accuracy"])])


def in_words(found: ComponentsRecord) -> str:
    """What that means for the interval of a single run, in two sentences.

    >>> found = components([[0.70, 0.72], [0.60, 0.62], [0.65, 0.67]], [[0.02] * 2] * 3)
    >>> in_words(found).split(":")[0]
    'A single run has an interval of about ±3.9 points, which knows of its test prompts alone'
    """
    whole, seed = Z * found["total"], found["share"]["seed"] + found["share"]["both"]
    of_seed = (
        f"{100 * seed:.0f} % of that variance comes with the seed: "
        + (
            "average over seeds before settings are compared."
            if seed > 0.25
            else "it is the split, not the seed, that decides."
        )
        if found["total"]
        else "All runs reached the same."
    )
    if found["test_prompts"] is None:
        return (
            f"Another split and another seed move a run by about ±{100 * whole:.1f} points. "
            f"{of_seed}"
        )
    own = Z * found["test_prompts"]
    return (
        f"A single run has an interval of about ±{100 * own:.1f} points, which knows of its test "
        f"prompts alone: another split and another seed move it by about ±{100 * whole:.1f} "
        f"points. {of_seed}"
    )
