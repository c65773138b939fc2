"""Ranking completions by hand: what comes next, who has it, and what was said of it.

`Labelling` reads the data, has the model score them in the background, hands out first what the
model is least sure about, and writes every label to a file at once. People are told apart by the
names they give. It knows nothing of HTTP (see page.py). Its methods may be called from any thread;
the files are written by this process alone, and what another one changed is never overwritten.
"""

import asyncio
import itertools
import math
import os
import shlex
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from plaudit.console import SECONDS_BEFORE_PROGRESS, counted, progress, say
from plaudit.data.rankings import Ranking, Text, dense_ranks, text_key
from plaudit.data.readers import BadRows, OnBadRow
from plaudit.data.rows import find_sources
from plaudit.errors import PlauditError
from plaudit.evaluation.agreement import AgreementRecord, agreement
from plaudit.files import refuse_to_overwrite, report_rejected
from plaudit.labelling.labels_csv import Label, LabelsFile
from plaudit.labelling.to_label import Item, glimpse, read_gold, read_items
from plaudit.reporting.cells import plain_cell

if TYPE_CHECKING:
    from plaudit.model.scorer import Scorer

AT_ONCE = 8  # prompts scored in the background, so that other requests wait little
HELD_FOR = 600.0  # seconds without a word from a window after which its prompt goes to others
GOLD_EVERY = 10  # at most so many prompts from one gold question to the next
SHOWN_AT_ONCE = 20  # labels in a part of the list of them
LONGEST_NOTE = 2000  # characters

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
        gold: data with an order, as `plaudit train` reads them: questions whose answer is known,
            which everybody gets among the others. Answers to them are counted, and not learnt from.
        overlap: the share of the prompts that a second person labels too, drawn by a hash.

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
        gold: str | Path | Sequence[str | Path] | None = None,
        overlap: float = 0.0,
    ) -> None:
        named = [data] if isinstance(data, str | Path) else list(data)
        known = [] if gold is None else [gold] if isinstance(gold, str | Path) else list(gold)
        for one in map(Path, [*named, *known]):
            inside = one.is_dir() and one.resolve() in Path(output).resolve().parents
            fits = has_magic(str(one)) and Path(output).absolute().match(str(one.absolute()))
            if inside or fits:
                raise PlauditError(
                    f"{output}: lies where the data are, in {one}, and would be read as such at "
                    "the next start; write the labels elsewhere"
                )
        sources = find_sources(data, None, True, encoding)
        inputs = [source.name for source in sources]
        inputs += [one.name for one in find_sources(known, None, True, encoding)] if known else []
        refuse_to_overwrite(output, overwrite=True, inputs=inputs)
        self._data = ", ".join(map(str, named))
        bad = BadRows(self._data, on_bad_row, max_rejected)
        of_data, left_out = read_items(sources, columns, bad, scorer.refusal)
        of_gold = read_gold(known, columns, encoding) if known else []
        asked = {text_key(item.prompt) for item in of_gold}
        if both := [item for item in of_data if text_key(item.prompt) in asked]:
            say(f"{counted(len(both), 'prompt')} of {self._data}: gold questions, and no others")
        self._gold = of_gold
        self._data_items = [item for item in of_data if text_key(item.prompt) not in asked]
        self._items = [*self._data_items, *of_gold]
        # By a hash, as good as drawn by lot: the same at every start.
        self._twice = {
            item.id for item in self._data_items if int(item.id[:8], 16) < overlap * 16**8
        }
        report_rejected(bad, output, restarted=True)
        self._left_out = [
            f"{count:,} × {reason} (first: {first})" for reason, (count, first) in left_out.items()
        ]
        if self._left_out:
            say(f"{self._data}: left out of the labelling: {'; '.join(self._left_out)}")
        self._file = LabelsFile(output, self._items)
        self._labels = self._file.read()
        self._as_left = self._stamps()
        if self._labels:
            done = len({label.item.id for label in self._labels})
            say(f"{output}: continued; {counted(done, 'prompt')} labelled already")

        self._by_id = {item.id: item for item in self._items}
        self._place = {item.id: place for place, item in enumerate(self._items)}
        # By item and annotator, all of these.
        self._saved_by: dict[tuple[str, str], str] = {}  # the window that saved it, of this session
        self._taken_back: dict[tuple[str, str], tuple[int, Label]] = {}  # when, and what it was
        self._skipped: dict[tuple[str, str], int] = {}  # when
        self._agreed: tuple[list[Label], AgreementRecord | None] = ([], None)  # of these labels
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
        began = time.monotonic()
        batch: list[Item] = []
        for item in progress(order, "scoring what is to be labelled"):
            batch.append(item)
            if len(batch) == AT_ONCE or item is order[-1]:
                jobs = (score(one.prompt, one.completions) for one in batch)
                results = await asyncio.gather(*jobs, return_exceptions=True)
                for one, rewards in zip(batch, results, strict=True):
                    self._scored(one, rewards)
                batch = []
        if time.monotonic() - began > SECONDS_BEFORE_PROGRESS:  # nothing else ends what was shown
            all_scored = counted(len(order) - self._failed, "prompt")
            say(f"{all_scored} scored: those that the model is least sure about come first")

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
            say(f"{glimpse(item.prompt)}: not scored: {why}")

    # ---- what a window asks for ----

    def state(self, window: str = "", annotator: str = "") -> dict[str, Any]:
        """How far the work is, in numbers; also tells that `window` is still there."""
        with self._lock:
            # Others, of which anybody can make up many, hold nothing.
            self._hear(window if window in self._heard else None)
            per_item = Counter(label.item.id for label in self._labels)
            wanted = [(item.id, self._wanted(item)) for item in self._data_items]
            file = shlex.quote(str(self._file.path))
            return {
                "data": self._data,
                "file": str(self._file.path),
                "total": sum(count for _, count in wanted),
                "labelled": sum(min(per_item[id], count) for id, count in wanted),
                "mine": len(self._mine(window, annotator)),
                "skipped": sum(by == annotator for _, by in self._skipped),
                "scored": len(self._rewards),
                "to_score": len(self._items),
                "failed": self._failed,
                "problem": self._problem,
                "left_out": self._left_out,
                "wants_names": bool(self._twice or self._gold),
                "command": f"plaudit train {file}",
                "with_data": f"plaudit train YOUR-DATA {file}",
            }

    def next(self, window: str, annotator: str = "") -> dict[str, Any] | None:
        """The prompt for `window` to label: the one it has, else the foremost; None at the end.

        What was taken back comes first, then what the model is least sure about of what is scored,
        then the rest in the data's order, at last what was skipped. Now and then it is a gold
        question. Another window's prompt is given only when there is no other left.
        """
        with self._lock:
            annotator = _name(annotator)
            self._hear(window)
            per_item = Counter(label.item.id for label in self._labels)
            own = {label.item.id for label in self._labels if label.annotator == annotator}
            mine = self._held.pop(window, None)
            if mine is None or not self._is_open(self._by_id[mine], annotator, per_item, own):
                left = [i for i in self._items if self._is_open(i, annotator, per_item, own)]
                gold = [item for item in left if item.gold is not None]
                back = [item for item in left if (item.id, annotator) in self._taken_back]
                asked = [item for item in left if item.gold is None]
                if not asked and not back:
                    return None
                others = set(self._held.values())
                free = [item for item in asked if item.id not in others]
                if back:
                    free = back
                elif gold and len(own) % self._gold_every() == self._gold_every() - 1:
                    free = gold
                mine = min(free or asked, key=lambda item: self._turn(item, annotator)).id
            self._held[window] = mine
            return self._shown(self._by_id[mine], annotator)

    def save(
        self,
        window: str,
        id: str,
        ranks: Sequence[int],
        annotator: str = "",
        note: str = "",
        all_bad: bool = False,
    ) -> None:
        """Label an item: a rank for each completion in the order they were shown, lower is better.

        All may tie; where all are bad their ranks do not count. The file has been written when this
        returns. Raises `LabelError` for an item that is not known or was labelled meanwhile, for
        ranks, a name or a note that do not fit, and where the file was changed by another program;
        `PlauditError` where it cannot be written.
        """
        with self._lock:
            annotator, note = _name(annotator), _note(note)
            self._hear(window)
            item = self._find(id)
            if len(ranks) != len(item.completions):
                raise LabelError(
                    "invalid",
                    f"{len(ranks)} ranks for {len(item.completions)} completions: give each one",
                )
            dense = tuple(1 if all_bad else rank + 1 for rank in dense_ranks(ranks))
            label = Label(item, dense, annotator, note, all_bad)
            of_item = [one for one in self._labels if one.item.id == id]
            if before := next((one for one in of_item if one.annotator == annotator), None):
                if before == label and self._saved_by.get(label.key, window) == window:
                    # Asked twice, because the first answer was lost on its way, or the service
                    # ended before it gave one.
                    return
                raise LabelError(
                    "labelled",
                    "This prompt was labelled in another window meanwhile. That label stays.",
                )
            if item.gold is None and len(of_item) >= self._wanted(item):
                raise LabelError(
                    "labelled",
                    "Somebody else labelled this prompt meanwhile. That label stays.",
                )
            self._write([*self._labels, label])
            self._saved_by[label.key] = window
            self._skipped.pop(label.key, None)
            self._taken_back.pop(label.key, None)
            self._held.pop(window, None)

    def skip(self, window: str, id: str, annotator: str = "") -> None:
        """Put an item last for somebody, until the service ends.

        Raises `LabelError` for an unknown one.
        """
        with self._lock:
            annotator = _name(annotator)
            self._hear(window)
            self._find(id)
            if all(label.key != (id, annotator) for label in self._labels):
                self._skipped[id, annotator] = next(self._when)
                self._taken_back.pop((id, annotator), None)
            self._held.pop(window, None)

    def undo(self, window: str, annotator: str = "") -> dict[str, Any]:
        """Take one's last label back and give its prompt to `window`, as it was labelled.

        The last is that of the file, also of an earlier session. Raises `LabelError` when none is
        one's own, see `_mine`, else as `save` does.
        """
        with self._lock:
            annotator = _name(annotator)
            self._hear(window)
            if mine := self._mine(window, annotator):
                return self._take_back(mine[-1], window, annotator)
            if not self._labels:
                raise LabelError("conflict", "No label yet: there is nothing to take back.")
            raise LabelError(
                "conflict",
                "None of the labels is yours: other people or windows gave them. Any of them can "
                "be taken back from the list of what is labelled.",
            )

    def reopen(self, window: str, id: str, by: str, annotator: str = "") -> dict[str, Any] | None:
        """Take any label back, whoever made it and whenever, and give its prompt to `window`.

        To somebody who labelled that prompt, too, the next one is given: nobody labels one twice,
        and it waits for whose label it was. Raises `LabelError` where there is no such label, else
        as `save` does.
        """
        with self._lock:
            annotator = _name(annotator)
            self._hear(window)
            label = next((one for one in self._labels if one.key == (id, by)), None)
            if label is None:
                raise LabelError("conflict", "That label was taken back meanwhile.")
            if by != annotator and any(one.key == (id, annotator) for one in self._labels):
                self._take_back(label, window, by)
                del self._held[window]
                return self.next(window, annotator)
            return self._take_back(label, window, annotator)

    def labelled(self, before: int | None = None) -> dict[str, Any]:
        """A part of the list of labels, the latest first: those before the number `before`."""
        with self._lock:
            end = len(self._labels) if before is None else min(max(before, 0), len(self._labels))
            start = max(end - SHOWN_AT_ONCE, 0)
            return {
                "labels": [
                    {
                        "number": start + place,
                        "id": label.item.id,
                        "annotator": label.annotator,
                        "prompt": glimpse(label.item.prompt),
                        "said": _said(label),
                        "note": label.note,
                    }
                    for place, label in enumerate(self._labels[start:end])
                ][::-1],
                "before": start,
            }

    def people(self) -> dict[str, Any]:
        """Who labelled how much and how well on gold questions, and how far people agree."""
        with self._lock:
            labels = list(self._labels)
        people: dict[str, dict[str, Any]] = {}
        for label in labels:
            one = people.setdefault(
                label.annotator,
                {"labels": 0, "tied": 0, "bad": 0, "gold_pairs": 0, "gold_right": 0.0},
            )
            one["labels"] += label.item.gold is None
            one["bad"] += label.bad
            one["tied"] += max(label.ranks) == 1 and not label.bad
            if label.item.gold is not None:
                pairs, right = _right(label.ranks, label.item.gold)
                one["gold_pairs"] += pairs
                one["gold_right"] += right
        return {
            "people": [{"annotator": name, **one} for name, one in people.items()],
            "agreement": self._agreement(labels),
        }

    def rankings(self) -> list[Ranking]:
        """All labels that order something, as data are read."""
        with self._lock:
            return [label.ranking() for label in self._labels if label.is_learnt]

    # ---- inside ----

    def _agreement(self, labels: list[Label]) -> AgreementRecord | None:
        of, found = self._agreed
        if of != labels:
            times = Counter(label.item.id for label in labels if label.is_learnt)
            several = [one for one in labels if one.is_learnt and times[one.item.id] > 1]
            found = agreement([label.ranking() for label in several])
            self._agreed = (labels, found)
        return found

    def _mine(self, window: str, annotator: str) -> list[Label]:
        """One's own labels, of earlier sessions too.

        Of those without a name the ones that another window saved, which is still open, are
        somebody else's.
        """
        others = set() if annotator else set(self._heard) - {window}
        return [
            one
            for one in self._labels
            if one.annotator == annotator and self._saved_by.get(one.key) not in others
        ]

    def _wanted(self, item: Item) -> int:
        """How many people are to label it."""
        return 2 if item.id in self._twice else 1

    def _gold_every(self) -> int:
        return max(2, min(GOLD_EVERY, len(self._items) // max(len(self._gold), 1)))

    def _is_open(
        self, item: Item, annotator: str, per_item: Mapping[str, int], own: Set[str]
    ) -> bool:
        """Whether somebody may label it still."""
        return item.id not in own and (
            item.gold is not None or per_item.get(item.id, 0) < self._wanted(item)
        )

    def _take_back(self, label: Label, window: str, annotator: str) -> dict[str, Any]:
        self._write([one for one in self._labels if one is not label])
        self._saved_by.pop(label.key, None)
        self._taken_back[label.item.id, annotator] = (next(self._when), label)
        self._held[window] = label.item.id
        return self._shown(label.item, annotator)

    def _write(self, labels: list[Label]) -> None:
        for path, now, left in zip(self._paths(), self._stamps(), self._as_left, strict=True):
            if now is not None and now != left:
                raise LabelError(
                    "conflict",
                    f"{path} was changed by another program, so it is not written. Start the "
                    "service anew: it continues with what stands there.",
                )
        try:
            self._file.write(labels)
        finally:  # of two files one may be written when the other cannot be
            self._as_left = self._stamps()
        self._labels = labels

    def _paths(self) -> tuple[Path, Path]:
        return self._file.path, self._file.beside

    def _stamps(self) -> tuple[Any, Any]:
        path, beside = map(_stamp, self._paths())
        return path, beside

    def _find(self, id: str) -> Item:
        if id not in self._by_id:
            raise LabelError("unknown", "No such prompt is to be labelled here; load the page anew")
        return self._by_id[id]

    def _turn(self, item: Item, annotator: str) -> tuple[float, ...]:
        """What comes first has the least."""
        back = self._taken_back.get((item.id, annotator))
        unsure = self._unsure.get(item.id)
        return (
            -back[0] if back else 0,
            self._skipped.get((item.id, annotator), 0),
            unsure is None,
            -(unsure or 0.0),
            self._place[item.id],
        )

    def _hear(self, window: str | None) -> None:
        """Note that `window` spoke, and forget those that have been silent for long."""
        now = time.monotonic()
        if window is not None:
            self._heard[window] = now
        self._heard = {name: at for name, at in self._heard.items() if now - at < HELD_FOR}
        self._held = {name: id for name, id in self._held.items() if name in self._heard}

    def _shown(self, item: Item, annotator: str) -> dict[str, Any]:
        _, back = self._taken_back.get((item.id, annotator), (0, None))
        return {
            "id": item.id,
            "prompt": item.prompt,
            "completions": list(item.completions),
            "ranks": back.ranks if back else None,
            "note": back.note if back else "",
            "all_bad": bool(back and back.bad),
            "rewards": self._rewards.get(item.id),
            "unsureness": self._unsure.get(item.id),
            "skipped": (item.id, annotator) in self._skipped,
        }


def _name(annotator: str) -> str:
    """The name without blanks around it; `LabelError` where it is none or would be a formula."""
    name = annotator.strip()
    if plain_cell(name) != name or not name.isprintable():
        raise LabelError(
            "invalid", "A name is plain text on one line, and does not begin with =, +, - or @."
        )
    return name


def _note(note: str) -> str:
    """The note without blanks around it; `LabelError` where no file can hold it."""
    note = note.strip()
    try:
        note.encode()
    except UnicodeEncodeError:
        note = "\0"
    if len(note) > LONGEST_NOTE or "\0" in note:
        raise LabelError(
            "invalid",
            f"A note has at most {LONGEST_NOTE:,} characters, of which none is a NUL.",
        )
    return note


def _said(label: Label) -> str:
    """What a label says, in a few words: the best completions, or that there are none."""
    if label.bad:
        return "all bad"
    if max(label.ranks) == 1:
        return "all tied"
    texts = [t for t, rank in zip(label.item.completions, label.ranks, strict=True) if rank == 1]
    return "best: " + " | ".join(map(glimpse, texts[:3]))


def _right(ranks: Sequence[int], gold: Sequence[int]) -> tuple[int, float]:
    """How many pairs a gold question orders, and how many of them `ranks` do; half for a tie.

    >>> _right([1, 2, 2], [0, 1, 2])
    (3, 2.5)
    """
    pairs = [(i, j) for i in range(len(gold)) for j in range(len(gold)) if gold[i] < gold[j]]
    return len(pairs), sum(
        0.5 if ranks[i] == ranks[j] else float(ranks[i] < ranks[j]) for i, j in pairs
    )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written by somebody else; None where there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
