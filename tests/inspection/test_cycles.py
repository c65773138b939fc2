"""Contradictions and cycles against networkx (which torch brings along) and made by hand."""

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.inspection.cycles import find_cycles

# (prompt, better, worse) of few completions, so that many go round in circles
PAIRS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 5)).filter(
        lambda pair: pair[1] != pair[2]
    ),
    min_size=1,
    max_size=14,
)


def find(pairs, examples=3):
    prompts, better, worse = np.array(pairs).T
    return find_cycles(prompts, better, worse, rows=np.arange(len(pairs)) + 100, examples=examples)


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_as_networkx_finds_them(pairs):
    edges = {((p, a), (p, b)) for p, a, b in pairs}
    both_ways = {(a, b) for a, b in edges if (b, a) in edges}
    graph = nx.DiGraph(edges - both_ways)
    components = [c for c in nx.strongly_connected_components(graph) if len(c) > 1]
    of_node = {node: i for i, c in enumerate(components) for node in c}
    against = [
        i
        for i, (p, a, b) in enumerate(pairs)
        if ((p, a), (p, b)) in both_ways
        or ((p, a) in of_node and of_node[p, a] == of_node.get((p, b)))
    ]
    found = find(pairs, examples=100)
    assert found.contradictions == len(both_ways) / 2
    assert found.cycles == len(components)
    assert found.pairs == against
    assert found.prompts == len({pairs[i][0] for i in against})
    assert len(found.examples) == found.contradictions + found.cycles
    for cycle in found.examples:
        # Every step stands in the row it names, and the example is a shortest cycle.
        k = len(cycle.completions)
        for step, row in enumerate(cycle.rows):
            following = cycle.completions[(step + 1) % k]
            assert pairs[row - 100] == (cycle.prompt, cycle.completions[step], following)
        if k > 2:
            inside = graph.subgraph(components[of_node[cycle.prompt, cycle.completions[0]]])
            assert k == min(map(len, nx.simple_cycles(inside)))
    assert sum(len(cycle.rows) == 2 for cycle in found.examples) == found.contradictions


def test_a_contradiction_and_a_cycle_by_hand():
    found = find([(0, 1, 2), (0, 2, 1), (1, 1, 2), (1, 2, 3), (1, 3, 1), (1, 3, 4), (2, 1, 2)])
    assert (found.contradictions, found.cycles, found.prompts) == (1, 1, 2)
    assert found.pairs == [0, 1, 2, 3, 4]
    assert [cycle.rows for cycle in found.examples] == [[100, 101], [102, 103, 104]]


def test_the_same_completions_under_other_prompts_contradict_nothing():
    found = find([(0, 1, 2), (1, 2, 1)])
    assert (found.contradictions, found.cycles, found.pairs, found.examples) == (0, 0, [], [])


def test_no_pairs():
    empty = np.empty(0, int)
    found = find_cycles(empty, empty, empty, empty)
    assert (found.contradictions, found.cycles, found.prompts) == (0, 0, 0)
