"""Nuisances: what a reward should not follow for its own sake. Each is one module, found by name.

A module defines `NUISANCE`, a `Nuisance` whose `level` makes a number of a completion's text and
its tokens. People prefer more of it, up to a point, so a level is on a scale on which a straight
line is a fair first guess: the logarithm of a length or of a count. Besides, `column:NAME` is an
attribute that the data give each completion. Importing this package does not import torch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plaudit.data.rankings import Ranking, Text
from plaudit.plugins import Registry

COLUMN = "column:"


@dataclass(frozen=True)
class Nuisance:
    """A property of a completion that is seen without understanding it.

    `level` takes the text and its number of tokens, those that truncation cuts among them.
    """

    level: Callable[[Text, int], float]


NUISANCES = Registry("nuisance", __name__, "NUISANCE", Nuisance)


def levels(
    names: Sequence[str], ranking: Ranking, completion_tokens: Sequence[int]
) -> list[list[float]]:
    """The levels `[K, F]` of F nuisances in the K completions of a ranking.

    The level of `column:NAME` is sign(a) · log(1 + |a|) of the attribute a; where one of the
    completions has none, it is 0 for all of them: nothing is known of their difference.

    >>> levels(["lists", "length"], Ranking("Why?", ["So.", "- a\\n- b"]), [1, 8])
    [[0.0, 0.0], [1.0986122886681096, 2.0794415416798357]]
    """
    columns = []
    for name in names:
        if name.startswith(COLUMN):
            given = (ranking.attributes or {}).get(name.removeprefix(COLUMN), ())
            known = bool(given) and all(map(math.isfinite, given))
            numbers = given if known else [0.0] * len(ranking.completions)
            columns.append([math.copysign(math.log1p(abs(a)), a) for a in numbers])
        else:
            level = NUISANCES.get(name).level
            texts = zip(ranking.completions, completion_tokens, strict=True)
            columns.append([level(text, tokens) for text, tokens in texts])
    return [list(row) for row in zip(*columns, strict=True)]
