"""Which schemas lead back to themselves. Pure."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

JSON = Any


def circles(begin: JSON, inside: Callable[[JSON], Iterable[JSON]]) -> dict[int, int]:
    """Tell apart the strongly connected parts of what is reached (Tarjan's algorithm).

    Args:
        begin: where to begin.
        inside: the schemas that a schema leads to. It gives the same objects each time.

    Returns:
        By ``id`` of a schema, a number: two have the same if each leads to the other.
    """
    found = {id(begin): 0}
    oldest = {id(begin): 0}  # of those that a schema leads back to
    parts: dict[int, int] = {}
    open_ones = [id(begin)]  # without a part
    way: list[tuple[int, Iterator[JSON]]] = [(id(begin), iter(inside(begin)))]
    while way:
        here, left = way[-1]
        for schema in left:
            there = id(schema)
            if there not in found:
                found[there] = oldest[there] = len(found)
                open_ones.append(there)
                way.append((there, iter(inside(schema))))
                break
            if there not in parts:
                oldest[here] = min(oldest[here], found[there])
        else:
            way.pop()
            if way:
                before = way[-1][0]
                oldest[before] = min(oldest[before], oldest[here])
            if oldest[here] == found[here]:
                first = open_ones.index(here)
                parts |= dict.fromkeys(open_ones[first:], here)
                del open_ones[first:]
    return parts
