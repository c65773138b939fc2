"""Label Studio exports of pairwise comparisons: `data` with the texts, and `annotations`.

The left of two answers is `answer1` (or `text1`), the right one `answer2`; votes for each are its
rating, as several people may annotate a task. In the short export (JSON-MIN, CSV) the texts and the
comparison are columns. Source: Label Studio's template "Human preference collection for RLHF" and
its tag Pairwise.
"""

from collections.abc import Mapping
from typing import Any

from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import EMPTY, is_record, record, records, unknown, word
from plaudit.data.layouts._written import beside, plain
from plaudit.data.rankings import BadRowError, Fault, Ranking

ANSWERS = (("answer1", "answer2"), ("text1", "text2"), ("response1", "response2"))


def give(cell: Cells) -> Given:
    """The left answer first."""
    data = record(cell("data"), "data")
    names = next((pair for pair in ANSWERS if all(name in data for name in pair)), ANSWERS[0])
    return Given(
        prompt=data.get("prompt"),
        completions=tuple(data.get(name) for name in names),
        names=names,
        **_votes(cell("annotations")),
        **common(cell),
    )


def _votes(annotations: Any) -> dict[str, Any]:
    """The votes for left and right as ratings, or why there are none."""
    votes = {"left": 0, "right": 0}
    try:
        for annotation in [] if annotations in EMPTY else records(annotations, "annotations"):
            if annotation.get("was_cancelled"):
                continue
            for result in annotation.get("result") or ():
                if result.get("type") == "pairwise":
                    value = result.get("value")
                    side = word(value.get("selected") if isinstance(value, Mapping) else value)
                    if side not in votes:
                        raise unknown("selected answer", value)
                    votes[side] += 1
    except BadRowError as bad:
        return {"ranks": bad}
    if not any(votes.values()):
        return {"ranks": BadRowError(Fault.MISSING, "the comparison is missing")}
    return {"ratings": tuple(votes.values()), "order_name": "votes"}


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """A task for each ordered pair, annotated once: the left answer is the better one."""
    return [
        {
            "data": {
                "prompt": plain(ranking.prompt),
                "answer1": plain(ranking.completions[i]),
                "answer2": plain(ranking.completions[j]),
            },
            "annotations": [{"result": [{"type": "pairwise", "value": {"selected": "left"}}]}],
            **beside(ranking, i, j),
        }
        for i, j in ranking.pairs()
    ]


LAYOUT = Layout(
    texts={"data": ("data",)},
    order={"annotations": ("annotations",)},
    optional=COMMON,
    give=give,
    row="pair",
    fits=lambda cell: (
        is_record(cell("data"), "prompt")
        and any(is_record(cell("data"), *pair) for pair in ANSWERS)
    ),
    better="the side with more votes",
    write=write,
)
