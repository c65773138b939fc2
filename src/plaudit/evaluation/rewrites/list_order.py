"""The items of bulleted lists in reverse order.

Only of bulleted lists: the order of a numbered one often means something. An item is a line that
begins with a mark; items of one mark and depth that follow each other are one list. Answers without
such a list of two different items, or with a code block, are left out.
"""

import re
from itertools import groupby

import numpy as np

from plaudit.evaluation.rewrites import Rewrite

BULLET = re.compile(r"([ \t]*[-*+•‣][ \t]+)\S")


def _mark(line: str) -> str:
    match = BULLET.match(line)
    return match[1] if match else ""


def list_order(asked: str, answer: str, rng: np.random.Generator) -> str | None:
    """The answer with its bulleted lists reversed.

    >>> list_order("Why?", "Because:\\n- cost\\n- time\\n", np.random.default_rng(0))
    'Because:\\n- time\\n- cost\\n'
    """
    if "```" in answer:
        return None
    lines: list[str] = []
    for mark, group in groupby(answer.split("\n"), key=_mark):
        items = list(group)
        lines += items[::-1] if mark else items
    reordered = "\n".join(lines)
    return None if reordered == answer else reordered


REWRITE = Rewrite(list_order, "bulleted lists reversed", position=20)
