"""Which consumers run: one per stored queue, each after the last one of its queue."""

import contextvars
from collections.abc import Callable
from functools import partial
from typing import final

import attrs
import trio

from iii_trio.adapters import QueueStore
from iii_trio.builtins.queue._consumer import Consumer, Target


@final
@attrs.define(eq=False, kw_only=True)
class Consumers:
    """The consumers that run, by stored queue."""

    _nursery: trio.Nursery
    _store: QueueStore
    _now: Callable[[], float]
    _running: dict[str, Consumer] = attrs.field(factory=dict)
    _ending: dict[str, Consumer] = attrs.field(factory=dict)

    def start(self, queue: str, target: Target) -> Consumer:
        """Start the consumer of a queue; one that is there goes on with that target."""
        running = self._running.get(queue)
        ending = None if running is not None else self._ending.pop(queue, None)
        known = running or ending
        if known is not None and known.go_on(target):
            self._running[queue] = known
            return known
        consumer = Consumer(
            queue=queue, target=target, store=self._store, now=self._now
        )
        self._running[queue] = consumer
        # Without the context of whoever asks: deliveries belong to no call.
        contextvars.Context().run(
            partial(
                self._nursery.start_soon,
                self._serve,
                consumer,
                None if ending is None else ending.done,
                name=f"consumer of {queue}",
            )
        )
        return consumer

    async def _serve(self, consumer: Consumer, after: trio.Event | None) -> None:
        try:
            await consumer.serve(after)
        finally:
            if self._ending.get(consumer.queue) is consumer:
                del self._ending[consumer.queue]

    def stop(self, queue: str) -> None:
        """Stop the consumer of a queue, if it has one."""
        consumer = self._leave(queue)
        if consumer is not None:
            consumer.stop()

    def finish(self, queue: str) -> None:
        """Let the consumer of a queue finish what is in delivery, and end."""
        consumer = self._leave(queue)
        if consumer is not None:
            consumer.finish()

    def _leave(self, queue: str) -> Consumer | None:
        consumer = self._running.pop(queue, None)
        if consumer is not None:
            self._ending[queue] = consumer
        return consumer

    def get(self, queue: str) -> Consumer | None:
        """The running consumer of a queue."""
        return self._running.get(queue)

    def wake(self, queue: str, due: float = 0.0) -> None:
        """There may be something to deliver in a queue, at once or when it is due."""
        consumer = self._running.get(queue)
        if consumer is not None:
            consumer.wake(due)

    def functions_changed(self) -> None:
        """Functions came or went."""
        for consumer in self._running.values():
            consumer.functions_changed()

    async def retire(self) -> None:
        """Deliver nothing new; wait until nothing is in delivery."""
        async with trio.open_nursery() as nursery:
            for consumer in (*self._running.values(), *self._ending.values()):
                nursery.start_soon(consumer.retire)
