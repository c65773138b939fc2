"""NeMo-RL: a `context` of messages with `completions`, each a record of its rank and messages.

The lowest rank, 0, is best. Source: NeMo-RL's guides to DPO and to reward models,
`PreferenceDataset`.
"""

from typing import Any

from plaudit.data.layouts import Cells, Given, Layout, common
from plaudit.data.layouts._shapes import is_records, records
from plaudit.data.layouts._written import asked, beside, replied
from plaudit.data.rankings import Ranking


def give(cell: Cells) -> Given:
    """All completions with their ranks."""
    rows = records(cell("completions"), "completions")
    return Given(
        prompt=cell("context"),
        completions=tuple(row.get("completion") for row in rows),
        ranks=tuple(row.get("rank") for row in rows),
        **common(cell),
    )


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """One row, with ranks from 0 on."""
    return [
        {
            "context": asked(ranking.prompt),
            "completions": [
                {"rank": rank, "completion": replied(completion)}
                for rank, completion in zip(ranking.ranks, ranking.completions, strict=True)
            ],
            **beside(ranking),
        }
    ]


LAYOUT = Layout(
    texts={"context": ("context",), "completions": ("completions",)},
    order={},
    give=give,
    row="ranking",
    fits=lambda cell: is_records(cell("completions"), "rank", "completion"),
    better="the lower rank",
    write=write,
)
