"""The answer twice."""

import numpy as np

from plaudit.evaluation.rewrites import Rewrite


def repeated(asked: str, answer: str, rng: np.random.Generator) -> str:
    """The answer, and once more.

    >>> repeated("2+2?", "4", np.random.default_rng(0))
    '4\\n\\n4'
    """
    return f"{answer}\n\n{answer}"


REWRITE = Rewrite(repeated, "given twice", worse=True, longer=True, position=50)
