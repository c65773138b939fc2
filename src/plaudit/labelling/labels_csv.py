"""The file that labels go to: a ranked CSV (prompt, answer, rank, …) as `plaudit train` reads it.

Labels stand in it in the order they were made, the rows of one from the best completion to the
worst. A file is continued only where it holds nothing but labels of the same data; any other is
refused, because at the next label it is written anew.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plaudit.console import progress
from plaudit.data.cells import read_number, read_text
from plaudit.data.rankings import BadRowError, Text, dense_ranks, text_key
from plaudit.data.rows import Row, find_sources, place
from plaudit.errors import PlauditError
from plaudit.files import writing
from plaudit.labelling.to_label import Item, cell


@dataclass(frozen=True)
class Label:
    """An item with a rank for each of its completions: from 1 on, lower is better, equal tie."""

    item: Item
    ranks: tuple[int, ...]


class LabelsFile:
    """The CSV at `path` for labels of `items`.

    It has a column for the category and one for the model where any item has one. Raises
    `PlauditError` when `path` does not end in .csv.
    """

    def __init__(self, path: str | Path, items: Sequence[Item]) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".csv":
            raise PlauditError(f"{path}: labels are written as CSV; name it .csv")
        self._items = items
        self._columns = ["prompt", "answer", "rank"]
        self._columns += ["category"] * any(any(item.categories) for item in items)
        self._columns += ["model"] * any(any(item.models) for item in items)
        # Made once for each label, since every save writes all of them.
        self._lines: dict[tuple[str, tuple[int, ...]], str] = {}

    def read(self) -> list[Label]:
        """The labels in the file, in the order they were made; none where there is no file.

        Raises `PlauditError` where a line is not what `write` made of a label of these items.
        """
        if not self.path.exists():
            return []
        [source] = find_sources(str(self.path))
        columns = source.columns()
        if columns != self._columns:
            raise self._not_ours(
                f"has the columns {', '.join(columns)[:200]}, not {', '.join(self._columns)}"
            )
        items = {text_key(item.prompt): item for item in self._items}
        ranks: dict[str, dict[str, float]] = {}
        begins: dict[str, Row] = {}
        present = ""
        for row in progress(source.rows(), f"reading {self.path}"):
            prompt, answer, rank = self._read_row(row)
            key = text_key(prompt)
            if key not in items:
                raise self._not_ours("has a prompt that is not in the data", row)
            if key in ranks and key != present:
                raise self._not_ours("has a prompt in two places", row)
            of_prompt = ranks.setdefault(key, {})
            if text_key(answer) in of_prompt:
                raise self._not_ours("has a completion of a prompt twice", row)
            of_prompt[text_key(answer)] = rank
            begins.setdefault(key, row)
            present = key
        labels = []
        for key, of_prompt in ranks.items():
            item = items[key]
            order = [text_key(text) for text in item.completions]
            if set(order) != set(of_prompt):
                raise self._not_ours("has other completions of a prompt than the data", begins[key])
            dense = dense_ranks([of_prompt[text] for text in order])
            if max(dense) == 0:
                raise self._not_ours("has all completions of a prompt tied", begins[key])
            labels.append(Label(item, tuple(rank + 1 for rank in dense)))
        return labels

    def write(self, labels: Sequence[Label]) -> None:
        """Write all of it anew, atomically. Raises `PlauditError` where it cannot be written."""
        with writing(self.path) as file:
            file.write(self._csv([self._columns]))
            for label in labels:
                key = (label.item.id, label.ranks)
                if key not in self._lines:
                    self._lines[key] = self._csv(self._rows(label))
                file.write(self._lines[key])

    def _rows(self, label: Label) -> list[list[str]]:
        item, ranks = label.item, label.ranks
        rows = []
        for at, rank in sorted(enumerate(ranks), key=lambda pair: pair[1]):
            values = {
                "prompt": cell(item.prompt),
                "answer": cell(item.completions[at]),
                "rank": str(rank),
                "category": item.categories[at] or "",
                "model": item.models[at] or "",
            }
            rows.append([values[name] for name in self._columns])
        return rows

    def _csv(self, rows: list[list[str]]) -> str:
        text = io.StringIO(newline="")
        # Lines end in CR LF (RFC 4180): with LF alone the csv module leaves a CR unquoted.
        csv.writer(text, lineterminator="\r\n").writerows(rows)
        return text.getvalue()

    def _read_row(self, row: Row) -> tuple[Text, Text, float]:
        if row.values is None:
            raise self._not_ours(row.problem or "cannot be read", row)
        try:
            prompt, answer = (read_text(row.values[name], name) for name in ("prompt", "answer"))
            return prompt, answer, read_number(row.values["rank"], "rank")
        except BadRowError as bad:
            raise self._not_ours(str(bad), row) from bad

    def _not_ours(self, why: str, row: Row | None = None) -> PlauditError:
        where = place(str(self.path), row.line if row else None)
        return PlauditError(
            f"{where}: {why}, so it does not hold labels of this data and is left alone. Give the "
            "data it was made from, or another name for the labels"
        )
