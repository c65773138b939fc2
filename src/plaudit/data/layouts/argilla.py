"""Argilla exports of a preference question: `prompt`, `response1`, `response2` …, `preference`.

What was submitted by the annotators counts, their ranks averaged over them: 1 is best. An answer is
a ranking (a list of the responses, best first, or records with `value` and `rank`) or the name of
the best of two responses. Sources: Argilla's `FeedbackDataset.for_preference_modeling` and
`format_as("datasets")`; of version 2 `records.to_list(flatten=True)`.
"""

import re
from collections.abc import Mapping
from typing import Any

from plaudit.data.cells import read_list, read_number
from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import EMPTY, from_json, instruction_and_input, unknown
from plaudit.data.layouts._written import beside, plain
from plaudit.data.rankings import BadRowError, Fault, Ranking

MOST = 10  # responses; Argilla's forms rarely have more than a few


def give(cell: Cells) -> Given:
    """All responses, with the mean of their ranks."""
    there = [f"response{n}" for n in range(1, MOST + 1) if f"response{n}" in cell.columns]
    names = [
        name for name in there if cell(name) not in EMPTY or name in ("response1", "response2")
    ]
    return Given(
        prompt=_prompt(cell),
        completions=tuple(cell(name) for name in names),
        names=names,
        ranks=_ranks(cell, names),
        **common(cell),
    )


def _prompt(cell: Cells) -> Any:
    """The prompt, with the context that Argilla's form shows beside it."""
    return instruction_and_input(cell("prompt"), cell("context"))


def _ranks(cell: Cells, names: list[str]) -> tuple[float, ...] | BadRowError:
    try:
        given = [_one(answer, names) for answer in _submitted(cell)]
    except BadRowError as bad:
        return bad
    if not given:
        return BadRowError(Fault.MISSING, "the preference is missing: no answer was submitted")
    return tuple(sum(ranks) / len(given) for ranks in zip(*given, strict=True))


def _submitted(cell: Cells) -> list[Any]:
    """The answers that annotators have submitted."""
    value = from_json(cell("preference"))
    if value in EMPTY:
        return []
    if not isinstance(value, list):
        return [value]
    if all(isinstance(answer, Mapping) and "status" in answer for answer in value):
        return [from_json(o["value"]) for o in value if o["status"] in ("submitted", None)]
    statuses = cell("preference_status")
    if statuses in EMPTY:
        statuses = ["submitted"] * len(value)
    answers = zip(value, read_list(statuses, "statuses"), strict=False)
    return [from_json(answer) for answer, status in answers if status in ("submitted", None)]


def _one(answer: Any, names: list[str]) -> list[float]:
    """One annotator's ranks of the responses."""
    if isinstance(answer, Mapping) and isinstance(answer.get("value"), list):
        # How Arrow turns a list of records on its side.
        pairs = zip(answer["value"], answer.get("rank") or [], strict=False)
        answer = [{"value": value, "rank": rank} for value, rank in pairs]
    if isinstance(answer, str) and len(names) == 2:
        best = _plain(answer)
        if best in names:
            return [float(name != best) for name in names]
    if isinstance(answer, list) and all(isinstance(item, Mapping) for item in answer):
        ranks = {_plain(o.get("value")): read_number(o.get("rank"), "rank") for o in answer}
    elif isinstance(answer, list):
        ranks = {_plain(value): float(place) for place, value in enumerate(answer)}
    else:
        raise unknown("preference", answer)
    if not ranks.keys() >= set(names):
        raise unknown("preference", answer)
    return [ranks[name] for name in names]


def _plain(label: Any) -> str:
    """The name of a response without what forms put between its words.

    >>> _plain("Response 1"), _plain("response-2")
    ('response1', 'response2')
    """
    return re.sub(r"[\s_-]", "", str(label).lower())


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """One row, with one submitted answer: the responses with their ranks from 1 on."""
    if len(ranking.completions) > MOST:
        raise BadRowError(Fault.LENGTHS, f"it holds {MOST} responses and no more")
    names = [f"response{n + 1}" for n in range(len(ranking.completions))]
    given = [
        {"value": name, "rank": rank + 1} for name, rank in zip(names, ranking.ranks, strict=True)
    ]
    return [
        {
            "prompt": plain(ranking.prompt),
            **{name: plain(text) for name, text in zip(names, ranking.completions, strict=True)},
            "preference": [{"value": given, "status": "submitted"}],
            **beside(ranking),
        }
    ]


LAYOUT = Layout(
    texts={
        "prompt": ("prompt", "instruction"),
        **{f"response{n}": (f"response{n}", f"response_{n}", f"response-{n}") for n in (1, 2)},
    },
    order={"preference": ("preference", "preference.responses")},
    optional={
        **COMMON,
        "context": ("context",),
        "preference_status": ("preference.responses.status",),
        **{
            f"response{n}": (f"response{n}", f"response_{n}", f"response-{n}")
            for n in range(3, MOST + 1)
        },
    },
    give=give,
    row="ranking",
    fits=lambda cell: "preference" in cell.columns,
    better="what the annotators rank first",
    write=write,
)
