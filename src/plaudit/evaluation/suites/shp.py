"""SHP (2022), by stanfordnlp: a post on Reddit and two comments, and which of them has more votes.

The comment with more votes was written later, so its votes are no matter of having been seen
longer. What is scored is the test split of all 18 subreddits.
"""

from collections.abc import Sequence

import numpy as np

from plaudit.data.cells import read_optional_number
from plaudit.data.rows import Row
from plaudit.evaluation.suite import (
    Item,
    Means,
    Part,
    Suite,
    categories_of,
    higher_is_right,
    make_item,
    read_category,
    read_choice,
    together,
)

SHP_DOMAINS = {  # pairs of the test split
    "askacademia": 1708,
    "askanthropology": 268,
    "askbaking": 1544,
    "askcarguys": 117,
    "askculinary": 2563,
    "askdocs": 455,
    "askengineers": 2638,
    "askhistorians": 164,
    "askhr": 395,
    "askphilosophy": 677,
    "askphysics": 587,
    "askscience": 977,
    "asksciencefiction": 1987,
    "asksocialscience": 188,
    "askvet": 224,
    "changemyview": 1836,
    "explainlikeimfive": 1070,
    "legaladvice": 1011,
}


def read_shp(row: Row) -> Item:
    """`history`, `human_ref_A`, `human_ref_B`, `labels` (1: A is preferred, 0: B) and `domain`.

    On the hub a domain is called askacademia_test.
    """
    cell = row.values or {}
    domain = cell.get("domain")
    if isinstance(domain, str):
        domain = domain.rsplit("_", 1)[0]
    better = read_choice(cell.get("labels"), "label", {"1": 0, "0": 1})
    ids = [cell.get(name) for name in ("post_id", "c_root_id_A", "c_root_id_B")]
    return make_item(
        row,
        read_category(domain, "domain", list(SHP_DOMAINS)),
        cell.get("history"),
        [cell.get("human_ref_A"), cell.get("human_ref_B")],
        [better, 1 - better],
        names=("human_ref_A", "human_ref_B"),
        id="/".join(map(str, ids)) if None not in ids else None,
        about=read_optional_number(cell.get("score_ratio"), "score ratio"),
    )


def score_shp(items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means) -> Part:
    """Accuracy by domain and their plain average; over all pairs beside it.

    Ethayarajh, Choi & Swayamdipta 2022, arXiv:2110.08420. The data name no score: that accuracies
    of domains are averaged is what the authors do for their SteamSHP models. They train these on
    pairs whose votes are at least twice as many, which are a figure of their own.
    """
    right, categories = higher_is_right(items, rewards), categories_of(items)
    total = together(
        {
            domain: mean.part(right, categories == domain)
            for domain in SHP_DOMAINS
            if domain in categories
        }
    )
    total.figures = {"over all pairs": mean(right)}
    ratio = np.array([np.nan if item.about is None else item.about for item in items])
    if (ratio >= 2).any():
        total.figures["votes at least 2 : 1"] = mean(right, ratio >= 2)
    return total


SUITE = Suite(
    title="SHP",
    fields=("history", "human_ref_A", "human_ref_B", "labels", "domain"),
    read=read_shp,
    score=score_shp,
    counts=SHP_DOMAINS,
    definition="the average accuracy of the 18 subreddits; equal rewards count as wrong",
    source="Ethayarajh, Choi & Swayamdipta 2022, arXiv:2110.08420; the cards of stanfordnlp/SHP "
    "and stanfordnlp/SteamSHP-flan-t5-xl",
    hub="stanfordnlp/SHP",
    split="test",
)
