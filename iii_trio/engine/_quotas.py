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


LIGHT_BYTES: Final = 4096
"""What a registration may bring along, in schemas and settings, to count as one."""


def weight_of(*parts: bytes | str | None) -> int:
    """What a registration counts as: one, and one more for each 4 KiB in it."""
    return 1 + sum(len(part) for part in parts if part) // LIGHT_BYTES


@final
class Quotas:
    """The limits in force, and counts of what they refused.

    Attributes:
        limits: see `EngineLimits`.
        outbox_soft: bytes waiting for a worker above which new calls to it are refused.
        dropped_fires: void calls that were too large for the engine or their callee.
        refused_calls: calls that were not begun because too many were pending, or too
            much waits for their callee.
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

    def registration(
        self,
        owner: Any,  # noqa: ANN401 - a port or None
        others: int,
        weight: int,
    ) -> str | None:
        """Why a worker may not register something, if so; counts that.

        Args:
            owner: the worker's port, ``None`` for what belongs to nobody.
            others: what it has registered of the kind, by weight.
            weight: see `weight_of`.
        """
        limit = self.limits.registrations_per_worker
        if others + weight <= limit or (owner is not None and owner.is_local):
            return None
        self.refused_registrations += 1
        return (
            f"it counts as {weight} and {others} are registered already, but the limit "
            f"is {limit} (limits.registrations_per_worker)"
        )
