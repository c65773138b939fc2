"""PPE Human Preference (2024), by LMArena: which of two answers visitors of an arena prefer.

Battles that ended in a tie have no right answer and are left out of the accuracy.
"""

from collections.abc import Sequence

import numpy as np

from plaudit.data.cells import read_label
from plaudit.data.rankings import BadRowError, Fault
from plaudit.data.rows import Row
from plaudit.evaluation.suite import (
    Item,
    Means,
    Part,
    Suite,
    higher_is_right,
    is_true,
    make_item,
)

WINNERS = {"model_a": (0, 1), "model_b": (1, 0), "tie": (0, 0), "tie (bothbad)": (0, 0)}
PROMPTS = {  # columns that say what kind of prompt it is
    "hard_prompt": "hard prompts",
    "easy_prompt": "easy prompts",
    "if_prompt": "instruction following",
    "is_code": "code",
    "math_prompt": "math",
}
LANGUAGES = ("English", "Chinese", "Russian")


def read_ppehumanpreference(row: Row) -> Item:
    """`prompt`, `response_1`, `response_2`, `winner`, and what kind of prompt in which language."""
    cell = row.values or {}
    winner = read_label(cell.get("winner"), "winner")
    if winner not in WINNERS:
        raise BadRowError(Fault.UNKNOWN, f"unknown winner: {winner!r}, wanted {', '.join(WINNERS)}")
    return make_item(
        row,
        None,
        cell.get("prompt"),
        [cell.get("response_1") or "", cell.get("response_2") or ""],
        WINNERS[winner],
        names=("response 1", "response 2"),
        id=cell.get("question_id"),
        about={name for name in PROMPTS if is_true(cell.get(name))}
        | {read_label(cell.get("language"), "language")},
    )


def score_ppehumanpreference(
    items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means
) -> Part:
    """Share of the battles without a tie whose winner has the higher reward; by kind of prompt.

    Frick et al. 2024, arXiv:2410.14872.
    """
    right = higher_is_right(items, rewards)
    decided = np.array([item.ranking.ranks[0] != item.ranking.ranks[1] for item in items])
    total = mean.part(right, decided)
    kinds = {name: [name in item.about for item in items] for name in (*PROMPTS, *LANGUAGES)}
    if any(kinds["English"]):
        kinds["other than English"] = [not one for one in kinds["English"]]
    for name, among in kinds.items():
        of = decided & np.array(among)
        if of.any():
            total.figures[PROMPTS.get(name, name)] = mean(right, of)
    return total


SUITE = Suite(
    title="PPE Human Preference",
    fields=("prompt", "response_1", "response_2", "winner", "model_a", "model_b"),
    read=read_ppehumanpreference,
    score=score_ppehumanpreference,
    totals=(16038,),
    definition="accuracy over the battles that did not end in a tie; equal rewards count as wrong",
    source="Frick et al. 2024, arXiv:2410.14872, and the post Preference Proxy Evaluations of "
    "lmarena/lmarena.github.io; the card of lmarena-ai/PPE-Human-Preference-V1",
    hub="lmarena-ai/PPE-Human-Preference-V1",
    split="test",
)
