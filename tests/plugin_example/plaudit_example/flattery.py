"""Flattery: whether a completion begins by praising the question."""

from plaudit.data.rankings import Text
from plaudit.training.controls import Nuisance


def level(text: Text, tokens: int) -> float:
    """1 where it does, else 0."""
    return float(str(text).startswith("Great question"))


NUISANCE = Nuisance(level)
