"""What an HTTP connection waits for, and how long."""

from enum import Enum, auto

from iii_trio.net._limits import HTTPLimits

__all__ = ["Phase", "seconds_of"]


class Phase(Enum):
    """What a connection waits for; each has its time limit."""

    NEW = auto()  # something else than before: time runs anew
    HEAD = auto()  # a complete head: handshake_timeout
    IDLE = auto()  # another request: keep_alive_timeout
    BODY = auto()  # more of a body: body_timeout
    BUSY = auto()  # us; a client that does not read is given keep_alive_timeout
    OVER = auto()  # its end: the connection's own


def seconds_of(phase: Phase, limits: HTTPLimits) -> float:
    """The time limit of a phase."""
    if phase is Phase.HEAD:
        return limits.handshake_timeout
    return limits.body_timeout if phase is Phase.BODY else limits.keep_alive_timeout
