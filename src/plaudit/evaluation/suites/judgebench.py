"""JudgeBench: a prompt, two responses, and which of them is right.

Which of the two stands first is no matter to a reward model: what the benchmark measures of order
is left out.
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
    categories_of,
    make_item,
    read_choice,
)

JUDGEBENCH_CATEGORIES = {
    "mmlu-pro": "Knowledge",
    "livebench-reasoning": "Reasoning",
    "livebench-math": "Math",
    "livecodebench": "Coding",
}


def read_judgebench(row: Row) -> Item:
    """`question`, `response_A`, `response_B`, `source` and the `label` A>B or B>A."""
    cell = row.values or {}
    source = read_label(cell.get("source"), "source")
    if source is None:
        raise BadRowError(Fault.MISSING, "the source is missing")
    better = read_choice(cell.get("label"), "label", {"A>B": 0, "B>A": 1})
    return make_item(
        row,
        source,
        cell.get("question"),
        [cell.get("response_A"), cell.get("response_B")],
        [better, 1 - better],
        names=("response A", "response B"),
        id=cell.get("pair_id"),
    )


def score_judgebench(
    items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means
) -> Part:
    """Share of the pairs whose right response has the higher reward, over all pairs alike.

    Tan et al. 2024, arXiv:2410.12784; `compute_final_metrics` of utils/metrics.py, both orders.
    """
    right = np.array(
        [
            reward[item.ranking.ranks.index(0)] > reward[item.ranking.ranks.index(1)]
            for item, reward in zip(items, rewards, strict=True)
        ]
    )
    categories = categories_of(items)
    kinds = np.array(
        [
            next((k for start, k in JUDGEBENCH_CATEGORIES.items() if c.startswith(start)), "Other")
            for c in categories
        ]
    )
    parts = {
        kind: mean.part(right, kinds == kind)
        for kind in [*JUDGEBENCH_CATEGORIES.values(), "Other"]
        if kind in kinds
    }
    total = mean.part(right)
    total.parts = parts
    return total


SUITE = Suite(
    title="JudgeBench",
    fields=("question", "response_A", "response_B", "label", "source"),
    read=read_judgebench,
    score=score_judgebench,
    totals=(350, 270, 620),
    checksums={350: "f55520754fe9d224", 270: "c85b93bc22461826", 620: "fb037f6a1b5b2364"},
    definition="accuracy over all pairs; equal rewards count as wrong, as a judge's tie "
    "does when both orders are asked for",
    source="Tan et al. 2024, arXiv:2410.12784; ScalerLab/JudgeBench: run_judge.py, "
    "utils/judges.py, utils/metrics.py",
    hub="ScalerLab/JudgeBench",
    split="gpt",
)
