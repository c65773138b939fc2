"""The report page of a finished folder, written anew from the files that lie in it.

Nothing is scored: rankings and rewards come from `predictions.jsonl`, figures from `metrics.json`.
What those files do not hold (where a row of the data stood, which model an evaluation was of) is
not on the page either.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.files import read_json
from plaudit.reporting.contents import (
    cross_validation_report,
    evaluation_report,
    search_report,
)
from plaudit.reporting.page import Report, write_report
from plaudit.yaml_file import read_yaml

Scored = tuple[list[Ranking], list[list[float]]]


def write_anew(folder: Path) -> Path:
    """Write `report.html` of a run, an evaluation, a cross-validation or a search; its path.

    Raises:
        PlauditError: when the folder holds none that is finished, or its files are damaged.

    >>> write_anew(Path("runs/finance"))  # doctest: +SKIP
    PosixPath('runs/finance/report.html')
    """
    if not (folder / "metrics.json").is_file():
        raise PlauditError(f"{folder}: holds no finished run and no evaluation (no metrics.json)")
    try:
        report = _report(folder)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise PlauditError(
            f"{folder}: metrics.json or predictions.jsonl is not as plaudit wrote it ({error!r})"
        ) from error
    return write_report(folder / "report.html", report)


def _report(folder: Path) -> Report:
    metrics, title = read_json(folder / "metrics.json"), folder.resolve().name
    plan = read_json(folder / "plan.json") if (folder / "plan.json").is_file() else {}
    if plan.get("command") == "cv":
        facts = {"data": _data(folder), "base model": metrics["settings"]["base"]}
        first = [row for row in _rows(folder) if row.get("repeat", 1) == 1]
        return cross_validation_report(metrics, *_scored(first), title=title, facts=facts)
    if plan.get("command") == "tune":
        best = read_json(folder / "best" / "metrics.json")
        facts = {
            "data": ", ".join(best["data"]["files"]),
            "base model": metrics["settings"]["base"],
        }
        rows = [row for row in _rows(folder / "best") if row["split"] == "test"]
        return search_report(
            metrics, *_scored(rows), title=title, facts=facts, log=read_log(folder / "best"),
            best_step=best["training"]["best_step"],
        )  # fmt: skip
    if not (folder / "config.yaml").is_file():
        against = folder / "comparison.json"
        return evaluation_report(
            metrics, *_scored(list(_rows(folder))), title=title, facts={},
            against=read_json(against) if against.is_file() else None,
        )  # fmt: skip
    split = "test" if "test" in metrics else "validation"
    return evaluation_report(
        metrics[split],
        *_scored([row for row in _rows(folder) if row["split"] == split]),
        title=title,
        facts=facts_of_run(metrics, read_yaml(folder / "config.yaml")),
        log=read_log(folder),
        best_step=metrics["training"]["best_step"],
        notes=notes_of_run(metrics),
    )
