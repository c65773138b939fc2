"""Give every completion of a file its reward: any size, streamed, order kept, nothing lost.

What a row may hold, and how it comes out, is said in `data.tasks`. Rows that cannot be scored go to
`rejected.jsonl` beside the output, or in the current folder where the output is stdout. An output
file survives a kill at any moment (see `resumable`). Rows are scored in `windows`, by an engine:
this process, several, or a Ray cluster.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO, get_args

from plaudit.console import counted, progress, say
from plaudit.data.cells import shown
from plaudit.data.columns import mapped_in_each
from plaudit.data.encodings import Dialect
from plaudit.data.rankings import Rejected
from plaudit.data.readers import BadRows, OnBadRow
from plaudit.data.rows import Source, dialect_of, find_sources
from plaudit.data.tasks import DEVIATION, Tasks
from plaudit.errors import PlauditError
from plaudit.files import refuse_to_overwrite, rejected_beside, say_rejected, writing
from plaudit.memory import keep_freed_memory
from plaudit.resumable import check_output, resumable
from plaudit.row_files import json_lines
from plaudit.scoring.windows import (
    COMPLETIONS_AT_ONCE,
    ROWS_AT_ONCE,
    Outcome,
    read_windows,
    score_windows,
)
from plaudit.sources import kind_of

if TYPE_CHECKING:
    import pyarrow

    from plaudit.model.devices import Dtype
    from plaudit.model.scorer import Scorer

EngineName = Literal["local", "ray"]


class Engine(Protocol):
    """Where and how rows are scored."""

    facts: dict[str, Any]  # that decide what comes out, as plain JSON

    def outcomes(self, sources: Sequence[Tasks], done: int) -> Iterator[list[Outcome]]:
        """What becomes of the rows after the first `done`, in order, a window at a time."""
        ...

    def report(self) -> None:
        """Say what there is to say once all is scored."""
        ...


def score_file(
    model: "Scorer | str | Path | Sequence[str | Path]",
    data: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    on_bad_row: OnBadRow = "reject",
    strict: bool = False,
    max_rejected: float = 1.0,
    overwrite: bool = False,
    resume: bool = False,
    dtype: "Dtype" = "auto",
    processes: int | None = None,
    engine: EngineName = "local",
    deviations: bool = False,
    **loading: Any,
) -> int:
    """Score the rows of `data` into the file `output`, or to stdout as JSON lines.

    Args:
        model: a scorer, or what `RewardModel.load` takes: a name or several.
        data: files, folders, globs or a data set on the hub.
        output: a `.jsonl`, `.csv` or `.tsv` file, also with `.gz` or `.zst`, or a `.parquet` file,
            which appears when it is whole. Until then what is done is in `OUTPUT.partial`.
        columns: our name of a column → the one in the data, where it is not recognised.
        encoding: of text files that are not in UTF-8.
        on_bad_row: "stop" at the first row that cannot be scored, or "reject" it and go on.
        strict: the old name of "stop".
        max_rejected: stop when more than this share of the rows is rejected; by default never,
            since every row is in the output or among the rejected ones.
        overwrite: replace `output`. Rejected rows of another one never are: they go to
            `rejected-2.jsonl` where the name is taken.
        resume: go on with an `output` that was interrupted; begin it where it was not begun.
        dtype: as `RewardModel.load` takes it.
        processes: each with the model on a device of its own, or on its share of the CPU's cores.
            None: one for each CUDA device, else 1. With `ray`, how many actors.
        engine: `ray` reads and scores on a Ray cluster (see `on_ray`).
        deviations: write the standard deviation of each reward beside it, in a column of the same
            name and `_std`; only with a model that has an uncertainty.
        loading: what else `RewardModel.load` takes: `combine`, `length_penalty`, `device` …

    Returns:
        The number of rows scored, of a resumed output in all.

    Raises:
        PlauditError: when the data cannot be read, when no row could be scored or one could not
            that is to stop everything, when a column of the data is called as one that is added,
            when a reward is not a finite number, when the output would replace something or cannot
            be written, or is resumed with another model or other data; when a process dies.

    >>> score_file("runs/first", "completions.jsonl", "scored.jsonl")
    24
    """
    sources = find_sources(data, None, True, encoding)
    if output is not None:
        check_output(output, resume, overwrite)
        refuse_to_overwrite(output, True, inputs=[source.name for source in sources])
    elif resume:
        raise PlauditError("--resume needs the file that was begun: -o FILE")
    each = zip(sources, mapped_in_each(sources, columns), strict=True)
    tasks = [Tasks(source, mapped, deviations) for source, mapped in each]
    schema = _arrow_schema(output, tasks)
    # A spreadsheet that wrote semicolons and a mark reads no other CSV as it should.
    dialect = dialect_of(sources[0].name, encoding)
    with _engine(engine, model, processes, {"dtype": dtype} | loading, deviations) as scoring:
        facts: dict[str, Any] = {
            "data": [_stated(source) for source in sources],
            "columns": dict(columns or {}),
            "engine": engine,
            "windows": [ROWS_AT_ONCE, COMPLETIONS_AT_ONCE],
        }
        if deviations:  # else outputs begun by earlier versions could not be resumed
            facts["deviations"] = True
        with _sink(output, facts | scoring.facts, resume, overwrite, schema, dialect) as out:
            finished = scoring.outcomes(tasks, out.done)
            rows: list[dict[str, Any]] = []
            rejected: list[dict[str, Any]] = []
            done = out.done
            stop = "stop" if strict else on_bad_row
            bad = BadRows(sources[0].name, stop, max_rejected, keep=False)
            bad.go_on(out.done, out.rejected)
            for outcome, ends_window in progress(
                _one_by_one(finished), "scoring", lambda: _count(sources), done
            ):
                done += 1
                bad.count(outcome)
                if not isinstance(outcome, Rejected):
                    rows.append(shown(outcome) if schema is None else outcome)
                else:
                    rejected.append(outcome.as_dict())
                if ends_window:
                    out.commit(rows, rejected, done)
                    rows, rejected = [], []
            scoring.report()
            bad.stop_if_too_many()
            # Without a row there is no output; the reasons there are.
            out.finish(rows=out.rows > 0)
    if out.rejected:
        say_rejected(bad.summary(), out.rejected_to)
    if not out.rows:
        raise PlauditError(f"{sources[0].name}: no row could be scored; see {out.rejected_to}")
    if output is not None:
        say(f"{counted(out.rows, 'row')} scored, in {output}")
    return out.rows


def _one_by_one(windows: Iterable[list[Outcome]]) -> Iterator[tuple[Outcome, bool]]:
    for window in windows:
        last = len(window) - 1
        for number, outcome in enumerate(window):
            yield outcome, number == last


def _count(sources: Iterable[Source]) -> int | None:
    """How many rows there are; None where nobody can tell, or not without a download."""
    try:
        counts = [source.count() for source in sources]
    except PlauditError:  # a broken file, which is told where it is read
        return None
    return None if None in counts else sum(filter(None, counts))


def _stated(source: Source) -> list[Any]:
    """What tells whether a source is the one that it was."""
    if not os.path.isfile(source.name):
        return [source.name, source.size]
    facts = os.stat(source.name)
    return [os.path.basename(source.name), facts.st_size, facts.st_mtime_ns]


# ---- where rows are scored ----


class _ThisProcess:
    """The engine that is here already."""

    def __init__(self, scorer: "Scorer", deviations: bool) -> None:
        scorer.check_uncertain(deviations)
        scorer.warn_if_untrained()
        keep_freed_memory()
        self._scorer, self._deviations = scorer, deviations
        self.facts = scorer.identity()
        scorer.truncation.clear()  # of what was scored before
        self.report = scorer.report_truncation

    def outcomes(self, sources: Sequence[Tasks], done: int) -> Iterator[list[Outcome]]:
        """See `Engine`."""
        return score_windows(self._scorer, read_windows(sources, done), self._deviations)


@contextmanager
def _engine(
    name: EngineName,
    model: Any,
    processes: int | None,
    loading: dict[str, Any],
    deviations: bool,
) -> Iterator[Engine]:
    if name not in get_args(EngineName):
        raise PlauditError(f"engine: there is no {name}; choose one of local, ray")
    if processes is not None and processes < 1:
        raise PlauditError(f"processes: {processes} is not a number of 1 or more")
    from plaudit.model.reward_model import RewardModel
    from plaudit.model.scorer import Scorer

    if isinstance(model, Scorer):
        if name != "local" or processes not in (None, 1):
            raise PlauditError("other processes load the model themselves: give its name")
        yield _ThisProcess(model, deviations)
    elif name == "ray":
        from plaudit.scoring.on_ray import on_ray

        with on_ray(model, loading, processes, deviations) as engine:
            yield engine
    elif (count := processes or _cuda_devices()) > 1:
        from plaudit.scoring.workers import Workers

        with Workers(model, loading, count, deviations) as engine:
            yield engine
    else:
        yield _ThisProcess(RewardModel.load(model, **loading), deviations)


def _cuda_devices() -> int:
    import torch

    return torch.cuda.device_count()


# ---- what comes out ----


class _Sink(Protocol):
    """What `resumable` gives, as far as it is used here."""

    done: int
    rows: int
    rejected: int
    rejected_to: Path

    def commit(
        self, rows: Sequence[dict[str, Any]], rejected: Sequence[dict[str, Any]], done: int
    ) -> None: ...

    def finish(self, rows: bool = True) -> None: ...


def _sink(
    output: str | Path | None,
    facts: dict[str, Any],
    resume: bool,
    overwrite: bool,
    schema: "pyarrow.Schema | None",
    dialect: Dialect | None,
) -> AbstractContextManager[_Sink]:
    if output is None:
        return _to_stdout()
    return resumable(output, facts, resume, overwrite, schema, dialect)


def _arrow_schema(output: str | Path | None, tasks: Sequence[Tasks]) -> "pyarrow.Schema | None":
    """The types of the columns, and of the rewards, where Parquet is to become Parquet."""
    if any(kind_of(file or "") != ("parquet", None) for file in [output, *_names(tasks)]):
        return None
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([])
    for each in tasks:
        own = pyarrow.parquet.read_schema(each.source.name).remove_metadata()
        if len(tasks) > 1:  # what one file always has, another may lack
            own = pyarrow.schema([column.with_nullable(True) for column in own])
        number = pyarrow.float64()
        for names in each.columns:
            kind = pyarrow.list_(number) if names == ("rewards",) else number
            for name in names:
                own = own.append(pyarrow.field(name, kind))
                if each.deviations:
                    own = own.append(pyarrow.field(name + DEVIATION, kind))
        try:
            schema = pyarrow.unify_schemas([schema, own])
        except pyarrow.ArrowException as error:
            raise PlauditError(
                f"{each.source.name}: its columns are of other types than those of "
                f"{tasks[0].source.name}: {str(error).splitlines()[0]}; write .jsonl instead"
            ) from error
    return schema


def _names(tasks: Sequence[Tasks]) -> list[str]:
    return [each.source.name for each in tasks]


@contextmanager
def _to_stdout() -> Iterator["_Stdout"]:
    with ExitStack() as files:
        yield _Stdout(files)


class _Stdout:
    """Rows to stdout as they come, and rejected ones to a file here; nothing can be resumed."""

    done = rows = rejected = 0

    def __init__(self, files: ExitStack) -> None:
        self.rejected_to = rejected_beside(None)
        self._files = files
        self._rejects: TextIO | None = None

    def commit(
        self, rows: Sequence[dict[str, Any]], rejected: Sequence[dict[str, Any]], done: int
    ) -> None:
        """Print the rows."""
        sys.stdout.write(json_lines(rows).decode())
        if rejected:
            self._rejects = self._rejects or self._files.enter_context(writing(self.rejected_to))
            self._rejects.write(json_lines(rejected).decode())
        self.done = done
        self.rows += len(rows)
        self.rejected += len(rejected)

    def finish(self, rows: bool = True) -> None:
        """Give the rejected rows their name."""
        self._files.close()
