"""The named queues: those of the configuration, those defined at run time, `default`."""

from collections.abc import Mapping
from typing import Final, final

import attrs
import msgspec
import trio

from iii_trio.adapters import KeyValueStore, Message
from iii_trio.builtins.queue._config import DEFAULT_QUEUE, NamedQueue, QueueConfig
from iii_trio.builtins.queue._consumers import Consumers
from iii_trio.builtins.queue._delivery import Policy
from iii_trio.builtins.queue._names import named_queue
from iii_trio.worker import Trigger, Worker

DEFINITIONS: Final = "definitions"
"""The space of the definitions made at run time, by name."""

DEFAULT: Final = NamedQueue()
"""What the queue ``default`` is like as long as nobody defines it."""

_definition: Final = msgspec.json.Decoder(NamedQueue)


@final
@attrs.define(eq=False, kw_only=True)
class NamedTarget:
    """Delivers the messages of a named queue to the function that each names."""

    policy: Policy
    _worker: Worker

    @property
    def ready(self) -> bool:
        """Always: its messages have different functions."""
        return True

    def exists(self, message: Message) -> bool:
        """Ask the registry."""
        return self._worker.exists(message.function_id, message.namespace)

    async def attempt(self, message: Message) -> None:
        """Call the function; what it returns is dropped."""
        call = Trigger(
            trigger_id="",
            trigger_type="",
            function_id=message.function_id,
            namespace=message.namespace,
        )
        await self._worker.deliver_json(
            call,
            message.payload,
            traceparent=message.traceparent,
            baggage=message.baggage,
            deadline=self.policy.timeout,
        )


@final
@attrs.define(eq=False, kw_only=True)
class NamedQueues:
    """What each named queue is like, and its consumer.

    A definition made at run time goes before one of the configuration.
    """

    _worker: Worker
    _consumers: Consumers
    _records: KeyValueStore
    _configured: Mapping[str, NamedQueue] = attrs.field(factory=dict)
    _defined: dict[str, NamedQueue] = attrs.field(factory=dict)
    # What is stored last is to hold: whoever stores two at once is told in any order.
    _defining: trio.Lock = attrs.field(factory=trio.Lock)

    async def load(self, config: QueueConfig) -> None:
        """Read the definitions, start the consumers."""
        for name, value in await self._records.items(DEFINITIONS):
            self._defined[name] = _definition.decode(value)
        self.configure(config)

    def configure(self, config: QueueConfig) -> None:
        """Use another configuration; deliveries of queues that stay go on."""
        before = self.all()
        self._configured = config.queue_configs
        after = self.all()
        for name in before.keys() - after.keys():
            self._consumers.stop(named_queue(name))
        for name, queue in after.items():
            self._consume(name, queue)

    async def define(self, name: str, queue: NamedQueue) -> bool:
        """Add or change a queue, also for the time after a restart.

        Returns:
            Whether that changed anything.
        """
        async with self._defining:
            changed = self.all().get(name) != queue
            if self._defined.get(name) != queue:
                value = msgspec.json.encode(queue)
                await self._records.set(DEFINITIONS, name, value)
                self._defined[name] = queue
                self._consume(name, queue)
            return changed

    def all(self) -> dict[str, NamedQueue]:
        """Every named queue."""
        return {DEFAULT_QUEUE: DEFAULT, **self._configured, **self._defined}

    def get(self, name: str) -> NamedQueue | None:
        """The settings of a queue."""
        found = self._defined.get(name) or self._configured.get(name)
        return DEFAULT if found is None and name == DEFAULT_QUEUE else found

    def _consume(self, name: str, queue: NamedQueue) -> None:
        target = NamedTarget(policy=Policy.of_queue(queue), worker=self._worker)
        self._consumers.start(named_queue(name), target)
