"""Completions that look refused or cut off, told by a few signs that a person would go by.

A sign is a hint and no proof: each has a name, is counted on its own, and comes with examples to
look at. Words that signs go by are English; marks are those of most scripts. What counts as cut off
depends on the data: in data whose texts seldom end in a full stop, a missing one means nothing.
"""

import re
from typing import NamedTuple

# ---- refused ----

REFUSAL_WITHIN = 200  # characters from the start: later it is part of an answer

_CANNOT = r"(?:can(?:no|')t|can not|won't|am (?:not able|unable) to|'m (?:not able|unable) to)"
_HELP = (
    r"(?:help(?! but)|assist|provide|fulfil?l?|comply|answer|create|write|generate|discuss|engage|"
    r"offer|give|share|continue|access|browse|do that|support|recommend|complete)\b"
)
_CANNOT_HELP = re.compile(
    rf"\bi ?{_CANNOT} (?:\w+ )?{_HELP}"
    r"|\bi(?:'m| am) (?:very |so )?sorry,? (?:but )?i (?:do not|don't) have (?:access|the)\b"
    r"|\bi (?:must|have to) (?:decline|refuse)\b",
    re.IGNORECASE,
)
_MODEL = r"(?:an? )(?:ai|artificial intelligence|(?:large )?language model)\b"
_IS_A_MODEL = re.compile(rf"\b(?:as |i(?:'m| am) (?:just |only )?){_MODEL}", re.IGNORECASE)
# Without one of these in small letters the expressions find nothing: a look for them is faster.
_IN_CANNOT_HELP = ("not", "n't", "unable", "sorry", "decline", "refuse")
_IN_IS_A_MODEL = (" ai", "artificial intelligence", "language model")
# The letters beyond ASCII that count as an i, s or k where case does not matter.
_LETTERS = str.maketrans({"İ": "i", "ı": "i", "ſ": "s", "\N{KELVIN SIGN}": "k"})


class Refusal(NamedTuple):
    """The signs of a refusal that a completion begins with."""

    cannot_help: bool  # "I'm sorry, but I can't help with that."
    is_a_model: bool  # "As an AI language model, …", also where an answer follows


def refusal(text: str) -> Refusal:
    """Whether a completion begins like a refusal.

    >>> any(refusal("I’m sorry, but I can’t help with that."))
    True
    >>> any(refusal("I'm sorry for your loss."))
    False
    """
    start = text[:REFUSAL_WITHIN].replace("’", "'")
    small = (start if start.isascii() else start.translate(_LETTERS)).lower()
    return Refusal(
        any(sign in small for sign in _IN_CANNOT_HELP) and bool(_CANNOT_HELP.search(start)),
        any(sign in small for sign in _IN_IS_A_MODEL) and bool(_IS_A_MODEL.search(start)),
    )


# ---- cut off ----

SENTENCES_FROM = 100  # characters from which on an answer is expected to be in sentences
WORDS_OF_A_LINE = 5  # fewer are a name, a heading or an item, and need no full stop
TAIL = 200  # characters in which a bracket is looked for
# The share of such texts that must end in a mark for one that does not to be a sign.
MOST = 0.8
# As many completions, and so large a share of them, of exactly the greatest length: a limit.
AT_LIMIT, AT_LIMIT_SHARE = 10, 0.005

_ENDS = frozenset(".!?…。！？؟।॥።;") | frozenset("`|>}~=/\\$#%€")  # of sentences, and of code
_CLOSING = " \t\r\n\"'”’»」』)]*_）】"
_GOES_ON = frozenset(",:-–—([{&+")
_LIST_ITEM = re.compile(r"\s*(?:[-*•–#>|]|\(?\w{1,3}[.)]\s)")
_FENCE = re.compile(r"`{3,}|~{3,}")
_NOT_LAST = frozenset(
    ("a", "an", "the", "and", "or", "nor", "but", "of", "as", "than", "my", "your", "our", "their")
)
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


NO_FULL_STOP = "stops in mid-sentence"  # what reports call that sign


class Ending(NamedTuple):
    """How a completion ends, as far as it can be told from the text alone."""

    sentence: bool  # long enough, and its last line too, to be expected to end in a mark
    marked: bool  # ends in one
    unfinished: bool  # ends in a comma, or in a word like "the" that no sentence ends in
    open_code: bool  # a code block that is never closed
    open_bracket: bool  # a bracket in the last lines that is never closed, and no mark

    @property
    def may_be_cut_off(self) -> bool:
        """Whether any sign of it is there, were full stops usual in the data."""
        return (
            (self.sentence and not self.marked)
            or self.unfinished
            or self.open_code
            or self.open_bracket
        )


def ending(text: str) -> Ending:
    """How a completion ends.

    >>> ending("Bonds are loans, and the").unfinished
    True
    """
    text = text.rstrip()
    above, _, last_line = text.rpartition("\n")
    in_verse = above[-1:].isalnum() or above.endswith(",")  # or in a list without signs
    words = last_line.split()
    last_word = words[-1] if words else ""
    bare = text.rstrip(_CLOSING)
    last = bare[-1:]
    closed = bare != text and text[-1] not in "*_"  # "(…)", "[Your name]", "…”"
    marked = closed or not last or last in _ENDS or not (last.isalnum() or last in _GOES_ON)
    fenced = "```" in text or "~~~" in text  # fast, and mostly not
    open_code = fenced and len(_FENCE.findall(text)) % 2 == 1
    is_long = len(text) >= SENTENCES_FROM
    return Ending(
        sentence=is_long
        and len(words) >= WORDS_OF_A_LINE
        and not open_code
        and not in_verse
        and not last_word.startswith(("#", "http"))
        and not _LIST_ITEM.match(last_line),
        marked=marked,
        unfinished=len(words) > 1 and (last_word in _NOT_LAST or last_word.endswith(",")),
        open_code=open_code,
        open_bracket=is_long
        and not marked
        and any(text.rfind(a, -TAIL) > text.rfind(b, -TAIL) for a, b in _BRACKETS),
    )
