"""The table: which side may send which frame, and which frames wait for a namespace.

It does not know which side we are. A frame from the wrong side is ignored, as unknown
types are. Source: the iii worker protocol, sections 2.1 and 3.2.
"""

import enum
from typing import Final

from iii_trio.protocol import _messages as m


class Side(enum.Enum):
    """Who speaks on a link."""

    ENGINE = "engine"
    WORKER = "worker"


_BOTH = frozenset(Side)
_WORKER = frozenset({Side.WORKER})
_ENGINE = frozenset({Side.ENGINE})

SENDERS: Final[dict[type[m.Frame], frozenset[Side]]] = {
    m.WorkerRegistered: _ENGINE,
    m.Reattach: _WORKER,
    m.RegisterFunction: _WORKER,
    m.UnregisterFunction: _WORKER,
    m.RegisterService: _WORKER,
    m.RegisterTriggerType: _WORKER,
    m.UnregisterTriggerType: _WORKER,
    m.RegisterTrigger: _BOTH,
    m.UnregisterTrigger: _BOTH,
    m.TriggerRegistrationResult: _BOTH,
    m.InvokeFunction: _BOTH,
    m.InvocationResult: _BOTH,
    m.CancelInvocation: _BOTH,
    m.RegistrationRejected: _ENGINE,
    m.Ping: _BOTH,
    m.Pong: _BOTH,
    m.Error: _ENGINE,
}

HELD_BACK: Final[frozenset[type[m.Frame]]] = frozenset(
    {
        m.RegisterFunction,
        m.UnregisterFunction,
        m.RegisterService,
        m.RegisterTriggerType,
        m.UnregisterTriggerType,
        m.RegisterTrigger,
        m.UnregisterTrigger,
    }
)
"""Frames that wait, in order, until the connection's namespace is known."""

CANCEL_FEATURE: Final = "iii-trio.cancel.v1"
"""Announced by peers that understand `CancelInvocation` and ``deadline_ms``."""


def may_send(side: Side, frame: m.Frame) -> bool:
    """Tell whether ``side`` may send this frame."""
    return side in SENDERS[type(frame)]
