"""The length of a completion: the logarithm of its tokens."""

import math

from plaudit.data.rankings import Text
from plaudit.training.controls import Nuisance


def level(text: Text, tokens: int) -> float:
    """log(tokens); of no token 0, as of one."""
    return math.log(max(tokens, 1))


NUISANCE = Nuisance(level)
