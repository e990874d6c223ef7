"""The http worker: provides the trigger type ``http`` and serves its routes."""

import logging
import time
from collections.abc import Callable
from typing import Final, NoReturn

import trio

from iii_trio._util import open_background_nursery
from iii_trio.builtins.http._config import HTTPConfig
from iii_trio.builtins.http._dispatch import Dispatcher
from iii_trio.builtins.http._request import Binding
from iii_trio.builtins.http._routes import METHODS, RouteTable
from iii_trio.builtins.http._server import HTTPServer
from iii_trio.builtins.http._trigger import (
    CONFIGURATION_SCHEMA,
    DESCRIPTION,
    REQUEST_SCHEMA,
    RESPONSE_SCHEMA,
    parse_trigger_config,
)
from iii_trio.net import Pump
from iii_trio.worker import Trigger, Worker

logger = logging.getLogger(__name__)

TRIGGER_TYPE: Final = "http"


def bind_route(routes: RouteTable[Binding], trigger: Trigger) -> None:
    """Give a trigger its route.

    Raises:
        RegistrationError: its config, its pattern, or a conflict; nothing has changed.
    """
    config = parse_trigger_config(trigger.config)
    if config.http_method not in METHODS:
        logger.warning(
            "trigger %s: method %s is not served",
            trigger.trigger_id,
            config.http_method,
        )
    replaced = routes.register(
        trigger.trigger_id,
        config.http_method,
        config.api_path,
        Binding(trigger, config),
    )
    if replaced is not None:
        logger.info(
            "trigger %s takes route %s %s from trigger %s",
            trigger.trigger_id,
            config.http_method,
            config.api_path,
            replaced.trigger_id,
        )


def provide_trigger_type(worker: Worker, routes: RouteTable[Binding]) -> None:
    """Register the trigger type; its triggers get and lose their routes.

    Raises:
        RegistrationError: the trigger type is somebody else's.
    """
    worker.register_trigger_type(
        TRIGGER_TYPE,
        bind=lambda trigger: bind_route(routes, trigger),
        unbind=lambda trigger: routes.unregister(trigger.trigger_id),
        description=DESCRIPTION,
        config_format=CONFIGURATION_SCHEMA,
        call_format=REQUEST_SCHEMA,
        return_format=RESPONSE_SCHEMA,
    )


async def serve_http(
    worker: Worker,
    config: HTTPConfig,
    *,
    pump: Pump,
    now: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[HTTPServer] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve HTTP requests as invocations, until cancelled.

    Reports an `HTTPServer` once it listens and provides the trigger type.

    Args:
        worker: provides the trigger type ``http`` and makes the calls.
        config: see `HTTPConfig`; later changes by `HTTPServer.reconfigure`.
        pump: moves the bytes of its connections.
        now: seconds since the epoch, for error ids.
        task_status: takes the running server.

    Raises:
        OSError: the address cannot be bound.
        RegistrationError: the trigger type is somebody else's.

    Cancellation drops all connections and cancels all handlers. For a graceful end,
    `HTTPServer.drain` first.
    """
    async with open_background_nursery("the http worker ends") as nursery:
        dispatcher = Dispatcher(worker, nursery, config, now)
        server = HTTPServer._create(
            config=config, dispatcher=dispatcher, pump=pump, nursery=nursery
        )
        await server.open_door(config)
        provide_trigger_type(worker, dispatcher.routes)
        try:
            task_status.started(server)
            await trio.sleep_forever()
        finally:
            dispatcher.close()
            worker.unregister_trigger_type(TRIGGER_TYPE)
    raise AssertionError  # pragma: no cover - sleep_forever does not return
