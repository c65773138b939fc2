"""Checksums of what a run goes on from, so that a damaged disk is not trained on.

`CHECKSUMS` lies beside the files that it is of. What it does not name, or a folder of an earlier
version that has none, is taken as it is. A checkpoint is read once more for its own, while training
waits: 0.4 s for 500 MB on a processor with SHA instructions, which is less than writing it takes.
In a thread beside the next steps it would appear that much later, and a kill cost more.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from plaudit.errors import PlauditError
from plaudit.files import read_json, write_json

CHECKSUMS = "checksums.json"


def seal(folder: Path, names: Iterable[str] | None = None) -> None:
    """Note the checksums of these files of a folder, by default of all; others stay noted."""
    if names is None:
        names = (path.relative_to(folder).as_posix() for path in _files(folder))
    known = {name: _checksum(folder / name) for name in names}
    file = folder / CHECKSUMS
    write_json(file, (read_json(file) if file.is_file() else {}) | known)


def damaged(folder: Path, names: Iterable[str] | None = None) -> str | None:
    """The first of these files, by default of all that are noted, that is not as it was sealed.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "weights").write_bytes(b"0123")
    >>> seal(folder)
    >>> _ = (folder / "weights").write_bytes(b"0124")
    >>> damaged(folder)
    'weights'
    """
    file = folder / CHECKSUMS
    if not file.is_file():
        return None
    try:
        known = dict(read_json(file))
    except (PlauditError, TypeError, ValueError):
        return CHECKSUMS
    for name in known if names is None else known.keys() & names:
        try:
            if _checksum(folder / name) != known[name]:
                return name
        except (OSError, ValueError):
            return name
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)


def _checksum(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
