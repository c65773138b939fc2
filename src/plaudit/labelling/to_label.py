"""What is to be labelled: prompts with their different completions, from data that can be scored.

A row has a completion, a list of completions, or chosen and rejected; rows of one prompt are
gathered wherever they stand, and ranks or scores that the data have are not looked at. What comes
out can be written to a ranked CSV and read back unchanged: a text that cannot (blank, with a NUL,
or a plain text that is the JSON of messages) is left out, and counted with its reason.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from plaudit.console import progress
from plaudit.data.cells import (
    BadCellError,
    excerpt,
    fit,
    implicit_prompt,
    read_label,
    read_list,
    read_text,
)
from plaudit.data.rankings import Ranking, Text, text_key
from plaudit.data.rows import Row, Source, place
from plaudit.data.tasks import columns_to_score
from plaudit.errors import PlauditError

UNWRITABLE = "a ranked CSV cannot hold the text unchanged"
TOO_FEW = "the prompt has fewer than two different completions"


@dataclass(frozen=True)
class Item:
    """A prompt and K ≥ 2 different completions, in an order that says nothing of their quality.

    `id` depends on the texts alone, so that it is the same after a restart. `categories` and
    `models` say of each completion what the data said of it.
    """

    id: str
    prompt: Text
    completions: Sequence[Text]
    categories: Sequence[str | None]
    models: Sequence[str | None]


class Read(NamedTuple):
    """The items of the data, and what was left out: a reason → how often and where first."""

    items: list[Item]
    left_out: dict[str, tuple[int, str]]


def read_items(sources: Sequence[Source], columns: Mapping[str, str] | None = None) -> Read:
    """Gather the rows of `sources` by prompt.

    Args:
        sources: of `find_sources`.
        columns: our name of a column → the one in the data, where it is not recognised.

    Raises:
        PlauditError: when there is no column to label, or no prompt with two completions.

    >>> import pathlib, tempfile
    >>> from plaudit.data.rows import find_sources
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "answers.csv"
    >>> _ = file.write_text("prompt,answer\\n2+2?,4\\n2+2?,5\\n3+3?,6\\n")
    >>> [item], left_out = read_items(find_sources(file))
    >>> sorted(item.completions), left_out
    (['4', '5'], {'the prompt has fewer than two different completions': (1, '3+3?')})
    """
    left_out: dict[str, tuple[int, str]] = {}

    def leave_out(reason: str, where: str) -> None:
        count, first = left_out.get(reason, (0, where))
        left_out[reason] = (count + 1, first)

    groups: dict[str, _Group] = {}
    for source in sources:
        found, _ = columns_to_score(source, columns or {})
        for row in progress(source.rows(), f"reading {source.name}"):
            try:
                prompt, given = _texts(row, found, source.all_text)
            except BadCellError as bad:
                leave_out(str(bad), place(row.file, row.line))
                continue
            group = groups.setdefault(Ranking(prompt, (), ()).key, _Group())
            group.prompts.append(prompt)
            for one in given:
                if isinstance(one, BadCellError):
                    leave_out(str(one), place(row.file, row.line))
                else:
                    group.given.append(one)

    items = []
    for group in groups.values():
        prompt, fitted = _fitted(group)
        kept: dict[str, _Given] = {}
        for one in fitted:
            if isinstance(one, BadCellError) or not _survives(prompt, one):
                reason = str(one) if isinstance(one, BadCellError) else UNWRITABLE
                leave_out(reason, excerpt(cell(prompt)))
                continue
            before = kept.setdefault(text_key(one.text), one)
            kept[text_key(one.text)] = before._replace(
                category=before.category or one.category, model=before.model or one.model
            )
        if len(kept) < 2:
            leave_out(TOO_FEW, excerpt(cell(prompt)))
        else:
            items.append(_item(prompt, kept))
    if not items:
        reasons = "; ".join(f"{n:,} × {why} (first: {at})" for why, (n, at) in left_out.items())
        raise PlauditError(
            f"{sources[0].name}: there is nothing to label in it, no prompt with two different "
            f"completions. {reasons}"
        )
    return Read(items, left_out)


def cell(text: Text) -> str:
    """What stands in a CSV for a text: itself, or the JSON of its messages.

    >>> cell([{"role": "user", "content": "Hi"}])
    '[{"role": "user", "content": "Hi"}]'
    """
    return text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, allow_nan=False)


# ---- from a row to texts ----


class _Given(NamedTuple):
    """One completion as a row has it."""

    text: Text
    category: str | None
    model: str | None


@dataclass
class _Group:
    """All that the data have of one prompt, be it said as text or as a message."""

    prompts: list[Text] = field(default_factory=list)
    given: list[_Given] = field(default_factory=list)


def _texts(
    row: Row, found: Mapping[str, str], all_text: bool
) -> tuple[Text, list[_Given | BadCellError]]:
    """The prompt of a row and its completions; for one that is no good the reason."""
    if row.values is None:
        raise BadCellError(row.problem or "cannot be read")
    values = row.values

    def value(ours: str) -> Any:
        return values.get(found[ours]) if ours in found else None

    def text(ours: str) -> Text:
        return read_text(value(ours), ours, all_text)

    given: list[Any]
    pair = "chosen" in found and "rejected" in found
    others = value("completions") is not None or value("completion") is not None
    # A file may hold rows of several kinds: what a row has decides, where any kind fits.
    if pair and (not others or None not in (value("chosen"), value("rejected"))):
        chosen, rejected = text("chosen"), text("rejected")
        if "prompt" in found:
            prompt, given = text("prompt"), [chosen, rejected]
        else:
            prompt, chosen, rejected = implicit_prompt(chosen, rejected)
            given = [chosen, rejected]
            if not prompt or (isinstance(prompt, str) and prompt.isspace()):
                raise BadCellError("chosen and rejected begin with no common prompt")
    elif value("completions") is not None or "completion" not in found:
        prompt = text("prompt")
        given = read_list(value("completions"), "completions", all_text)
        if not given:
            raise BadCellError("the completions are missing")
    else:
        prompt, given = text("prompt"), [text("completion")]
    labels = [_labels(value(name), name, len(given), all_text) for name in ("category", "model")]
    read: list[_Given | BadCellError] = []
    for one, category, model in zip(given, *labels, strict=True):
        try:
            read.append(_Given(read_text(one, "completion"), category, model))
        except BadCellError as bad:
            read.append(bad)
    return prompt, read


def _labels(value: Any, name: str, count: int, all_text: bool) -> list[str | None]:
    """One label for each of `count` completions, from a list or from one label for all."""
    if all_text and isinstance(value, str) and value.startswith("[") and count > 1:
        value = read_list(value, name, all_text)
    if not isinstance(value, list):
        return [read_label(value, name)] * count
    if len(value) != count:
        raise BadCellError(f"lists of different length: {count} completions, {len(value)} {name}")
    return [read_label(one, name) for one in value]


# ---- from texts to items ----


def _fitted(group: _Group) -> tuple[Text, Iterator[_Given | BadCellError]]:
    """Prompt and completions of one kind: all in messages where any of them is."""
    prompt = next((p for p in group.prompts if not isinstance(p, str)), group.prompts[0])
    if isinstance(prompt, str) and any(not isinstance(one.text, str) for one in group.given):
        prompt = [{"role": "user", "content": prompt}]

    def each() -> Iterator[_Given | BadCellError]:
        for one in group.given:
            try:
                yield one._replace(text=fit(prompt, [one.text])[1][0])
            except BadCellError as bad:
                yield bad

    return prompt, each()


def _survives(prompt: Text, one: _Given) -> bool:
    """Whether the reader of ranked CSV makes of the written row what it was made from."""
    try:
        if any("\0" in part for part in (cell(prompt), cell(one.text), *_said(one))):
            return False
        read = [read_text(cell(text), "text", all_text=True) for text in (prompt, one.text)]
        return fit(read[0], read[1:]) == (prompt, [one.text])
    except (BadCellError, ValueError):  # the latter for an infinite number in a message
        return False


def _said(one: _Given) -> Iterable[str]:
    return (label for label in (one.category, one.model) if label is not None)


def _item(prompt: Text, kept: Mapping[str, _Given]) -> Item:
    key = text_key(prompt)
    # By a hash: as good as drawn by lot, and the same at every start and in every window.
    order = sorted(kept, key=lambda text: _digest(key, text))
    return Item(
        id=_digest(key, *sorted(kept))[:16],
        prompt=prompt,
        completions=[kept[text].text for text in order],
        categories=[kept[text].category for text in order],
        models=[kept[text].model for text in order],
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
