"""JudgeBench: a prompt, two responses, and which of them is right.

A judge is asked in both orders, and must be right in both. Which of the two stands first is no
matter to a reward model, so that its rewards answer both times.
"""

from collections.abc import Sequence

import numpy as np

from plaudit.data.cells import read_label, read_list
from plaudit.data.rankings import BadRowError, Fault
from plaudit.data.rows import Row
from plaudit.evaluation.suite import (
    Item,
    Judged,
    Means,
    Part,
    Suite,
    categories_of,
    item_without_texts,
    make_item,
    read_choice,
    read_models,
    read_rewards,
    says_first,
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
    source, ranks = _label(row)
    return make_item(
        row,
        source,
        cell.get("question"),
        [cell.get("response_A"), cell.get("response_B")],
        ranks,
        names=("response A", "response B"),
        id=cell.get("pair_id"),
    )


def read_judgments(row: Row) -> Judged:
    """`judgments` as run_judge.py writes them, or `scores` by model, and the label.

    A judgment has the scores of both responses in the order in which they were shown; the second
    one, where there is one, was shown B and then A.
    """
    cell = row.values or {}
    item = (
        read_judgebench(row)
        if "question" in cell
        else item_without_texts(row, *_label(row), cell.get("pair_id"))
    )
    if "judgments" not in cell:
        return Judged(item, read_models(cell.get("scores"), "scores"))
    model, given = "", []
    for k, game in enumerate(read_list(cell["judgments"], "judgments")):
        judgment = (game or {}).get("judgment")
        if not isinstance(judgment, dict) or "scores" not in judgment:
            raise BadRowError(Fault.MISSING, "a judgment has no scores: of reward models alone")
        model = judgment.get("judge_model") or model
        scores = read_rewards(judgment["scores"], "scores")
        given += scores[::-1] if k else scores
    return Judged(item, {model: given})


def _label(row: Row) -> tuple[str, list[int]]:
    """The source of a row, and which response is right."""
    cell = row.values or {}
    source = read_label(cell.get("source"), "source")
    if source is None:
        raise BadRowError(Fault.MISSING, "the source is missing")
    better = read_choice(cell.get("label"), "label", {"A>B": 0, "B>A": 1})
    return source, [better, 1 - better]


def score_judgebench(
    items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means
) -> Part:
    """Share of the pairs whose right response is called better in both orders, all pairs alike.

    Tan et al. 2024, arXiv:2410.12784; `compute_final_metrics` of utils/metrics.py, both orders; of
    equal scores `get_judgment` of utils/judges.py calls the response better that is shown second.
    """
    said = np.array([says_first(reward) for reward in rewards])
    first = np.array([item.ranking.ranks[0] == 0 for item in items])
    right = (said == first[:, None]).all(axis=1)
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
    if any(len(reward) > 2 for reward in rewards):
        total.figures["same verdict in both orders"] = mean(said[:, 0] == said[:, 1])
    return total


SUITE = Suite(
    title="JudgeBench",
    fields=("question", "response_A", "response_B", "label", "source"),
    read=read_judgebench,
    score=score_judgebench,
    published=read_judgments,
    orders=2,
    totals=(350, 270, 620),
    checksums={350: "f55520754fe9d224", 270: "c85b93bc22461826", 620: "fb037f6a1b5b2364"},
    labels="01|10",
    definition="accuracy over all pairs, each right when it is so in both orders; equal rewards "
    "count as wrong, since they say one thing in one order and another in the other",
    source="Tan et al. 2024, arXiv:2410.12784; ScalerLab/JudgeBench: run_judge.py, "
    "utils/judges.py, utils/metrics.py",
    hub="ScalerLab/JudgeBench",
    split="gpt",
)
