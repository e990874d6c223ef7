"""EventRecorder: what happened in an engine, to be asserted on and waited for."""

from collections.abc import Iterator
from typing import TypeVar, final

import attrs
import trio

from iii_trio.protocol import Event
from iii_trio.testing._fields import check_field_names, has_fields

E = TypeVar("E", bound=Event)


@final
@attrs.define(eq=False)
class EventRecorder:
    """Notes events in order. Give the object itself wherever ``on_event`` is wanted.

    Attributes:
        events: all of them, oldest first.
    """

    events: list[Event] = attrs.field(factory=list, init=False)
    _lot: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    def __call__(self, event: Event) -> None:
        """Note an event."""
        self.events.append(event)
        self._lot.unpark_all()

    def __len__(self) -> int:
        return len(self.events)

    def of(self, kind: type[E], /, **fields: object) -> list[E]:
        """The events of a class whose named fields have these values.

        Raises:
            TypeError: the class has no field of that name.
        """
        check_field_names(kind, fields)
        return list(self._matching(kind, fields))

    async def wait_for(self, kind: type[E], /, **fields: object) -> E:
        """Wait until such an event is among those recorded, and give the first one.

        Events that are there already count; `clear` forgets them.

        Args:
            kind: a class of `iii_trio.protocol`, such as ``WorkerDetached``.
            fields: values that the event must have.

        Raises:
            TypeError: the class has no field of that name.
        """
        check_field_names(kind, fields)
        await trio.lowlevel.checkpoint()
        while True:
            for event in self._matching(kind, fields):
                return event
            await self._lot.park()

    def clear(self) -> None:
        """Forget what was recorded."""
        self.events.clear()

    def _matching(self, kind: type[E], fields: dict[str, object]) -> Iterator[E]:
        for event in self.events:
            if isinstance(event, kind) and has_fields(event, fields):
                yield event
