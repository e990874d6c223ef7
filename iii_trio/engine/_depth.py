"""Messages of workers that nest deeper than they may: refused, and nobody waits."""

import logging
from collections.abc import Callable
from typing import Final

from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._router import Router
from iii_trio.engine._unreadable import end_unreadable
from iii_trio.protocol import nests_deeper, refused, salvage

_log: Final = logging.getLogger("iii_trio.engine.router")

Reader = Callable[[LinkPort, bytes], bool]
"""Reads one message; see `Relay.on_frame`."""


def limit_depth(read: Reader, router: Router, deepest: int) -> Reader:
    """Make a reader of messages refuse those that nest too deep.

    Args:
        read: gets the others.
        router: counts what is refused, among the bad frames.
        deepest: ``limits.json_depth``; 0 changes nothing, and costs nothing.
    """
    if not deepest:
        return read
    reason = f"the message nests deeper than {deepest} (limits.json_depth)"

    def read_shallow(port: LinkPort, text: bytes) -> bool:
        if not nests_deeper(text, deepest):
            return read(port, text)
        if port.is_live:
            if router.note_bad_frame():
                _log.warning("frame of %s dropped: %s", port, reason)
            remains = salvage(text)
            if remains is not None:
                error = refused(reason)
                calls, bindings = router.invocations, router.bindings
                end_unreadable(port, calls, bindings, remains, error)
        return True

    return read_shallow
