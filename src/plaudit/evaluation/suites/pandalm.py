"""PandaLM: an instruction, two responses, and what the majority of three annotators prefers.

Which of the two stands first is no matter to a reward model: what the benchmark measures of order
is left out.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from plaudit.data.rows import Row
from plaudit.evaluation.layout import Floats
from plaudit.evaluation.suite import (
    Item,
    Means,
    Part,
    Suite,
    combined,
    make_item,
    read_choice,
)

PANDALM_CLASSES = (0, 1, 2)  # a tie, the first response, the second


def read_pandalm(row: Row) -> Item:
    """`instruction`, `input`, `response1`, `response2` and the votes of three annotators.

    The majority is right; of three different votes, the first annotator's. NaN, which the published
    file has for an empty text, is one.
    """
    cell = {k: None if v != v else v for k, v in (row.values or {}).items()}  # NaN is not itself
    labels = {"0": 0, "1": 1, "2": 2}
    votes = [
        read_choice(cell.get(f"annotator{k}"), f"vote of annotator {k}", labels) for k in (1, 2, 3)
    ]
    majority = Counter(votes).most_common(1)[0][0]
    prompt = cell.get("instruction")
    more = cell.get("input")
    if isinstance(prompt, str) and isinstance(more, str) and more.strip():
        prompt = f"{prompt}\n\n{more}"
    sides = [_text(cell.get(name)) for name in ("response1", "response2")]
    ranks = {0: [0, 0], 1: [0, 1], 2: [1, 0]}[majority]
    names = ("response 1", "response 2")
    return make_item(row, None, prompt, sides, ranks, names, id=cell.get("idx"))


def _text(value: Any) -> Any:
    """A response; six of the published ones are the JSON value true, and stand for the word."""
    return str(value) if isinstance(value, bool | int | float) else value or ""


def score_pandalm(items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means) -> Part:
    """Accuracy over first, second and tie, and macro precision, recall and F1 over these three.

    A reward model ties only where two rewards are equal, so `accuracy without ties` says beside it
    how it does where the majority prefers one response. Wang et al. 2023, arXiv:2306.05087;
    data/compute_metrics.py.
    """
    truth = np.array([_pandalm_class(*item.ranking.ranks) for item in items])
    said = np.array([0 if a == b else 1 if a > b else 2 for a, b in rewards])
    hits = [mean((truth == kind) & (said == kind)) for kind in PANDALM_CLASSES]
    claims = [mean(said == kind) for kind in PANDALM_CLASSES]
    cases = [mean(truth == kind) for kind in PANDALM_CLASSES]
    total = mean.part(truth == said)
    total.figures = {
        "macro precision": combined(_macro_ratio, [*hits, *claims]),
        "macro recall": combined(_macro_ratio, [*hits, *cases]),
        "macro F1": combined(_macro_f1, [*hits, *claims, *cases]),
        "accuracy without ties": mean(truth == said, truth != 0),
    }
    return total


def _pandalm_class(first: int, second: int) -> int:
    return 0 if first == second else 1 if first < second else 2


def _macro_ratio(table: Floats) -> Floats:
    """The mean over classes of hits / all; `table` [B, 6] holds the one and then the other."""
    hits, among = np.split(table, 2, axis=1)
    return _ratio(hits, among).mean(axis=1)


def _macro_f1(table: Floats) -> Floats:
    """The mean over classes of 2 hits / (claims + cases), which `table` [B, 9] holds in turn."""
    hits, claims, cases = np.split(table, 3, axis=1)
    return _ratio(2 * hits, claims + cases).mean(axis=1)


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, and 0 where the bottom is 0."""
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)


SUITE = Suite(
    title="PandaLM",
    fields=(
        *("instruction", "input", "response1", "response2"),
        *("annotator1", "annotator2", "annotator3"),
    ),
    read=read_pandalm,
    score=score_pandalm,
    totals=(999,),
    checksums={999: "dfcd77e9faffdf04"},
    labels="01|10|00",
    definition="accuracy over first, second and tie against the majority of three "
    "annotators; equal rewards say tie",
    source="Wang et al. 2023, arXiv:2306.05087; WeOpenML/PandaLM: data/compute_metrics.py",
)
