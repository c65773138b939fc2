"""What is to be labelled: prompts with their different completions, from data that can be scored.

A row has a completion, a list of completions, or chosen and rejected; rows of one prompt are
gathered wherever they stand, and ranks or scores that the data have are not looked at. What comes
out can be written to a ranked CSV and read back unchanged: a text that cannot (blank, with a NUL,
or a plain text that is the JSON of messages) is left out, and counted with its reason.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from plaudit.console import progress
from plaudit.data.cells import excerpt, is_blank, read_text
from plaudit.data.chat import fit
from plaudit.data.columns import mapped_in_each
from plaudit.data.parse import Records, reject
from plaudit.data.rankings import BadRowError, Ranking, Rejected, Text, text_key
from plaudit.data.readers import BadRows, load_beside
from plaudit.data.rows import Row, Source, place
from plaudit.errors import PlauditError
from plaudit.reporting.pairs import words_of

UNWRITABLE = "a ranked CSV cannot hold the text unchanged"
BLANK = "the completion is blank"
NO_PROMPT = "chosen and rejected begin with no common prompt"
TOO_FEW = "the prompt has fewer than two different completions"


@dataclass(frozen=True)
class Item:
    """A prompt and K ≥ 2 different completions, in an order that says nothing of their quality.

    `id` depends on the texts alone, so that it is the same after a restart. `categories` and
    `models` say of each completion what the data said of it. `gold` are the ranks, from 0 on, that
    a gold question should get; None for any other.
    """

    id: str
    prompt: Text
    completions: Sequence[Text]
    categories: Sequence[str | None]
    models: Sequence[str | None]
    gold: Sequence[int] | None = None


class Read(NamedTuple):
    """The items of the data, and what was left out: a reason → how often and where first."""

    items: list[Item]
    left_out: dict[str, tuple[int, str]]


def read_items(
    sources: Sequence[Source],
    columns: Mapping[str, str] | None = None,
    bad: BadRows | None = None,
    refusal: Callable[[Text, Sequence[Text]], BadRowError | None] | None = None,
) -> Read:
    """Gather the rows of `sources` by prompt.

    Args:
        sources: of `find_sources`.
        columns: our name of a column → the one in the data, where it is not recognised.
        bad: gets the rows that cannot be read, and those of prompts that are refused.
        refusal: says why a prompt and its completions cannot be scored, where they cannot.

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

    bad = bad or BadRows(sources[0].name, max_rejected=1)
    groups: dict[str, _Group] = {}
    for source, mapped in zip(sources, mapped_in_each(sources, columns), strict=True):
        records = Records(source, mapped, order=False)
        for row in progress(source.rows(), f"reading {source.name}"):
            record = records.of(row)
            bad.count(record)
            if isinstance(record, Rejected):
                leave_out(record.reason, place(row.file, row.line))
                continue
            if record.fit.layout.row == "pair" and _is_empty(record.ranking.prompt):
                leave_out(NO_PROMPT, place(row.file, row.line))
                continue
            group = groups.setdefault(record.ranking.key, _Group())
            group.prompts.append(record.ranking.prompt)
            group.rows.append(row)
            for given in _given(record.ranking):
                if _is_empty(given.text):
                    leave_out(BLANK, place(row.file, row.line))
                else:
                    group.given.append(given)

    items = []
    for group in groups.values():
        prompt, fitted = _fitted(group)
        kept: dict[str, _Given] = {}
        for one in fitted:
            if isinstance(one, BadRowError) or not _survives(prompt, one):
                reason = str(one) if isinstance(one, BadRowError) else UNWRITABLE
                leave_out(reason, glimpse(prompt))
                continue
            before = kept.setdefault(text_key(one.text), one)
            kept[text_key(one.text)] = before._replace(
                category=before.category or one.category, model=before.model or one.model
            )
        if len(kept) < 2:
            leave_out(TOO_FEW, glimpse(prompt))
        elif refusal and (why := refusal(prompt, [one.text for one in kept.values()])):
            for row in group.rows:
                bad.reject(reject(row, why))
            leave_out(str(why), place(group.rows[0].file, group.rows[0].line))
        else:
            items.append(_item(prompt, kept))
    if not items:
        reasons = "; ".join(f"{n:,} × {why} (first: {at})" for why, (n, at) in left_out.items())
        raise PlauditError(
            f"{sources[0].name}: there is nothing to label in it, no prompt with two different "
            f"completions. {reasons}"
        )
    bad.stop_if_too_many()
    return Read(items, left_out)


def read_gold(
    data: str | Path | Sequence[str | Path],
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> list[Item]:
    """Questions whose answer is known, from data with an order: rankings, pairs, scores.

    Raises `PlauditError` for data that cannot be read, and for a prompt that is ranked twice.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "gold.csv"
    >>> _ = file.write_text("prompt,answer,rank\\n2+2?,4,1\\n2+2?,5,2\\n")
    >>> [item] = read_gold(file)
    >>> dict(zip(item.completions, item.gold))["4"]
    0
    """
    items: dict[str, Item] = {}
    for ranking in load_beside(data, columns=columns, encoding=encoding, streaming=False):
        given = {
            text_key(text): _Given(text, None, None)
            for text in ranking.completions
            if not _is_empty(text) and _survives(ranking.prompt, _Given(text, None, None))
        }
        if ranking.key in items or len(given) < len(ranking.completions):
            why = "is ranked twice" if ranking.key in items else "has a text that is left out"
            raise PlauditError(
                f"{ranking.origin or data}: the gold question {glimpse(ranking.prompt)!r} "
                f"{why}; a gold question is one prompt with one order of its completions"
            )
        order = dict(zip(map(text_key, ranking.completions), ranking.ranks, strict=True))
        item = _item(ranking.prompt, given)
        gold = tuple(order[text_key(text)] for text in item.completions)
        items[ranking.key] = replace(item, gold=gold)
    return list(items.values())


def cell(text: Text) -> str:
    """What stands in a CSV for a text: itself, or the JSON of its messages.

    >>> cell([{"role": "user", "content": "Hi"}])
    '[{"role": "user", "content": "Hi"}]'
    """
    return text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, allow_nan=False)


def glimpse(text: Text) -> str:
    """What a text is told apart by in a list: the first words of the last that it says.

    >>> glimpse([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}])
    'Hi'
    """
    return excerpt(text if isinstance(text, str) else words_of(text[-1]) if text else "")


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
    rows: list[Row] = field(default_factory=list)


def _given(ranking: Ranking) -> Iterator[_Given]:
    """The completions of a record, each with what is known of it."""
    for place_of, text in enumerate(ranking.completions):
        category = ranking.categories[place_of] if ranking.categories else ranking.category
        yield _Given(text, category, ranking.models[place_of] if ranking.models else None)


def _is_empty(text: Text) -> bool:
    """Whether a text, or the last that its messages say, is blank."""
    if isinstance(text, str):
        return is_blank(text)
    last = text[-1] if text else {}
    return len(last) <= 2 and is_blank(last.get("content", ""))


# ---- from texts to items ----


def _fitted(group: _Group) -> tuple[Text, Iterator[_Given | BadRowError]]:
    """Prompt and completions of one kind: all in messages where any of them is."""
    prompt = next((p for p in group.prompts if not isinstance(p, str)), group.prompts[0])
    if isinstance(prompt, str) and any(not isinstance(one.text, str) for one in group.given):
        prompt = [{"role": "user", "content": prompt}]

    def each() -> Iterator[_Given | BadRowError]:
        for one in group.given:
            try:
                yield one._replace(text=fit(prompt, [one.text])[1][0])
            except BadRowError as bad:
                yield bad

    return prompt, each()


def _survives(prompt: Text, one: _Given) -> bool:
    """Whether the reader of ranked CSV makes of the written row what it was made from."""
    try:
        if any("\0" in part for part in (cell(prompt), cell(one.text), *_said(one))):
            return False
        read = [read_text(cell(text), "text") for text in (prompt, one.text)]
        return fit(read[0], read[1:]) == (prompt, [one.text])
    except (BadRowError, ValueError):  # the latter for an infinite number in a message
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
