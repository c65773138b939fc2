"""The report page of finished folders, written anew from the files that lie in them.

Nothing is scored: rankings and rewards come from `predictions.jsonl`, figures from `metrics.json`.
Of an evaluation these files do not say which model and which data it was of.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from plaudit.reporting.side_by_side import side_by_side
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
    with _reading(folder):
        if (folder / "rewards.jsonl").is_file() and (folder / "summary.json").is_file():
            report = policy_test_report(read_json(folder / "summary.json"), folder.resolve().name)
            write_report(folder / "report.html", report)
        else:
            _write(folder, _metrics(folder))
    return folder / "report.html"


def write_side_by_side(folders: Sequence[Path], output: Path) -> Path:
    """Write the report of several runs or evaluations side by side as `output`; return its path.

    Raises:
        PlauditError: when a folder holds neither, or no ranking was measured by all.

    >>> write_side_by_side([Path("runs/a"), Path("runs/b")], Path("a_b.html"))  # doctest: +SKIP
    PosixPath('a_b.html')
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):  # a/run and b/run
        names = [str(folder) for folder in folders]
    shown = {}
    for name, folder in zip(names, folders, strict=True):
        with _reading(folder):
            shown[name] = measured_in(folder)
    if len(shown) < len(folders):
        raise PlauditError(f"{', '.join(names)}: a folder stands twice; name each once")
    with _reading(", ".join(names)):  # what a page is made of may be damaged as well
        report = side_by_side(shown)
    return write_report(output, report)


@contextmanager
def _reading(folder: Path | str) -> Iterator[None]:
    """Turn what damaged files of this folder, or of these, cause into one error."""
    try:
        yield
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise PlauditError(
            f"{folder}: its files are not as plaudit wrote them ({error!r}); make it anew"
        ) from error


def _metrics(folder: Path) -> Any:
    if not (folder / "metrics.json").is_file():
        raise PlauditError(f"{folder}: holds no finished run and no evaluation (no metrics.json)")
    return read_json(folder / "metrics.json")


def measured_in(folder: Path) -> Evaluation:
    """What a run, an evaluation, cv or tune measured: of a run its test rankings, if it has some.

    Raises:
        PlauditError: when the folder holds none of these.
    """
    metrics = _metrics(folder)
    if not (folder / "config.yaml").is_file():
        return _evaluation(folder, metrics)
    command = made_by(folder)
    if command == "cv":
        return _evaluation(folder, metrics["out_of_fold"], repeat=1)
    if command == "tune":
        best: Any = read_json(folder / "best" / "metrics.json")
        return _evaluation(folder / "best", best["test"], split="test")
    if command == "frontier":
        raise PlauditError(f"{folder}: is a frontier; its runs in strengths/ have the reports")
    if command == "variance":
        raise PlauditError(f"{folder}: is of plaudit variance; report is for its runs, in grid/")
    part = "test" if "test" in metrics else "validation"
    return _evaluation(folder, metrics[part], split=part)


def _write(folder: Path, metrics: Any) -> None:
    shown = measured_in(folder)
    if not (folder / "config.yaml").is_file():
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

        data = Settings.build(folder / "config.yaml").data
        files = [data] if isinstance(data, str) else list(data)
        crossval.write_cv_report(crossval.CrossValidation(metrics, shown, folder), files)
    elif command == "tune":
        from plaudit.training import search

        best: Any = read_json(folder / "best" / "metrics.json")
        search.write_search_report(folder, metrics, best, shown)
    else:
        from plaudit.training.run import write_run_report

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
