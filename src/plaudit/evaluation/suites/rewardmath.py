"""RewardMATH: a problem of MATH-500 with one right solution and nine wrong ones of other models.

A row of the data holds one solution; the ten of a problem are put together.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

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
)

SOLUTIONS = 10
RIGHT_BY = "human_to_GPT-4"  # who wrote the right one, as published rewards name it


def problem_id(problem: str) -> str:
    """What names a problem without its text: 16 digits of its SHA-256.

    >>> problem_id("$441+2(21)(19)+361=x$. Solve for $x$.")
    'a54460c3eddba3c4'
    """
    return hashlib.sha256(problem.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_rewardmath(row: Row) -> Item:
    """`problem`, the steps `eval_solution`, `solution_type` (chosen or rejected), who wrote it.

    Steps are joined by line breaks, as `RewardExperimentPromptHandler` of src/prompts.py does for
    classifiers.
    """
    cell = row.values or {}
    problem = cell.get("problem")
    if not isinstance(problem, str):
        raise BadRowError(Fault.MISSING, "the problem is missing")
    steps = read_list(cell.get("eval_solution"), "steps of eval_solution")
    if not steps or not all(isinstance(step, str) for step in steps):
        raise BadRowError(Fault.NOT_TEXT, "the steps of eval_solution are no texts")
    rank = read_choice(cell.get("solution_type"), "solution_type", {"chosen": 0, "rejected": 1})
    item = make_item(
        row,
        read_label(cell.get("subject"), "subject"),
        problem,
        ["\n".join(steps)],
        [rank],
        names=("solution",),
        id=problem_id(problem),
    )
    writer = read_label(cell.get("solution_reference"), "solution_reference")
    return item._replace(ranking=replace(item.ranking, models=[writer]))


def read_solution_scores(row: Row) -> Judged:
    """`problem`, `solution_reference` and `score`, a file for each model, as in results/RewardMATH.

    Or, without texts, `problem_sha256`, `sources` and `scores` by model.
    """
    cell = row.values or {}
    problem = cell.get("problem")
    id = problem_id(problem) if isinstance(problem, str) else cell.get("problem_sha256")
    writers = read_list(cell.get("solution_reference", cell.get("sources")), "writers of solutions")
    ranks = [int(writer != RIGHT_BY) for writer in writers]
    item = item_without_texts(row, None, ranks, id)
    name = "score" if "score" in cell else "scores"
    return Judged(item, read_models(cell.get(name), name))


def score_rewardmath(
    items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means
) -> Part:
    """Share of the problems whose right solution has the highest reward alone, and its MRR.

    Kim et al. 2024, arXiv:2410.01729; `RewardMATHEvaluation` of src/evaluation/eval.py. The
    reciprocal rank is 1 / (1 + how many wrong solutions have a reward as high or higher).
    """
    ahead = np.array([_ahead(item, reward) for item, reward in zip(items, rewards, strict=True)])
    categories = categories_of(items)
    total = mean.part(ahead == 0)
    total.figures["MRR"] = mean(1 / (1 + ahead), trials=0)
    total.parts = {
        name: mean.part(ahead == 0, categories == name)
        for name in dict.fromkeys(categories.tolist())
        if name
    }
    return total


def _ahead(item: Item, reward: Sequence[float]) -> int:
    """How many wrong solutions are not below the right one."""
    right = reward[item.ranking.ranks.index(0)]
    return sum(r >= right for r, rank in zip(reward, item.ranking.ranks, strict=True) if rank)


SUITE = Suite(
    title="RewardMATH",
    fields=("problem", "eval_solution", "solution_reference", "solution_type"),
    read=read_rewardmath,
    score=score_rewardmath,
    published=read_solution_scores,
    completions=SOLUTIONS,
    totals=(483,),
    labels=rf"(?=.{{{SOLUTIONS}}}$)1*01*",
    definition="the share of problems whose right solution has a higher reward than each of the "
    "nine wrong ones; an equal reward counts as ahead of it, in the mean reciprocal rank (MRR) too",
    source="Kim et al. 2024, arXiv:2410.01729; kimsh0507/RewardMATH_official: "
    "src/evaluation/eval.py, src/prompts.py",
    hub="RewardMATH/RewardMATH",
    split="test",
)
