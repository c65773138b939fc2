"""Features on disk: what frozen layers gave for rankings, shared by runs, bounded, safe to kill.

One folder holds them for all models, in a subfolder for each key: the key stands for everything
that decides a feature besides the ranking's tokens. A subfolder has `data`, which only grows, and
`index`, a record for each ranking, written after its data. So a kill at any moment costs what was
being written and nothing else. Several processes may use the folder at once. What was used longest
ago goes first when room is needed; what somebody uses right now never goes.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from plaudit.errors import PlauditError

try:
    import fcntl
except ImportError:  # Windows: one process at a time
    fcntl = None  # type: ignore[assignment]

# The name is a digest of what the feature belongs to; `start` counts bytes.
RECORD = np.dtype(
    [("name", "V16"), ("start", "<i8"), ("rows", "<i4"), ("width", "<u2"), ("dtype", "<u2")]
)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def default_folder() -> Path:
    """`plaudit/features` where the user's caches are."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plaudit" / "features"


class FeatureCache:
    """Features of one key by name.

    Args:
        folder: of all keys; made where there is none.
        key: 32 hexadecimal digits.
        max_bytes: that all keys together may take.

    Raises:
        PlauditError: when the folder cannot be written.

    >>> import tempfile
    >>> cache = FeatureCache(tempfile.mkdtemp(), "0" * 32, max_bytes=10**6)
    >>> cache.put({b"sixteen bytes ok": torch.ones(3, 2)})
    True
    >>> cache.get(b"sixteen bytes ok").shape
    torch.Size([3, 2])
    """

    def __init__(self, folder: str | Path, key: str, max_bytes: float) -> None:
        self.root = Path(folder).expanduser()
        self.folder = self.root / key
        self.max_bytes = max_bytes
        self._places: dict[bytes, Any] = {}
        self._read = 0  # records of the index that `_places` has
        with self._locked():
            self.folder.mkdir(exist_ok=True)
            self._index = _open(self.folder / "index")
            self._data = _open(self.folder / "data")
            if fcntl is not None:
                fcntl.flock(self._index, fcntl.LOCK_SH)  # in use: see `_evict`
            os.utime(self.folder / "index")
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
        """`[rows, width]`, read anew from disk; None where there is none."""
        if name not in self:
            return None
        _, start, rows, width, dtype = self._places[name]
        feature = torch.empty(rows, width, dtype=DTYPES[dtype])
        buffer = feature.view(torch.uint8).numpy()
        # Not a memory map: reading one beyond what another program left of the file is fatal.
        self._data.seek(start)
        return feature if self._data.readinto(buffer) == buffer.nbytes else None  # type: ignore[attr-defined]

    def put(self, features: Mapping[bytes, Tensor]) -> bool:
        """Keep features `[rows, width]` by their names, of 16 bytes each.

        Returns False when not all of them could be kept, there being no room.

        Raises:
            PlauditError: when they cannot be written, as on a full disk.
        """
        blocks = {
            name: feature.detach().cpu().contiguous().view(torch.uint8).numpy()
            for name, feature in features.items()
        }
        with self._locked():
            self._refresh()
            new = {name: block for name, block in blocks.items() if name not in self._places}
            # A kill may have left something behind the last whole record.
            end = max((int(p["start"]) + _size(p) for p in self._places.values()), default=0)
            self._data.truncate(end)
            self._index.truncate(self._read * RECORD.itemsize)
            room = self._room_for(sum(block.nbytes + RECORD.itemsize for block in new.values()))
            records = []
            for name, block in new.items():
                room -= block.nbytes + RECORD.itemsize
                if room < 0:
                    break
                rows, width = features[name].shape
                records.append((name, end, rows, width, DTYPES.index(features[name].dtype)))
                _append(self._data, block.data.cast("B"))
                end += block.nbytes
            os.fsync(self._data.fileno())  # a power cut must not keep the record without its data
            _append(self._index, memoryview(np.array(records, RECORD).tobytes()))
            self._refresh()
        return len(records) == len(new)

    def _refresh(self) -> None:
        """Read the records that came to the index since it was last read."""
        count = os.fstat(self._index.fileno()).st_size // RECORD.itemsize
        if count <= self._read:
            return
        self._index.seek(self._read * RECORD.itemsize)
        raw = self._index.read((count - self._read) * RECORD.itemsize)
        records = np.frombuffer(raw, RECORD)
        self._places.update({record["name"].tobytes(): record for record in records})
        self._read = count

    def _room_for(self, needed: int) -> float:
        """How many bytes fit, other keys having gone as far as so many are needed."""
        sizes = {
            folder: sum(path.stat().st_size for path in folder.iterdir())
            for folder in self.root.iterdir()
            if folder.is_dir() and len(folder.name) == 32
        }
        for folder in sorted(sizes, key=_last_used):
            short = sum(sizes.values()) + needed > self.max_bytes
            if short and folder != self.folder and _evict(folder):
                del sizes[folder]
        return self.max_bytes - sum(sizes.values())

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


def _size(place: Any) -> int:
    """Bytes of a feature."""
    return int(place["rows"]) * int(place["width"]) * DTYPES[place["dtype"]].itemsize


def _last_used(folder: Path) -> float:
    index = folder / "index"
    return index.stat().st_mtime if index.exists() else 0.0


def _evict(folder: Path) -> bool:
    """Delete a key, unless a process has it open."""
    if fcntl is not None and (folder / "index").exists():
        with open(folder / "index", "rb") as index:
            try:
                fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
    shutil.rmtree(folder, ignore_errors=True)
    return True
