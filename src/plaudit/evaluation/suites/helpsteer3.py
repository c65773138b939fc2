"""HelpSteer3 (2025), by NVIDIA: which of two responses people find more helpful, and how much more.

What is scored is the validation split of its preference data, on which nothing is trained. Pairs
that the annotators call equal have no right answer and are left out of the score.
"""

from collections.abc import Sequence

import numpy as np

from plaudit.data.cells import read_label
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
)

HELPSTEER3_DOMAINS = ("general", "stem", "code", "multilingual")
HELPSTEER3_STRENGTHS = {1: "slightly better", 2: "better", 3: "much better"}


def read_helpsteer3(row: Row) -> Item:
    """`context`, `response1`, `response2`, `overall_preference`, `domain` and `language`.

    The preference is from -3, response 1 is much better, to 3, response 2 is; at 0 both are right.
    """
    cell = row.values or {}
    preference = read_choice(
        cell.get("overall_preference"), "preference", {str(k): k for k in range(-3, 4)}
    )
    domain = read_category(cell.get("domain"), "domain", HELPSTEER3_DOMAINS)
    return make_item(
        row,
        domain,
        cell.get("context"),
        [cell.get("response1") or "", cell.get("response2") or ""],
        [int(preference > 0), int(preference < 0)],
        names=("response 1", "response 2"),
        about=(abs(preference), read_label(cell.get("language"), "language") or "unknown"),
    )


def score_helpsteer3(
    items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means
) -> Part:
    """Share of the pairs that are not equal whose better response has the higher reward.

    Over all of them, by domain, by how much better, and by language in the multilingual domain.
    """
    right, categories = higher_is_right(items, rewards), categories_of(items)
    strength = np.array([item.about[0] for item in items])
    language = np.array([item.about[1] for item in items])
    total = mean.part(right, strength > 0)
    total.figures = {
        name: mean(right, strength == size)
        for size, name in HELPSTEER3_STRENGTHS.items()
        if size in strength
    }
    for domain in HELPSTEER3_DOMAINS:
        among = (categories == domain) & (strength > 0)
        if not among.any():
            continue
        total.parts[domain] = mean.part(right, among)
        if domain == "multilingual":
            total.parts[domain].parts = {
                name: mean.part(right, among & (language == name))
                for name in sorted(set(language[among].tolist()))
            }
    return total


SUITE = Suite(
    title="HelpSteer3",
    fields=("domain", "language", "context", "response1", "response2", "overall_preference"),
    read=read_helpsteer3,
    score=score_helpsteer3,
    totals=(2017,),
    definition="accuracy over the pairs of the validation split whose overall preference is not "
    "0; equal rewards count as wrong",
    source="Wang et al. 2025, arXiv:2505.11475; the card of nvidia/HelpSteer3, preference",
    hub="nvidia/HelpSteer3",
    split="validation",
)
