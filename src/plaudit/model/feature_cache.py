"""Features on disk: what frozen layers gave for rankings, shared by runs, bounded, safe to kill.

One folder holds them for all models, in a subfolder for each key: the key stands for everything
that decides a feature besides the ranking's tokens. A subfolder has `DATA`, which only grows, and
`INDEX`, a record for each ranking, written after its data. So a kill at any moment costs what was
being written and nothing else, and a record whose checksum does not fit counts for nothing. Several
processes may use the folder at once. What was used longest ago goes first when room is needed; what
somebody uses right now never goes, nor does anything that is not of this making.
"""

import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from plaudit.errors import PlauditError
from plaudit.files import user_cache

try:
    import fcntl
except ImportError:  # Windows: one process at a time
    fcntl = None  # type: ignore[assignment]

# The name is a digest of what the feature belongs to; `start` counts bytes; the checksum is of all
# that is before it in the record, and of the data.
RECORD = np.dtype(
    [
        *(("name", "V16"), ("start", "<i8")),
        *(("rows", "<i4"), ("width", "<u2"), ("dtype", "<u2")),
        ("checksum", "<u4"),
    ]
)
# Names that nobody else gives: folders are known, and deleted, by them.
INDEX, DATA = "plaudit-features.index", "plaudit-features.data"
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def default_folder() -> Path:
    """`features` among the user's caches; `~` stands for the home folder."""
    return user_cache() / "features"


class FeatureCache:
    """Features of one key by name.

    Args:
        folder: of all keys; made where there is none.
        key: 32 hexadecimal digits.
        max_bytes: that all keys together may take.

    Raises:
        PlauditError: when the folder cannot be written, or its `~` means nothing here.

    >>> import tempfile
    >>> cache = FeatureCache(tempfile.mkdtemp(), "0" * 32, max_bytes=10**6)
    >>> cache.put({b"sixteen bytes ok": torch.ones(3, 2)})
    True
    >>> cache.get(b"sixteen bytes ok").shape
    torch.Size([3, 2])
    """

    def __init__(self, folder: str | Path, key: str, max_bytes: float) -> None:
        try:
            self.root = Path(folder).expanduser()
        except RuntimeError as error:
            raise PlauditError(
                f"features_cache: {folder} is in no home folder that is known; give one without ~, "
                "or features_cache_gb 0 to keep nothing"
            ) from error
        self.folder = self.root / key
        self.max_bytes = max_bytes
        self._places: dict[bytes, Any] = {}
        self._read = 0  # records of the index that `_places` has
        with self._locked():
            self.folder.mkdir(exist_ok=True)
            self._index = _open(self.folder / INDEX)
            self._data = _open(self.folder / DATA)
            if fcntl is not None:
                fcntl.flock(self._index, fcntl.LOCK_SH)  # in use: see `_evict`
            os.utime(self.folder / INDEX)
            self._refresh()

    def __contains__(self, name: bytes) -> bool:
        if name not in self._places:
            self._refresh()  # another process may have added it
        return name in self._places

    def __len__(self) -> int:
        return len(self._places)

    def size(self) -> int:
        """Bytes that this key takes on disk."""
        return os.fstat(self._data.fileno()).st_size + os.fstat(self._index.fileno()).st_size

    def close(self) -> None:
        """Use it no more; it may be evicted from now on."""
        self._data.close()
        self._index.close()

    def get(self, name: bytes) -> Tensor | None:
        """`[rows, width]`, read anew from disk; None where there is none, or no whole one."""
        if name not in self:
            return None
        record = self._places[name]
        feature = torch.empty(*_shape(record), dtype=DTYPES[record["dtype"]])
        buffer = feature.view(torch.uint8).numpy()
        try:
            # Not a memory map: reading one beyond what another program left of the file is fatal.
            self._data.seek(record["start"])
            length = self._data.readinto(buffer)  # type: ignore[attr-defined]
        except OSError:
            length = 0
        if length == buffer.nbytes and _checksum(record, buffer) == record["checksum"]:
            return feature
        del self._places[name]  # so that it may be put anew
        return None

    def put(self, features: Mapping[bytes, Tensor]) -> bool:
        """Keep features `[rows, width]` by their names, of 16 bytes each.

        Returns False when not all of them could be kept, there being no room.

        Raises:
            PlauditError: when they cannot be written, as on a full disk.
        """
        blocks = {
            name: feature.detach().cpu().contiguous().view(torch.uint8).numpy().reshape(-1)
            for name, feature in features.items()
        }
        with self._locked():
            self._refresh()
            self._clean_index()
            new = {name: block for name, block in blocks.items() if name not in self._places}
            room = self._room_for(sum(block.nbytes + RECORD.itemsize for block in new.values()))
            begin = end = os.fstat(self._data.fileno()).st_size
            records = b""
            try:
                for name, block in new.items():
                    room -= block.nbytes + RECORD.itemsize
                    if room < 0:
                        break
                    dtype = DTYPES.index(features[name].dtype)
                    record = np.array((name, end, *features[name].shape, dtype, 0), RECORD)
                    record["checksum"] = _checksum(record, block)
                    records += record.tobytes()
                    _append(self._data, block.data)
                    end += block.nbytes
                # A power cut must not keep the record without its data.
                os.fsync(self._data.fileno())
                _append(self._index, memoryview(records))
            except OSError:
                self._data.truncate(begin)
                raise
            self._refresh()
        return len(records) == len(new) * RECORD.itemsize

    def _refresh(self) -> None:
        """Read the records that came to the index since it was last read."""
        count = os.fstat(self._index.fileno()).st_size // RECORD.itemsize
        if count == self._read:
            return
        if count < self._read:  # another process has cleaned it
            self._places, self._read = {}, 0
        self._index.seek(self._read * RECORD.itemsize)
        raw = self._index.read((count - self._read) * RECORD.itemsize)
        records = np.frombuffer(raw, RECORD, len(raw) // RECORD.itemsize)
        self._read += len(records)
        length = os.fstat(self._data.fileno()).st_size
        for record in records:
            sound = record["dtype"] < len(DTYPES) and record["start"] >= 0 <= record["rows"]
            if sound and int(record["start"]) + _size(record) <= length:
                self._places[record["name"].tobytes()] = record

    def _clean_index(self) -> None:
        """Take out of the index what a kill left of a record, and records that are no good."""
        if len(self._places) == self._read:
            self._index.truncate(self._read * RECORD.itemsize)
            return
        self._index.truncate(0)
        good = b"".join(record.tobytes() for record in self._places.values())
        _append(self._index, memoryview(good))
        self._read = len(self._places)

    def _room_for(self, needed: int) -> float:
        """How many bytes fit, other keys having gone as far as so many are needed."""
        others = {
            folder: sum(path.stat().st_size for path in folder.iterdir())
            for folder in self.root.iterdir()
            if folder.name != self.folder.name and _is_of_a_key(folder)
        }
        for folder in sorted(others, key=_last_used):
            short = self.size() + sum(others.values()) + needed > self.max_bytes
            if short and _evict(folder):
                del others[folder]
        return self.max_bytes - self.size() - sum(others.values())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from writing, opening and evicting meanwhile."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with open(self.root / "lock", "ab") as lock:
                if fcntl is not None:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise PlauditError(
                f"features_cache: {self.root} cannot be written: {error.strerror or error}; choose "
                "another folder, or features_cache_gb 0 to keep nothing"
            ) from error


def _open(path: Path) -> IO[bytes]:
    # Appending, so that every write goes to the end, whoever made the file longer.
    return open(path, "a+b", buffering=0)


def _append(file: IO[bytes], block: memoryview) -> None:
    while block:  # an unbuffered file may take less than it is given
        block = block[file.write(block) :]


def _shape(record: Any) -> tuple[int, int]:
    return int(record["rows"]), int(record["width"])


def _size(record: Any) -> int:
    """Bytes of a feature."""
    rows, width = _shape(record)
    return rows * width * DTYPES[record["dtype"]].itemsize


def _checksum(record: Any, block: np.ndarray) -> int:
    own = RECORD["checksum"].itemsize
    return zlib.crc32(block.data, zlib.crc32(record.tobytes()[:-own]))


def _is_of_a_key(folder: Path) -> bool:
    """Whether a `FeatureCache` made it, and nobody put anything else there."""
    if not re.fullmatch("[0-9a-f]{32}", folder.name) or folder.is_symlink() or not folder.is_dir():
        return False
    files = list(folder.iterdir())
    ours = all(path.name in (INDEX, DATA) and path.is_file() for path in files)
    return bool(files) and ours


def _last_used(folder: Path) -> float:
    index = folder / INDEX
    return index.stat().st_mtime if index.exists() else 0.0


def _evict(folder: Path) -> bool:
    """Delete a key, unless a process has it open or it is not this user's to delete."""
    index = folder / INDEX
    try:
        if fcntl is not None and index.exists():
            with open(index, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in (INDEX, DATA):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        return False
    return True
