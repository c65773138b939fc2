"""What rankings of the same prompt say against each other: contradictions and cycles.

Each strictly ordered pair is an edge from the better to the worse completion. A over B in one place
and B over A in another is a contradiction; longer cycles (A > B > C > A) are what remains when all
contradictions are taken out and some completions still cannot be put in order: the strongly
connected components of the graph (Tarjan 1972). No order of the completions agrees with every pair
of a cycle, so at least one of them is wrong.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


class Cycle(NamedTuple):
    """Completions of which each is better than the next and the last better than the first.

    `rows[i]` is where the i-th was called better than the one after it; two completions are a
    contradiction.
    """

    prompt: int
    completions: list[int]
    rows: list[int]


class Cycles(NamedTuple):
    """`pairs` are the ordered pairs that stand against others, by their place in what was given."""

    contradictions: int
    cycles: int
    prompts: int
    pairs: list[int]
    examples: list[Cycle]


def find_cycles(
    prompts: np.ndarray, better: np.ndarray, worse: np.ndarray, rows: np.ndarray, examples: int = 3
) -> Cycles:
    """Contradictions and longer cycles among ordered pairs.

    Args:
        prompts: [M] the number of the prompt of each pair.
        better: [M] the number of its better completion.
        worse: [M] of its worse one.
        rows: [M] where the pair stands, any number.
        examples: how many to give of contradictions and of longer cycles; the shortest of its kind.

    >>> found = find_cycles(*np.array([[0, 1, 2, 10], [0, 2, 3, 11], [0, 3, 1, 12]]).T)
    >>> found.cycles, found.examples
    (1, [Cycle(prompt=0, completions=[1, 2, 3], rows=[10, 11, 12])])
    """
    completions = np.concatenate([better, worse]).astype(np.int64)
    width = completions.max(initial=0) + 1  # one number for prompt and completion sorts faster
    nodes, ends = np.unique(np.tile(prompts, 2) * width + completions, return_inverse=True)
    count = len(nodes)
    a, b = ends.reshape(2, -1)
    nodes = np.stack([nodes // width, nodes % width])
    forward, backward = a.astype(np.int64) * count + b, b.astype(np.int64) * count + a
    contradicted = np.isin(forward, backward)
    contradicting = np.flatnonzero(contradicted)
    _, first = np.unique(np.minimum(forward, backward)[contradicting], return_index=True)
    told = []
    for one in contradicting[np.sort(first)][:examples]:
        other = int(np.flatnonzero(backward == forward[one])[0])
        told.append(_cycle(nodes, a, rows, [int(one), other]))

    rest = np.flatnonzero(~contradicted)
    graph = coo_array((np.ones(len(rest), bool), (a[rest], b[rest])), (count, count))
    components = connected_components(graph, connection="strong")[1]
    inside = rest[components[a[rest]] == components[b[rest]]]
    for component in np.unique(components[a[inside]])[:examples]:
        edges = inside[components[a[inside]] == component]
        told.append(_cycle(nodes, a, rows, _shortest(edges.tolist(), a, b)))
    against = np.sort(np.concatenate([contradicting, inside]))
    return Cycles(
        contradictions=len(first),
        cycles=len(np.unique(components[a[inside]])),
        prompts=len(np.unique(prompts[against])),
        pairs=against.tolist(),
        examples=told,
    )


def _cycle(nodes: np.ndarray, a: np.ndarray, rows: np.ndarray, edges: list[int]) -> Cycle:
    return Cycle(
        int(nodes[0, a[edges[0]]]),
        [int(nodes[1, a[edge]]) for edge in edges],
        [int(rows[edge]) for edge in edges],
    )


def _shortest(edges: Sequence[int], a: np.ndarray, b: np.ndarray) -> list[int]:
    """The edges of a shortest cycle: breadth first from every node, back to where it began."""
    out: dict[int, list[int]] = {}
    for edge in edges:
        out.setdefault(int(a[edge]), []).append(edge)
    best: list[int] = []
    for start in out:
        reached_by: dict[int, int] = {}
        waiting = deque([start])
        while waiting and start not in reached_by:
            for edge in out[waiting.popleft()]:
                if int(b[edge]) not in reached_by:
                    reached_by[int(b[edge])] = edge
                    waiting.append(int(b[edge]))
        path = [reached_by[start]]
        while int(a[path[0]]) != start:
            path.insert(0, reached_by[int(a[path[0]])])
        if not best or len(path) < len(best):
            best = path
    return best
