"""Bold spans: the logarithm of 1 + how many there are."""

import math
import re

from plaudit.data.cells import said
from plaudit.data.rankings import Text
from plaudit.training.controls import Nuisance

BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__|<(b|strong)>[^<\n]+</\1>")


def level(text: Text, tokens: int) -> float:
    """log(1 + spans in markdown or HTML).

    >>> round(level("**Yes**, and <b>no</b>.", 9), 3)
    1.099
    """
    return math.log1p(sum(1 for _ in BOLD.finditer(said(text))))


NUISANCE = Nuisance(level)
