"""Text of others, made safe to print on a terminal. Pure."""

import unicodedata

_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    """The text without control, bidirectional and other invisible characters.

    Line breaks and tabs become spaces: what a worker wrote never starts a line of its
    own.
    """
    spaced = (" " if char in "\n\r\t\u2028\u2029" else char for char in text)
    return "".join(c for c in spaced if unicodedata.category(c) not in _HARMFUL)
