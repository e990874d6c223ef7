"""Which schemas lead back to themselves: against who reaches whom."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from iii_trio.builtins.configuration._circles import circles

graphs = st.integers(1, 9).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, size - 1), max_size=3), min_size=size, max_size=size
    )
)


def reached(graph: list[list[int]], begin: int) -> set[int]:
    found: set[int] = set()
    left = [begin]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += graph[one]
    return found


@given(graphs)
def test_those_are_together_that_lead_to_each_other(graph: list[list[int]]) -> None:
    schemas: list[Any] = [{"number": number} for number in range(len(graph))]
    parts = circles(
        schemas[0], lambda schema: [schemas[to] for to in graph[schema["number"]]]
    )
    known = reached(graph, 0)
    assert parts.keys() == {id(schemas[one]) for one in known}
    for one in known:
        for other in known:
            together = other in reached(graph, one) and one in reached(graph, other)
            same = parts[id(schemas[one])] == parts[id(schemas[other])]
            assert same == together
