"""The report page of a finished folder, written anew from the files that lie in it.

Nothing is scored: rankings and rewards come from `predictions.jsonl`, figures from `metrics.json`.
Of an evaluation these files do not say which model and which data it was of.
"""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.files import read_json
from plaudit.reporting.contents import evaluation_report
from plaudit.reporting.evaluation import Evaluation
from plaudit.reporting.page import write_report
from plaudit.reporting.policy_test import policy_test_report
from plaudit.results import EvaluationSummary
from plaudit.settings import Settings
from plaudit.training.folder import made_by


def write_anew(folder: Path) -> Path:
    """Write `report.html` of a run, an evaluation, cv, tune or policy-test; return its path.

    Raises:
        PlauditError: when the folder holds none that is finished, or its files are damaged.

    >>> write_anew(Path("runs/finance"))  # doctest: +SKIP
    PosixPath('runs/finance/report.html')
    """
    tested = (folder / "rewards.jsonl").is_file() and (folder / "summary.json").is_file()
    if not (tested or (folder / "metrics.json").is_file()):
        raise PlauditError(f"{folder}: holds no finished run and no evaluation (no metrics.json)")
    try:
        if tested:
            report = policy_test_report(read_json(folder / "summary.json"), folder.resolve().name)
            write_report(folder / "report.html", report)
        else:
            _write(folder, read_json(folder / "metrics.json"))
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise PlauditError(
            f"{folder}: its files are not as plaudit wrote them ({error!r}); make it anew"
        ) from error
    return folder / "report.html"


def _write(folder: Path, metrics: Any) -> None:
    if not (folder / "config.yaml").is_file():
        shown = _evaluation(folder, metrics)
        against = folder / "comparison.json"
        report = evaluation_report(
            shown,
            title=folder.resolve().name,
            facts={},
            against=read_json(against) if against.is_file() else None,
        )
        write_report(folder / "report.html", report)
    elif (command := made_by(folder)) == "cv":
        from plaudit.training import crossval

        shown = _evaluation(folder, metrics["out_of_fold"], repeat=1)
        data = Settings.build(folder / "config.yaml").data
        files = [data] if isinstance(data, str) else list(data)
        crossval.write_cv_report(crossval.CrossValidation(metrics, shown, folder), files)
    elif command == "tune":
        from plaudit.training import search

        best: Any = read_json(folder / "best" / "metrics.json")
        shown = _evaluation(folder / "best", best["test"], split="test")
        search.write_search_report(folder, metrics, best, shown)
    elif command == "frontier":
        raise PlauditError(f"{folder}: is a frontier; its runs in strengths/ have the reports")
    else:
        from plaudit.training.run import write_run_report

        part = "test" if "test" in metrics else "validation"
        shown = _evaluation(folder, metrics[part], split=part)
        write_run_report(folder, Settings.build(folder / "config.yaml"), metrics, shown)


def _evaluation(folder: Path, summary: EvaluationSummary, **which: Any) -> Evaluation:
    """What was evaluated: of `predictions.jsonl` the rows whose columns have these values."""
    with open(folder / "predictions.jsonl", encoding="utf-8") as lines:
        rows = [
            row
            for row in map(json.loads, lines)
            if all(row.get(name) == value for name, value in which.items())
        ]
    rankings, rewards = [], []
    for _, group in groupby(rows, key=lambda row: row["ranking"]):
        of_ranking = list(group)

        def column(name: str, rows: list[dict[str, Any]] = of_ranking) -> list[Any]:
            return [row.get(name) for row in rows]

        ranking = Ranking(
            of_ranking[0]["prompt"],
            column("completion"),
            column("rank"),
            categories=column("category") if any(column("category")) else None,
            models=column("model") if any(column("model")) else None,
        )
        rankings.append(ranking)
        rewards.append(column("reward"))
    return Evaluation(summary, rankings, rewards)
