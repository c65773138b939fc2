"""Bulleted and numbered lists: the logarithm of 1 + their items."""

import math

from plaudit.data.rankings import Text
from plaudit.evaluation.style import count_list_items
from plaudit.training.controls import Nuisance


def level(text: Text, tokens: int) -> float:
    """log(1 + items), counted as the report does."""
    return math.log1p(count_list_items(text))


NUISANCE = Nuisance(level)
