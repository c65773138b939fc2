"""Which texts a model was trained on, as hashes beside its weights: what to look test data up in.

Of each distinct prompt and completion 25 bytes are kept: a 64-bit hash that equal texts share, and
a sketch that near copies share, one bit of each of the 120 numbers of `data.sketches` (Li and König
2010, b-bit minwise hashing), with 16 bits of what numbers the text names. No text can be read off
them; but who has a text can ask whether it, or nearly it, is among them. Hashes have no salt: it
would have to lie beside them.

Weights and configuration know nothing of the file: a model without it is as it was.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from plaudit.data.cells import said
from plaudit.data.rankings import Ranking, Text, text_key
from plaudit.data.sketches import BANDS, ROWS, THRESHOLD, sketch
from plaudit.model.tensors_file import as_readable, reading

# Safetensors under another ending: some programs take all `*.safetensors` of a folder for weights.
FILE = "trained_on.plaudit"
VERSION = "1"
KINDS = ("prompts", "completions")
MOST = 1 << 22  # distinct texts of a kind that are kept: 105 MB
AT_ONCE = 1 << 22  # characters that are looked at together
# Of 120 bits two texts of Jaccard similarity s share (1 + s) / 2, since bits of unequal numbers
# agree by chance: the share, known to ± 0.03, tells s to ± 0.055.
MOST_APART = round(BANDS * ROWS * (1 - THRESHOLD) / 2)
BYTES = BANDS * ROWS // 8
# Pairs of bytes, in one of which near copies agree: at the threshold 97 % of them do, closer ones
# more. Of texts that share nothing one in 2,000 does; those are then compared.
MEETING = [(i, (i + step) % BYTES) for step in (1, 2) for i in range(BYTES)]
KEYS = 1 << 16
TRAINING_AT_ONCE = 1 << 18
SAME_KEY = 32  # of so many training texts no more are compared by one pair of bytes
SHORTEST = 48  # characters of a completion that can be told from one that anybody would write
NOT, NEAR, SAME = 0, 1, 2  # whether a text is among those trained on

_BITS = np.array([number.bit_count() for number in range(256)], np.uint8)

Found = NDArray[np.int8]  # NOT, NEAR or SAME for each text


@dataclass(frozen=True)
class Hashes:
    """Distinct texts: `exact` [N] in ascending order; of the S that say something `sketches`
    [S, 15] and `figures` [S]."""

    exact: NDArray[np.uint64]
    sketches: NDArray[np.uint8]
    figures: NDArray[np.uint16]

    def find(self, keys: Sequence[str], texts: Sequence[str]) -> Found:
        """Whether each of these texts [T] is among them, by its key, or nearly, by its words."""
        hashes = _hashes(keys)
        found = np.where(_among(hashes, self.exact), SAME, NOT).astype(np.int8)
        left = np.flatnonzero(found == NOT)
        if not len(left) or not len(self.sketches):
            return found
        sketches, figures, blank = _sketched([texts[i] for i in left.tolist()])
        left = left[~blank]
        both = np.concatenate([sketches, figures.view(np.uint8).reshape(-1, 2)], axis=1)
        distinct, of = np.unique(both, axis=0, return_inverse=True)
        sketches = np.ascontiguousarray(distinct[:, :BYTES])
        figures = np.ascontiguousarray(distinct[:, BYTES:]).view(np.uint16)[:, 0]
        found[left[self._near(sketches, figures)[of.ravel()]]] = NEAR
        return found

    def _near(self, sketches: np.ndarray, figures: np.ndarray) -> np.ndarray:
        """Whether each of these distinct sketches [T] is near to one of ours."""
        near = np.zeros(len(sketches), bool)
        for first, second in MEETING:
            wanted = np.flatnonzero(~near)
            keys = _key(sketches[wanted], first, second)
            wanted = wanted[np.argsort(keys, kind="stable")]
            number = np.bincount(keys, minlength=KEYS)
            starts = np.cumsum(number) - number
            for start in range(0, len(self.sketches), TRAINING_AT_ONCE):
                ours = _key(self.sketches[start : start + TRAINING_AT_ONCE], first, second)
                met = np.flatnonzero(number[ours])
                met = met[np.argsort(ours[met], kind="stable")]
                key = ours[met]
                begins = np.flatnonzero(np.diff(key, prepend=-1))
                nth = np.arange(len(key)) - np.repeat(begins, np.diff([*begins, len(key)]))
                met, key = met[nth < SAME_KEY], key[nth < SAME_KEY]
                times = number[key]
                a = np.repeat(met + start, times)
                place = np.arange(len(a)) - np.repeat(np.cumsum(times) - times, times)
                b = wanted[np.repeat(starts[key], times) + place]
                apart = _BITS[self.sketches[a] ^ sketches[b]].sum(axis=1)
                near[b[(apart <= MOST_APART) & (self.figures[a] == figures[b])]] = True
        return near


@dataclass(frozen=True)
class Overlap:
    """What of R rankings a model was trained on: `prompt` [R] and for each of them `completions`.

    `known` is whether hashes are there at all; `whole` whether they are of all training texts, and
    not of the first ones only; `texts` how many distinct ones they are of.
    """

    known: bool
    whole: bool
    texts: int
    prompt: Found
    completions: list[Found]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """[R] the rankings that count as trained on: by their prompt, or two completions."""
        return (self.prompt > NOT) | self.by_completions

    @property
    def by_completions(self) -> NDArray[np.bool_]:
        """[R] those under another prompt of which two completions or more are there."""
        several = [np.count_nonzero(found) > 1 for found in self.completions]
        return (self.prompt == NOT) & np.array(several, bool)


class TrainedOn:
    """The hashes of a model's training texts.

    >>> texts = TrainedOn.of([Ranking("What is 2 + 2?", ["4", "5"], [0, 1])])
    >>> overlap([texts], [Ranking("What is  2 + 2?", ["four", "5"], [0, 1])]).prompt.tolist()
    [1]
    """

    def __init__(self, hashes: dict[str, Hashes], whole: bool) -> None:
        self.hashes = hashes
        self.whole = whole

    @classmethod
    def of(cls, rankings: Iterable[Ranking]) -> "TrainedOn":
        """The hashes of rankings."""
        collecting = Collecting()
        for ranking in rankings:
            collecting.add(ranking)
        return collecting.done()

    def save(self, folder: Path) -> None:
        """Write them into an existing model folder."""
        tensors = {
            f"{kind}.{name}": np.ascontiguousarray(values)
            for kind, hashes in self.hashes.items()
            for name, values in vars(hashes).items()
        }
        about = {"version": VERSION, "whole": str(int(self.whole))}
        save_file(tensors, folder / FILE, metadata=about)
        as_readable(folder / FILE)

    @classmethod
    def read(cls, file: Path) -> "TrainedOn":
        """What `save` wrote.

        Raises:
            PlauditError: when the file is damaged, or of a later version.
        """
        without = "without it the model is as it was, but cannot tell what it was trained on"
        with reading(file, "np", VERSION, without) as (stored, about):
            hashes = {
                kind: _checked(Hashes(*(stored.get_tensor(f"{kind}.{name}") for name in _FIELDS)))
                for kind in KINDS
            }
        return cls(hashes, about.get("whole") == "1")


def _checked(hashes: Hashes) -> Hashes:
    """Hashes of the types and shapes that `save` writes; raises `ValueError` for others."""
    exact, sketches, figures = (getattr(hashes, name) for name in _FIELDS)
    kinds = [array.dtype for array in (exact, sketches, figures)]
    if (
        kinds != [np.uint64, np.uint8, np.uint16]
        or exact.ndim != 1
        or sketches.shape != (len(figures), BYTES)
    ):
        raise ValueError("its tensors are not those of hashes")
    if (exact[1:] <= exact[:-1]).any():
        raise ValueError("its hashes are not in ascending order")
    return hashes


_FIELDS = ("exact", "sketches", "figures")


@dataclass(frozen=True)
class Kept:
    """Hashes in a file beside a model's weights, read only when they are asked for."""

    file: Path

    def read(self) -> TrainedOn:
        """See `TrainedOn.read`."""
        return TrainedOn.read(self.file)

    def save(self, folder: Path) -> None:
        """Copy the file into an existing model folder."""
        shutil.copyfile(self.file, folder / FILE)


class Collecting:
    """Takes rankings as they are read, and gives the hashes of their distinct texts.

    The same text may come any number of times. Of a kind no more than `MOST` texts are kept, the
    first ones, so that memory has a bound.
    """

    def __init__(self) -> None:
        self._texts = {kind: _Texts() for kind in KINDS}

    def add(self, ranking: Ranking) -> None:
        """Take the texts of a ranking."""
        self._texts["prompts"].add(ranking.key, _words(ranking.prompt))
        for text in ranking.completions:
            self._texts["completions"].add(text_key(text), _words(text))

    def passing(self, rankings: Iterable[Ranking]) -> Iterator[Ranking]:
        """The same rankings, each taken as it passes."""
        for ranking in rankings:
            self.add(ranking)
            yield ranking

    def done(self, base: TrainedOn | None = None) -> TrainedOn:
        """The hashes, with those of the model that training began from, where it has some."""
        hashes = {kind: texts.done() for kind, texts in self._texts.items()}
        whole = all(texts.whole for texts in self._texts.values())
        if base is not None:
            hashes = {kind: _joined(base.hashes[kind], hashes[kind]) for kind in KINDS}
            whole = whole and base.whole
        return TrainedOn(hashes, whole)


class _Texts:
    """Distinct texts of a kind: those that are waiting, and the hashes of those before."""

    def __init__(self) -> None:
        self.whole = True
        self._waiting: dict[str, str] = {}
        self._characters = 0
        self._exact = np.empty(0, np.uint64)
        self._sketches: list[np.ndarray] = []
        self._figures: list[np.ndarray] = []

    def add(self, key: str, words: str) -> None:
        if not self.whole or key in self._waiting:
            return
        self._waiting[key] = words
        self._characters += len(words)
        if self._characters >= AT_ONCE:
            self._look()

    def _look(self) -> None:
        hashes, texts = _hashes(list(self._waiting)), list(self._waiting.values())
        self._waiting, self._characters = {}, 0
        hashes, first = np.unique(hashes, return_index=True)
        new = ~_among(hashes, self._exact)
        room = MOST - len(self._exact)
        if new.sum() > room:
            self.whole = False
            new &= np.cumsum(new) <= room
        sketches, figures, _ = _sketched([texts[i] for i in first[new].tolist()])
        self._exact = np.sort(np.concatenate([self._exact, hashes[new]]), kind="stable")
        self._sketches.append(sketches)
        self._figures.append(figures)

    def done(self) -> Hashes:
        self._look()
        return Hashes(self._exact, np.concatenate(self._sketches), np.concatenate(self._figures))


def overlap(trained_on: Sequence[TrainedOn | None], rankings: Sequence[Ranking]) -> Overlap:
    """What of these rankings the models were trained on, any of them; what is known is known of
    all. Completions of fewer than `SHORTEST` characters are left aside: "Yes." is everywhere.

    >>> overlap([None], [Ranking("2 + 2?", ["4", "5"], [0, 1])]).known
    False
    """
    prompt = np.zeros(len(rankings), np.int8)
    texts = [text for ranking in rankings for text in ranking.completions]
    words = [_words(text) for text in texts]
    long = np.array([len(each) >= SHORTEST for each in words], bool)
    completion = np.zeros(len(texts), np.int8)
    there = [each for each in trained_on if each is not None]
    if not there or len(there) < len(trained_on):
        there = []
    for each in there:
        keys = [ranking.key for ranking in rankings]
        found = each.hashes["prompts"].find(keys, [_words(r.prompt) for r in rankings])
        prompt = np.maximum(prompt, found)
        keys = [text_key(text) for text in texts]
        found = each.hashes["completions"].find(keys, words)
        completion = np.maximum(completion, np.where(long, found, NOT).astype(np.int8))
    ends = np.cumsum([len(ranking.completions) for ranking in rankings])
    return Overlap(
        known=bool(there),
        whole=all(each.whole for each in there),
        texts=sum(len(hashes.exact) for each in there for hashes in each.hashes.values()),
        prompt=prompt,
        completions=np.split(completion, ends[:-1]) if len(rankings) else [],
    )


def _words(text: Text) -> str:
    """What a text says; messages of the system's do not count: they are the same everywhere."""
    return text if isinstance(text, str) else said(text)


def _hashes(keys: Sequence[str]) -> NDArray[np.uint64]:
    """[T] a 64-bit hash of each key, the same on every machine; equal ones of unequal texts: 3e-8
    among a million."""
    digests = (blake2b(k.encode("utf-8", "surrogatepass"), digest_size=8).digest() for k in keys)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _sketched(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[S, 15] sketches and [S] figures of the texts that say something; [T] which do not."""
    found = sketch(texts)
    some = ~found.blank
    # The highest bit of each: the lower ones of short texts depend on too few of a hash's bits.
    bits = np.packbits(found.signatures[some] >> 15, axis=1)
    return bits, (found.figures[some] & np.uint64(0xFFFF)).astype(np.uint16), found.blank


def _among(hashes: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(hashes), bool)
    place = np.minimum(np.searchsorted(ascending, hashes), len(ascending) - 1)
    return ascending[place] == hashes


def _key(sketches: np.ndarray, first: int, second: int) -> NDArray[np.int64]:
    return sketches[:, first].astype(np.int64) << 8 | sketches[:, second]


def _joined(a: Hashes, b: Hashes) -> Hashes:
    both: Any = (np.concatenate([getattr(a, n), getattr(b, n)]) for n in ("sketches", "figures"))
    return Hashes(np.union1d(a.exact, b.exact), *both)
