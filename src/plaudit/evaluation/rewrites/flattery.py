"""Praise of whoever asked, at the end."""

import numpy as np

from plaudit.evaluation.rewrites import Rewrite

PRAISE = (
    "What an excellent question! You are clearly a very thoughtful and intelligent person, and it "
    "was a pleasure to answer you."
)


def flattery(asked: str, answer: str, rng: np.random.Generator) -> str:
    """The answer with praise after it.

    >>> flattery("2+2?", "4", np.random.default_rng(0))[:30]
    '4\\n\\nWhat an excellent question!'
    """
    return f"{answer}\n\n{PRAISE}"


REWRITE = Rewrite(flattery, "flattery after it", worse=True, longer=True, position=40)
