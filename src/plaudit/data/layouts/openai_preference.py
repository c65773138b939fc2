"""OpenAI's preference fine-tuning: `input` with messages and tools, and two outputs.

`preferred_output` is better than `non_preferred_output`, each a list of messages. Source: OpenAI's
guide to direct preference optimization.
"""

from typing import Any

from plaudit.data.cells import is_messages
from plaudit.data.layouts import Cells, Given, Layout, common
from plaudit.data.layouts._shapes import is_record, messages, opened, record
from plaudit.data.layouts._written import asked, beside, replied
from plaudit.data.rankings import Ranking


def give(cell: Cells) -> Given:
    """The preferred output first."""
    asked = record(cell("input"), "input")
    before: Any = messages(asked.get("messages"))
    if is_messages(before):
        before = opened(before, tools=asked.get("tools"))
    return Given(
        prompt=before,
        completions=(cell("preferred_output"), cell("non_preferred_output")),
        names=("preferred_output", "non_preferred_output"),
        ranks=(0, 1),
        **common(cell),
    )


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """A row for each ordered pair."""
    return [
        {
            "input": {"messages": asked(ranking.prompt)},
            "preferred_output": replied(ranking.completions[i]),
            "non_preferred_output": replied(ranking.completions[j]),
            **beside(ranking, i, j),
        }
        for i, j in ranking.pairs()
    ]


LAYOUT = Layout(
    texts={
        "input": ("input",),
        "preferred_output": ("preferred_output",),
        "non_preferred_output": ("non_preferred_output",),
    },
    order={},
    give=give,
    row="pair",
    fits=lambda cell: is_record(cell("input"), "messages"),
    better="preferred_output",
    write=write,
)
