"""Which texts are the same or nearly the same, in memory that does not grow with their length.

What is kept of a text is its sketch (`data.sketches`); near copies among them are found by
locality-sensitive hashing (Indyk and Motwani 1998; Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, ch. 3). Of each distinct text a signature of 240 bytes and its first words are
kept on disk, and two hundred bytes in memory.
"""

from array import array
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from plaudit.data.cells import excerpt, excerpt_of_end, said
from plaudit.data.rankings import Text
from plaudit.data.sketches import BAND_KEYS, BANDS, ROWS, THRESHOLD
from plaudit.inspection.looks import AT_ONCE, SIGNS, TAIL, Look, Looking
from plaudit.inspection.on_disk import OnDisk, Strings

NEIGHBOURS = 8  # of a band, each text is compared with the next so many that it meets there
BANDS_AT_ONCE = 4
ROWS_AT_ONCE = 1 << 16
BEFORE = 20  # characters that are shown before texts part


class Texts:
    """Distinct texts, numbered from 0 in order of appearance.

    They are looked at by `looking`, and with `flaws` for signs that they were cut off or refused.

    >>> texts = Texts()
    >>> [texts.add(text) for text in ("Buy low.", "Sell high.", "Buy low.", "buy  low.")]
    [0, 1, 0, 2]
    >>> texts.groups().tolist()
    [0, 1, 0]
    """

    def __init__(self, looking: Looking | None = None, flaws: bool = False) -> None:
        self._looking, self._flaws = looking or Looking(), flaws
        self._numbers: dict[int, int] = {}
        self._waiting: list[str] = []
        self._waiting_characters = 0
        self._first_words = Strings()
        self._last_words = Strings()
        self._last_words_of = array("i")  # each text's number in these, -1 where there are none
        self._signed = OnDisk()
        self._figures = array("Q")
        self._signs = bytearray()

    def __len__(self) -> int:
        return len(self._first_words)

    def add(self, text: Text, key: str | None = None, shown: str = "") -> int:
        """The number of a text; `key` is what makes it the same as another, by default its words.

        `shown` are the words that excerpts are of, by default those that the text begins with.

        Messages of the system's do not count towards nearness: they are the same everywhere.
        """
        words = text if isinstance(text, str) else said(text)
        # A 64-bit hash in place of the text. Equal hashes of unequal texts: 3e-8 at a million.
        new = len(self._first_words)
        number = self._numbers.setdefault(hash(words if key is None else key), new)
        if number < new:
            return number
        self._first_words.add((shown or words)[:TAIL])
        self._waiting.append(words)
        self._waiting_characters += len(words)
        if self._waiting_characters >= AT_ONCE:
            self._look()
        return number

    def close(self) -> None:
        """Take no more texts, and give back the memory that this takes."""
        self._numbers = {}
        self._finish()

    def excerpt(self, number: int) -> str:
        """The first words of a text, on one line."""
        return excerpt(self._first_words[number])

    def excerpts(self, numbers: Sequence[int]) -> list[str]:
        """An excerpt of each of several texts: their first words, or where these are the same
        those with which they part."""
        words = [" ".join(self._first_words[number].split()) for number in numbers]
        told = [excerpt(one) for one in words]
        if len(set(told)) > 1 or len(set(words)) == 1:
            return told
        each = enumerate(zip(*words, strict=False))
        shortest = min(map(len, words))
        parts = next((place for place, signs in each if len(set(signs)) > 1), shortest)
        begin = max(parts - BEFORE, 0)
        return ["…" + excerpt(one[begin:]) for one in words]

    def excerpt_of_end(self, number: int) -> str:
        """The last words of a text that may be cut off; of another the first ones."""
        self._finish()
        kept = self._last_words_of[number]
        return self.excerpt(number) if kept < 0 else excerpt_of_end(self._last_words[kept])

    def signs(self) -> np.ndarray:
        """[N, 7] whether each text shows the signs of `Ending`, then of `Refusal`."""
        self._finish()
        return np.frombuffer(bytes(self._signs), bool).reshape(-1, SIGNS)

    def signatures(self) -> np.ndarray:
        """[N, 120] numbers of 16 bits; the share in which two rows agree estimates the Jaccard."""
        self._finish()
        return self._signed.mapped(np.uint16, BANDS * ROWS)

    def groups(self) -> np.ndarray:
        """[N] the group of each text; those of one group are nearly the same, link by link.

        A group is closed under nearness: A and C may be in one because both are near to B.
        """
        self._finish()
        figures = np.array(self._figures, np.uint64)
        groups = np.arange(len(figures))
        for first in range(0, BANDS, BANDS_AT_ONCE):
            for keys in self._band_keys(first, figures):
                groups = self._joined(groups, keys, figures)
        return groups

    def _band_keys(self, first: int, figures: np.ndarray) -> np.ndarray:
        """[4, N] what texts have in common that meet in these bands; only some bands, and of them
        some rows at a time, for the sake of memory."""
        keys = np.tile(figures, (BANDS_AT_ONCE, 1))
        for start in range(0, len(figures), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            # Mapped anew each time, so that what was read before is not held in memory.
            rows = self.signatures()[part, first * ROWS : (first + BANDS_AT_ONCE) * ROWS]
            rows = rows.reshape(len(rows), BANDS_AT_ONCE, ROWS)
            keys[:, part] += (rows * BAND_KEYS).sum(axis=2, dtype=np.uint64).T
        return keys

    def _joined(self, groups: np.ndarray, keys: np.ndarray, figures: np.ndarray) -> np.ndarray:
        """The groups, joined where texts that have the same key are near."""
        ordered = np.sort(keys)
        several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if not len(several):
            return groups
        place = np.minimum(np.searchsorted(several, keys), len(several) - 1)
        there = np.flatnonzero(several[place] == keys)
        there = there[np.argsort(keys[there], kind="stable")]
        keys = keys[there]
        links = [np.empty((2, 0), int)]
        for step in range(1, min(NEIGHBOURS, len(there) - 1) + 1):
            met = np.flatnonzero(keys[step:] == keys[:-step])
            a, b = there[met], there[met + step]
            unknown = (groups[a] != groups[b]) & (figures[a] == figures[b])
            a, b = a[unknown], b[unknown]
            near = similarity(self.signatures(), a, b) >= THRESHOLD
            links.append(groups[np.stack([a[near], b[near]])])
        ends = np.concatenate(links, axis=1)
        if not ends.size:
            return groups
        nodes, at = np.unique(ends, return_inverse=True)
        a, b = at.reshape(2, -1)
        graph = coo_array((np.ones(len(a), np.bool_), (a, b)), (len(nodes), len(nodes)))
        component = connected_components(graph, directed=False)[1]
        _, first = np.unique(component, return_index=True)
        becomes = np.arange(len(groups))
        becomes[nodes] = nodes[first[component]]
        return becomes[groups]

    def _look(self) -> None:
        if self._waiting:
            self._looking.at(self._waiting, self._flaws, self._keep)
        self._waiting, self._waiting_characters = [], 0

    def _finish(self) -> None:
        self._look()
        self._looking.finish()

    def _keep(self, seen: Look) -> None:
        self._signed.add(seen.signatures.tobytes())
        start = len(self._figures)
        # What says nothing is near to nothing.
        number = np.arange(start, start + len(seen.blank), dtype=np.uint64)
        alone = ~(number * np.uint64(0x9E3779B97F4A7C15))
        self._figures.frombytes(np.where(seen.blank, alone, seen.figures).tobytes())
        self._signs += seen.signs.tobytes()
        if self._flaws:
            tails = np.full(len(seen.blank), -1, np.int32)
            for place, words in seen.tails.items():
                tails[place] = self._last_words.add(words)
            self._last_words_of.frombytes(tails.tobytes())


def similarity(signatures: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[M] the estimated Jaccard similarity of M pairs of texts; its deviation is 0.04 at 0.8."""
    shares = np.empty(len(a))
    for start in range(0, len(a), 10_000):  # bounds the memory of the comparison
        part = slice(start, start + 10_000)
        shares[part] = (signatures[a[part]] == signatures[b[part]]).mean(axis=1)
    return shares
