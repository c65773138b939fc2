"""A rewrite of answers: thanks for the question stand before the answer."""

import numpy as np

from plaudit.evaluation.rewrites import Rewrite


def thanks(asked: str, answer: str, rng: np.random.Generator) -> str:
    """The answer, after two words that mean nothing."""
    return f"Thank you. {answer}"


REWRITE = Rewrite(thanks, "thanks before it")
