"""Nectar: a `prompt` with seven `answers`, each a record of its answer, model and rank.

Rank 1 is best (GPT-4's order). The prompt is a transcript that ends in "Assistant: ". Source: the
card of berkeley-nest/Nectar.
"""

from plaudit.data.layouts import Cells, Given, Layout, common
from plaudit.data.layouts._shapes import is_records, records


def give(cell: Cells) -> Given:
    """All answers with their ranks."""
    rows = records(cell("answers"), "answers")
    return Given(
        prompt=cell("prompt"),
        completions=tuple(row.get("answer") for row in rows),
        ranks=tuple(row.get("rank") for row in rows),
        **common(cell) | {"model": [row.get("model") for row in rows]},
    )


LAYOUT = Layout(
    texts={"prompt": ("prompt",), "answers": ("answers",)},
    order={},
    give=give,
    row="ranking",
    fits=lambda cell: is_records(cell("answers"), "answer", "rank"),
    better="the lower rank",
)
