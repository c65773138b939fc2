"""Which of the n scored completions of a prompt are kept: the best, the k best, or pairs.

Empty completions and repeats of another one are never kept, and unfinished ones (cut at the most
new tokens) only where they are wanted: a policy that is trained on cut-off texts learns to stop in
the middle. Everything here is a pure function of one prompt's completions and rewards.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from plaudit.errors import PlauditError

Keep = Literal["best", "top-k", "pairs"]
Pairs = Literal["best-worst", "best-random", "all"]


class Scored(NamedTuple):
    """A completion with its reward, and whether the policy finished it."""

    text: str
    finished: bool
    reward: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is kept of a prompt's completions; see `generate`, whose settings these are."""

    keep: Keep = "best"
    k: int = 4
    pairs: Pairs = "best-worst"
    min_reward: float | None = None
    min_margin: float = 0.0
    keep_unfinished: bool = False

    def __post_init__(self) -> None:
        for name, kinds in (("keep", Keep), ("pairs", Pairs)):
            if getattr(self, name) not in get_args(kinds):
                raise PlauditError(f"{name}: take one of {', '.join(get_args(kinds))}")
        if self.k < 1:
            raise PlauditError(f"k: {self.k} is not a number of 1 or more")
        if not 0 <= self.min_margin < math.inf:
            raise PlauditError(f"min_margin: {self.min_margin} is not a number of 0 or more")
        if self.min_reward is not None and not math.isfinite(self.min_reward):
            raise PlauditError(f"min_reward: {self.min_reward} is not a finite number")


class Candidates(NamedTuple):
    """The completions that may be kept, and how many may not, by the first reason that holds."""

    best_first: list[Scored]
    blank: int
    unfinished: int
    duplicates: int


class NothingKeptError(Exception):
    """Why a prompt yields no row. Up to the first colon it is the kind of reason."""


def candidates(completions: Sequence[Scored], keep_unfinished: bool) -> Candidates:
    """The distinct completions that may be kept, from the highest reward down.

    Of equal rewards the one drawn first comes first, of equal texts a finished one counts.

    >>> drawn = [Scored("a", True, 0.5), Scored("b", False, 2.0), Scored("c", True, 1.0)]
    >>> [one.text for one in candidates(drawn, keep_unfinished=False).best_first]
    ['c', 'a']
    """
    distinct: dict[str, Scored] = {}
    blank = unfinished = duplicates = 0
    for one in sorted(completions, key=lambda one: not one.finished):
        text = one.text.strip()
        if not text:
            blank += 1
        elif not (one.finished or keep_unfinished):
            unfinished += 1
        elif distinct.setdefault(text, one) is not one:
            duplicates += 1
    best_first = sorted(distinct.values(), key=lambda one: -one.reward)
    return Candidates(best_first, blank, unfinished, duplicates)


def top(found: Candidates, choice: Choice) -> list[Scored]:
    """The best candidate or the k best, each with at least the least reward, best first.

    Raises `NothingKeptError`.

    >>> found = candidates([Scored("a", True, 0.5), Scored("c", True, 1.0)], False)
    >>> [one.text for one in top(found, Choice(keep="top-k", min_reward=0.7))]
    ['c']
    """
    first, *rest = _with_reward(found, choice.min_reward)
    return [first, *rest][: choice.k if choice.keep == "top-k" else 1]


def pairs(found: Candidates, choice: Choice, chance: int) -> list[tuple[Scored, Scored]]:
    """Pairs (chosen, rejected) of candidates, the largest margin first; equal rewards make none.

    `best-worst` pairs the best with the worst, `best-random` with any other one, `all` each with
    each. The chosen one has at least the least reward, and the margin is at least the least one.
    Raises `NothingKeptError`.

    Args:
        found: the candidates.
        choice: what to keep.
        chance: a seed, for `best-random`.

    >>> found = candidates([Scored(t, True, r) for t, r in (("a", 0), ("b", 2), ("c", 1))], False)
    >>> [(a.text, b.text) for a, b in pairs(found, Choice(keep="pairs"), chance=0)]
    [('b', 'a')]
    """
    chosen = _with_reward(found, choice.min_reward)
    if len(found.best_first) < 2:
        raise NothingKeptError("only one completion left to make a pair of")
    possible = [
        (better, worse)
        for better in (chosen if choice.pairs == "all" else chosen[:1])
        for worse in found.best_first
        if better.reward > worse.reward and better.reward - worse.reward >= choice.min_margin
    ]
    if not possible:
        largest = found.best_first[0].reward - found.best_first[-1].reward
        raise NothingKeptError(
            f"no pair with a margin above 0 and of {choice.min_margin:g} or more: "
            f"the largest is {largest:.4g}"
        )
    if choice.pairs == "best-worst":
        return possible[-1:]
    if choice.pairs == "best-random":
        return [possible[int(random.Random(chance).random() * len(possible))]]
    return sorted(possible, key=lambda pair: pair[1].reward - pair[0].reward)


def _with_reward(found: Candidates, least: float | None) -> list[Scored]:
    """The candidates with at least this reward, best first; there is one."""
    if not found.best_first:
        raise NothingKeptError(
            f"no completion left: {found.unfinished} unfinished, {found.blank} blank"
        )
    enough = [one for one in found.best_first if least is None or one.reward >= least]
    if not enough:
        highest = found.best_first[0].reward
        raise NothingKeptError(
            f"no completion with a reward of {least:g} or more: the best has {highest:.4g}"
        )
    return enough
