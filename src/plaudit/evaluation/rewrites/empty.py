"""No answer at all. An answer that is empty already is left out."""

import numpy as np

from plaudit.evaluation.rewrites import Rewrite


def empty(asked: str, answer: str, rng: np.random.Generator) -> str | None:
    """Nothing.

    >>> empty("2+2?", "4", np.random.default_rng(0))
    ''
    """
    return "" if answer else None


REWRITE = Rewrite(
    empty, "nothing instead of it", worse=True, longer=False, one_text=True, position=70
)
