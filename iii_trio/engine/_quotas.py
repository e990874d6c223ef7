"""Quotas: how much of the engine one worker on a link may take, and what was refused.

Workers of this process have none: they are the host's own. The numbers are generous; no
honest worker meets them.
"""

from typing import Any, Final, final

from iii_trio._listening import EngineLimits
from iii_trio.protocol import ErrorBody, refused

OUTBOX_SOFT_LIMIT: Final = 8 * 2**20
"""Bytes waiting for a worker above which new calls to it are refused."""

STRANGER_OUTBOX_LIMIT: Final = 8 * 2**20
OUTBOX_LIMIT: Final = 96 * 2**20
"""Bytes waiting at which a link is dropped: before and after it told who it is."""

PRESSED_SOFT_LIMIT: Final = 64 * 1024
"""The same while all outboxes together are over their cap."""


@final
class Quotas:
    """The limits in force, and counts of what they refused.

    Attributes:
        limits: see `EngineLimits`.
        outbox_soft: bytes waiting for a worker above which new calls to it are refused.
        dropped_fires: void calls that were too large for the engine or their callee.
        refused_calls: calls that were not begun because too many were pending.
        refused_registrations: functions, trigger types and triggers not registered.
    """

    def __init__(self, limits: EngineLimits | None = None) -> None:
        self.limits = limits or EngineLimits()
        self.pending_calls = self.limits.pending_calls_per_worker
        self.outbox_soft = OUTBOX_SOFT_LIMIT
        self.dropped_fires = 0
        self.refused_calls = 0
        self.refused_registrations = 0

    def set_pressed(self, pressed: bool) -> None:
        """All outboxes together are over their cap, or no longer."""
        self.outbox_soft = PRESSED_SOFT_LIMIT if pressed else OUTBOX_SOFT_LIMIT

    def refuse_call(self, who: str) -> ErrorBody:
        """Count a call that is one too many, and say so."""
        self.refused_calls += 1
        return refused(
            f"{who} has {self.pending_calls} calls pending, which is the limit "
            "(limits.pending_calls_per_worker); try again later"
        )

    def registration(self, owner: Any, count: int) -> str | None:  # noqa: ANN401 - a port or None
        """Why a worker may not register one more of a kind, if so; counts that.

        Args:
            owner: the worker's port, ``None`` for what belongs to nobody.
            count: how many of the kind it has.
        """
        limit = self.limits.registrations_per_worker
        if count < limit or (owner is not None and owner.is_local):
            return None
        self.refused_registrations += 1
        return (
            f"{count} are registered already, which is the limit "
            "(limits.registrations_per_worker)"
        )
