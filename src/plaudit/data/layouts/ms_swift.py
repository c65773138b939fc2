"""ms-swift: `messages` whose last turn is chosen, with what was rejected in its place.

That is `rejected_response`, a text for the last turn, or `rejected_messages`, another whole
dialogue. Source: ms-swift's "Custom dataset", RLHF.
"""

from typing import Any

from plaudit.data.cells import is_messages
from plaudit.data.chat import assistant
from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import (
    CHOSEN_AND_REJECTED,
    EMPTY,
    messages,
    opened,
)
from plaudit.data.layouts._written import asked, beside, replied
from plaudit.data.rankings import BadRowError, Fault, Ranking


def give(cell: Cells) -> Given:
    """The chosen completion first."""
    dialogue = messages(cell("messages"))
    if not is_messages(dialogue) or dialogue[-1]["role"] != "assistant":
        raise BadRowError(
            Fault.MISSING, "the chosen completion is missing: messages end without it"
        )
    rejected = messages(cell("rejected_messages"))
    whole = rejected not in EMPTY
    if whole and not is_messages(rejected):
        raise BadRowError(Fault.NOT_TEXT, "the rejected_messages are no messages")
    if not whole:
        rejected = cell("rejected_response")
        rejected = [assistant(rejected)] if isinstance(rejected, str) and rejected else rejected
    before = [*dialogue[:-1]]
    system, tools = cell("system"), cell("tools")
    return Given(
        prompt=None if whole else opened(before, system, tools),
        completions=(
            opened(dialogue, system, tools) if whole else dialogue[-1:],
            opened(rejected, system, tools) if whole else rejected,
        ),
        names=("chosen", "rejected"),
        implicit=whole,
        ranks=(0, 1),
        **common(cell),
    )


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """A row for each ordered pair."""
    return [
        {
            "messages": [*asked(ranking.prompt), *replied(ranking.completions[i])],
            "rejected_messages": [*asked(ranking.prompt), *replied(ranking.completions[j])],
            **beside(ranking, i, j),
        }
        for i, j in ranking.pairs()
    ]


LAYOUT = Layout(
    texts={"messages": ("messages",)},
    order={},
    optional={
        **COMMON,
        "rejected_response": ("rejected_response",),
        "rejected_messages": ("rejected_messages",),
        "system": ("system",),
        "tools": ("tools",),
    },
    give=give,
    row="pair",
    rewards=CHOSEN_AND_REJECTED,
    fits=lambda cell: (
        not cell.columns.keys().isdisjoint(("rejected_response", "rejected_messages"))
    ),
    better="the last turn of messages",
    write=write,
)
