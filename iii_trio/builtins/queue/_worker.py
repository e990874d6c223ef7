"""`serve_queue`: offers the queue functions and ``durable:subscriber``, runs consumers."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, final

import attrs
import trio

from iii_trio._util import open_background_nursery
from iii_trio.adapters import KeyValueStore, QueueStore
from iii_trio.builtins.queue._config import QueueConfig
from iii_trio.builtins.queue._consumers import Consumers
from iii_trio.builtins.queue._functions import QueueFunctions
from iii_trio.builtins.queue._named import NamedQueues
from iii_trio.builtins.queue._news import hearing_of_functions
from iii_trio.builtins.queue._schemas import (
    DESCRIPTIONS,
    REQUEST_FORMATS,
    TRIGGER_CONFIG_FORMAT,
)
from iii_trio.builtins.queue._topics import TRIGGER_TYPE, Topics
from iii_trio.worker import Worker


@final
@attrs.define(eq=False, kw_only=True)
class QueueHandle:
    """What a running queue worker offers to whoever serves it."""

    _named: NamedQueues
    _consumers: Consumers

    def reconfigure(self, config: QueueConfig) -> None:
        """Use other settings; deliveries go on, unless their queue is gone."""
        self._named.configure(config)

    async def drain(self, grace: float) -> None:
        """Begin no delivery any more, and wait for those begun, ``grace`` seconds."""
        with trio.move_on_after(grace):
            await self._consumers.retire()


async def serve_queue(
    worker: Worker,
    config: QueueConfig,
    *,
    store: QueueStore,
    records: KeyValueStore,
    now: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[QueueHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve named queues and topics, until cancelled.

    Args:
        worker: what offers the functions and the trigger type.
        config: settings; changed later through the handle.
        store: where messages rest; an answered call is as durable as the store is.
        records: where definitions and subscriptions rest.
        now: wall time, in seconds since 1970.
        task_status: gets a `QueueHandle` once everything is registered.

    Raises:
        RegistrationError: another worker offers one of the functions.
        AdapterError: the definitions cannot be read.

    Cancellation: deliveries are cancelled, and waiting again at the next start, without
    an attempt being counted.
    """
    async with open_background_nursery("the queue worker ended") as nursery:
        consumers = Consumers(nursery=nursery, store=store, now=now)
        named = NamedQueues(worker=worker, consumers=consumers, records=records)
        topics = Topics(
            worker=worker, consumers=consumers, store=store, records=records
        )
        functions = QueueFunctions(
            store=store, consumers=consumers, named=named, topics=topics, now=now
        )
        await named.load(config)
        await topics.load()
        with _registered(worker, functions, topics):
            async with hearing_of_functions(worker, consumers.functions_changed):
                task_status.started(QueueHandle(named=named, consumers=consumers))
                await trio.sleep_forever()


@contextmanager
def _registered(
    worker: Worker, functions: QueueFunctions, topics: Topics
) -> Iterator[None]:
    registered: list[str] = []
    worker.register_trigger_type(
        TRIGGER_TYPE,
        bind=topics.bind,
        unbind=topics.unbind,
        description="Messages of a topic, each delivered until it succeeds or is dead.",
        config_format=TRIGGER_CONFIG_FORMAT,
    )
    try:
        for function_id, handler in functions.by_id().items():
            worker.register_function(
                function_id,
                handler,
                description=DESCRIPTIONS[function_id],
                request_format=REQUEST_FORMATS[function_id],
                brief=True,
            )
            registered.append(function_id)
        yield
    finally:
        for function_id in registered:
            worker.unregister_function(function_id)
        worker.unregister_trigger_type(TRIGGER_TYPE)
