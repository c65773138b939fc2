"""Ranking completions by hand: what comes next, who has it, and what was said of it.

`Labelling` reads the data, has the model score them in the background, hands out first what the
model is least sure about, and writes every label to a ranked CSV at once. It knows nothing of HTTP
(see page.py). Its methods may be called from any thread; the file is written by this process alone,
and what another one changed in it is never overwritten.
"""

import asyncio
import itertools
import math
import os
import shlex
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from plaudit.console import counted, progress, say
from plaudit.data.cells import excerpt
from plaudit.data.rankings import Text, dense_ranks
from plaudit.data.readers import BadRows, OnBadRow
from plaudit.data.rows import find_sources
from plaudit.errors import PlauditError
from plaudit.files import refuse_to_overwrite, report_rejected
from plaudit.labelling.labels_csv import Label, LabelsFile
from plaudit.labelling.to_label import Item, cell, read_items

if TYPE_CHECKING:
    from plaudit.model.scorer import Scorer

AT_ONCE = 8  # prompts scored in the background, so that other requests wait little
HELD_FOR = 600.0  # seconds without a word from a window after which its prompt goes to others

# The rewards of a prompt's completions.
Score = Callable[[Text, Sequence[Text]], Awaitable[list[float]]]


class LabelError(PlauditError):
    """What cannot be done with a label; `kind` is unknown, invalid, labelled or conflict."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def unsureness(rewards: Sequence[float], scale: float = 1.0) -> float:
    """How unsure the model is about the order: the mean of p(1 − p) over all pairs.

    p = σ(scale · (r_i − r_j)) is the probability that i is preferred to j (Bradley–Terry), and
    p(1 − p) the variance of that preference: 0.25 where the model cannot tell the two apart, 0
    where it is certain. Picking by it is uncertainty sampling (Lewis and Gale 1994).

    >>> unsureness([1.0, 1.0])
    0.25
    >>> round(unsureness([2.0, -2.0]), 4)
    0.0177
    """
    pairs = np.array(list(itertools.combinations(rewards, 2)))
    margins = scale * (pairs[:, 0] - pairs[:, 1])
    return float(np.mean(expit(margins) * expit(-margins)))


class Labelling:
    """Labels for the prompts of `data`, kept in the ranked CSV `output`.

    Args:
        scorer: a reward model or an ensemble.
        data: files, folders, globs or a data set on the hub, in any shape that can be scored; ranks
            and scores in it are not looked at.
        output: a .csv file; where it holds labels of these data already, they are continued.
        columns: our name of a column → the one in the data, where it is not recognised.
        encoding: of text files that are not in UTF-8.
        on_bad_row: "stop" at the first row that cannot be used, or "reject" it and go on. Rejected
            ones are written to `rejected.jsonl` beside `output`.
        max_rejected: stop when more than this share of the rows is rejected.

    Raises:
        PlauditError: when there is nothing to label, when `output` is the input or lies among
            it, or when it holds something else than labels of these data.

    >>> from plaudit import RewardModel
    >>> labelling = Labelling(RewardModel.load("runs/first"), "completions.jsonl", "labels.csv")
    """

    def __init__(
        self,
        scorer: "Scorer",
        data: str | Path | Sequence[str | Path],
        output: str | Path,
        *,
        columns: Mapping[str, str] | None = None,
        encoding: str | None = None,
        on_bad_row: OnBadRow = "reject",
        max_rejected: float = 0.1,
    ) -> None:
        named = [data] if isinstance(data, str | Path) else list(data)
        for one in map(Path, named):
            inside = one.is_dir() and one.resolve() in Path(output).resolve().parents
            fits = has_magic(str(one)) and Path(output).absolute().match(str(one.absolute()))
            if inside or fits:
                raise PlauditError(
                    f"{output}: lies where the data are, in {one}, and would be read as such at "
                    "the next start; write the labels elsewhere"
                )
        sources = find_sources(data, None, True, encoding)
        refuse_to_overwrite(output, overwrite=True, inputs=[source.name for source in sources])
        self._data = ", ".join(map(str, named))
        bad = BadRows(self._data, on_bad_row, max_rejected)
        self._items, left_out = read_items(sources, columns, bad, scorer.refusal)
        report_rejected(bad, output, restarted=True)
        self._left_out = [
            f"{count:,} × {reason} (first: {first})" for reason, (count, first) in left_out.items()
        ]
        if self._left_out:
            say(f"{self._data}: left out of the labelling: {'; '.join(self._left_out)}")
        self._file = LabelsFile(output, self._items)
        self._labels = self._file.read()
        self._file_as_left = _stamp(self._file.path)
        if self._labels:
            say(f"{output}: continued; {counted(len(self._labels), 'prompt')} labelled already")

        self._by_id = {item.id: item for item in self._items}
        self._place = {item.id: place for place, item in enumerate(self._items)}
        self._saved_by: dict[str, str] = {}  # the window that saved a label, of this session's
        self._taken_back: dict[str, tuple[int, tuple[int, ...]]] = {}  # when, and the ranks it had
        self._skipped: dict[str, int] = {}  # when
        self._when = itertools.count(1)
        self._held: dict[str, str] = {}  # the item that a window has
        self._heard: dict[str, float] = {}  # when a window last spoke
        self._lock = threading.RLock()

        self._scorer = scorer
        self._rewards: dict[str, list[float]] = {}
        self._unsure: dict[str, float] = {}
        self._failed = 0  # how many could not be scored, and why the first could not
        self._problem = ""

    # ---- scoring, in the background ----

    async def score(self, score: Score) -> None:
        """Score all prompts through `score`, a few at a time, those that have no label first.

        Runs until all is done or it is cancelled. What cannot be scored comes last, and `state`
        says why.
        """
        done = {label.item.id for label in self._labels}
        order = sorted(self._items, key=lambda item: item.id in done)
        batch: list[Item] = []
        for item in progress(order, "scoring what is to be labelled"):
            batch.append(item)
            if len(batch) == AT_ONCE or item is order[-1]:
                jobs = (score(one.prompt, one.completions) for one in batch)
                results = await asyncio.gather(*jobs, return_exceptions=True)
                for one, rewards in zip(batch, results, strict=True):
                    self._scored(one, rewards)
                batch = []

    def _scored(self, item: Item, rewards: list[float] | BaseException) -> None:
        # Without the lock, which is held while the file is written: the event loop must not wait.
        if isinstance(rewards, list) and all(map(math.isfinite, rewards)):
            self._rewards[item.id] = rewards
            self._unsure[item.id] = unsureness(rewards, self._scorer.scale)
            return
        why = str(rewards) or repr(rewards)
        if isinstance(rewards, list):
            why = "the model's reward is not a finite number"
        self._problem = self._problem or why
        self._failed += 1
        if self._failed == 1:
            say(f"{excerpt(cell(item.prompt))}: not scored: {why}")

    # ---- what a window asks for ----

    def state(self, window: str = "") -> dict[str, Any]:
        """How far the work is, in numbers; also tells that `window` is still there."""
        with self._lock:
            if window in self._heard:  # others, of which anybody can make up many, hold nothing
                self._hear(window)
            return {
                "data": self._data,
                "file": str(self._file.path),
                "total": len(self._items),
                "labelled": len(self._labels),
                "skipped": len(self._skipped),
                "scored": len(self._rewards),
                "failed": self._failed,
                "problem": self._problem,
                "left_out": self._left_out,
                "command": f"plaudit train {shlex.quote(str(self._file.path))}",
            }

    def next(self, window: str) -> dict[str, Any] | None:
        """The prompt for `window` to label: the one it has, else the foremost; None at the end.

        What was taken back comes first, then what the model is least sure about of what is scored,
        then the rest in the data's order, at last what was skipped. Another window's prompt is
        given only when there is no other left.
        """
        with self._lock:
            self._hear(window)
            labelled = {label.item.id for label in self._labels}
            mine = self._held.pop(window, None)
            if mine is None or mine in labelled:
                left = [item for item in self._items if item.id not in labelled]
                others = set(self._held.values())
                free = [item for item in left if item.id not in others]
                if not left:
                    return None
                mine = min(free or left, key=self._turn).id
            self._held[window] = mine
            return self._shown(self._by_id[mine])

    def save(self, window: str, id: str, ranks: Sequence[int]) -> None:
        """Label an item: a rank for each completion in the order they were shown, lower is better.

        The file has been written when this returns. Raises `LabelError` for an item that is not
        known or was labelled meanwhile, for ranks that do not fit it or tie all, and where the file
        was changed by another program; `PlauditError` where it cannot be written.
        """
        with self._lock:
            self._hear(window)
            item = self._find(id)
            if len(ranks) != len(item.completions):
                raise LabelError(
                    "invalid",
                    f"{len(ranks)} ranks for {len(item.completions)} completions: give each one",
                )
            dense = tuple(rank + 1 for rank in dense_ranks(ranks))
            if max(dense) == 1:
                raise LabelError(
                    "invalid",
                    "All completions are tied, of which nothing can be learnt. Put one above "
                    "another, or skip the prompt.",
                )
            label = Label(item, dense)
            if before := next((one for one in self._labels if one.item.id == id), None):
                if before == label and self._saved_by.get(id) == window:
                    return  # asked twice, because the first answer was lost on its way
                raise LabelError(
                    "labelled",
                    "This prompt was labelled in another window meanwhile. That label stays.",
                )
            self._write([*self._labels, label])
            self._saved_by[id] = window
            self._skipped.pop(id, None)
            self._taken_back.pop(id, None)
            self._held.pop(window, None)

    def skip(self, window: str, id: str) -> None:
        """Put an item last, until the service ends. Raises `LabelError` for an unknown one."""
        with self._lock:
            self._hear(window)
            self._find(id)
            if all(label.item.id != id for label in self._labels):
                self._skipped[id] = next(self._when)
                self._taken_back.pop(id, None)
            self._held.pop(window, None)

    def undo(self, window: str) -> dict[str, Any]:
        """Take the last label back and give its prompt to `window`, with the ranks it had.

        The last is that of the file, also of an earlier session, but never what another window that
        is still open has saved. Raises `LabelError` when there is none, else as `save` does.
        """
        with self._lock:
            self._hear(window)
            others = set(self._heard) - {window}
            mine = (
                one for one in self._labels[::-1] if self._saved_by.get(one.item.id) not in others
            )
            label = next(mine, None)
            if label is None:
                if not self._labels:
                    raise LabelError("conflict", "No label yet: there is nothing to take back.")
                raise LabelError(
                    "conflict",
                    "All labels are those of other windows. What a window has saved can be taken "
                    "back elsewhere once it has been silent for ten minutes.",
                )
            self._write([one for one in self._labels if one is not label])
            self._saved_by.pop(label.item.id, None)
            self._taken_back[label.item.id] = (next(self._when), label.ranks)
            self._held[window] = label.item.id
            return self._shown(label.item)

    # ---- inside ----

    def _write(self, labels: list[Label]) -> None:
        if self._file.path.exists() and _stamp(self._file.path) != self._file_as_left:
            raise LabelError(
                "conflict",
                f"{self._file.path} was changed by another program, so it is not written. Start "
                "the service anew: it continues with what stands there.",
            )
        self._file.write(labels)
        self._file_as_left = _stamp(self._file.path)
        self._labels = labels

    def _find(self, id: str) -> Item:
        if id not in self._by_id:
            raise LabelError("unknown", "No such prompt is to be labelled here; load the page anew")
        return self._by_id[id]

    def _turn(self, item: Item) -> tuple[float, ...]:
        """What comes first has the least."""
        back, _ = self._taken_back.get(item.id, (0, ()))
        unsure = self._unsure.get(item.id)
        return (
            -back,
            self._skipped.get(item.id, 0),
            unsure is None,
            -(unsure or 0.0),
            self._place[item.id],
        )

    def _hear(self, window: str) -> None:
        """Note that `window` spoke, and forget those that have been silent for long."""
        now = time.monotonic()
        self._heard[window] = now
        self._heard = {name: at for name, at in self._heard.items() if now - at < HELD_FOR}
        self._held = {name: id for name, id in self._held.items() if name in self._heard}

    def _shown(self, item: Item) -> dict[str, Any]:
        return {
            "id": item.id,
            "prompt": item.prompt,
            "completions": list(item.completions),
            "ranks": self._taken_back[item.id][1] if item.id in self._taken_back else None,
            "rewards": self._rewards.get(item.id),
            "unsureness": self._unsure.get(item.id),
            "skipped": item.id in self._skipped,
        }


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written by somebody else; None where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
