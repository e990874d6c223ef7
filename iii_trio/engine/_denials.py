"""Denials: what access rules refused is counted, logged and told of in one place."""

import logging
from collections.abc import Callable
from typing import Final, Literal, final

from iii_trio.engine._link_port import LinkPort
from iii_trio.protocol import AccessDenied, Event

_log: Final = logging.getLogger("iii_trio.engine.access")

MAX_WARNINGS: Final = 20
"""Warnings about one connection; what it is refused further is told to listeners only."""

SUBJECT_CHARACTERS: Final = 200
"""An id may have megabytes: it is cut here for events and the log."""

DeniedAction = Literal["connect", "call", "register", "unregister"]


@final
class Denials:
    """Tells of refusals; whether the worker is told is its caller's business.

    Attributes:
        count: refusals so far.
    """

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self.count = 0
        self._on_event = on_event

    def tell(
        self, port: LinkPort, action: DeniedAction, subject: str, reason: str
    ) -> None:
        """Something was refused to the worker of a port."""
        self.count += 1
        subject = subject[:SUBJECT_CHARACTERS]
        reason = reason[: 2 * SUBJECT_CHARACTERS]
        level = logging.DEBUG if _is_noise(port, action) else logging.WARNING
        _log.log(level, "%s may not %s %r: %s", port, action, subject, reason)
        self._on_event(
            AccessDenied(
                worker_id=port.worker_id, action=action, subject=subject, reason=reason
            )
        )


def _is_noise(port: LinkPort, action: DeniedAction) -> bool:
    """Tell whether one more warning would only fill the log."""
    guard = port.guard
    if guard is None:
        return False
    if action != "call":
        guard.warnings += 1
    # Calls are answered: who makes them knows.
    return action == "call" or guard.warnings > MAX_WARNINGS
