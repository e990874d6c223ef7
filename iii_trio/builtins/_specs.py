"""The bundled workers as a table: one row makes a worker available to configurations.

A row says under which names a worker is configured, what its ``config`` block is, where
its data rests and how it is served. The app reads nothing else.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from iii_trio._util import uuid_source
from iii_trio.builtins._spec import BuiltinSpec, Resources, Serve
from iii_trio.builtins.auth import AuthConfig, serve_auth
from iii_trio.builtins.bridge import BridgeConfig, serve_bridge
from iii_trio.builtins.configuration import (
    ConfigurationConfig,
    serve_configuration,
)
from iii_trio.builtins.cron import CronConfig, serve_cron
from iii_trio.builtins.exec import ExecConfig, serve_exec
from iii_trio.builtins.http import HTTPConfig, serve_http
from iii_trio.builtins.http_functions import (
    HTTPFunctionsConfig,
    serve_http_functions,
)
from iii_trio.builtins.observability import (
    DEFAULT_BLOCK,
    ObservabilityConfig,
    serve_observability,
)
from iii_trio.builtins.pubsub import PubSubConfig, serve_pubsub
from iii_trio.builtins.queue import QueueConfig, serve_bridged_queue, serve_queue
from iii_trio.builtins.state import (
    StateConfig,
    serve_bridged_state,
    serve_state,
)
from iii_trio.builtins.stream import (
    StreamConfig,
    serve_bridged_stream,
    serve_stream,
)
from iii_trio.worker import Worker


def _alone(serve: Callable[..., Awaitable[None]]) -> Serve:
    """A worker that needs nothing of the app but its entry."""

    def run(
        worker: Worker,
        config: object,
        _resources: Resources,
        /,
        *,
        task_status: trio.TaskStatus[Any],
    ) -> Awaitable[None]:
        return serve(worker, config, task_status=task_status)

    return run


def _serve_configuration(
    worker: Worker,
    config: ConfigurationConfig,
    resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    return serve_configuration(
        worker,
        config,
        store=resources.stores["configuration"],
        checks=resources.checks,
        task_status=task_status,
    )


def _serve_http(
    worker: Worker,
    config: HTTPConfig,
    resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    return serve_http(worker, config, pump=resources.pump, task_status=task_status)


def _serve_state(
    worker: Worker,
    config: StateConfig,
    resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    if resources.bridge_url is not None:
        return serve_bridged_state(
            worker,
            config,
            url=resources.bridge_url,
            new_id=uuid_source(),
            task_status=task_status,
        )
    store = resources.stores["state"]
    return serve_state(worker, config, store=store, task_status=task_status)


def _serve_queue(
    worker: Worker,
    config: QueueConfig,
    resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    if resources.bridge_url is not None:
        return serve_bridged_queue(
            worker,
            config,
            url=resources.bridge_url,
            new_id=uuid_source(),
            task_status=task_status,
        )
    assert resources.queue is not None, "its row asks for it"
    return serve_queue(
        worker,
        config,
        store=resources.queue,
        records=resources.stores["queue"],
        task_status=task_status,
    )


def _serve_stream(
    worker: Worker,
    config: StreamConfig,
    resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    if resources.bridge_url is not None:
        return serve_bridged_stream(
            worker,
            config,
            url=resources.bridge_url,
            pump=resources.pump,
            new_id=uuid_source(),
            task_status=task_status,
        )
    return serve_stream(
        worker,
        config,
        store=resources.stores["stream"],
        pump=resources.pump,
        task_status=task_status,
    )


def _serve_observability(
    worker: Worker,
    config: ObservabilityConfig,
    resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    return serve_observability(
        worker,
        config,
        telemetry=resources.telemetry,
        pump=resources.pump,
        environ=resources.environ,
        task_status=task_status,
    )


BUILTINS: Final = (
    BuiltinSpec(
        name="configuration",
        description="Keeps settings that workers declare, and tells of changes.",
        config_class=ConfigurationConfig,
        serve=_serve_configuration,
        stores=("configuration",),
        always=True,
        opens_late=True,
    ),
    BuiltinSpec(
        name="iii-http",
        aliases=("http",),
        description="Serves HTTP requests as triggers.",
        config_class=HTTPConfig,
        serve=_serve_http,
        has_settings=True,
    ),
    BuiltinSpec(
        name="iii-state",
        aliases=("state",),
        description="Keeps values by scope and key.",
        config_class=StateConfig,
        serve=_serve_state,
        stores=("state",),
        bridges=True,
        has_settings=True,
    ),
    BuiltinSpec(
        name="iii-queue",
        aliases=("queue",),
        description="Delivers messages of queues and topics until they succeed.",
        config_class=QueueConfig,
        serve=_serve_queue,
        stores=("queue",),
        bridges=True,
        keeps_messages=True,
        has_settings=True,
    ),
    BuiltinSpec(
        name="iii-cron",
        aliases=("cron",),
        description="Calls functions at the times of cron expressions.",
        config_class=CronConfig,
        serve=_alone(serve_cron),
        has_settings=True,
    ),
    BuiltinSpec(
        name="iii-pubsub",
        aliases=("pubsub",),
        description="Sends what is published to the subscribers of a topic.",
        config_class=PubSubConfig,
        serve=_alone(serve_pubsub),
        has_settings=True,
    ),
    BuiltinSpec(
        name="iii-stream",
        aliases=("stream",),
        description="Keeps live data and streams its changes to subscribers.",
        config_class=StreamConfig,
        serve=_serve_stream,
        stores=("stream",),
        bridges=True,
        has_settings=True,
    ),
    BuiltinSpec(
        name="iii-auth",
        aliases=("auth",),
        description="Decides who gets in by tokens and JWT.",
        config_class=AuthConfig,
        serve=_alone(serve_auth),
    ),
    BuiltinSpec(
        name="iii-http-functions",
        aliases=("http-functions",),
        description="Performs functions whose implementation is an HTTP endpoint.",
        config_class=HTTPFunctionsConfig,
        serve=_alone(serve_http_functions),
    ),
    BuiltinSpec(
        name="iii-bridge",
        aliases=("bridge",),
        description="Lends functions to another engine, and borrows some of it.",
        config_class=BridgeConfig,
        serve=_alone(serve_bridge),
    ),
    BuiltinSpec(
        name="iii-exec",
        aliases=("exec",),
        description="Runs commands with the engine.",
        config_class=ExecConfig,
        serve=_alone(serve_exec),
    ),
    BuiltinSpec(
        name="iii-observability",
        aliases=("observability",),
        description="Keeps logs, traces and metrics of the engine and all workers.",
        config_class=ObservabilityConfig,
        serve=_serve_observability,
        always=True,
        unnamed_block=DEFAULT_BLOCK,
        has_settings=True,
    ),
)
"""Every bundled worker of this version."""
