"""Which texts are the same or nearly the same, in memory that does not grow with their length.

Two texts are nearly the same when they share at least four fifths of their shingles (runs of eight
bytes, without regard to case and white space) and name the same numbers: "7 % of 200" and "7 % of
300" are different questions however alike they look. Shared shingles are estimated by MinHash
(Broder 1997) and found by locality-sensitive hashing (Indyk and Motwani 1998; Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, ch. 3). Of each distinct text a signature of 240 bytes, its
hash and its first words are kept, and nothing else.

Whatever the language, eight bytes are a shingle, so that numpy reads a text as 64-bit numbers
without a step in Python for each: ten times as fast as hashing shingles one by one.
"""

import re

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from plaudit.data.cells import excerpt, said
from plaudit.data.rankings import Text

THRESHOLD = 0.8  # of shingles shared (Jaccard), from which texts are nearly the same
SHINGLE = 8  # bytes
# 20 bands of 6: texts that share 0.8 of their shingles meet in some band with a probability of
# 1 − (1 − 0.8⁶)²⁰ = 0.998, texts that share 0.5 with one of 0.27; those are then compared.
BANDS, ROWS = 20, 6
NEIGHBOURS = 8  # of a band, each text is compared with the next so many that it meets there
BATCH = 1 << 16  # bytes signed at once: what a processor's cache holds

_NUMBER = re.compile(r"\d+")
_random = np.random.default_rng(20_240_229)  # signatures only ever meet those of the same process
_MULTIPLIERS = _random.integers(0, 1 << 32, BANDS * ROWS, dtype=np.uint32) | np.uint32(1)
_SUMMANDS = _random.integers(0, 1 << 32, BANDS * ROWS, dtype=np.uint32)
_BAND_KEYS = _random.integers(0, 1 << 64, ROWS, dtype=np.uint64) | np.uint64(1)


class Texts:
    """Distinct texts, numbered from 0 in order of appearance.

    >>> texts = Texts()
    >>> [texts.add(text) for text in ("Buy low.", "Sell high.", "Buy low.", "buy  low.")]
    [0, 1, 0, 2]
    >>> texts.groups().tolist()
    [0, 1, 0]
    """

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._excerpts: list[str] = []
        self._figures: list[int] = []
        self._signed: list[np.ndarray] = []
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def __len__(self) -> int:
        return len(self._excerpts)

    def add(self, text: Text, key: str | None = None) -> int:
        """The number of a text; `key` is what makes it the same as another, by default its words.

        Messages of the system's do not count towards nearness: they are the same everywhere.
        """
        words = said(text)
        # A 64-bit hash in place of the text. Equal hashes of unequal texts: 3e-8 at a million.
        number = self._numbers.setdefault(hash(words if key is None else key), len(self._excerpts))
        if number < len(self._excerpts):
            return number
        plain = " ".join(words.casefold().split())
        self._excerpts.append(excerpt(words))
        # What says nothing is near to nothing.
        self._figures.append(hash(tuple(_NUMBER.findall(plain)) if plain else (None, number)))
        shingled = plain.encode("utf-8", "surrogatepass").ljust(SHINGLE)
        self._waiting.append(shingled)
        self._waiting_bytes += len(shingled)
        if self._waiting_bytes >= BATCH:
            self._sign()
        return number

    def excerpt(self, number: int) -> str:
        """The first words of a text, on one line."""
        return self._excerpts[number]

    def signatures(self) -> np.ndarray:
        """[N, 120] numbers of 16 bits; the share in which two rows agree estimates the Jaccard."""
        if self._waiting:
            self._sign()
        if len(self._signed) != 1:
            self._signed = [np.concatenate([np.empty((0, BANDS * ROWS), np.uint16), *self._signed])]
        return self._signed[0]

    def groups(self) -> np.ndarray:
        """[N] the group of each text; those of one group are nearly the same, link by link.

        A group is closed under nearness: A and C may be in one because both are near to B.
        """
        signatures = self.signatures()
        figures = np.array(self._figures, dtype=np.int64).view(np.uint64)
        count = len(signatures)
        groups = np.arange(count)
        for band in range(BANDS):
            rows = signatures[:, band * ROWS : (band + 1) * ROWS]
            keys = (rows * _BAND_KEYS).sum(axis=1, dtype=np.uint64) + figures
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            links = [np.empty((2, 0), int)]
            for step in range(1, min(NEIGHBOURS, count - 1) + 1):
                met = np.flatnonzero(keys[step:] == keys[:-step])
                a, b = order[met], order[met + step]
                unknown = groups[a] != groups[b]
                a, b = a[unknown], b[unknown]
                near = similarity(signatures, a, b) >= THRESHOLD
                near &= figures[a] == figures[b]
                links.append(groups[np.stack([a[near], b[near]])])
            ends = np.concatenate(links, axis=1)
            if ends.size:
                graph = coo_array((np.ones(ends.shape[1], bool), tuple(ends)), (count, count))
                groups = connected_components(graph, directed=False)[1][groups]
        return groups

    def _sign(self) -> None:
        self._signed.append(_signatures(self._waiting))
        self._waiting, self._waiting_bytes = [], 0


def similarity(signatures: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[M] the estimated Jaccard similarity of M pairs of texts; its deviation is 0.04 at 0.8."""
    shares = np.empty(len(a))
    for start in range(0, len(a), 10_000):  # bounds the memory of the comparison
        part = slice(start, start + 10_000)
        shares[part] = (signatures[a[part]] == signatures[b[part]]).mean(axis=1)
    return shares


def _signatures(texts: list[bytes]) -> np.ndarray:
    """[N, 120] the MinHash of texts of eight bytes or more: the least of each of 120 hashes.

    The hashes are a·x + b modulo 2³² (a odd) of one hash x of the shingle, which is well mixed.
    Of each minimum the lower 16 bits are kept (Li and König 2010, b-bit minwise hashing).
    """
    ends = np.cumsum([len(text) for text in texts])
    starts = ends - [len(text) for text in texts]
    # A shingle begins at every byte; those that run into the next text are left out below.
    data = b"".join(texts) + bytes(SHINGLE)
    count = len(data) - SHINGLE + 1
    mixed = np.ndarray((count,), "<u8", data, strides=(1,)).astype(np.uint64)
    for shift, multiplier in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53), (32, 1)):
        mixed ^= mixed >> np.uint64(shift)  # the finaliser of MurmurHash3
        mixed *= np.uint64(multiplier)
    shingles = mixed.astype(np.uint32)
    borders = np.stack([starts, ends - SHINGLE + 1], axis=1).ravel()
    least = np.empty((len(texts), BANDS * ROWS), np.uint16)
    hashed = np.empty_like(shingles)
    for i, (a, b) in enumerate(zip(_MULTIPLIERS, _SUMMANDS, strict=True)):
        np.multiply(shingles, a, out=hashed)
        np.add(hashed, b, out=hashed)
        least[:, i] = np.minimum.reduceat(hashed, borders)[::2] & np.uint32(0xFFFF)
    return least
