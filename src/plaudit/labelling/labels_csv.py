"""The files that labels go to: a ranked CSV as `plaudit train` reads it, and JSON lines beside it.

In the CSV (prompt, answer, rank, …) stand the labels that order something, in the order they were
made, the rows of one from the best completion to the worst. A label that orders nothing (all are as
good, all are bad) and one of a gold question stand beside it, in NAME.beside.jsonl: no model learns
from them. A label stands in one of the two, so that saving writes one file. They are continued only
where they hold nothing but labels of the same data; any other is refused, because at the next label
it is written anew.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit.console import progress
from plaudit.data.cells import read_number, read_text
from plaudit.data.rankings import BadRowError, Ranking, Text, dense_ranks, text_key
from plaudit.data.rows import Row, find_sources, place
from plaudit.errors import PlauditError
from plaudit.files import writing
from plaudit.json_text import from_json
from plaudit.labelling.to_label import Item, cell


@dataclass(frozen=True)
class Label:
    """What somebody said of an item: ranks from 1 on, lower is better, equal tie.

    `bad` says that all completions are bad; their ranks are equal. `annotator` and `note` may be
    empty.
    """

    item: Item
    ranks: tuple[int, ...]
    annotator: str = ""
    note: str = ""
    bad: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The item and who labelled it: nobody labels one twice."""
        return self.item.id, self.annotator

    @property
    def is_learnt(self) -> bool:
        """Whether a model can be trained on it: it orders something, and is no gold question."""
        return max(self.ranks) > 1 and self.item.gold is None

    def ranking(self) -> Ranking:
        """The label as data are read."""
        item = self.item
        return Ranking(
            item.prompt,
            item.completions,
            [rank - 1 for rank in self.ranks],
            categories=item.categories if any(item.categories) else None,
            models=item.models if any(item.models) else None,
            annotator=self.annotator or None,
        )


class LabelsFile:
    """The CSV at `path` for labels of `items`, and what stands beside it.

    It has a column for the category and one for the model where any item has one, for the annotator
    and the note where any label has one. Raises `PlauditError` when `path` does not end in .csv.
    """

    def __init__(self, path: str | Path, items: Sequence[Item]) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".csv":
            raise PlauditError(f"{path}: labels are written as CSV; name it .csv")
        self.beside = self.path.with_suffix(".beside.jsonl")
        self._items = {text_key(item.prompt): item for item in items}
        self._columns = ["prompt", "answer", "rank"]
        self._columns += ["category"] * any(any(item.categories) for item in items)
        self._columns += ["model"] * any(any(item.models) for item in items)
        # Made once for each label, since every save writes all of them.
        self._lines: dict[tuple[Any, ...], str] = {}
        self._in_csv: list[Label] = []  # as the files have them
        self._in_beside: list[str] = []

    # ---- reading ----

    def read(self) -> list[Label]:
        """The labels in the files, in the order they were made; none where there is no file.

        Raises `PlauditError` where a line is not what `write` made of a label of these items.
        """
        labels = self._read_csv() if self.path.exists() else []
        self._in_csv = list(labels)
        known = {label.key for label in labels}
        # A place counts the labels of the CSV before it: from the back, so that none moves another.
        for after, label in reversed(self._read_beside() if self.beside.exists() else []):
            if label.key in known:
                raise self._not_ours("has a label that stands in another place too", self.beside)
            known.add(label.key)
            labels.insert(min(after, len(self._in_csv)), label)
        self._in_beside = self._beside_lines(labels)
        return labels

    def _read_csv(self) -> list[Label]:
        [source] = find_sources(str(self.path))
        columns = source.columns()
        more = [name for name in ("annotator", "note") if name in columns]
        if columns != [*self._columns, *more]:
            raise self._not_ours(
                f"has the columns {', '.join(columns)[:200]}, not {', '.join(self._columns)}"
            )
        ranks: dict[tuple[str, str], dict[str, float]] = {}
        notes: dict[tuple[str, str], str] = {}
        begins: dict[tuple[str, str], Row] = {}
        present = ("", "")
        for row in progress(source.rows(), f"reading {self.path}"):
            prompt, answer, rank, annotator, note = self._read_row(row)
            key = (text_key(prompt), annotator)
            if key[0] not in self._items:
                raise self._not_ours("has a prompt that is not in the data", row=row)
            if key in ranks and key != present:
                raise self._not_ours("has a prompt in two places", row=row)
            of_prompt = ranks.setdefault(key, {})
            if text_key(answer) in of_prompt:
                raise self._not_ours("has a completion of a prompt twice", row=row)
            of_prompt[text_key(answer)] = rank
            notes[key] = notes.get(key) or note
            begins.setdefault(key, row)
            present = key
        labels = []
        for key, of_prompt in ranks.items():
            item = self._items[key[0]]
            order = [text_key(text) for text in item.completions]
            if set(order) != set(of_prompt):
                why = "has other completions of a prompt than the data"
                raise self._not_ours(why, row=begins[key])
            dense = dense_ranks([of_prompt[text] for text in order])
            if max(dense) == 0:
                raise self._not_ours("has all completions of a prompt tied", row=begins[key])
            ranked = tuple(rank + 1 for rank in dense)
            labels.append(Label(item, ranked, key[1], notes[key]))
        return labels

    def _read_row(self, row: Row) -> tuple[Text, Text, float, str, str]:
        if row.values is None:
            raise self._not_ours(row.problem or "cannot be read", row=row)
        try:
            prompt, answer = (read_text(row.values[name], name) for name in ("prompt", "answer"))
            rank = read_number(row.values["rank"], "rank")
        except BadRowError as bad:
            raise self._not_ours(str(bad), row=row) from bad
        annotator, note = (str(row.values.get(name) or "") for name in ("annotator", "note"))
        return prompt, answer, rank, annotator, note

    def _read_beside(self) -> list[tuple[int, Label]]:
        """Each label, and how many of the CSV were made before it."""
        found = []
        try:
            lines = self.beside.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise self._not_ours(f"cannot be read: {error}", self.beside) from error
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                said = from_json(line)
                item = self._items[text_key(said["prompt"])]
                given = {text_key(text): rank for text, rank in _pairs(said)}
                ranks = tuple(int(given[text_key(text)]) for text in item.completions)
                label = Label(
                    item, ranks, str(said["annotator"]), str(said["note"]), bool(said["all_bad"])
                )
                after = int(said["after"])
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                where = f"{self.beside}:{number}"
                raise PlauditError(
                    f"{where}: is no label of this data, so the file is left alone. Give the data "
                    "and the gold questions it was made from, or another name for the labels"
                ) from error
            if len(given) != len(ranks) or label.is_learnt or after < 0:
                raise self._not_ours(f"line {number} is no label of this data", self.beside)
            found.append((after, label))
        return found

    # ---- writing ----

    def write(self, labels: Sequence[Label]) -> None:
        """Write what has changed anew, each file atomically.

        Raises `PlauditError` where it cannot be written.
        """
        in_csv = [label for label in labels if label.is_learnt]
        beside = self._beside_lines(labels)
        # What is added is written before what is taken away: a crash between loses nothing.
        steps = [self._write_beside, self._write_csv]
        for step in steps if len(beside) >= len(self._in_beside) else reversed(steps):
            step(in_csv, beside)

    def _write_csv(self, labels: list[Label], _: list[str]) -> None:
        if labels == self._in_csv and (self.path.exists() or not labels):
            return
        more = [n for n in ("annotator", "note") if any(getattr(label, n) for label in labels)]
        columns = (*self._columns, *more)
        with writing(self.path) as file:
            file.write(self._csv([columns]))
            for label in labels:
                key = (label.key, label.ranks, label.note, columns)
                if key not in self._lines:
                    self._lines[key] = self._csv(self._rows(label, columns))
                file.write(self._lines[key])
        self._in_csv = labels

    def _write_beside(self, _: list[Label], lines: list[str]) -> None:
        if lines == self._in_beside:
            return
        with writing(self.beside) as file:
            file.writelines(lines)
        self._in_beside = lines

    def _beside_lines(self, labels: Sequence[Label]) -> list[str]:
        lines, before = [], 0
        for label in labels:
            if label.is_learnt:
                before += 1
                continue
            said = {
                "prompt": label.item.prompt,
                "completions": list(label.item.completions),
                "ranks": list(label.ranks),
                "all_bad": label.bad,
                "gold": label.item.gold is not None,
                "annotator": label.annotator,
                "note": label.note,
                "after": before,
            }
            lines.append(json.dumps(said, ensure_ascii=False, allow_nan=False) + "\n")
        return lines

    def _rows(self, label: Label, columns: Sequence[str]) -> list[list[str]]:
        item, ranks = label.item, label.ranks
        rows = []
        for at, rank in sorted(enumerate(ranks), key=lambda pair: pair[1]):
            values = {
                "prompt": cell(item.prompt),
                "answer": cell(item.completions[at]),
                "rank": str(rank),
                "category": item.categories[at] or "",
                "model": item.models[at] or "",
                "annotator": label.annotator,
                "note": label.note,
            }
            rows.append([values[name] for name in columns])
        return rows

    def _csv(self, rows: Sequence[Sequence[str]]) -> str:
        text = io.StringIO(newline="")
        # Lines end in CR LF (RFC 4180): with LF alone the csv module leaves a CR unquoted.
        csv.writer(text, lineterminator="\r\n").writerows(rows)
        return text.getvalue()

    def _not_ours(self, why: str, path: Path | None = None, row: Row | None = None) -> PlauditError:
        where = place(str(path or self.path), row.line if row else None)
        return PlauditError(
            f"{where}: {why}, so it does not hold labels of this data and is left alone. Give the "
            "data it was made from, or another name for the labels"
        )


def _pairs(said: Any) -> list[tuple[Text, Any]]:
    return list(zip(said["completions"], said["ranks"], strict=True))
