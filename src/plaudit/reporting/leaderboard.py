"""The results of a bench for people: a table in the terminal, a page, CSV, LaTeX.

Everything is made of the record alone. A score of the best model of a column is marked `*`, one
that is not told from it `=`. The page is one file that asks for nothing outside itself.
"""

import csv
import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from plaudit.console import counted
from plaudit.evaluation.bench import MEAN, ComparedRecord
from plaudit.evaluation.comparison import SIGNIFICANT, p_text
from plaudit.evaluation.statistics import FigureRecord
from plaudit.evaluation.suite import PartRecord
from plaudit.files import write_results, writing
from plaudit.reporting.cells import plain_cell
from plaudit.reporting.page import render_page
from plaudit.reporting.tables import UNDEFINED
from plaudit.results import BenchRecord, ScoringCost

WIDEST = 100
LISTED = 6  # models named in a sentence
UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
FAMILY = "p-values are of exchanging two models' rewards prompt by prompt, adjusted (Holm) for "
FAMILY += "all {} that are shown; not told from the best: 0.05 or more after that"


@dataclass(frozen=True)
class Column:
    """Scores by model under one name, the best of them, and those that are not told from it."""

    name: str
    scores: dict[str, FigureRecord | None]
    best: str | None
    tied: tuple[str, ...]

    def mark(self, model: str) -> str:
        """`*` for the best, where there are others; `=` for one that is not told from it."""
        if len(self.scores) < 2 or self.best is None:
            return ""
        return "*" if model == self.best else "=" if model in self.tied else ""


def columns_of(record: BenchRecord) -> list[Column]:
    """The columns of the table: first the mean, where there are several data."""
    columns = []
    if mean := record["mean"]:
        columns.append(Column(MEAN, {**mean["scores"]}, mean["best"], tuple(mean["tied"])))
    for name, data in record["data"].items():
        scores = {model: part["score"] for model, part in data["scores"].items()}
        columns.append(Column(name, scores, data["best"], tuple(data["tied"])))
    return columns


def models_in_order(record: BenchRecord) -> list[str]:
    """The models that have scores, by the first column, the best first; then the others."""
    first = columns_of(record)[0].scores

    def place(model: str) -> float:
        figure = first.get(model)
        return 1.0 if figure is None else -figure["value"]

    fine = [model for model, each in record["models"].items() if each["problem"] is None]
    return [*sorted(fine, key=place), *(m for m in record["models"] if m not in fine)]


# ---- in words ----


def verdict(record: BenchRecord) -> list[str]:
    """Which model is best, which are not told from it, where it is not, and which is fastest."""
    fine = [model for model, each in record["models"].items() if each["problem"] is None]
    columns = [column for column in columns_of(record) if column.best is not None]
    if not fine or not columns:
        return ["No model has scores that could be compared."]
    if len(fine) == 1:
        return [f"{fine[0]} alone has scores: there is nothing to compare it with."]
    first = columns[0]
    best = first.best or ""
    where = f"On {first.name}"
    if record["mean"]:
        where = f"By the mean of {counted(len(columns) - 1, 'data set')}"
    score = first.scores[best]
    said = [f"{where} {best} is best" + (f", {score['value']:.3f}" if score else "")]
    others = [model for model in fine if model != best and model in first.scores]
    if first.tied:
        said[0] += f"; not told from it: {_listed(first.tied)}."
    elif others:
        said[0] += f", and told from {'all others' if len(others) > 1 else others[0]}."
    said += _elsewhere(record, columns[1:], best)
    among = [best, *first.tied]
    if first.tied and (fastest := _fastest(record, among)):
        said.append(fastest)
    return said


def _elsewhere(record: BenchRecord, columns: Sequence[Column], best: str) -> Iterator[str]:
    """Where another model is better than the one that is best over all."""
    for column in columns:
        if column.best == best or best not in column.scores or best in column.tied:
            continue
        for each in record["comparisons"]:
            if each["data"] == column.name and {each["first"], each["second"]} == {
                best,
                column.best,
            }:
                points = 100 * abs(each["difference"]["value"])
                yield (
                    f"On {column.name} {column.best} is better than {best} by {points:.1f} points "
                    f"(p {p_text(each['p_holm'], '= ')})."
                )


def _fastest(record: BenchRecord, models: Sequence[str]) -> str:
    speeds = {m: speed(cost) for m in models if (cost := record["models"][m]["cost"])}
    known = {m: each for m, each in speeds.items() if each}
    if len(known) < 2:
        return ""
    fastest = max(known, key=lambda m: known[m])
    times = known[fastest] / known[models[0]] if models[0] in known else 1.0
    more = "" if fastest == models[0] else f", {times:.1f} × as many as {models[0]}"
    return f"Of these {fastest} is the fastest here: {known[fastest]:,.1f} completions/s{more}."


def speed(cost: ScoringCost | None, of: str = "completions") -> float | None:
    """Completions or tokens in a second; None where nothing was scored."""
    if cost is None or cost["seconds"] <= 0:
        return None
    return (cost["tokens"] if of == "tokens" else cost["completions"]) / cost["seconds"]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def brief(number: float | None) -> str:
    """A count in three digits or so.

    >>> brief(22_713_216), brief(512), brief(None)
    ('22.7 M', '512', '–')
    """
    if number is None:
        return UNDEFINED
    for unit, letter in UNITS:
        if number >= unit:
            return f"{number / unit:.3g} {letter}"
    return f"{number:.3g}"


def memory(number: int | None) -> str:
    """Bytes in gigabytes."""
    return UNDEFINED if number is None else f"{number / 1e9:.2f} GB"


def half_width(figure: FigureRecord) -> float | None:
    """Half the width of an interval; None where there is none."""
    low, high = figure["low"], figure["high"]
    return None if low is None or high is None else (high - low) / 2


def measured_on(record: BenchRecord) -> str:
    """The machine in a line."""
    machine = record["machine"]
    accelerator = f"{machine['accelerator']}; " if machine["accelerator"] else ""
    return f"{accelerator}{machine['processor']}, {counted(machine['threads'], 'thread')}"


def notes_of(record: BenchRecord) -> list[str]:
    """All that has to be known besides: what failed, what is not the published data, and so on."""
    notes = [
        f"{model} has no scores: {each['problem']}"
        for model, each in record["models"].items()
        if each["problem"] is not None
    ]
    notes += [f"{name}: {note}" for name, each in record["data"].items() for note in each["notes"]]
    notes += [
        f"{name}: {note}" for name, each in record["models"].items() for note in each["notes"]
    ]
    return notes


# ---- the terminal ----


def format_bench(record: BenchRecord) -> str:
    """The scores and the cost of every model, the verdict and the notes, as text."""
    columns, models = columns_of(record), models_in_order(record)
    scores = [[model, *(_cell(column, model) for column in columns)] for model in models]
    lines = _grid([["", *(column.name for column in columns)], *scores])
    costs = [_cost_cells(model, record["models"][model]["cost"]) for model in models]
    heads = [
        "",
        "parameters",
        "computed in",
        "on",
        "completions/s",
        "tokens/s",
        "seconds",
        "memory",
    ]
    lines += ["", *_grid([heads, *(cells for cells in costs if cells)])] if any(costs) else []
    told = list(record["verdict"])
    comparisons = len(record["comparisons"])
    if comparisons:
        told.append(
            "* best, = not told from the best; ± half the 95 % interval (bootstrap over prompts); "
            + FAMILY.format(counted(comparisons, "comparison"))
            + "."
        )
    told.append(f"Speed was measured while scoring, on {measured_on(record)}.")
    told += [f"Note: {note}." for note in notes_of(record)]
    return "\n".join(
        [*lines, "", *(textwrap.fill(line, WIDEST, break_on_hyphens=False) for line in told)]
    )


def _cell(column: Column, model: str) -> str:
    figure = column.scores.get(model)
    if figure is None:
        return UNDEFINED
    width = half_width(figure)
    more = "" if width is None else f" ± {width:.3f}"
    return f"{figure['value']:.3f}{more} {column.mark(model) or ' '}"


def _cost_cells(model: str, cost: ScoringCost | None) -> list[str]:
    if cost is None:
        return []
    return [
        model,
        brief(cost["parameters"]),
        cost["dtype"],
        cost["device"],
        brief(speed(cost)),
        brief(speed(cost, "tokens")),
        f"{cost['seconds']:,.1f}",
        memory(cost["peak_memory_bytes"]),
    ]


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in rows
    ]


# ---- files ----


def write_bench(folder: Path, record: BenchRecord) -> None:
    """Write `index.html`, `scores.csv`, `comparisons.csv`, `table.tex` and, last, `bench.json`."""
    for name, text in (
        ("scores.csv", scores_csv(record)),
        ("comparisons.csv", comparisons_csv(record)),
        ("table.tex", latex(record)),
        ("index.html", page(record, folder.resolve().name)),
    ):
        with writing(folder / name) as file:
            file.write(text)
    write_results(folder / "bench.json", record)


def scores_csv(record: BenchRecord) -> str:
    """A row for each model and column, the cost of the model in each of its rows."""
    rows = []
    for model in models_in_order(record):
        cost = record["models"][model]["cost"]
        about: dict[str, object] = {
            "parameters": cost and cost["parameters"],
            "dtype": cost and cost["dtype"],
            "device": cost and cost["device"],
            "seconds": cost and round(cost["seconds"], 3),
            "completions_per_second": (each := speed(cost)) and round(each, 3),
            "tokens_per_second": (each := speed(cost, "tokens")) and round(each, 3),
            "peak_memory_bytes": cost and cost["peak_memory_bytes"],
            "problem": record["models"][model]["problem"],
        }
        for column in columns_of(record):
            figure = column.scores.get(model)
            entry = record["data"].get(column.name)
            rows.append(
                {
                    "model": model,
                    "data": column.name,
                    "score": figure and figure["value"],
                    "low": figure and figure["low"],
                    "high": figure and figure["high"],
                    "items": entry["scores"][model]["n"] if entry and figure else None,
                    "standing": {"*": "best", "=": "tied"}.get(column.mark(model), ""),
                    **about,
                }
            )
    return _csv(rows)


def comparisons_csv(record: BenchRecord) -> str:
    """A row for every two models on every column."""
    return _csv(
        [
            {
                "data": each["data"],
                "first": each["first"],
                "second": each["second"],
                "difference": each["difference"]["value"],
                "low": each["difference"]["low"],
                "high": each["difference"]["high"],
                "p": each["p"],
                "p_holm": each["p_holm"],
            }
            for each in record["comparisons"]
        ]
    )


def _csv(rows: Sequence[dict[str, object]]) -> str:
    file = io.StringIO()
    if rows:
        # Lines end in CR LF (RFC 4180): with LF alone a CR in a name is left unquoted, and the rest
        # of the name begins a row.
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows({name: plain_cell(cell) for name, cell in row.items()} for row in rows)
    return file.getvalue()


# "[" after the end of a row would be its argument.
SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "[": "{[}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def latex(record: BenchRecord) -> str:
    """The table for a paper, with booktabs: in per cent, the best bold, what is tied with it
    marked by a dagger."""
    columns = columns_of(record)
    lines = [
        r"% \usepackage{booktabs}",
        f"% Per cent, with half the 95 % interval; bold: best; dagger: not told from it "
        f"({counted(len(record['comparisons']), 'comparison')}, Holm).",
        f"% Speed on {measured_on(record)}.",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) + 2)}}}",
        r"\toprule",
        " & ".join(["Model", *(_escaped(column.name) for column in columns)])
        + r" & Parameters & Completions/s \\",
        r"\midrule",
    ]
    for model in models_in_order(record):
        each = record["models"][model]
        if each["problem"] is None:
            cells = [_escaped(model), *(_latex_cell(column, model) for column in columns)]
            cost = each["cost"]
            cells += [brief(cost and cost["parameters"]), brief(speed(cost))]
            lines.append(" & ".join(cells).replace(UNDEFINED, "--") + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_cell(column: Column, model: str) -> str:
    figure = column.scores.get(model)
    if figure is None:
        return "--"
    mark, width = column.mark(model), half_width(figure)
    value = f"{100 * figure['value']:.1f}"
    value = rf"\textbf{{{value}}}" if mark == "*" else value
    value += r"$^\dagger$" if mark == "=" else ""
    return value + ("" if width is None else rf" {{\scriptsize$\pm${100 * width:.1f}}}")


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


# ---- the page ----


@dataclass(frozen=True)
class Cell:
    """A figure of a table of the page: what is shown, what it is sorted by, and more below it.

    `bar` is the interval and the value as shares of the column's width, for the line beneath.
    """

    text: str
    value: float | str | None = None
    more: str = ""
    mark: str = ""
    bar: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Grid:
    """A table of the page that readers sort; the first column names the rows."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def page(record: BenchRecord, title: str) -> str:
    """The leaderboard as one HTML file."""
    return render_page(
        "leaderboard.html.jinja",
        styles=("base.css", "leaderboard.css"),
        scripts=("base.js", "leaderboard.js"),
        title=title,
        kind="Leaderboard",
        lead=record["verdict"],
        facts={
            "models": f"{len(record['models']):,}",
            "data": ", ".join(record["data"]),
            "measured on": measured_on(record),
            "date": date.today().isoformat(),
            "plaudit": version("plaudit"),
        },
        board=_board(record),
        costs=_costs(record),
        pairs=_pairs(record),
        parts=_parts(record),
        data=record["data"],
        notes=notes_of(record),
    )


def _board(record: BenchRecord) -> Grid:
    columns = columns_of(record)
    rows = []
    for model in models_in_order(record):
        each = record["models"][model]
        speeds = speed(each["cost"])
        problem = f"no scores: {each['problem']}" if each["problem"] else ""
        rows.append(
            (
                Cell(model, model, problem),
                *(_score_cell(column, model) for column in columns),
                Cell(brief(speeds), speeds),
            )
        )
    heads = ("model", *(column.name for column in columns), "completions/s")
    return Grid("Scores", heads, tuple(rows))


def _score_cell(column: Column, model: str) -> Cell:
    figure = column.scores.get(model)
    if figure is None:
        return Cell(UNDEFINED)
    mark = {"*": "best", "=": "tied"}.get(column.mark(model), "")
    return _figure_cell(figure, [*column.scores.values()], mark)


def _figure_cell(
    figure: FigureRecord | None, beside: Sequence[FigureRecord | None], mark: str = ""
) -> Cell:
    """A figure with its interval, drawn on the scale of those beside it."""
    if figure is None:
        return Cell(UNDEFINED)
    there = [each for each in beside if each is not None]
    ends = [
        e for each in there for e in (each["low"], each["value"], each["high"]) if e is not None
    ]
    low, high, least, most = figure["low"], figure["high"], min(ends), max(ends)
    if low is None or high is None or most <= least:
        return Cell(f"{figure['value']:.3f}", figure["value"], "", mark)
    start, at, stop = ((end - least) / (most - least) for end in (low, figure["value"], high))
    interval = f"{low:.3f} to {high:.3f}".replace("-", "−")
    return Cell(f"{figure['value']:.3f}", figure["value"], interval, mark, (start, at, stop))


def _costs(record: BenchRecord) -> Grid:
    rows = []
    for model in models_in_order(record):
        if cost := record["models"][model]["cost"]:
            by_second, tokens = speed(cost), speed(cost, "tokens")
            rows.append(
                (
                    Cell(model, model),
                    Cell(brief(by_second), by_second),
                    Cell(brief(tokens), tokens),
                    Cell(f"{cost['seconds']:,.1f}", cost["seconds"]),
                    Cell(brief(cost["parameters"]), cost["parameters"]),
                    Cell(memory(cost["peak_memory_bytes"]), cost["peak_memory_bytes"]),
                    Cell(cost["dtype"], cost["dtype"], cost["device"]),
                    Cell(f"{cost['completions']:,}", cost["completions"]),
                )
            )
    heads = (
        *("model", "completions/s", "tokens/s", "seconds"),
        *("parameters", "memory", "computed in", "completions"),
    )
    return Grid(
        "Cost", heads, tuple(rows),
        "Seconds of tokenising and scoring, each distinct text once; loading is not in them. Other "
        "programs on the machine slow it. Memory is the most that was in use meanwhile: on an "
        "accelerator that of tensors, else that of the whole process.",
    )  # fmt: skip


def _pairs(record: BenchRecord) -> Grid:
    rows = [
        (
            Cell(f"{each['first']} − {each['second']}", f"{each['first']} {each['second']}"),
            Cell(each["data"], each["data"]),
            Cell(*_signed(each)),
            Cell(p_text(each["p"]), each["p"]),
            Cell(p_text(each["p_holm"]), each["p_holm"], mark=_outcome(each)),
        )
        for each in sorted(record["comparisons"], key=lambda each: each["p_holm"])
    ]
    family = FAMILY.format(counted(len(rows), "comparison"))
    return Grid(
        "Every two models", ("models", "data", "difference", "p", "p (Holm)"), tuple(rows),
        f"{family[0].upper()}{family[1:]}. Differences are in points, with 95 % intervals, which "
        "are not adjusted.",
    )  # fmt: skip


def _signed(each: ComparedRecord) -> tuple[str, float, str]:
    value, low, high = (each["difference"][name] for name in ("value", "low", "high"))
    assert value is not None  # what is compared has a score
    more = "" if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f}"
    text = f"{100 * value:+.1f}".replace("-", "−")
    return text, value, more.replace("-", "−")


def _outcome(each: ComparedRecord) -> str:
    return "told apart" if each["p_holm"] < SIGNIFICANT else ""


def _parts(record: BenchRecord) -> list[Grid]:
    """A table for each of the data that have parts: a row for each part, a column for each model,
    those first on which models differ most."""
    grids = []
    for name, data in record["data"].items():
        rows = []
        models = [model for model in models_in_order(record) if model in data["scores"]]
        of = {model: dict(_flat(data["scores"][model])) for model in models}
        for part in of[models[0]] if models else ():
            figures = [of[model][part]["score"] for model in models]
            count = of[models[0]][part]["n"]
            cells = [_figure_cell(figure, figures) for figure in figures]
            rows.append((Cell(part, part), Cell(f"{count:,}", count), *cells))
        if rows:
            grids.append(Grid(name, ("part", "items", *models), tuple(rows)))
    return grids


def _flat(part: PartRecord, above: str = "") -> Iterator[tuple[str, PartRecord]]:
    for name, inner in part.get("parts", {}).items():
        yield f"{above}{name}", inner
        yield from _flat(inner, f"{above}{name} / ")
