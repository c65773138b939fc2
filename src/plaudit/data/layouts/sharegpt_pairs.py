"""LLaMA-Factory's ShareGPT ranking: `conversations` of records with `from` and `value`.

`chosen` is better than `rejected`, each one such record. Calls of tools are `function_call`, their
results `observation`. Source: LLaMA-Factory's data/README.md, preference datasets.
"""

from typing import Any

from plaudit.data.cells import message_of
from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import (
    CHOSEN_AND_REJECTED,
    is_record,
    is_records,
    opened,
    record,
    records,
)
from plaudit.data.layouts._written import asked, beside, one_reply
from plaudit.data.rankings import BadRowError, Fault, Message, Ranking


def give(cell: Cells) -> Given:
    """The chosen completion first."""
    turns = [message_of(turn) for turn in records(cell("conversations"), "conversations")]
    return Given(
        prompt=opened(turns, cell("system"), cell("tools")),
        completions=tuple([message_of(record(cell(n), n))] for n in ("chosen", "rejected")),
        names=("chosen", "rejected"),
        ranks=(0, 1),
        **common(cell),
    )


def _turn(message: Message) -> dict[str, Any]:
    """A message as a turn; `BadRowError` for one that is more than a role and a text."""
    speakers = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}
    speaker = speakers.get(message["role"])
    if set(message) != {"role", "content"} or speaker is None:
        raise BadRowError(Fault.NOT_TEXT, "a message with more than role and text does not fit it")
    return {"from": speaker, "value": message["content"]}


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """A row for each ordered pair."""
    return [
        {
            "conversations": [_turn(message) for message in asked(ranking.prompt)],
            "chosen": _turn(one_reply(ranking.completions[i])),
            "rejected": _turn(one_reply(ranking.completions[j])),
            **beside(ranking, i, j),
        }
        for i, j in ranking.pairs()
    ]


LAYOUT = Layout(
    texts={
        "conversations": ("conversations",),
        "chosen": ("chosen",),
        "rejected": ("rejected",),
    },
    order={},
    optional={**COMMON, "system": ("system",), "tools": ("tools",)},
    give=give,
    row="pair",
    rewards=CHOSEN_AND_REJECTED,
    fits=lambda cell: (
        is_records(cell("conversations"), "from", "value")
        and is_record(cell("chosen"), "from", "value")
    ),
    better="chosen",
    write=write,
)
