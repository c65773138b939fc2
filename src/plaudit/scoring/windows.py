"""Rows in windows: read, encoded while the one before is computed, scored.

The bounds of a window depend on nothing but the rows, since in what company a row is scored decides
how its reward is rounded: wherever an output is interrupted, and whoever scores it, its bytes are
the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from plaudit.data.parse import reject
from plaudit.data.rankings import Rejected, Text
from plaudit.data.rows import place
from plaudit.data.tasks import Task, Tasks

if TYPE_CHECKING:
    from plaudit.model.scorer import Scorer

# A window ends with the row that makes it this large: enough to find rows alike in length.
ROWS_AT_ONCE = 256
COMPLETIONS_AT_ONCE = 512

Window = list[Task | Rejected]
Outcome = dict[str, Any] | Rejected  # a row with its rewards, or why it has none


def read_windows(sources: Iterable[Tasks], done: int = 0) -> Iterator[Window]:
    """The tasks after the first `done` input rows, in windows."""
    window: Window = []
    completions = 0
    for tasks in sources:
        for row in tasks.source.rows():
            if done:
                done -= 1
                continue
            task = tasks.of(row)
            window.append(task)
            completions += len(task.completions) if isinstance(task, Task) else 0
            if len(window) >= ROWS_AT_ONCE or completions >= COMPLETIONS_AT_ONCE:
                yield window
                window, completions = [], 0
    if window:
        yield window


def score_windows(
    scorer: "Scorer", windows: Iterable[Window], deviations: bool = False
) -> Iterator[list[Outcome]]:
    """What becomes of each window; the next one is read and encoded while one is computed.

    With `deviations` rewards come with their standard deviations.
    """
    from plaudit.model.encoding import RefusedError
    from plaudit.model.scorer import apart, check_finite, gathered

    ahead_of = iter(windows)

    def prepare() -> tuple[Window, list[str], list[dict[str, Any]]] | None:
        window = next(ahead_of, None)
        if window is None:
            return None
        together = gathered(_to_score(window))
        try:
            encoded = scorer.encode(list(together.values()))
        except RefusedError:  # some row of the window is: each is asked, and the others go on
            window = [_refused(scorer, task) if isinstance(task, Task) else task for task in window]
            together = gathered(_to_score(window))
            encoded = scorer.encode(list(together.values()))
        return window, list(together), encoded

    def rewarded(
        task: Task, rewards: list[float], spread: list[float] | None = None
    ) -> dict[str, Any]:
        check_finite(rewards, task.prompt, place(task.row.file, task.row.line))
        return task.with_rewards(rewards, spread)

    with ThreadPoolExecutor(1, "encode") as thread:
        ahead = thread.submit(prepare)
        while ready := ahead.result():
            ahead = thread.submit(prepare)
            window, keys, encoded = ready
            if deviations:
                known = scorer.posteriors(encoded)
                made = [[e.rewards.tolist() for e in known], [e.deviations.tolist() for e in known]]
            else:
                made = [scorer.rewards(encoded)]
            found = zip(*(apart(_to_score(window), keys, each) for each in made), strict=True)
            yield [
                rewarded(task, *next(found)) if isinstance(task, Task) else task for task in window
            ]


def _refused(scorer: "Scorer", task: Task) -> Task | Rejected:
    """A task as it is, or why the model does not take it."""
    refusal = scorer.refusal(task.prompt, task.completions)
    return task if refusal is None else reject(task.row, refusal)


def _to_score(window: Window) -> list[tuple[Text, Sequence[Text]]]:
    return [(task.prompt, task.completions) for task in window if isinstance(task, Task)]
