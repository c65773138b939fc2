"""LLMBar: an instruction, two outputs, and which of them follows it.

An evaluator is asked in both orders. Which of the two stands first is no matter to a reward model,
so that its rewards answer both times.
"""

from collections.abc import Sequence
from pathlib import Path

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
    says_first,
    together,
)

LLMBAR_SETS = {"Natural": 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}


def read_llmbar(row: Row) -> Item:
    """`input`, `output_1`, `output_2` and the `label` 1 or 2; the set is named by file or folder.

    The published files are all called dataset.json and lie in a folder named after the set. A
    column `subset` names it too.
    """
    cell = row.values or {}
    path = Path(row.file)
    name = path.parent.name if path.name.startswith("dataset.") else path.name.split(".")[0]
    name, ranks = _label(row, name)
    sides = [cell.get("output_1"), cell.get("output_2")]
    return make_item(row, name, cell.get("input"), sides, ranks, ("output 1", "output 2"))


def read_results(row: Row) -> Judged:
    """A row of a published result.json, or `scores` by evaluator, with the label.

    These files lie in SET/evaluators/MODEL/METHOD. Of an evaluator that rates each output by itself
    the ratings are its rewards; of one that compares two, 1 for the winner in either order. A
    verdict that could not be read counts as wrong, and a rating that could not as right in one
    order, as in the benchmark's own code.
    """
    cell = row.values or {}
    folders = Path(row.file).parts
    at = folders.index("evaluators") if "evaluators" in folders else 0
    name, ranks = _label(row, folders[at - 1] if at else Path(row.file).name.split(".")[0])
    texts = "input" in cell
    item = (
        make_item(row, name, cell["input"], [cell.get("output_1"), cell.get("output_2")], ranks)
        if texts
        else item_without_texts(row, name, ranks, cell.get("id"), (name, cell.get("id")))
    )
    if "results" not in cell:
        return Judged(item, read_models(cell.get("scores"), "scores"))
    model = "/".join(folders[at + 1 : -1]) if at else ""
    last = read_list(cell["results"], "results")[-1]
    try:
        return Judged(item, {model: [float(int(last[f"score_{k}"][0])) for k in (1, 2)]})
    except (KeyError, ValueError):
        pass  # no ratings, or one that is no number
    try:
        winners = [last[f"swap = {swap}"]["winner"] for swap in (False, True)]
    except (KeyError, TypeError) as error:
        raise BadRowError(Fault.MISSING, "the results have no winner for both orders") from error
    wrong = [float(rank) for rank in ranks]
    verdicts = {"1": [1.0, 0.0], "2": [0.0, 1.0]}
    return Judged(item, {model: [r for winner in winners for r in verdicts.get(winner, wrong)]})


def _label(row: Row, name: str) -> tuple[str, list[int]]:
    """The set of a row, by default the one of that name, and which output is right."""
    cell = row.values or {}
    name = read_label(cell.get("subset"), "subset") or name
    for known in LLMBAR_SETS:  # "Adversarial_Neighbor", "llmbar-adver-neighbor"
        if name.lower().replace("_", "-").rsplit("-", 1)[-1] == known.lower():
            name = known
    better = read_choice(cell.get("label"), "label", {"1": 0, "2": 1})
    return name, [better, 1 - better]


def score_llmbar(items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means) -> Part:
    """Accuracy over both orders by set, so that equal rewards count half; the sets' plain average.

    Zeng et al. 2023, arXiv:2310.07641; `correct_average` of LLMEvaluator/evaluate.py.
    """
    said = np.array([says_first(reward) for reward in rewards])
    first = np.array([item.ranking.ranks[0] == 0 for item in items])
    right = (said == first[:, None]).mean(axis=1)
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
    if any(len(reward) > 2 for reward in rewards):
        total.figures["same verdict in both orders"] = mean(said[:, 0] == said[:, 1])
    return total


SUITE = Suite(
    title="LLMBar",
    fields=("input", "output_1", "output_2", "label"),
    read=read_llmbar,
    score=score_llmbar,
    published=read_results,
    orders=2,
    counts=LLMBAR_SETS,
    checksums={
        "Natural": "a9b4f0593f545d8b",
        "Neighbor": "2a3f1a3da732a39f",
        "GPTInst": "a0c8d0d278d35864",
        "GPTOut": "eb5b9beb2f34e2c9",
        "Manual": "264bee4c8f8c20c3",
    },
    labels="01|10",
    others=True,
    definition="the average accuracy of the sets; equal rewards count half, as the average "
    "over both orders of a rating makes them",
    source="Zeng et al. 2023, arXiv:2310.07641; princeton-nlp/LLMBar: LLMEvaluator/evaluate.py",
)
