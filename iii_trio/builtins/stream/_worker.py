"""The stream worker: functions, trigger types and the door for subscribers."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, NoReturn, final

import attrs
import msgspec
import trio

from iii_trio._util import open_background_nursery
from iii_trio.adapters import KeyValueStore
from iii_trio.builtins._remote_engine import (
    Connect,
    connect_by_url,
    open_remote_engine,
)
from iii_trio.builtins.stream import _events as events
from iii_trio.builtins.stream._config import StreamConfig
from iii_trio.builtins.stream._data import StreamData
from iii_trio.builtins.stream._functions import StreamFunctions
from iii_trio.builtins.stream._inputs import Place
from iii_trio.builtins.stream._providers import Providers
from iii_trio.builtins.stream._remote import RemoteEvents, RemoteStreams
from iii_trio.builtins.stream._schemas import (
    DESCRIPTIONS,
    EVENT_FORMAT,
    JOIN_RESULT_FORMAT,
    REQUEST_FORMATS,
    TRIGGER_CONFIG_FORMAT,
    VISIT_CONFIG_FORMAT,
    VISIT_FORMAT,
)
from iii_trio.builtins.stream._server import StreamServer
from iii_trio.builtins.stream._socket import Hub
from iii_trio.builtins.stream._subscriptions import Subscriptions
from iii_trio.builtins.stream._triggers import (
    JOIN,
    LEAVE,
    STREAM,
    StreamTriggers,
    VisitTriggers,
)
from iii_trio.net import Pump
from iii_trio.worker import Worker

JSON = Any


async def serve_stream(
    worker: Worker,
    config: StreamConfig,
    *,
    store: KeyValueStore,
    pump: Pump,
    now: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[StreamServer] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Offer streams until cancelled: functions, trigger types, a port for subscribers.

    Args:
        worker: offers the functions and trigger types, and makes the calls.
        config: see `StreamConfig`; later changes by `StreamServer.reconfigure`.
        store: where items rest; an answered write is as durable as the store is.
        pump: moves the bytes of subscribers.
        now: seconds since the epoch, for events.
        task_status: gets a `StreamServer` once it listens and all is registered.

    Raises:
        OSError: the address cannot be bound.
        RegistrationError: another worker offers one of the functions.

    Cancellation drops all subscribers and tells no leaves; for a graceful end,
    `StreamServer.drain` first.
    """
    triggers = StreamTriggers(worker)
    hub, functions = _compose(worker, store, triggers, now)
    async with _open_server(
        worker=worker,
        config=config,
        pump=pump,
        hub=hub,
        triggers=triggers,
        functions=functions,
    ) as server:
        task_status.started(server)
        await trio.sleep_forever()
    raise AssertionError  # pragma: no cover - sleep_forever does not return


async def serve_bridged_stream(
    worker: Worker,
    config: StreamConfig,
    *,
    url: str,
    pump: Pump,
    new_id: Callable[[], str],
    connect: Connect = connect_by_url,
    now: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[StreamServer] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """`serve_stream` where another engine keeps the items and carries the events.

    Args:
        worker: offers the functions and trigger types, and makes the calls.
        config: see `StreamConfig`; later changes by `StreamServer.reconfigure`.
        url: of the other engine, which needs streams and pub/sub.
        pump: moves the bytes of subscribers.
        new_id: makes UUID text.
        connect: what the worker of the other engine attaches to.
        now: seconds since the epoch, for events.
        task_status: gets a `StreamServer` once it listens and all is registered; the
            connection may come later.

    Raises:
        OSError: the address cannot be bound.
        RegistrationError: another worker offers one of the functions.

    Cancellation: as of `serve_stream`.
    """
    async with open_remote_engine(
        url, name="iii-stream-bridge", new_id=new_id, connect=connect
    ) as remote:
        triggers, subscriptions = StreamTriggers(worker), Subscriptions()
        carried = RemoteEvents(remote, triggers, subscriptions)
        tell = _teller(carried.announce, now)
        providers = RemoteStreams(remote, Providers(worker))
        data = StreamData(store=None, providers=providers, tell=tell)
        await carried.listen(f"iii-stream-bridge::{new_id()}")
        async with _open_server(
            worker=worker,
            config=config,
            pump=pump,
            hub=_hub_of(worker, data, subscriptions, now),
            triggers=triggers,
            functions=StreamFunctions(data=data, tell=tell),
        ) as server:
            task_status.started(server)
            await trio.sleep_forever()
    raise AssertionError  # pragma: no cover - sleep_forever does not return


@asynccontextmanager
async def _open_server(
    *,
    worker: Worker,
    config: StreamConfig,
    pump: Pump,
    hub: Hub,
    triggers: StreamTriggers,
    functions: StreamFunctions,
) -> AsyncIterator[StreamServer]:
    async with open_background_nursery("the stream worker ends") as nursery:
        server = StreamServer._create(
            config=config,
            worker=worker,
            hub=hub,
            triggers=triggers,
            pump=pump,
            nursery=nursery,
        )
        with ExitStack() as registered:
            _register(worker, hub, triggers, functions, registered)
            await server.open_door(config)
            yield server


@final
@attrs.define(eq=False)
class _Announcer:
    """Tells every event: triggers first, then subscribers. Sync."""

    _triggers: StreamTriggers
    _subscriptions: Subscriptions

    def announce(self, place: Place, message: JSON) -> None:
        self._triggers.fire(place, message)
        matching = self._subscriptions.matching(place)
        if matching:
            frame = msgspec.json.encode(message)
            for subscription in matching:
                subscription.deliver(frame)


def _teller(
    announce: Callable[[Place, JSON], None], now: Callable[[], float]
) -> Callable[[Place, JSON], None]:
    def tell(place: Place, event: JSON) -> None:
        announce(place, events.envelope(place, now(), event))

    return tell


def _compose(
    worker: Worker,
    store: KeyValueStore,
    triggers: StreamTriggers,
    now: Callable[[], float],
) -> tuple[Hub, StreamFunctions]:
    subscriptions = Subscriptions()
    tell = _teller(_Announcer(triggers, subscriptions).announce, now)
    data = StreamData(store=store, providers=Providers(worker), tell=tell)
    hub = _hub_of(worker, data, subscriptions, now)
    return hub, StreamFunctions(data=data, tell=tell)


def _hub_of(
    worker: Worker,
    data: StreamData,
    subscriptions: Subscriptions,
    now: Callable[[], float],
) -> Hub:
    return Hub(
        data=data,
        subscriptions=subscriptions,
        joins=VisitTriggers(worker),
        leaves=VisitTriggers(worker),
        now=now,
    )


def _register(
    worker: Worker,
    hub: Hub,
    triggers: StreamTriggers,
    functions: StreamFunctions,
    registered: ExitStack,
) -> None:
    """Register everything; the stack takes it back."""
    worker.register_trigger_type(
        STREAM,
        bind=triggers.bind,
        unbind=triggers.unbind,
        description="Events of streams: items created, updated, deleted; events sent.",
        config_format=TRIGGER_CONFIG_FORMAT,
        call_format=EVENT_FORMAT,
    )
    registered.callback(worker.unregister_trigger_type, STREAM)
    for trigger_type, visits, description, return_format in (
        (JOIN, hub.joins, "A subscriber wants to join.", JOIN_RESULT_FORMAT),
        (LEAVE, hub.leaves, "A subscriber has left.", None),
    ):
        worker.register_trigger_type(
            trigger_type,
            bind=visits.bind,
            unbind=visits.unbind,
            description=description,
            config_format=VISIT_CONFIG_FORMAT,
            call_format=VISIT_FORMAT,
            return_format=return_format,
        )
        registered.callback(worker.unregister_trigger_type, trigger_type)
    for function_id, handler in functions.by_id().items():
        worker.register_function(
            function_id,
            handler,
            description=DESCRIPTIONS[function_id],
            request_format=REQUEST_FORMATS[function_id],
        )
        registered.callback(worker.unregister_function, function_id)
