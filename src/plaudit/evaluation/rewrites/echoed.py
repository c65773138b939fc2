"""What was asked, before the answer."""

import numpy as np

from plaudit.evaluation.rewrites import Rewrite


def echoed(asked: str, answer: str, rng: np.random.Generator) -> str:
    """The answer after what was asked.

    >>> echoed("2+2?", "4", np.random.default_rng(0))
    '2+2?\\n\\n4'
    """
    return f"{asked}\n\n{answer}"


REWRITE = Rewrite(echoed, "the prompt before it", worse=True, longer=True, position=60)
