"""Score in several processes, each with the model on its own device or on some of the CPU's cores.

This process reads and writes; windows of prompts and completions go to whichever worker has least
to do, and their rewards come back in order. Workers are started afresh ("spawn"), since a process
that has used CUDA cannot be copied, so a script that scores must be importable: its work stands
under `if __name__ == "__main__":`. A worker ends with the process that started it, however that
ends.
"""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from plaudit.console import hushed, say
from plaudit.data.cells import shown
from plaudit.data.rankings import Rejected
from plaudit.data.tasks import Task, Tasks
from plaudit.errors import PlauditError
from plaudit.memory import keep_freed_memory, look_for_garbage_less_often
from plaudit.model.encoding import describe_truncation
from plaudit.scoring.windows import Outcome, Window, read_windows, score_windows

WINDOWS_PER_WORKER = 3  # one is computed, one encoded, one on its way


class Workers:
    """The engine of several processes; a context manager, after which there are none."""

    def __init__(
        self, model: Any, loading: dict[str, Any], count: int, deviations: bool = False
    ) -> None:
        self._model, self._count, self._deviations = model, count, deviations
        self._loading = _on_devices(loading, count)
        self._workers: list[_Worker] = []
        self._truncation: Counter[str] = Counter()
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> "Workers":
        threads = max(_cores() // self._count, 1)
        say(f"scoring in {self._count} processes")
        try:
            for number, loading in enumerate(self._loading):
                if number:  # which number type is fastest, the first one has found out for all
                    loading = of_one_type(loading, self.facts)
                worker = _Worker(self._model, loading, threads, not number, self._deviations)
                self._workers.append(worker)
                if not number:
                    self.facts, self._max_length = worker.receive()
            for worker in self._workers[1:]:
                worker.receive()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            # At its end Python would wait until all is passed on, and nobody reads any more.
            worker.tasks.cancel_join_thread()
            worker.tasks.close()

    def outcomes(self, sources: Sequence[Tasks], done: int) -> Iterator[list[Outcome]]:
        """See `Engine`."""
        windows = read_windows(sources, done)
        sent: deque[tuple[Window, _Worker]] = deque()
        answers: dict[_Worker, deque[list[Outcome]]] = {worker: deque() for worker in self._workers}
        busy = dict.fromkeys(self._workers, 0)
        while True:
            while len(sent) < self._count * WINDOWS_PER_WORKER and (window := next(windows, None)):
                worker = min(busy, key=busy.__getitem__)
                worker.tasks.put([_bare(task) for task in window if isinstance(task, Task)])
                busy[worker] += 1
                sent.append((window, worker))
            if not sent:
                break
            while not answers[sent[0][1]]:
                ready = wait([worker.answers for worker in self._workers])
                for worker in self._workers:
                    if worker.answers in ready:
                        answers[worker].append(worker.receive())
                        busy[worker] -= 1
            window, worker = sent.popleft()
            yield _joined(window, answers[worker].popleft())
        for worker in self._workers:
            worker.tasks.put(None)
        for worker in self._workers:
            self._truncation.update(worker.receive())

    def report(self) -> None:
        """Say what was truncated, by all of them together."""
        if line := describe_truncation(self._truncation, self._max_length):
            say(line)


def of_one_type(loading: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """How further processes load the model, to compute in what the first one has measured to be
    fastest: where each measured for itself, they might not agree.

    >>> of_one_type({"dtype": "auto"}, {"dtype": "torch.bfloat16"})
    {'dtype': 'bfloat16'}
    """
    if loading.get("dtype", "auto") != "auto" or "dtype" not in facts:
        return loading
    return loading | {"dtype": facts["dtype"].removeprefix("torch.")}


class _Worker:
    """A process, the windows it is to score, and its answers."""

    def __init__(
        self,
        model: Any,
        loading: dict[str, Any],
        threads: int,
        speaks: bool,
        deviations: bool,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.tasks: Any = context.Queue()
        self.answers, theirs = context.Pipe(duplex=False)
        self.device = loading.get("device", "cpu")
        self.process = context.Process(
            target=_work,
            args=(model, loading, threads, speaks, deviations, self.tasks, theirs),
            daemon=True,
        )
        self.process.start()
        theirs.close()  # so that the end of the process is the end of its answers

    def receive(self) -> Any:
        """Its next answer."""
        try:
            answer = self.answers.recv()
        except EOFError as error:
            self.process.join()
            code = self.process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise PlauditError(
                f"a scoring process (on {self.device}) died: {how}; was there too little memory?"
            ) from error
        if isinstance(answer, PlauditError):
            raise answer
        return answer


def _work(
    model: Any,
    loading: dict[str, Any],
    threads: int,
    speaks: bool,
    deviations: bool,
    tasks: Any,
    answers: Connection,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is done on Ctrl-C, the first process does
    threading.Thread(target=_end_with_parent, daemon=True).start()
    look_for_garbage_less_often()
    import torch

    from plaudit.model.reward_model import RewardModel

    torch.set_num_threads(threads)
    keep_freed_memory()
    try:
        with nullcontext() if speaks else hushed():  # the first one has said it for all
            scorer = RewardModel.load(model, **loading)
        scorer.check_uncertain(deviations)
        if speaks:
            scorer.warn_if_untrained()
        answers.send((scorer.identity(), scorer.max_length))
        for outcomes in score_windows(scorer, iter(tasks.get, None), deviations):
            answers.send(outcomes)
        answers.send(scorer.truncation)
    except PlauditError as error:
        answers.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _bare(task: Task) -> Task:
    """A task without the values of its row, which stay here."""
    return task._replace(row=task.row._replace(values={}))


def _joined(window: Window, answers: list[Outcome]) -> list[Outcome]:
    """The rows of a window with what came back for its tasks."""
    came_back = iter(answers)
    return [
        task if isinstance(task, Rejected) else _whole(task, next(came_back)) for task in window
    ]


def _whole(task: Task, answer: Outcome) -> Outcome:
    """The values of a task's row with its rewards, or, where it was refused, beside the reason."""
    values = task.row.values or {}
    if isinstance(answer, Rejected):
        return replace(answer, row=shown(values))
    return {**values, **answer}


def _on_devices(loading: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """For each process what its model is loaded with: CUDA devices in turn, if there are any."""
    import torch

    devices = torch.cuda.device_count()
    if loading.get("device", "auto") != "auto" or not devices:
        return [loading] * count
    return [loading | {"device": f"cuda:{number % devices}"} for number in range(count)]


def _cores() -> int:
    """How many threads torch would use here alone."""
    import torch

    return torch.get_num_threads()
