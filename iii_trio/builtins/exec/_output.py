"""What commands print, as lines for a log. Pure."""

import re
from typing import Final, final

MAX_LINE: Final = 16 * 1024
"""Bytes; a longer line comes in pieces."""

_ESCAPES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]"
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@final
class Lines:
    """Cuts bytes into lines, without what would move the reader's terminal."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete by now."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) >= MAX_LINE:
            complete.append(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]
        return [_shown(line) for line in complete]

    def end(self) -> list[str]:
        """The last line, if it has no end."""
        rest, self._rest = self._rest, b""
        return [_shown(rest)] if rest else []


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return _CONTROLS.sub("", _ESCAPES.sub("", text))
