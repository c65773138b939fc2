"""Markdown other than lists: the logarithm of 1 + its marks.

Beside `length` it controls for the share of marks too, whose logarithm is the difference of both.
"""

import math

from plaudit.data.rankings import Text
from plaudit.evaluation.style import count_markdown_marks
from plaudit.training.controls import Nuisance


def level(text: Text, tokens: int) -> float:
    """log(1 + headings, bold, code and so on), counted as the report does."""
    return math.log1p(count_markdown_marks(text))


NUISANCE = Nuisance(level)
