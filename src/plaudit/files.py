"""Writing files so that a kill or a full disk never leaves half of one under its final name.

Everything plaudit writes goes to a temporary name in the same folder first and is renamed when it
is whole; a rename within one folder is atomic on the file systems we run on.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from plaudit.errors import PlauditError


@contextmanager
def writing(path: str | Path) -> Iterator[TextIO]:
    """Open `path` for text; it appears, whole, when the block ends without an exception.

    Raises `PlauditError` when the disk is full or the folder cannot be written.

    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> with writing(target) as file:
    ...     _ = file.write("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise PlauditError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except OSError as error:
        _remove(name)
        raise PlauditError(f"{path}: cannot be written: {error.strerror or error}") from error
    except BaseException:
        _remove(name)
        raise


@contextmanager
def writing_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder to fill; it becomes `path` when the block ends without an exception.

    A folder that already stands at `path` is replaced.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise PlauditError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        yield partial
        os.chmod(partial, 0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise PlauditError(f"{path}: cannot be written: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def refuse_to_overwrite(path: str | Path, overwrite: bool = False) -> None:
    """Raise `PlauditError` when something stands at `path` that nobody asked to replace."""
    path = Path(path)
    taken = any(path.iterdir()) if path.is_dir() else path.exists()
    if taken and not overwrite:
        raise PlauditError(f"{path}: already exists; --overwrite replaces it")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused, not written."""
    with writing(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line, atomically, and return how many."""
    count = 0
    with writing(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove(name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name)
