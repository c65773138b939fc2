"""LLMBar: an instruction, two outputs, and which of them follows it.

Which of the two stands first is no matter to a reward model: what the benchmark measures of order
is left out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plaudit.data.cells import read_label
from plaudit.data.rows import Row
from plaudit.evaluation.suite import (
    Item,
    Means,
    Part,
    Suite,
    categories_of,
    make_item,
    read_choice,
    together,
)

LLMBAR_SETS = {"Natural": 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}


def read_llmbar(row: Row) -> Item:
    """`input`, `output_1`, `output_2` and the `label` 1 or 2; the set is named by file or folder.

    The published files are all called dataset.json and lie in a folder named after the set. A
    column `subset` names it too.
    """
    cell = row.values or {}
    name = read_label(cell.get("subset"), "subset")
    if name is None:
        path = Path(row.file)
        name = path.parent.name if path.name.startswith("dataset.") else path.name.split(".")[0]
    for known in LLMBAR_SETS:  # "Adversarial_Neighbor", "llmbar-adver-neighbor"
        if name.lower().replace("_", "-").rsplit("-", 1)[-1] == known.lower():
            name = known
    better = read_choice(cell.get("label"), "label", {"1": 0, "2": 1})
    sides = [cell.get("output_1"), cell.get("output_2")]
    names = ("output 1", "output 2")
    return make_item(row, name, cell.get("input"), sides, [better, 1 - better], names)


def score_llmbar(items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means) -> Part:
    """Accuracy by set, equal rewards counting half; the plain average of the sets.

    Zeng et al. 2023, arXiv:2310.07641; `correct_average` of LLMEvaluator/evaluate.py.
    """
    right = np.array(
        [
            0.5 + 0.5 * np.sign((a - b) * (1 if item.ranking.ranks[0] == 0 else -1))
            for item, (a, b) in zip(items, rewards, strict=True)
        ]
    )
    categories = categories_of(items)
    sets = {
        name: mean.part(right, categories == name)
        for name in dict.fromkeys([*LLMBAR_SETS, *categories.tolist()])
        if name in categories
    }
    adversarial = {name: part for name, part in sets.items() if name in list(LLMBAR_SETS)[1:]}
    total = together(sets)
    if adversarial:
        rest = {name: part for name, part in sets.items() if name not in adversarial}
        total.parts = rest | {"Adversarial": together(adversarial)}
    return total


SUITE = Suite(
    title="LLMBar",
    fields=("input", "output_1", "output_2", "label"),
    read=read_llmbar,
    score=score_llmbar,
    counts=LLMBAR_SETS,
    checksums={
        "Natural": "a9b4f0593f545d8b",
        "Neighbor": "2a3f1a3da732a39f",
        "GPTInst": "a0c8d0d278d35864",
        "GPTOut": "eb5b9beb2f34e2c9",
        "Manual": "264bee4c8f8c20c3",
    },
    definition="the average accuracy of the sets; equal rewards count half, as the average "
    "over both orders of a rating makes them",
    source="Zeng et al. 2023, arXiv:2310.07641; princeton-nlp/LLMBar: LLMEvaluator/evaluate.py",
)
