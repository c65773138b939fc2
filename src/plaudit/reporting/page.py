"""What a report is made of, and how it becomes one HTML file that stands by itself.

A report leads with a verdict, for what the model may be used and where it is weakest; then come
figures, plots and the pairs to look through. Nothing here knows what was measured; `contents.py`
does. The page asks for nothing outside itself and works from a folder as from a server. All that
comes from the data is text: the template escapes it, the pairs are JSON that no text can end, which
the script sets as text, and the page's own policy lets nothing run but that script.

Another page of the kind is a template that extends `base.html.jinja`, with styles and scripts of
its own after `base.css` and `base.js`: see `render_page`.
"""

import base64
import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from plaudit.files import writing
from plaudit.reporting.cells import plain_cell
from plaudit.reporting.drawing import Drawing
from plaudit.reporting.pairs import Pairs

MANY_COLUMNS = 7  # from here on a table becomes a list of its rows on a tablet, too
FITS = 24  # characters of cells beside a heading on a telephone

Verdict = Literal["yes", "care", "no", "unknown"]
VERDICTS: dict[Verdict, str] = {
    "yes": "Yes",
    "care": "With care",
    "no": "No",
    "unknown": "Cannot tell",
}


@dataclass(frozen=True)
class Answer:
    """Whether a model may be used for something, and by which figure."""

    verdict: Verdict
    why: str

    @property
    def word(self) -> str:
        """The verdict as it is shown."""
        return VERDICTS[self.verdict]


@dataclass(frozen=True)
class Use:
    """What a model may be used for or not: an answer for each model by its name."""

    purpose: str
    answers: Mapping[str, Answer]


@dataclass(frozen=True)
class Weakness:
    """What a model is bad at, by which figure; `section` is the heading under which more stands."""

    title: str
    text: str
    section: str


@dataclass(frozen=True)
class Highlight:
    """One of the few numbers that stand at the top, with what to hold it against."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table: its heading, a few words on how to read it, its cells."""

    label: str
    cells: tuple[str, ...]
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """Figures under a caption; `columns` name the cells, the first one the row headings."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    wide: bool = False

    @property
    def width(self) -> Literal["few", "some", "many"]:
        """How much stands in a row; where it does not fit, rows become paragraphs."""
        if len(self.columns) >= MANY_COLUMNS:
            return "many"
        columns = zip(*(row.cells for row in self.rows), strict=False)
        characters = sum(max(map(len, cells)) for cells in columns)
        return "some" if len(self.columns) > 3 or characters > FITS else "few"


@dataclass(frozen=True)
class Section:
    """A part of a report under its own heading: notes, tables, plots."""

    title: str
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Drawing, ...] = ()


@dataclass(frozen=True)
class Report:
    """All that one page says, top to bottom.

    `lead` is the verdict: what was reached, against what, how sure. `uses` say for what the model
    may be used, `weaknesses` where it is weakest, both by the name of a model, which is empty where
    there is one. `facts` say what was measured on what and when. `pairs` are those to look through.
    """

    title: str
    lead: tuple[str, ...]
    facts: Mapping[str, str]
    highlights: tuple[Highlight, ...] = ()
    sections: tuple[Section, ...] = ()
    kind: str = "Report"
    uses: tuple[Use, ...] = ()
    weaknesses: Mapping[str, tuple[Weakness, ...]] = field(default_factory=dict)
    pairs: Pairs | None = None


def write_report(path: str | Path, report: Report) -> Path:
    """Write the report as one HTML file; returns `path`.

    Raises `PlauditError` when it cannot be written.

    >>> import tempfile
    >>> report = Report("My model", ("It is right.", "Quite surely."), {"data": "pairs.jsonl"})
    >>> page = write_report(Path(tempfile.mkdtemp()) / "report.html", report).read_text()
    >>> "<h1>" in page, "Quite surely." in page
    (True, True)
    """
    page = render(report)
    with writing(path) as file:
        file.write(page)
    return Path(path)


def render(report: Report) -> str:
    """The page as text."""
    return render_page(
        "report.html.jinja",
        styles=("base.css", "report.css"),
        scripts=("base.js", "pairs.js"),
        title=report.title,
        kind=report.kind,
        report=report,
    )


def render_page(
    template: str,
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    title: str,
    kind: str,
    **given: Any,
) -> str:
    """A template of this package as one page, with these styles and scripts of it, in this order.

    `title` and `kind` stand at the top of the page; `given` is what the template names besides. Its
    filters are `slug`, `breakable`, `images` and `csv_address`.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader("plaudit", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Names are often words joined by underscores: let a narrow column break them there.
    environment.filters["breakable"] = lambda text: escape(text).replace("_", Markup("_<wbr>"))
    environment.filters["slug"] = slug
    environment.filters["images"] = _images
    environment.filters["csv_address"] = _csv_address
    environment.filters["as_it_is"] = Markup
    folder = files("plaudit.reporting")
    style, script = (
        "\n".join(folder.joinpath(name).read_text("utf-8") for name in names)
        for names in (styles, scripts)
    )
    # Ours, and named by their hashes in the page's policy: nothing else can run.
    ours = {"style": Markup(style), "script": Markup(script)}  # nosec B704
    page = environment.get_template(template).render(
        **ours,
        style_hash=_hash(style),
        script_hash=_hash(script),
        title=title,
        kind=kind,
        **given,
    )
    # What no HTML file can hold: halves of characters and control characters.
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", page)


def slug(heading: str) -> str:
    """A heading as the name of its place in the page.

    >>> slug("Is it right?")
    'is-it-right'
    """
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") or "part"


def signed(value: float, form: str = ".2f") -> str:
    """A number with its sign, as print has it.

    >>> signed(-1.5), signed(0.25)
    ('−1.50', '+0.25')
    """
    return f"{value:+{form}}".replace("-", "−")


def _images(plot: Drawing) -> list[str]:
    """Addresses of the plot on light and on dark paper."""
    encoded = [base64.b64encode(svg.encode()).decode() for svg in plot.svgs()]
    return [f"data:image/svg+xml;base64,{text}" for text in encoded]


def _csv_address(plot: Drawing) -> str:
    """The figures of a plot as the address of a CSV file."""
    assert plot.data is not None
    text = io.StringIO()
    writer = csv.writer(text)
    for row in (plot.data.columns, *plot.data.rows):
        writer.writerow(map(plain_cell, row))
    return "data:text/csv;base64," + base64.b64encode(text.getvalue().encode()).decode()


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
