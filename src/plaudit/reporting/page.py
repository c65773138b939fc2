"""What a report is made of, and how it becomes one HTML file that stands by itself.

A report leads with two sentences, then tables, plots and the mistakes to read through. Nothing here
knows what was measured; `contents.py` does. The page asks for nothing outside itself, works
from a folder as from a server, and treats all that comes from the data as text: the template
escapes it, no data stand in a script or a style, and the page's own policy lets nothing run but the
one script below it.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from plaudit.data.rankings import Ranking, Text
from plaudit.files import writing
from plaudit.reporting.drawing import Drawing

MOST_MISTAKES = 200
MISTAKES_OF_A_PROMPT = 2
# Characters of all mistakes together; what keeps a page of very long texts one that opens.
MOST_TEXT = 1_500_000
LONG_TEXT, LONG_LINES = 700, 9  # above either, a text is cut behind "Show all"


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


@dataclass(frozen=True)
class Section:
    """A part of a report under its own heading: notes, tables, plots."""

    title: str
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Drawing, ...] = ()


@dataclass(frozen=True)
class Turn:
    """What somebody says; `role` is empty for a plain text."""

    role: str
    text: str

    @property
    def length(self) -> int:
        """In characters."""
        return len(self.text)

    @property
    def long(self) -> bool:
        """Whether a reader should first see its beginning only."""
        return self.length > LONG_TEXT or self.text.count("\n") >= LONG_LINES


@dataclass(frozen=True)
class Mistake:
    """A pair whose rejected completion has the higher reward."""

    prompt: tuple[Turn, ...]
    chosen: tuple[Turn, ...]
    rejected: tuple[Turn, ...]
    rewards: tuple[float, float]  # of the chosen, of the rejected one
    place: int  # the number of its ranking, from 0
    category: str | None = None
    models: tuple[str | None, str | None] = (None, None)
    origin: str = ""

    @property
    def margin(self) -> float:
        """r_chosen − r_rejected, below zero."""
        return self.rewards[0] - self.rewards[1]

    @property
    def size(self) -> int:
        """Characters of all its texts."""
        turns = (*self.prompt, *self.chosen, *self.rejected)
        return sum(turn.length for turn in turns)


@dataclass(frozen=True)
class Report:
    """All that one page says, top to bottom.

    `lead` is the verdict: what was reached, against what, how sure. `facts` say what was measured
    on what and when. `mistakes` come most wrong first; `wrong` says how many pairs were ordered
    wrongly, of which they are some.
    """

    title: str
    lead: tuple[str, ...]
    facts: Mapping[str, str]
    highlights: tuple[Highlight, ...] = ()
    sections: tuple[Section, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    wrong: int = 0
    kind: str = "Report"


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
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader("plaudit", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = signed
    # Names are often words joined by underscores: let a narrow column break them there.
    environment.filters["breakable"] = lambda text: escape(text).replace("_", Markup("_<wbr>"))
    folder = files("plaudit.reporting")
    own = {name: folder.joinpath(f"page.{name}").read_text("utf-8") for name in ("css", "js")}
    page = environment.get_template("page.html.jinja").render(
        report=report,
        categories=sorted({m.category for m in report.mistakes if m.category is not None}),
        images=_images,
        # Ours, and named by their hashes in the page's policy: nothing else can run.
        style=Markup(own["css"]),
        script=Markup(own["js"]),
        style_hash=_hash(own["css"]),
        script_hash=_hash(own["js"]),
    )
    # What no HTML file can hold: halves of characters and control characters.
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", page)


def worst_mistakes(
    rankings: Sequence[Ranking], rewards: Sequence[Sequence[float]]
) -> tuple[tuple[Mistake, ...], int]:
    """The strictly ordered pairs with the most negative margins, and how many are below zero.

    `rewards` hold K numbers for each ranking. At most two mistakes of a prompt, 200 in all, and
    fewer where their texts are very long.

    >>> worst_mistakes([Ranking("2+2?", ["4", "5"], [0, 1])], [[0.5, 2.0]])[0][0].margin
    -1.5
    """
    wrong = [
        (float(given[i] - given[j]), number, i, j)
        for number, (ranking, given) in enumerate(zip(rankings, rewards, strict=True))
        for i, j in ranking.pairs()
        if given[i] < given[j]
    ]
    mistakes: list[Mistake] = []
    of_prompt: dict[str, int] = {}
    text = 0
    for _, number, i, j in sorted(wrong):
        key = rankings[number].key
        of_prompt[key] = of_prompt.get(key, 0) + 1
        if of_prompt[key] > MISTAKES_OF_A_PROMPT:
            continue
        mistake = _mistake(rankings[number], rewards[number], number, i, j)
        text += mistake.size
        if len(mistakes) == MOST_MISTAKES or (mistakes and text > MOST_TEXT):
            break
        mistakes.append(mistake)
    return tuple(mistakes), len(wrong)


def _mistake(
    ranking: Ranking, rewards: Sequence[float], number: int, better: int, worse: int
) -> Mistake:
    category = ranking.category
    if ranking.categories is not None:
        category = ranking.categories[worse]
    models = ranking.models or [None] * len(ranking.ranks)
    return Mistake(
        turns(ranking.prompt),
        turns(ranking.completions[better]),
        turns(ranking.completions[worse]),
        (float(rewards[better]), float(rewards[worse])),
        number,
        category,
        (models[better], models[worse]),
        ranking.origin,
    )


def turns(text: Text) -> tuple[Turn, ...]:
    """A text or a dialogue as what is said in turn, with nothing left out.

    >>> turns([{"role": "user", "content": "Hi"}])
    (Turn(role='user', text='Hi'),)
    """
    if isinstance(text, str):
        return (Turn("", text),)
    return tuple(Turn(str(message["role"]), _said(message)) for message in text)


def _said(message: Mapping[str, Any]) -> str:
    content = message["content"]
    parts = [content] if isinstance(content, str) else list(content or [])
    others = {key: message[key] for key in message if key not in ("role", "content")}
    said = []
    for part in [*parts, *([others] if others else [])]:
        if isinstance(part, dict) and set(part) == {"type", "text"}:
            part = part["text"]
        said.append(part if isinstance(part, str) else json.dumps(part, ensure_ascii=False))
    return "\n".join(said)


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


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
