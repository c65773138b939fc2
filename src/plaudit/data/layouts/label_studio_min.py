"""Label Studio's short exports (JSON-MIN, CSV) of pairwise comparisons.

A `comparison` of `answer1`, which is left, and `answer2`: left, right, or a record of what was
`selected`. Source: Label Studio's template "Human preference collection for RLHF"; its converter.
"""

from collections.abc import Mapping
from typing import Any

from plaudit.data.layouts import Cells, Given, Layout, common
from plaudit.data.layouts._shapes import EMPTY, FIRST, SECOND, from_json, verdict
from plaudit.data.layouts._written import beside, plain
from plaudit.data.rankings import Ranking


def give(cell: Cells) -> Given:
    """The left answer first."""
    side = _selected(cell("comparison"))
    return Given(
        prompt=cell("prompt"),
        completions=(cell("answer1"), cell("answer2")),
        names=("answer1", "answer2"),
        ranks=verdict(side, "comparison", {"left": FIRST, "right": SECOND}),
        **common(cell),
    )


def _selected(value: Any) -> Any:
    value = from_json(value)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    value = value.get("selected") if isinstance(value, Mapping) else value
    return None if value in EMPTY else value


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """A row for each ordered pair: the left answer is the better one."""
    return [
        {
            "prompt": plain(ranking.prompt),
            "answer1": plain(ranking.completions[i]),
            "answer2": plain(ranking.completions[j]),
            "comparison": "left",
            **beside(ranking, i, j),
        }
        for i, j in ranking.pairs()
    ]


LAYOUT = Layout(
    texts={"prompt": ("prompt",), "answer1": ("answer1",), "answer2": ("answer2",)},
    order={"comparison": ("comparison", "pairwise", "pw")},
    give=give,
    row="pair",
    better="the side that was selected",
    write=write,
)
