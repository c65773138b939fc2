"""Score on a Ray cluster: files are read and rows are scored by a pool of actors, in Ray Data.

A file is read by one task, a window of rows at a time, and each actor holds a model; so one large
file keeps a whole cluster busy, and many files are read side by side. What becomes of the rows
comes back in their order and is written here, as without Ray: one file, which can be resumed. Data
and model must be where every node sees them. The cluster is the one that this process is connected
to, else that of RAY_ADDRESS, else a local one.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pyarrow

from plaudit.console import hushed, say
from plaudit.data.rows import Row, find_sources
from plaudit.data.tasks import Tasks
from plaudit.errors import PlauditError
from plaudit.memory import keep_freed_memory, look_for_garbage_less_often
from plaudit.model.encoding import describe_truncation
from plaudit.scoring.windows import Outcome, Window, read_windows, score_windows
from plaudit.scoring.workers import of_one_type

# Before Ray is imported, which reads them then. Nothing is reported to its makers.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ side writes to our stderr
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    import ray
    import ray.data
    from ray import cloudpickle as pickle
except ImportError as error:
    raise PlauditError("the engine ray needs Ray Data: pip install 'plaudit[ray]'") from error

# Of what an actor gets at once; within it, it encodes a window while it computes the one before.
WINDOWS_AT_ONCE = 4
# Bytes that are passed on at once; with Ray's own 128 MiB one actor would get all of a file.
BLOCK = 1 << 20
# Less than an actor's, or Ray Data would have each actor read a file of its own.
CORES_OF_A_READER = 0.5


@contextmanager
def on_ray(
    model: Any, loading: dict[str, Any], actors: int | None, deviations: bool = False
) -> Iterator["RayEngine"]:
    """The engine of a Ray cluster, which this process is connected to within the block.

    Args:
        model: as `RewardModel.load` takes it; a folder is to be where every node sees it.
        loading: what else it takes. An actor has a GPU where the cluster has any, else a core.
        actors: how many; None: one for each GPU, or for each core but one, which reads.
        deviations: whether rewards come with their standard deviations.

    Raises:
        PlauditError: what the tasks and actors raise; when an actor or a node dies; where there is
            no cluster and none starts.
    """
    ours = not ray.is_initialized()
    if ours:
        _connect()
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with _explained():
            yield RayEngine(_everywhere(model), loading, actors, deviations)
    finally:
        if ours:
            ray.shutdown()


def _connect() -> None:
    """Connect this process to the cluster of RAY_ADDRESS, else to a local one that starts now."""
    address = os.environ.get("RAY_ADDRESS")
    if address:  # Ray tries for minutes to reach one that is not there
        say(f"connecting to the Ray cluster at {address}, as RAY_ADDRESS says")
    try:
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # Ray raises bare ones, too
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        ways = "--engine local scores in processes of this machine"
        if address:
            raise PlauditError(
                f"RAY_ADDRESS: the Ray cluster at {address} cannot be reached ({why}). Correct or "
                f"unset it; {ways}"
            ) from error
        raise PlauditError(
            f"engine ray: no local cluster starts ({why}). Try again when the machine has less to "
            f"do; {ways}"
        ) from error


class RayEngine:
    """See `Engine`."""

    def __init__(
        self, model: Any, loading: dict[str, Any], actors: int | None, deviations: bool
    ) -> None:
        has = ray.cluster_resources()
        gpus = int(has.get("GPU", 0))
        self._actors = actors or gpus or max(int(has.get("CPU", 1)) - 1, 1)
        if not gpus and self._actors >= has.get("CPU", 1) > 1:
            raise PlauditError(
                f"processes: {self._actors} actors need as many cores of the cluster and one to "
                f"read; it has {has['CPU']:.0f}"
            )
        self._cores, self._gpus = (0, 1) if gpus else (1, 0)  # of an actor
        self._model, self._loading, self._deviations = model, loading, deviations
        self._truncation: Counter[str] = Counter()
        # One that scores nothing says what the model is, before anything is written.
        about = ray.remote(num_cpus=self._cores, num_gpus=self._gpus)(_about)
        found = ray.get(about.remote(model, loading, deviations))
        if isinstance(found, PlauditError):
            raise found
        self.facts, self._max_length, untrained, readings = found
        for line in readings:
            say(line)
        self._loading = of_one_type(loading, self.facts)
        if untrained:
            from plaudit.model.scorer import UNTRAINED

            say(UNTRAINED)

    def outcomes(self, sources: Sequence[Tasks], done: int) -> Iterator[list[Outcome]]:
        """See `Engine`."""
        data = ray.data.DataContext.get_current()
        data.enable_progress_bars = False
        data.execution_options.preserve_order = True
        data.target_max_block_size = BLOCK
        files = [{"file": pickle.dumps(each)} for each in _left(sources, done)]
        if not files:
            return
        begun = ray.data.from_items(files, override_num_blocks=len(files))
        windows = begun.map_batches(
            _read, batch_size=1, batch_format="pyarrow", num_cpus=CORES_OF_A_READER
        )
        scored = windows.map_batches(
            _Actor,
            fn_constructor_args=(self._model, self._loading, self._deviations, self._cores),
            batch_size=WINDOWS_AT_ONCE,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=self._actors),
            num_cpus=self._cores,
            num_gpus=self._gpus,
        )
        for row in scored.iter_rows():
            scored_or_why_not = pickle.loads(row["pickled"])
            if isinstance(scored_or_why_not, PlauditError):
                raise scored_or_why_not
            outcomes, truncation = scored_or_why_not
            self._truncation.update(truncation)
            yield outcomes

    def report(self) -> None:
        """Say what was truncated, by all actors together."""
        if line := describe_truncation(self._truncation, self._max_length):
            say(line)


# What follows runs in the cluster. A user's mistake is handed back in the place of a result:
# raised, it would come with Ray's own advice, and before the rows that stand ahead of it.


def _about(
    model: Any, loading: dict[str, Any], deviations: bool
) -> tuple[dict[str, Any], int, bool, list[str]] | PlauditError:
    look_for_garbage_less_often()
    from plaudit.model.reward_model import RewardModel

    try:
        with hushed():  # it is said where it was asked for
            scorer = RewardModel.load(model, **loading)
        scorer.check_uncertain(deviations)
    except PlauditError as error:
        return error
    return scorer.identity(), scorer.max_length, scorer.new_head, scorer.readings


def _read(files: pyarrow.Table) -> Iterator[pyarrow.Table]:
    """The windows of each file."""
    for file in files["file"]:
        tasks, skip = pickle.loads(file.as_py())
        try:
            for window in read_windows([tasks], skip):
                yield _column([window])
        except PlauditError as error:
            yield _column([error])


class _Actor:
    """A process somewhere that has the model."""

    def __init__(self, model: Any, loading: dict[str, Any], deviations: bool, cores: int) -> None:
        look_for_garbage_less_often()
        import torch

        from plaudit.model.reward_model import RewardModel

        if cores:  # no more threads, whatever OMP_NUM_THREADS of the node says
            torch.set_num_threads(cores)
        keep_freed_memory()
        with hushed():
            self._scorer = RewardModel.load(model, **loading)
        self._deviations = deviations

    def __call__(self, windows: pyarrow.Table) -> pyarrow.Table:
        scored: list[Any] = []
        try:
            given = map(_window, windows["pickled"])
            for outcomes in score_windows(self._scorer, given, self._deviations):
                scored.append((outcomes, dict(self._scorer.truncation)))
                self._scorer.truncation.clear()
        except PlauditError as error:
            scored.append(error)  # at which scoring ends, whatever comes after it
        return _column(scored)


def _window(pickled: Any) -> Window:
    window = pickle.loads(pickled.as_py())
    if isinstance(window, PlauditError):
        raise window
    return cast(Window, window)


def _column(values: list[Any]) -> pyarrow.Table:
    """A row for each value. Pickled, since Arrow would give all rows the keys of any of them."""
    return pyarrow.table(
        {"pickled": pyarrow.array(map(pickle.dumps, values), pyarrow.large_binary())}
    )


def _left(sources: Sequence[Tasks], done: int) -> Iterator[tuple[Tasks, int]]:
    """The files that are not done, each with how many of its rows are."""
    for tasks in sources:
        here = sum(1 for _ in islice(tasks.source.rows(), done)) if done else 0
        if not done or here == done:
            yield _anywhere(tasks), here
        done -= here


def _anywhere(tasks: Tasks) -> Tasks:
    """The same rows, read by a path that does not hang on the folder a process is in."""
    name = tasks.source.name
    if not os.path.exists(name):  # on the hub
        return tasks
    [there] = find_sources(os.path.abspath(name), None, True, tasks.source.encoding)

    def rows() -> Iterator[Row]:
        try:
            for row in there.rows():
                yield row._replace(file=name)
        except PlauditError as error:
            raise PlauditError(str(error).replace(there.name, name)) from error

    tasks = copy(tasks)
    tasks.source = replace(there, name=name, rows=rows)
    return tasks


def _everywhere(model: Any) -> Any:
    """The names of a model or of several, folders by their full path."""
    if not isinstance(model, str | Path):
        return [_everywhere(each) for each in model]
    return os.path.abspath(model) if os.path.exists(model) else str(model)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1]
        raise PlauditError(f"scoring on the Ray cluster failed: {why}") from error
