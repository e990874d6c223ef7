"""What a pump tells of itself in numbers."""

import attrs

__all__ = ["PumpStatistics"]


@attrs.frozen(kw_only=True)
class PumpStatistics:
    """What a pump has done so far.

    Attributes:
        passes: times that ready sockets were handled.
        faults: exceptions of callbacks that ended a connection.
        timers: entries in the heap of deadlines.
        waiting_bytes: what waits for peers whose sockets take no more.
        overflows: connections dropped because all outboxes together were too much.
        unread: connections dropped because too much waited for that peer alone.
    """

    passes: int
    faults: int
    timers: int
    waiting_bytes: int
    overflows: int
    unread: int
