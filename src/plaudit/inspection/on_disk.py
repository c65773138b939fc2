"""Lists that grow on disk and not in memory: what is kept of texts and mostly never looked at.

They lie in temporary files without a name, in the folder that TMPDIR names, and are gone when the
process ends. Nothing is written before there is a mebibyte of it.
"""

import io
import tempfile
from array import array

import numpy as np

from plaudit.errors import PlauditError

BUFFER = 1 << 20  # bytes


class OnDisk:
    """Bytes that are only added to."""

    def __init__(self) -> None:
        self._file: io.FileIO | None = None
        self._written = 0
        self._waiting = bytearray()

    def __len__(self) -> int:
        return self._written + len(self._waiting)

    def add(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._waiting += data
        if len(self._waiting) >= BUFFER:
            self._write()

    def read(self, start: int, length: int) -> bytes:
        """The bytes from `start` on."""
        if start >= self._written:
            start -= self._written
            return bytes(self._waiting[start : start + length])
        self._write()
        assert self._file is not None
        self._file.seek(start)
        return self._file.read(length)

    def mapped(self, dtype: type, width: int) -> np.ndarray:
        """All of it as rows of `width` numbers, mapped into memory anew at each call."""
        self._write()
        shape = (self._written // (np.dtype(dtype).itemsize * width), width)
        if not self._written or self._file is None:
            return np.empty(shape, dtype)
        return np.memmap(self._file, dtype, "r", shape=shape)

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (ends with us)
            self._file.seek(self._written)
            with memoryview(self._waiting) as view:
                done = 0
                while done < len(view):
                    done += self._file.write(view[done:])
        except OSError as error:
            raise PlauditError(
                f"{tempfile.gettempdir()}: a temporary file cannot be written: "
                f"{error.strerror or error}; make room, or name another folder with TMPDIR"
            ) from error
        self._written += len(self._waiting)
        self._waiting = bytearray()


class Strings:
    """Texts by number, from 0 in order of appearance.

    >>> strings = Strings()
    >>> strings.add("Buy low."), strings.add(""), strings[0]
    (0, 1, 'Buy low.')
    """

    def __init__(self) -> None:
        self._bytes = OnDisk()
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, text: str) -> int:
        """Keep a text; its number."""
        self._bytes.add(text.encode("utf-8", "surrogatepass"))
        self._ends.append(len(self._bytes))
        return len(self._ends) - 2

    def __getitem__(self, number: int) -> str:
        start, end = self._ends[number : number + 2]
        return self._bytes.read(start, end - start).decode("utf-8", "surrogatepass")
