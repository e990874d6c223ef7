"""How deep JSON text nests, without building anything."""

import re
from typing import Final

KEPT_DEPTH: Final = 128
"""How deep values may nest that engines keep and others ask for: schemas, metadata,
configs. To write a value may take more of Python's recursion limit than to read it took,
and fails then for whoever asks. The reference engine reads no deeper, either."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")


def nests_deeper(text: bytes, limit: int) -> bool:
    """Tell whether arrays and objects nest deeper than so many.

    Most texts are told apart by their length, or by how many brackets they have.

    Args:
        text: JSON; of anything else some answer is given.
        limit: 1 is that of an object without arrays and objects in it.
    """
    if len(text) <= limit or text.count(b"{") + text.count(b"[") <= limit:
        return False
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", text)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > limit:
            return True
    return False
