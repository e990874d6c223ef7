"""One direction of a memory link: a pipe of bytes, and what goes wrong in it.

Sync and without tasks: whoever owns a pipe asks when it is ready and takes what has
arrived. All counts are bytes from the start of the link, so that a fault at byte N lands
in the middle of a frame when N says so.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Any, final

import attrs

_NEVER = math.inf


def _must_be(
    expected: str, holds: Callable[[Any], bool]
) -> Callable[[object, "attrs.Attribute[Any]", object], None]:
    def validate(_plan: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not (isinstance(value, int | float) and holds(value)):
            msg = f"FaultPlan: {field.name} is {value!r}, not {expected}"
            raise ValueError(msg)

    return validate


_count = _must_be(
    "a whole number of bytes >= 0, or math.inf",
    lambda value: value >= 0 and (value == _NEVER or value % 1 == 0),
)
_seconds = _must_be(
    "a finite number of seconds >= 0", lambda value: 0 <= value < math.inf
)
_piece = _must_be(
    "an int of bytes >= 1", lambda value: isinstance(value, int) and value >= 1
)


@attrs.frozen(kw_only=True)
class FaultPlan:
    """What goes wrong in one direction of a memory link; by default nothing.

    Counts of bytes are whole numbers, ``math.inf`` for never.

    Attributes:
        cut_after: after this many bytes the whole connection is cut, both ways.
        end_after: after this many bytes the sender's side ends; the other direction
            stays open (half-close).
        drop_after: what follows these bytes vanishes, and nobody is told.
        stall_after: what follows these bytes waits until `MemoryConnection.release`.
        delay: seconds that each piece travels.
        piece: bytes that arrive at most at a time.

    Raises:
        ValueError: a count that is not whole, a delay that never ends, or a negative
            number; the message names it.
    """

    cut_after: float = attrs.field(default=_NEVER, validator=_count)
    end_after: float = attrs.field(default=_NEVER, validator=_count)
    drop_after: float = attrs.field(default=_NEVER, validator=_count)
    stall_after: float = attrs.field(default=_NEVER, validator=_count)
    delay: float = attrs.field(default=0.0, validator=_seconds)
    piece: int = attrs.field(default=65536, validator=_piece)


@final
class BytePipe:
    """Bytes on their way from one end to the other, in order.

    Args:
        plan: what goes wrong.
        now: tells the time, in seconds.
        on_change: called when the pipe may have become ready.

    Attributes:
        waiting_bytes: put in and not taken out yet.
        taken_bytes: taken out since the start, vanished ones included.
        is_cut: the connection is gone, without an orderly end.
    """

    def __init__(
        self,
        plan: FaultPlan,
        *,
        now: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._now = now
        self._on_change = on_change
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._stall_after = plan.stall_after
        self._ended = False
        self._end_taken = False
        self.waiting_bytes = 0
        self.taken_bytes = 0
        self.is_cut = False

    def put(self, data: bytes) -> None:
        """Send; after an end or a cut it does nothing."""
        if not (data and self.is_open):
            return
        due = self._now() + self._plan.delay
        for start in range(0, len(data), self._plan.piece):
            self._pieces.append((due, data[start : start + self._plan.piece]))
        self.waiting_bytes += len(data)
        self._on_change()

    @property
    def is_open(self) -> bool:
        """Whether the sender can still put bytes in."""
        return not (self._ended or self.is_cut)

    def end(self) -> None:
        """The sender hangs up; what was put in still arrives."""
        self._ended = True
        self._on_change()

    def cut(self) -> None:
        """The connection is gone; what was on its way is lost."""
        self.is_cut = True
        self._pieces.clear()
        self.waiting_bytes = 0
        self._on_change()

    def stall(self) -> None:
        """Let nothing more arrive until `release`."""
        self._stall_after = self.taken_bytes

    def release(self) -> None:
        """End a stall."""
        self._stall_after = _NEVER
        self._on_change()

    def ready_at(self) -> float:
        """When `take` will give something; ``math.inf``: not by itself."""
        if self.is_cut:
            return _NEVER
        if not self._pieces:
            return -_NEVER if self._ended and not self._end_taken else _NEVER
        if self.taken_bytes >= self._stall_after:
            return _NEVER
        return self._pieces[0][0]

    def take(self) -> bytes | None:
        """What arrived next; ``None`` for the sender's end, ``b""`` if it vanished.

        May cut the pipe: look at `is_cut` afterwards. Call it only when ready.
        """
        if not self._pieces:
            self._end_taken = True
            return None
        plan = self._plan
        due, data = self._pieces.popleft()
        vanishes = self.taken_bytes >= plan.drop_after
        faults = [plan.cut_after, plan.end_after, self._stall_after]
        room = min(faults if vanishes else [*faults, plan.drop_after])
        room -= self.taken_bytes
        if room < len(data):
            self._pieces.appendleft((due, data[int(room) :]))
            data = data[: int(room)]
        self.waiting_bytes -= len(data)
        self.taken_bytes += len(data)
        if self.taken_bytes >= plan.cut_after:
            self.cut()
        elif self.taken_bytes >= plan.end_after:
            self._pieces.clear()
            self.waiting_bytes = 0
            self._ended = True
        return b"" if vanishes else data
