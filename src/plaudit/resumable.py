"""An output of many rows that survives a kill at any moment and goes on where it stopped.

While it is made, all of it is in the folder `FILE.partial`: the rows done so far, the rejected
ones, and `state`, whose first line says what the output is made from and with and whose later
lines say how many input rows are done and how long the other two files were then. A start cuts both
back to the last such line, so a row that was half written, or written and not yet recorded, is made
again. Before a state is recorded what it speaks of is on the disk (fsync), about once a second: a
kill costs a second of work, and so does a power cut. The last step gives the files their names.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from plaudit.console import on_interrupt, say
from plaudit.data.encodings import Dialect
from plaudit.errors import PlauditError, check_at_most_one
from plaudit.files import locked, refuse_to_overwrite, rejected_beside
from plaudit.row_files import Kind, json_lines, kind_of_output

if TYPE_CHECKING:
    import pyarrow

SECONDS_BETWEEN_STATES = 1.0
# Without the suffix of a data file: the folder may be in one whose data are read.
STATE, ROWS, REJECTED, WHOLE = "state", "rows", "rejected", "whole"
HEADER = {"facts", "overwrite", "rejected_to"}
RECORDED = {"done", "rows", "rejected", "lengths", "note", "finished"}


@contextmanager
def resumable(
    path: str | Path,
    facts: dict[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    schema: "pyarrow.Schema | None" = None,
    dialect: Dialect | None = None,
) -> Iterator["Output"]:
    """Open the output `path`; it appears, whole, when the block ends without an exception.

    After an exception what is done stays in `FILE.partial` to be resumed. With `resume`, and
    nothing there yet, it is begun.

    Args:
        path: a `.jsonl`, `.ndjson`, `.csv` or `.tsv` file, also with `.gz` or `.zst`, or a
            `.parquet` file.
        facts: what the output is made from and with, as plain JSON; a resume with others is
            refused.
        resume: go on with an unfinished output.
        overwrite: replace what is there, finished (once this one is) or unfinished (at once).
        schema: of the rows, where they are Arrow's and go to Parquet; else it is found out.
        dialect: how CSV is written.

    Raises:
        PlauditError: when `path` cannot be written, is finished or unfinished and nobody asked to
            replace or resume it, was begun with other facts, or is being written by another
            process.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "squares.jsonl"
    >>> with resumable(file, {"of": "numbers"}) as out:
    ...     for number in range(out.done, 3):
    ...         out.commit([{"square": number**2}], [], done=number + 1)
    >>> file.read_text().splitlines()
    ['{"square": 0}', '{"square": 1}', '{"square": 4}']
    """
    check_output(path, resume, overwrite)
    target = Path(os.path.realpath(path))
    folder = _partial(target)
    out = Output(path, target, folder, kind_of_output(path, schema, dialect))
    with ExitStack() as held:
        with _explained(path):
            held.enter_context(locked(folder, "writing"))
            out.open(json.loads(json.dumps(facts)), resume, overwrite)
        try:
            yield out
            out.finish()
        except BaseException:
            out.leave()
            raise


def check_output(path: str | Path, resume: bool = False, overwrite: bool = False) -> None:
    """Raise `PlauditError` when `resumable` would refuse to begin or to resume `path`.

    To be called before work that takes long, such as loading a model.
    """
    check_at_most_one(resume=resume, overwrite=overwrite)
    kind_of_output(path)
    target = Path(os.path.realpath(path))
    begun = None if overwrite else _read_state(_partial(target))
    if resume and begun is not None:
        if target.exists() and not (begun.header["overwrite"] or begun.last["finished"]):
            raise PlauditError(f"{path}: appeared since the output was begun; move it away")
    elif resume and target.exists():
        with suppress(OSError):  # all that a kill in the very last moment leaves
            _partial(target).rmdir()
        raise PlauditError(
            f"{path}: is finished, there is nothing to resume; --overwrite makes it anew"
        )
    elif begun is not None:
        raise PlauditError(
            f"{path}: is unfinished, {begun.last['done']:,} input rows are done; --resume goes on "
            "with it, --overwrite starts it anew"
        )
    refuse_to_overwrite(path, overwrite or resume)


def unfinished(path: str | Path) -> bool:
    """Whether there is something of the output `path` for `resumable` to resume."""
    return _read_state(_partial(Path(os.path.realpath(path)))) is not None


class Output:
    """An output that is being made; see `resumable`.

    `done` counts the input rows that are done, `rows` and `rejected` what came of them; `note` is
    what the last commit noted, plain JSON of whoever makes the output.
    """

    done = rows = rejected = 0
    note: Any = None

    def __init__(self, path: str | Path, target: Path, folder: Path, kind: Kind) -> None:
        self.path = path
        self.rejected_to = rejected_beside(path)
        self._target, self._folder = target, folder
        self._kind = kind
        self._lengths = [0, 0]  # of the rows and of the rejected ones, that belong to `done`
        self._files: list[BinaryIO] = []
        self._recorded_at = 0.0
        self._named = False  # whether all is done
        self._finished = ""  # then what the last step gives its name: "rows" or only "rejected"

    @property
    def complete(self) -> bool:
        """Whether only the last step is missing, after a kill in the midst of it."""
        return bool(self._finished)

    def open(self, facts: dict[str, Any], resume: bool, overwrite: bool) -> None:
        """Begin, or cut what is there back to the last recorded state."""
        begun = _read_state(self._folder) if resume else None
        if begun is None:
            if resume:
                say(f"{self.path}: nothing to resume yet; it is begun")
            (self._folder / STATE).unlink(missing_ok=True)  # before what it speaks of
            self._clear()
            header = {
                "facts": facts,
                "overwrite": overwrite,
                "rejected_to": self.rejected_to.name,
            }
            _append(self._folder / STATE, json_lines([header]))
            self._open_files()
            self._record()
            return
        _refuse_others(self.path, begun.header["facts"], facts)
        self.rejected_to = self.rejected_to.with_name(begun.header["rejected_to"])
        os.truncate(self._folder / STATE, begun.length)
        self.done, self.rows, self.rejected = (begun.last[n] for n in ("done", "rows", "rejected"))
        self.note = begun.last["note"]
        self._lengths, self._finished = begun.last["lengths"], begun.last["finished"]
        if self._finished:
            return
        self._open_files()
        for file, length in zip(self._files, self._lengths, strict=True):
            if file.seek(0, os.SEEK_END) < length:
                raise PlauditError(
                    f"{file.name}: is shorter than it was; --overwrite starts {self.path} anew"
                )
            file.truncate(length)
            file.seek(length)
        say(f"{self.path}: {self.done:,} input rows are done; going on from there")

    def committed(self) -> Iterator[bytes]:
        """The rows that were committed so far, of an output of plain JSON lines: a line each."""
        with _explained(self.path):
            for file in self._files:
                file.flush()
            left = self._lengths[0]
            there = self._folder / ROWS
            if self.complete and not there.exists():  # it has its name already
                there = self._target
            with open(there, "rb") as rows:
                while left and (line := rows.readline()):
                    left -= len(line)
                    yield line

    def commit(
        self,
        rows: Sequence[dict[str, Any]],
        rejected: Sequence[dict[str, Any]],
        done: int,
        note: Any = None,
    ) -> None:
        """Append what came of the input rows up to the `done`th, and keep `note` for a resume."""
        if self.complete or done < self.done:
            raise ValueError(f"{done} input rows after {self.done}{' and the end' * self.complete}")
        pieces = (self._kind.encode(rows), json_lines(rejected))
        with _explained(self.path):
            for file, piece in zip(self._files, pieces, strict=True):
                file.write(piece)
            self._lengths = [n + len(p) for n, p in zip(self._lengths, pieces, strict=True)]
            self.done, self.note = done, note
            self.rows += len(rows)
            self.rejected += len(rejected)
            if time.monotonic() - self._recorded_at >= SECONDS_BETWEEN_STATES:
                self._record()

    def finish(self, rows: bool = True) -> None:
        """Give the files their names; without `rows` only the rejected ones, and drop the rest."""
        if self._named:
            return
        with _explained(self.path):
            if not self.complete:
                self._record("rows" if rows else "rejected")
                self._close()
            # Each step may be the last one before a kill: what is still here was not moved yet.
            rejected, done = self._folder / REJECTED, self._folder / ROWS
            if rejected.exists() and rejected.stat().st_size:
                if self.rejected_to.exists():  # since the output was begun
                    self.rejected_to = rejected_beside(self.path)
                os.replace(rejected, self.rejected_to)
            if done.exists() and self._finished == "rows":
                os.replace(self._kind.whole(done, self._folder / WHOLE), self._target)
            self._clear()
            self._folder.rmdir()
            self._named = True

    def leave(self) -> None:
        """Record what is done and say so; nothing is left of an output of which nothing is."""
        if self.done and not self._named:
            on_interrupt(self.path, lambda: "")  # what is kept is said here
        if self.complete:
            if not self._named and self._folder.exists():
                say(f"{self.path}: only the last step is missing; --resume takes it")
            return
        if self.done and self._folder.exists():
            # A full disk takes no more; then the last recorded state is the one to go on from.
            with suppress(OSError):
                self._record()
            say(f"{self.path}: unfinished, {self.done:,} input rows are done; --resume goes on")
        with suppress(OSError):
            self._close()
        if not self.done:
            with suppress(OSError):
                self._clear()
                self._folder.rmdir()

    def _record(self, finished: str = "") -> None:
        """See to it that all committed so far is on the disk, and note that it is."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        state: dict[str, Any] = {"done": self.done, "rows": self.rows, "rejected": self.rejected}
        state |= {"lengths": self._lengths, "note": self.note, "finished": finished}
        _append(self._folder / STATE, json_lines([state]))
        self._recorded_at, self._finished = time.monotonic(), finished

    def _open_files(self) -> None:
        self._files = [open(self._folder / name, "ab") for name in (ROWS, REJECTED)]  # noqa: SIM115

    def _close(self) -> None:
        for file in self._files:
            file.close()

    def _clear(self) -> None:
        # The state goes last: as long as it is there, so is what it speaks of, or it is moved.
        for name in (ROWS, REJECTED, WHOLE, STATE):
            (self._folder / name).unlink(missing_ok=True)


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


class _Begun(NamedTuple):
    """What the state file of an output says, and how many bytes of it say so."""

    header: dict[str, Any]
    last: dict[str, Any]
    length: int


def _read_state(folder: Path) -> _Begun | None:
    """The last recorded state; None where nothing was begun.

    A kill, or a power cut, may have left a broken line at the end. Raises `PlauditError` where the
    state is of another make.
    """
    try:
        lines = (folder / STATE).read_bytes().split(b"\n")[:-1]
    except (FileNotFoundError, NotADirectoryError):
        return None
    parsed, length = [], 0
    for line in lines:
        try:
            parsed.append(json.loads(line))
        except ValueError:
            break
        length += len(line) + 1
    if len(parsed) < 2:
        return None
    begun = _Begun(parsed[0], parsed[-1], length)
    for names, said in ((HEADER, begun.header), (RECORDED, begun.last)):
        if not isinstance(said, dict) or said.keys() != names:
            raise PlauditError(
                f"{folder / STATE}: is not as this version of plaudit writes it; --overwrite "
                "starts the output anew"
            )
    return begun


def _append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _refuse_others(path: str | Path, begun: dict[str, Any], facts: dict[str, Any]) -> None:
    for name in begun | facts:
        if begun.get(name) != facts.get(name):
            raise PlauditError(
                f"{path}: was begun with {name} {_brief(begun.get(name))}, not "
                f"{_brief(facts.get(name))}; give the first again to go on, or --overwrite to "
                "start anew"
            )


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:99]}…"


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:  # all of it was there when the output was begun
        raise PlauditError(
            f"{path}: cannot be written: what was done of it was removed meanwhile; run the "
            "command again"
        ) from error
    except OSError as error:
        raise PlauditError(f"{path}: cannot be written: {error.strerror or error}") from error
