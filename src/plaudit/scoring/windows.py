"""Rows in windows: read, encoded while the one before is computed, scored.

The bounds of a window depend on nothing but the rows, since in what company a row is scored decides
how its reward is rounded: wherever an output is interrupted, and whoever scores it, its bytes are
the same.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from plaudit.data.rankings import Rejected, Text, text_key
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


def score_windows(scorer: "Scorer", windows: Iterable[Window]) -> Iterator[list[Outcome]]:
    """What becomes of each window; the next one is read and encoded while one is computed."""
    ahead_of = iter(windows)

    def prepare() -> tuple[Window, list[str], list[dict[str, Any]]] | None:
        window = next(ahead_of, None)
        return None if window is None else (window, *_encode(scorer, window))

    with ThreadPoolExecutor(1, "encode") as thread:
        ahead = thread.submit(prepare)
        while ready := ahead.result():
            ahead = thread.submit(prepare)
            window, keys, encoded = ready
            rewards = {
                key: iter(of_prompt)
                for key, of_prompt in zip(keys, scorer.rewards(encoded), strict=True)
            }
            yield [
                task.with_rewards(
                    list(islice(rewards[text_key(task.prompt)], len(task.completions)))
                )
                if isinstance(task, Task)
                else task
                for task in window
            ]


def _encode(scorer: "Scorer", window: Window) -> tuple[list[str], list[dict[str, Any]]]:
    """The keys of the prompts of a window, and each encoded with all its completions.

    Completions of one prompt go together, in however many rows they stand.
    """
    together: dict[str, tuple[Text, list[Text]]] = {}
    for task in window:
        if isinstance(task, Task):
            prompt = together.setdefault(text_key(task.prompt), (task.prompt, []))
            prompt[1].extend(task.completions)
    return list(together), scorer.encode(list(together.values()))
