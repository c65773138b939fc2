"""UltraFeedback as published: an `instruction` with four `completions`, each a record.

The higher `overall_score` (1–10, GPT-4's) is better: by it the data set's binarized version takes
its chosen completion (HuggingFaceH4/ultrafeedback_binarized). The `fine-grained_score` and the four
`annotations` are kept as attributes. Source: the card of openbmb/UltraFeedback; Cui et al. 2023,
arXiv:2310.01377. Each completion's own `custom_system_prompt` is no part of the common prompt.
"""

from collections.abc import Mapping
from typing import Any

from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import is_records, records

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")


def give(cell: Cells) -> Given:
    """All completions, rated by their overall score."""
    rows = records(cell("completions"), "completions")
    attributes = {name: [_rating(row.get("annotations"), name) for row in rows] for name in ASPECTS}
    attributes["fine-grained_score"] = [row.get("fine-grained_score") for row in rows]
    return Given(
        prompt=cell("instruction"),
        completions=tuple(row.get("response") for row in rows),
        ratings=tuple(row.get("overall_score") for row in rows),
        order_name="overall_score",
        attributes=attributes,
        **common(cell) | {"model": [row.get("model") for row in rows]},
    )


def _rating(annotations: Any, aspect: str) -> Any:
    """The rating of an aspect, which is "N/A" where there is none."""
    of_aspect = annotations.get(aspect) if isinstance(annotations, Mapping) else None
    rating = of_aspect.get("Rating") if isinstance(of_aspect, Mapping) else None
    return None if rating == "N/A" else rating


LAYOUT = Layout(
    texts={"instruction": ("instruction",), "completions": ("completions",)},
    order={},
    optional=COMMON,
    give=give,
    row="ranking",
    fits=lambda cell: is_records(cell("completions"), "response", "overall_score"),
    better="the higher overall_score",
)
