"""The record that everything else takes: one prompt, its completions and their ranks.

A pair is a ranking of two. Readers make rankings, splits divide them by prompt, the encoder turns
them into tokens, losses and metrics see nothing but their rewards and ranks. Nothing here reads a
file; what a ranking must fulfil to be learnt from is checked in `check`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# The rank that marks "no completion here" where rankings of different K share a tensor. The same
# value as transformers pads labels with, so that it survives its evaluation loop.
PADDING = -100

TIED = "all completions of this prompt are tied"

# A chat message as every chat template takes it: {"role": "user", "content": "…"}.
Message = dict[str, Any]
USER_TURN = {"role", "content"}
ASKERS = ("user", "human")  # roles
QUOTED = 60  # characters of a question in a reason
# A prompt or a completion: plain text, or the messages of a dialogue.
Text = str | list[Message]


class Fault(StrEnum):
    """What is wrong with a row, in one word for programs; the reason says it to a person."""

    UNREADABLE = "unreadable"
    MISSING = "missing"
    BLANK = "blank"
    NOT_TEXT = "not text"
    UNDECODABLE = "undecodable"
    NOT_A_NUMBER = "not a number"
    NOT_A_LIST = "not a list"
    LENGTHS = "lengths differ"
    REPEATS = "repeats the prompt"
    NO_REPLY = "no reply"
    QUESTIONS = "different questions"
    SAME = "chosen equals rejected"
    DUPLICATE = "duplicate"
    CONTRADICTION = "contradiction"
    DISAGREE = "rank and rating disagree"
    ALONE = "only one completion"
    TIED = "all tied"
    UNKNOWN = "unknown value"
    TAKEN = "the output has that column"
    REFUSED = "refused by template or tokenizer"
    EQUAL = "equal to the model"


class BadRowError(Exception):
    """Why a row cannot be used: its `fault`, and the reason in words.

    Up to its first colon the reason is the kind of fault, which is counted; then comes the detail.
    """

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Ranking:
    """One prompt, K ≥ 2 completions and K ranks; lower is better, equal ranks are ties.

    `ranks` are dense: they count 0, 1, 2 … without a gap whatever the file called them, so that
    only their order carries meaning. They are empty where nothing is known of the order, as of a
    row that is only to be scored. `ratings` are what the data rated the completions with, higher
    being better, where they did. `attributes` are further numbers of each completion by name, such
    as "coherence", NaN where one has none: not all of them are better the higher. `strength` is
    how strongly the better completion was preferred, on the data's own scale. `margin` is how much
    better, in reward, a better completion should be; `weight` multiplies the ranking's loss;
    `models` names what wrote each completion;
    `categories` names the kind of each completion (for pairs: of the rejected one), `category` that
    of the whole ranking; `origin` says where it came from, for messages (`file.csv:12`); `source`
    names the source that it is of, or the set to validate on, where there are several; `annotator`
    is who made it, where the data say so.

    >>> pair = Ranking("2+2?", ["4", "5"], [0, 1])
    >>> pair.pairs()
    [(0, 1)]
    """

    prompt: Text
    completions: Sequence[Text]
    ranks: Sequence[int] = ()
    margin: float | None = None
    weight: float = 1.0
    category: str | None = None
    categories: Sequence[str | None] | None = None
    models: Sequence[str | None] | None = None
    origin: str = ""
    ratings: Sequence[float] | None = None
    attributes: Mapping[str, Sequence[float]] | None = None
    strength: float | None = None
    source: str = ""
    annotator: str | None = None

    def pairs(self) -> list[tuple[int, int]]:
        """Every strictly ordered pair as (better, worse) indices, in the data's order."""
        k = len(self.ranks)
        return [
            (i, j) if self.ranks[i] < self.ranks[j] else (j, i)
            for i in range(k)
            for j in range(i + 1, k)
            if self.ranks[i] != self.ranks[j]
        ]

    @property
    def key(self) -> str:
        """What identifies the prompt when data are split: no two splits share a key."""
        prompt = self.prompt
        if not isinstance(prompt, str) and len(prompt) == 1 and set(prompt[0]) == USER_TURN:
            # What a lone message of the user's says is the same prompt as the plain text.
            prompt = prompt[0]["content"] if prompt[0]["role"] == "user" else prompt
        # A prompt may be empty where it was implicit; such rankings are told apart by completion.
        return text_key(prompt) if prompt else "\0" + text_key(self.completions[0])


def text_key(text: Text) -> str:
    """A string that is equal for equal texts and unequal for unequal ones."""
    return text if isinstance(text, str) else "\1" + json.dumps(text, sort_keys=True)


def dense_ranks(ranks: Sequence[float]) -> list[int]:
    """Ranks as 0, 1, 2 … in the same order with the same ties.

    Raises `ValueError` for a rank that is not a finite number.

    >>> dense_ranks([7, 1.5, 7])
    [1, 0, 1]
    """
    if not all(math.isfinite(rank) for rank in ranks):
        raise ValueError("a rank is not a finite number")
    order = {rank: position for position, rank in enumerate(sorted(set(ranks)))}
    return [order[rank] for rank in ranks]


def check(ranking: Ranking) -> BadRowError | None:
    """Why nothing can be learnt from `ranking`, or None when something can.

    >>> str(check(Ranking("p", ["a"], [0])))
    'only one completion for this prompt'
    """
    if len(ranking.completions) < 2:
        return BadRowError(Fault.ALONE, "only one completion for this prompt")
    if len(set(ranking.ranks)) < 2:
        return BadRowError(Fault.TIED, TIED)
    if told := different_questions(ranking.completions):
        return BadRowError(Fault.QUESTIONS, f"the completions answer different questions: {told}")
    return None


def different_questions(completions: Sequence[Text]) -> str:
    """The user's turns in which completions that are whole dialogues first differ: both of them.

    Empty where the replies differ first: what the user says then may answer them. White space at a
    turn's ends makes no difference.

    >>> rome, bern = ([{"role": "user", "content": f"Where is {it}?"}] for it in ("Rome", "Bern"))
    >>> different_questions([rome, bern])
    "'Where is Rome?' and 'Where is Bern?'"
    """
    first, *others = [text for text in completions if not isinstance(text, str)] or [[]]
    for other in others:
        for turns in zip(first, other, strict=False):
            one, two = (str(turn.get("content")).strip() for turn in turns)
            if all(str(turn["role"]).lower() in ASKERS for turn in turns):
                if one != two:
                    return " and ".join(
                        f"'{words[:QUOTED]}{'…' if len(words) > QUOTED else ''}'"
                        for words in (one, two)
                    )
            elif turns[0] != turns[1]:
                break
    return ""


def disagreement(ranks: Sequence[float], ratings: Sequence[float | None]) -> tuple[int, int] | None:
    """Two completions, the one of the better rank first, of which the other is rated higher.

    None where there are no such two. Equal ranks or ratings disagree with nothing.

    >>> disagreement([1, 2, 2], [5, 3, 4]), disagreement([1, 2, 2], [5, 3, 7])
    (None, (0, 2))
    """
    lowest: tuple[float, int] | None = None  # the rating of what has a better rank than `this`
    this: tuple[float, int] | None = None  # the lowest one of the rank that is being looked at
    rank = -math.inf
    for place in sorted(range(len(ranks)), key=ranks.__getitem__):
        rating = ratings[place]
        if rating is None:
            continue
        if ranks[place] > rank:
            rank, lowest = ranks[place], min(filter(None, (lowest, this)), default=None)
            this = None
        if lowest is not None and rating > lowest[0]:
            return lowest[1], place
        this = min(this or (rating, place), (rating, place))
    return None


@dataclass
class Rejected:
    """A row that was not used: where it stood, why in words, what it said, and the fault.

    `vote` is kept of a pair that another one contradicts, where nobody says whose they are: which
    pair it is, as a number, for which side, 1 or 2, and of which prompt.
    """

    file: str
    line: int | None
    reason: str
    row: Any = field(default=None, repr=False)
    fault: Fault = Fault.UNREADABLE
    vote: tuple[int, int, str] | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """The kind of fault in words, without the detail: the reason up to its first colon."""
        return self.reason.partition(": ")[0]

    def as_dict(self) -> dict[str, Any]:
        """The row of `rejected.jsonl`."""
        return {"file": self.file, "line": self.line, "reason": self.reason, "row": self.row}
