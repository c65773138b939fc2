"""IF-RewardBench (2026), by thu-coai: several responses to an instruction with many constraints.

A response is better than another when it meets all constraints that the other meets, and more. That
orders some pairs of a prompt's responses and leaves others open: only those that it orders count.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.data.cells import read_list
from plaudit.data.rankings import BadRowError, Fault
from plaudit.data.rows import Row
from plaudit.evaluation.suite import (
    Item,
    Means,
    Part,
    Suite,
    average,
    categories_of,
    make_item,
    read_category,
    read_completions,
    together,
)

INSTRUCTION_TYPES = ("Single_Turn", "Multi_Turn", "System_Prompt")


def read_ifrewardbench(row: Row) -> Item:
    """`messages`, `responses`, `preference_graph`, `instruction_type` and `id`.

    A response's rank is how many responses stand above it, one above the other.
    """
    cell = row.values or {}
    texts = [
        one.get("response") if isinstance(one, Mapping) else one
        for one in read_completions(cell.get("responses"), "responses")
    ]
    graph = read_list(cell.get("preference_graph"), "preference_graph")
    edges = list(dict.fromkeys(_edge(relation, len(texts)) for relation in graph))
    kind = read_category(cell.get("instruction_type"), "instruction_type", INSTRUCTION_TYPES)
    names = [f"response {number}" for number in range(len(texts))]
    ranks = _depths(edges, len(texts))
    messages, id = cell.get("messages"), cell.get("id")
    return make_item(row, kind, messages, texts, ranks, names, id, about=edges)


def _edge(relation: Any, count: int) -> tuple[int, int]:
    """Which response of a relation is better than which."""
    found = []
    for side in ("chosen", "rejected"):
        one = relation.get(side) if isinstance(relation, Mapping) else None
        id = one.get("response_id") if isinstance(one, Mapping) else None
        if not isinstance(id, int) or not 0 <= id < count:
            raise BadRowError(
                Fault.UNKNOWN, f"unknown response_id of a {side} response: {id!r} of {count}"
            )
        found.append(id)
    return found[0], found[1]


def _depths(edges: Sequence[tuple[int, int]], count: int) -> list[int]:
    """The longest way down to each response from one that has none above it."""
    depth = [0] * count
    for _ in range(count):
        deeper = [max((depth[u] + 1 for u, v in edges if v == k), default=0) for k in range(count)]
        if deeper == depth:
            return depth
        depth = deeper
    raise BadRowError(Fault.UNKNOWN, "the preference_graph goes in a circle")


def score_ifrewardbench(
    items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means
) -> Part:
    """Kendall's τ_b and accuracy of each prompt's ordered pairs, averaged by type of instruction.

    Wen et al. 2026, arXiv:2603.04738; `calculate_metric_stats` and the `Overall` of
    metrics/analysis_overall_assessment.py. The Elo ratings that it makes of a judge's answers to
    all pairs are in the order of the rewards, which answer them without contradiction.
    """
    agreements = [
        _agreement(item.about, reward) for item, reward in zip(items, rewards, strict=True)
    ]
    accuracy, tau = zip(*agreements, strict=True)
    categories = categories_of(items)
    parts = {}
    for kind in INSTRUCTION_TYPES:
        if (among := categories == kind).any():
            parts[kind] = mean.part(tau, among, trials=0)
            parts[kind].figures = {"accuracy": mean(accuracy, among, trials=0)}
    total = together(parts)
    total.figures["accuracy"] = average([part.figures["accuracy"] for part in parts.values()])
    return total


def _agreement(edges: Sequence[tuple[int, int]], reward: Sequence[float]) -> tuple[float, float]:
    """Accuracy and τ_b of the ordered pairs of one prompt; equal rewards are wrong, and tied."""
    agree = sum(reward[u] > reward[v] for u, v in edges)
    apart = sum(reward[u] != reward[v] for u, v in edges)
    tau = (2 * agree - apart) / max(1, math.sqrt(apart * len(edges)))
    return agree / max(1, len(edges)), tau


SUITE = Suite(
    title="IF-RewardBench",
    fields=("id", "messages", "responses", "preference_graph", "instruction_type"),
    read=read_ifrewardbench,
    score=score_ifrewardbench,
    totals=(842,),
    checksums={842: "ae6f91ed1400fe90"},
    stamp=lambda item: [item.id, len(item.ranking.completions)],
    definition="the average of Single_Turn, Multi_Turn and System_Prompt, each the average over "
    "its prompts of Kendall's τ_b between the rewards and the pairs that the preference graph "
    "orders; a pair with equal rewards is tied",
    source="Wen et al. 2026, arXiv:2603.04738; thu-coai/IF-RewardBench: "
    "metrics/analysis_overall_assessment.py",
)
