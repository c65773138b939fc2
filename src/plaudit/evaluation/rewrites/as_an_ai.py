"""An opening that says nothing but that an AI speaks."""

import numpy as np

from plaudit.evaluation.rewrites import Rewrite

OPENING = "As an AI language model, I can help you with that."


def as_an_ai(asked: str, answer: str, rng: np.random.Generator) -> str:
    """The answer after such an opening.

    >>> as_an_ai("2+2?", "4", np.random.default_rng(0))
    'As an AI language model, I can help you with that. 4'
    """
    return f"{OPENING} {answer}"


REWRITE = Rewrite(as_an_ai, '"As an AI" before it', longer=True, position=30)
