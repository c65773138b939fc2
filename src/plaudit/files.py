"""Writing files so that a kill or a full disk never leaves half of one under its final name.

Everything plaudit writes goes to a temporary name in the same folder first and is renamed when it
is whole; a rename within one folder is atomic on the file systems we run on. What a kill left under
a temporary name goes when the same file or folder is written the next time: the process that writes
it holds a lock on it, so what nobody holds is left over. A symbolic link is followed: what it
points to is replaced, and the link stays.
"""

import errno
import filecmp
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from plaudit.console import say
from plaudit.errors import PlauditError

SCHEMA_VERSION = 1
# Temporary names are `.NAME.1f2e3d4c.plaudit`: no program but this one gives such to anything.
PARTIAL = ".plaudit"
REPLACED = ".replaced"  # a further ending, of what was there before
LONGEST = 100  # bytes of a name that stands in a temporary one; some file systems take 143 in all
_ENDING = rf"[0-9a-f]{{8}}{re.escape(PARTIAL)}(?:{re.escape(REPLACED)})?"

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def writing(path: str | Path) -> Iterator[TextIO]:
    """Open `path` for text; it appears, whole, when the block ends without an exception.

    Raises `PlauditError` when the disk is full, the folder cannot be written, or what stands at
    `path` is no ordinary file (a folder, a device).

    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> with writing(target) as file:
    ...     _ = file.write("whole")
    >>> target.read_text()
    'whole'
    """
    if not _absent_or(stat.S_ISREG, path):
        raise PlauditError(f"{path}: is not an ordinary file, so it cannot be replaced by one")
    target, partial = _names(path)
    with _explained(path, partial):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _clear_leftovers(target)
            with _held(partial, lambda: partial.touch(exist_ok=False)):
                with open(partial, "w", encoding="utf-8", newline="") as file:
                    yield file
                os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def writing_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder to fill; it becomes `path` when the block ends without an exception.

    A folder that already stands at `path` is replaced, in one go. Raises `PlauditError` as
    `writing` does.
    """
    if not _absent_or(stat.S_ISDIR, path):
        raise PlauditError(f"{path}: is a file, so it cannot be replaced by a folder")
    target, partial = _names(path)
    replaced: list[Path] = []
    with _explained(path, partial):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _clear_leftovers(target)
            with ExitStack() as held:
                held.enter_context(_held(partial, partial.mkdir))
                yield partial
                while partial.exists():
                    if target.exists():
                        with suppress(OSError):  # held already, or there are no locks
                            held.enter_context(_locked(target))
                        old = Path(f"{_names(target)[1]}{REPLACED}")
                        with suppress(FileNotFoundError):  # another process took it away
                            os.replace(target, old)
                            replaced.append(old)
                    try:
                        os.replace(partial, target)
                    except OSError as error:  # another process was faster: that one is replaced
                        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                            raise
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        # Only now: a kill while many files are taken away must not leave some of them at `path`.
        for old in replaced:
            shutil.rmtree(old, ignore_errors=True)


def refuse_to_overwrite(
    path: str | Path,
    overwrite: bool = False,
    *,
    folder: bool = False,
    inputs: Iterable[str | Path] = (),
) -> None:
    """Raise `PlauditError` when writing to `path` would destroy what nobody asked to replace.

    Without `overwrite` that is anything but an empty folder. With it, it is one of the `inputs`
    that the output is made from, a folder where a file is to go, or, with `folder`, a file where a
    folder is to go.
    """
    path = Path(path)
    if any(os.path.realpath(path) == os.path.realpath(each) for each in inputs):
        raise PlauditError(f"{path}: is the input; write the output elsewhere")
    if path.exists() and path.is_dir() != folder:
        here, wanted = ("file", "folder") if folder else ("folder", "file")
        raise PlauditError(f"{path}: a {here} is in the way of the {wanted} to write")
    taken = any(path.iterdir()) if path.is_dir() else path.exists()
    if taken and not overwrite:
        raise PlauditError(f"{path}: already exists; --overwrite replaces it")


# What measuring a model leaves in a folder; `metrics.json` or `suite.json` comes last.
_RESULTS = ("metrics.json", "suite.json", "suites.json", "summary.json", "comparison.json")
_BESIDE_RESULTS = ("predictions.jsonl", "report.html")
MEASURED_PLOTS = (
    *("abstention.png", "accuracy_by_category.png", "margins.png", "over_optimisation.png"),
    *("picked_length.png", "reward_against_length.png", "reward_deviation.png", "rewards.png"),
)


def make_way(folder: Path) -> None:
    """Take away what was measured earlier in a folder that now gets other results, the rows that
    were rejected then included.

    A training run is left as it is but for a comparison, and a folder of something else altogether:
    that results are ours shows in what `write_results` puts into each, not in their names, which
    others use, too.
    """
    results = [folder / name for name in _RESULTS if is_result(folder / name)]
    if folder / "comparison.json" in results:
        (folder / "comparison.json").unlink()
        (folder / "parting.jsonl").unlink(missing_ok=True)
    if not results or (folder / "config.yaml").exists():
        return
    rejected = filter(_is_rejected, folder.iterdir())
    plots = folder / "plots"
    beside = [*(folder / name for name in _BESIDE_RESULTS), *(plots / n for n in MEASURED_PLOTS)]
    for path in [*results, *beside, *rejected]:
        if path.is_file():
            path.unlink()
    with suppress(OSError):  # not there, a link, or something of somebody else's is in it
        plots.rmdir()


def is_result(path: Path) -> bool:
    """Whether `write_results` wrote a file."""
    try:
        return "schema_version" in dict(read_json(path))
    except (PlauditError, TypeError, ValueError):
        return False


def _is_rejected(path: Path) -> bool:
    """Whether a path has a name that `rejected_beside` gives."""
    return re.fullmatch(r"rejected(-\d+)?\.jsonl", path.name) is not None


def rejected_beside(output: str | Path | None) -> Path:
    """Where rejected rows go: `rejected.jsonl` beside `output`, or here where that is stdout.

    What stands there already, of another output or from an earlier time, is never replaced: the
    name gets a number, from 2 on.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "rejected.jsonl").touch()
    >>> rejected_beside(folder / "scored.jsonl").name
    'rejected-2.jsonl'
    """
    output = Path(output or "stdout")
    path = candidate = output.with_name("rejected.jsonl")
    number = 1
    while candidate.exists() or candidate == output:
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


class Rejects(Protocol):
    """What was rejected of some data, `BadRows` or `Rankings`."""

    @property
    def rejected_by_reason(self) -> Mapping[str, int]:
        """How many rows were rejected for each kind of reason."""
        ...

    def write_rejected(self, path: str | Path) -> int:
        """Write them as JSON lines, and return how many they are."""
        ...

    def summary(self) -> str:
        """How many rows were rejected and why, on one line."""
        ...


def report_rejected(
    bad: Rejects, output: str | Path | None, *, restarted: bool = False
) -> Path | None:
    """Write rejected rows as `rejected_beside` names them, say so, and return where they are.

    None where nothing was rejected. What may be `restarted` any number of times with one output
    writes no second file of the same rows.
    """
    if not bad.rejected_by_reason:
        return None
    path = rejected_beside(output)
    bad.write_rejected(path)
    for other in path.parent.glob("rejected*.jsonl") if restarted else ():
        if other != path and filecmp.cmp(other, path, shallow=False):
            path.unlink()
            path = other
            break
    say_rejected(bad.summary(), path)
    return path


def say_rejected(summary: str, path: Path) -> None:
    """Say how many rows were rejected and why, and where they were written."""
    say(f"{summary}; they are in {path}")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused, not written."""
    with writing(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def write_results(path: str | Path, results: Mapping[str, Any]) -> None:
    """Write the results of a command as `write_json` does, with the version of their form first.

    The version rises when a key goes or changes its meaning, not when one is added.
    """
    write_json(path, {"schema_version": SCHEMA_VERSION} | dict(results))


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line, atomically, and return how many. NaN is refused."""
    count = 0
    with writing(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def read_json(path: str | Path) -> Any:
    """What `write_json` wrote; raises `PlauditError` where it cannot be read as such.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.json"
    >>> write_json(file, {"k": 5})
    >>> read_json(file)
    {'k': 5}
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PlauditError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise PlauditError(f"{path}: is damaged: {error}; it is not as plaudit wrote it") from error


def user_cache() -> Path:
    """`plaudit` where the user's caches are; `~` stands for the home folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "plaudit"


@contextmanager
def locked(
    folder: Path, doing: str = "writing", wait: bool = False, stays: bool = False
) -> Iterator[None]:
    """Make the folder and keep it to this process; the lock ends with the block or the process.

    Where another process has it, that is an error that says what it is `doing`, or with `wait`
    waited for. With `stays` it is an error, too, when the block ends and the folder is no longer
    the one that it was. Windows has no such locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            raise PlauditError(f"{folder}: another process is {doing} into it") from error
        yield
        if stays and not _same(descriptor, folder):
            raise PlauditError(
                f"{folder}: was removed by another program meanwhile, and lacks what was written "
                "before; start it anew, with --overwrite"
            )
    finally:
        os.close(descriptor)


def _absent_or(kind: Callable[[int], bool], path: str | Path) -> bool:
    """Whether there is nothing, or what is of this kind; asked once, since others write, too."""
    try:
        return kind(os.stat(path).st_mode)
    except (OSError, ValueError):
        return True


def _same(descriptor: int, folder: Path) -> bool:
    """Whether a folder is the one that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(folder))
    except FileNotFoundError:
        return False


def _names(path: str | Path) -> tuple[Path, Path]:
    """Where `path` really is, and a temporary name beside it; `open` and `mkdir` heed the umask."""
    target = Path(os.path.realpath(path))
    return target, target.with_name(f"{_beginning(target)}{secrets.token_hex(4)}{PARTIAL}")


def _beginning(target: Path) -> str:
    """What the temporary names of this file or folder begin with, and of no other."""
    name = target.name
    if len(os.fsencode(name)) > LONGEST:
        name = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return f".{name}."


def is_leftover(path: Path) -> bool:
    """Whether a path has the temporary name of a file or folder that is being written, or of which
    a kill left a part."""
    return re.fullmatch(rf"(?s)\..+\.{_ENDING}", path.name) is not None


def _clear_leftovers(target: Path) -> None:
    """Remove what kills left of writing `target`; what another process is writing stays.

    A kill between two renames may have left a folder without its name: it gets it back.
    """
    beginning, ending = _beginning(target), re.compile(_ENDING)
    # Names alone, the cheap test first: there may be a hundred thousand files of other people's.
    names = [name for name in os.listdir(target.parent) if name.startswith(beginning)]
    for name in sorted(names):
        if not ending.fullmatch(name, len(beginning)):
            continue
        path = target.parent / name
        with suppress(OSError), _locked(path):
            if path.suffix == REPLACED and not target.exists():
                os.replace(path, target)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def _held(partial: Path, make: Callable[[], None]) -> Iterator[None]:
    """Make a file or folder and hold it, so that no other process takes it for a leftover."""
    with ExitStack() as held:
        while True:
            make()
            try:
                held.enter_context(_locked(partial, wait=True))
            except FileNotFoundError:  # another process did, before it was held
                continue
            except OSError:  # there are no locks here, and so nobody removes anything
                pass
            break
        yield


@contextmanager
def _locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Lock a file or folder; `OSError` where it is not there, another process has it, or there are
    no locks."""
    if fcntl is None:
        raise OSError("no locks")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        os.stat(path)  # what was waited for may have been removed
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: str | Path, partial: Path) -> Iterator[None]:
    """A `PlauditError` for what goes wrong with our file or folder, and for nothing else."""
    try:
        yield
    except BrokenPipeError:  # a file has no reader that could go away: this is somebody else's
        raise
    except OSError as error:
        # A full disk names no file. What is neither ours nor around it is not ours to explain.
        name = partial if error.filename is None else Path(os.fsdecode(error.filename))
        ours = (partial, Path(os.path.realpath(path)), *partial.parents)
        if name not in ours and partial not in name.parents:
            raise
        raise PlauditError(f"{path}: cannot be written: {error.strerror or error}") from error
