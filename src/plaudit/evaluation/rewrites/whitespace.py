"""Whitespace changed in a way that means nothing, drawn from those that fit the text.

A trailing newline; blank lines between its lines; two spaces after each sentence. Texts with a code
block get only the first.
"""

import re

import numpy as np

from plaudit.evaluation.rewrites import Rewrite


def whitespace(asked: str, answer: str, rng: np.random.Generator) -> str:
    """The answer with other whitespace.

    >>> whitespace("Is it?", "Yes.", np.random.default_rng(0))
    'Yes.\\n'
    """
    ways = [answer + "\n"]
    if "```" not in answer:
        ways += [answer.replace("\n", "\n\n"), re.sub(r"(?<=[.!?]) (?=\S)", "  ", answer)]
    ways = [way for way in ways if way != answer]
    return ways[rng.integers(len(ways))]


REWRITE = Rewrite(whitespace, "other whitespace", position=10)
