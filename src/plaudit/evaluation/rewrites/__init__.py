"""Rewrites of an answer that should not change its reward, or should lower it: a module each.

A module defines `REWRITE`, a `Rewrite` whose function takes what was asked, the answer and a
generator of random numbers, and returns the answer rewritten, or None where it cannot be. Some keep
the meaning, so a reward should not move enough to change an order. The `worse` ones spoil the
answer, so the original should be preferred. A policy that is trained on a reward finds such ways by
itself. Importing this package does not import torch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plaudit.data.cells import said
from plaudit.data.rankings import Text
from plaudit.plugins import Registry


@dataclass(frozen=True)
class Rewrite:
    """One way to rewrite an answer.

    Attributes:
        of: `(asked, answer, rng)` to the answer rewritten, or None.
        label: what it is called in tables.
        worse: whether the rewritten answer is worse, so that the original should be preferred; else
            it means the same.
        longer: whether the rewritten answer is always longer (True) or always shorter (False); None
            where that depends on the answer. Where a worse version is preferred, more or less of
            length has to be taken out of training, by which of the two it is.
        one_text: whether every answer becomes the same text, so that no order is left to keep.
        position: its place in tables, ascending.

    >>> REWRITES.get("repeated").of("2+2?", "4", np.random.default_rng(0))
    '4\\n\\n4'
    """

    of: Callable[[str, str, np.random.Generator], str | None]
    label: str
    worse: bool = False
    longer: bool | None = None
    one_text: bool = False
    position: int = 1000

    def __call__(self, prompt: Text, completion: Text, rng: np.random.Generator) -> Text | None:
        """The completion rewritten, of messages the last; None where it cannot be.

        What was asked is the prompt, of messages the last.
        """
        asked = said(prompt if isinstance(prompt, str) else prompt[-1:])
        if isinstance(completion, str):
            return self.of(asked, completion, rng)
        last = completion[-1]
        if not isinstance(last["content"], str):
            return None
        content = self.of(asked, last["content"], rng)
        return None if content is None else [*completion[:-1], last | {"content": content}]


REWRITES = Registry("rewrite", __name__, "REWRITE", Rewrite, word_break="_")


def rewrites() -> dict[str, Rewrite]:
    """All rewrites by name, in the order of tables.

    >>> list(rewrites())[:2]
    ['whitespace', 'list_order']
    """
    return dict(sorted(REWRITES.each(), key=lambda item: (item[1].position, item[0])))


def longer(name: str) -> bool | None:
    """Whether a rewrite makes an answer longer; None where it depends, or it is not installed.

    >>> longer("repeated"), longer("empty"), longer("their_own")
    (True, False, None)
    """
    return REWRITES.get(name).longer if name in REWRITES else None


def label(name: str) -> str:
    """What tables call a rewrite; its name, where it is not installed, as for old results.

    >>> label("repeated"), label("their_own")
    ('given twice', 'their own')
    """
    return REWRITES.get(name).label if name in REWRITES else name.replace("_", " ")
