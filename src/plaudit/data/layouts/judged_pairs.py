"""Judged pairs: a prompt, two completions and a `winner`, as people write them down themselves.

The completions are called by letters or numbers (`response_a` and `response_b`, `answer_1` and
`answer_2`), and the winner names one of them in the same way: "a", "A", "model_a", "response_a",
or 1 beside `answer_1`. "tie", "tie (bothbad)", "both_bad", "draw" and "equal" are ties. A number
beside letters, or 0 beside `answer_1`, says nothing certain and is refused: sides are never
guessed. WSDM Cup's data of Kaggle (`winner` is model_a or model_b) are in this layout, too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.data.cells import shown
from plaudit.data.layouts import COMMON, PROMPT, WINNER, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import (
    FIRST,
    SECOND,
    TIE,
    instruction_and_input,
    models,
    word,
)
from plaudit.data.rankings import BadRowError, Fault

KINDS = ("response", "answer", "completion", "output", "reply")
LETTERS = ("a", "b")
SIDES = (LETTERS, ("1", "2"), ("0", "1"))
TALK = ("conversation", "conversations", "messages")  # the turns before the two completions
TIES = ("tie", "tie (bothbad)", "tie (both bad)", "both_bad", "bothbad", "draw", "equal")
NUMBER = re.compile(r"-?\d+(\.\d+)?$")
# What may stand before the letter or number of a side in a verdict, as in "model_a".
CALLS = "|".join((*KINDS, "model", "assistant"))
CALLED = re.compile(rf"(?:{CALLS})[ _-]?(?=[ab012]$)")
LETTERED = re.compile(rf"(?:^|[ _-]|{CALLS})([ab])$")


def _names(*sides: str) -> tuple[str, ...]:
    """What the column of a completion is called."""
    names = []
    for kind in KINDS:
        for side in sides:
            names += [f"{kind}_{side}", f"{kind} {side}"]
            # `response1` is Argilla's, whose answers are rankings.
            names += [f"{kind}{side}"] if side in LETTERS else []
    return tuple(names)


# In this order `answer_1` is the second beside `answer_0`, and the first beside `answer_2`.
A, B = _names("a", "0", "1"), _names("b", "2", "1")


def give(cell: Cells) -> Given:
    """The first of both sides first."""
    names = (cell.columns["response_a"], cell.columns["response_b"])
    prompt = cell("prompt")
    if "input" in cell.columns and cell.columns["input"] != cell.columns["prompt"]:
        prompt = instruction_and_input(prompt, cell("input"))
    return Given(
        prompt=prompt,
        completions=(cell("response_a"), cell("response_b")),
        names=names,
        ranks=_ranks(cell("winner"), names) if "winner" in cell.columns else None,
        **common(cell) | {"model": models(cell("model_a"), cell("model_b"))},
    )


def _sides(names: Sequence[str]) -> tuple[str, str]:
    """The letters or numbers of both columns; a and b where the user chose other columns.

    >>> _sides(["Answer_1", "Answer_2"]), _sides(["text_b", "text_a"]), _sides(["left", "right"])
    (('1', '2'), ('b', 'a'), ('a', 'b'))
    """
    return _lettered_or_numbered(names) or LETTERS


def _lettered_or_numbered(names: Sequence[str]) -> tuple[str, str] | None:
    """The letters or numbers of two columns that are called alike but for these."""
    first, second = map(_plain, names)
    sides = (first[-1:], second[-1:])
    known = sides in SIDES or sides[::-1] in SIDES
    return sides if first[:-1] == second[:-1] and known else None


def _said(winner: Any) -> str:
    """A verdict without what it calls the completions.

    >>> _said("Response A"), _said("model_b"), _said(1.0)
    ('a', 'b', '1')
    """
    return CALLED.sub("", word(winner))


def _ranks(winner: Any, names: Sequence[str]) -> Sequence[int] | BadRowError:
    """The ranks of the winner, who is called as one of the two columns is."""
    if not (said := _said(winner)):
        return BadRowError(Fault.MISSING, "the winner is missing")
    sides = _sides(names)
    known = dict.fromkeys(TIES, TIE)
    known |= {word(names[0]): FIRST, word(names[1]): SECOND}
    # A letter says nothing of `left_b` and `right_a`, where the first is what others call b.
    if all(_letter(name) in (None, side) for name, side in zip(names, sides, strict=True)):
        known |= {sides[0]: FIRST, sides[1]: SECOND}
    return (
        known.get(word(winner))
        or known.get(said)
        or BadRowError(
            Fault.UNKNOWN,
            f"the winner has a value that is not known: {shown(winner)}; {_told(names)}",
        )
    )


def _letter(name: str) -> str | None:
    """The letter that a column's name ends with, where it is one that a verdict may mean."""
    letter = LETTERED.search(word(name))
    return letter[1] if letter else None


def _told(names: Sequence[str]) -> str:
    return f"write {names[0]}, {names[1]} or tie there"


def doubt(columns: Mapping[str, str], seen: Mapping[str, frozenset[str]]) -> str:
    """Why the numbers of a file's winners name no side: they count from elsewhere than its columns.

    >>> columns = {"response_a": "answer_1", "response_b": "answer_2", "winner": "label"}
    >>> doubt(columns, {"label": frozenset("12")})
    ''
    """
    names = (columns["response_a"], columns["response_b"])
    sides = _sides(names)
    verdicts = seen.get(columns["winner"], ())
    words = {_said(verdict) for verdict in verdicts if word(verdict) not in map(word, names)}
    numbers = {said for said in words if NUMBER.match(said)}
    # Beside letters a number is a bad row, unless there is nothing else.
    if numbers <= set(sides) or (sides == LETTERS and words & set(LETTERS)):
        return ""
    return (
        f"'{columns['winner']}' holds {' and '.join(sorted(numbers))}: which of {names[0]} and "
        f"{names[1]} each means is not certain; {_told(names)}"
    )


def _plain(name: str) -> str:
    return name.strip().lower()


def _fits(cell: Cells) -> bool:
    """Whether there is a winner, and both completions are called in one way."""
    if "winner" not in cell.columns:
        return False
    first, second = (_plain(cell.columns[ours]) for ours in ("response_a", "response_b"))
    alike = _lettered_or_numbered((first, second)) is not None
    return alike or (first not in A and second not in B)


LAYOUT = Layout(
    texts={"prompt": (*PROMPT, *TALK), "response_a": A, "response_b": B},
    order={"winner": WINNER},
    optional={
        **COMMON,
        "input": ("input",),
        "model_a": ("model_a",),
        "model_b": ("model_b",),
    },
    give=give,
    row="pair",
    precedence=90,  # its names are common words: any other layout that fits says more
    fits=_fits,
    doubt=doubt,
    better="the winner",
)
