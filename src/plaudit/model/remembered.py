"""Results by the row of tokens that they are of: equal texts get equal ones, to the last bit.

In what company a row is computed decides how its reward is rounded (by about 3e-7). Where one
command, or one service, meets a text twice, the second time it is therefore not computed but looked
up. Kept are a digest of the tokens and the result, never the text; what was not asked for in a long
time is forgotten, and a text that comes back later may then be rounded anew.
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from torch import Tensor

# About 30 MB of rewards, or 64 MB of what the head is given for them.
MOST_ROWS, MOST_NUMBERS = 2**17, 2**24


def key_of(*tokens: Sequence[int] | None, kind: str = "") -> bytes:
    """What a row is known by: its tokens, their types where there are any, and a `kind` of result.

    >>> key_of([1, 2], None) == key_of((1, 2), None), key_of([1, 2]) == key_of([1], [2])
    (True, False)
    """
    digest = blake2b(kind.encode(), digest_size=16)
    for row in tokens:
        digest.update(b"|" if row is None else array("q", [len(row), *row]).tobytes())
    return digest.digest()


class Remembered:
    """The latest results, as many as there is room for.

    >>> kept = Remembered(rows=2)
    >>> for key in (b"a", b"b", b"c"):
    ...     kept.put(key, 1.5)
    >>> kept.get(b"a"), kept.get(b"c")
    (None, 1.5)
    """

    def __init__(self, rows: int = MOST_ROWS, numbers: int = MOST_NUMBERS) -> None:
        self._rows, self._numbers = rows, numbers
        self._held = 0
        self._kept: OrderedDict[bytes, Any] = OrderedDict()

    def get(self, key: bytes) -> Any:
        """A result; None where there is none."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, result: Any) -> None:
        """Keep a number, or a row of them, and forget the oldest where there is no room.

        Of a row a copy is kept, since it may be a view of a whole batch. What is put again is the
        latest.
        """
        if key in self._kept:
            self._held -= _numbers(self._kept.pop(key))
        self._kept[key] = result.clone() if isinstance(result, Tensor) else result
        self._held += _numbers(result)
        while len(self._kept) > self._rows or self._held > self._numbers:
            _, forgotten = self._kept.popitem(last=False)
            self._held -= _numbers(forgotten)


def _numbers(result: Any) -> int:
    return result.numel() if isinstance(result, Tensor) else 1
