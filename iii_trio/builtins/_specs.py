"""The bundled workers as a table: one row makes a worker available to configurations.

A row says under which names a worker is configured, what its ``config`` block is, where
its data rests and how it is served. The app reads nothing else.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import attrs
import trio

from iii_trio._util import uuid_source
from iii_trio.adapters import KeyValueStore, QueueStore
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
    Telemetry,
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
from iii_trio.net import Pump
from iii_trio.worker import Worker


@attrs.frozen(kw_only=True)
class Resources:
    """What the app hands to a bundled worker besides its `Worker`.

    Attributes:
        pump: for front doors of its own.
        stores: the collections that its row asks for, by name.
        queue: the messages of queues, if its row asks for them.
        bridge_url: of the engine that keeps the data instead of stores.
        checks: by configuration id, what raises `ConfigError` for settings that cannot
            be used.
        telemetry: what the engine and its workers tell.
        environ: environment variables.
    """

    pump: Pump
    stores: Mapping[str, KeyValueStore]
    queue: QueueStore | None = None
    bridge_url: str | None = None
    checks: Mapping[str, Callable[[Any], object]] = attrs.field(factory=dict)
    telemetry: Telemetry = attrs.field(factory=Telemetry)
    environ: Mapping[str, str] = attrs.field(factory=dict)


class Serve(Protocol):
    """Runs a bundled worker until it is cancelled.

    What it gives to ``started`` may have ``addresses`` (what it really bound),
    ``reconfigure(config)`` (take new settings while running; raise to refuse them) and
    ``drain(grace)`` (finish what was begun): the app uses those that it finds.
    """

    def __call__(
        self,
        worker: Worker,
        config: Any,  # noqa: ANN401 - an instance of the row's config class
        resources: Resources,
        /,
        *,
        task_status: trio.TaskStatus[Any],
    ) -> Awaitable[None]:
        """Serve."""


@attrs.frozen(kw_only=True)
class BuiltinSpec:
    """One bundled worker.

    Attributes:
        name: the canonical name: its entry's identity and its worker name.
        aliases: other names for it in configurations.
        description: shown in listings.
        config_class: the attrs class of its ``config`` block.
        serve: see `Serve`.
        stores: names of the collections it keeps; with any, its ``config`` block may
            have an ``adapter``, which the app reads.
        keeps_messages: whether it needs the messages of queues.
        bridges: whether another engine can keep its data: ``adapter: {name: bridge}``.
        always: whether it runs also when no entry names it; such workers start first.
        unnamed_block: the ``config`` block with which such a worker runs then.
        opens_late: whether its collections are opened when something is written, if
            there is nothing to read.
        has_settings: whether its ``config`` can be read and changed through the
            configuration worker, by whoever may call functions: not if it holds
            secrets, or says what those callers may do.
    """

    name: str
    aliases: tuple[str, ...] = ()
    description: str
    config_class: type[Any]
    serve: Serve
    stores: tuple[str, ...] = ()
    keeps_messages: bool = False
    bridges: bool = False
    always: bool = False
    unnamed_block: Mapping[str, Any] = attrs.field(factory=dict)
    opens_late: bool = False
    has_settings: bool = False


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


def _serve_auth(
    worker: Worker,
    config: AuthConfig,
    _resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    return serve_auth(worker, config, task_status=task_status)


def _serve_cron(
    worker: Worker,
    config: CronConfig,
    _resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    return serve_cron(worker, config, task_status=task_status)


def _serve_pubsub(
    worker: Worker,
    config: PubSubConfig,
    _resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    return serve_pubsub(worker, config, task_status=task_status)


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


def _serve_http_functions(
    worker: Worker,
    config: HTTPFunctionsConfig,
    _resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    return serve_http_functions(worker, config, task_status=task_status)


def _serve_bridge(
    worker: Worker,
    config: BridgeConfig,
    _resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    return serve_bridge(worker, config, task_status=task_status)


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


def _serve_exec(
    worker: Worker,
    config: ExecConfig,
    _resources: Resources,
    *,
    task_status: trio.TaskStatus[Any],
) -> Awaitable[None]:
    return serve_exec(worker, config, task_status=task_status)


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
        serve=_serve_cron,
        has_settings=True,
    ),
    BuiltinSpec(
        name="iii-pubsub",
        aliases=("pubsub",),
        description="Sends what is published to the subscribers of a topic.",
        config_class=PubSubConfig,
        serve=_serve_pubsub,
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
        serve=_serve_auth,
    ),
    BuiltinSpec(
        name="iii-http-functions",
        aliases=("http-functions",),
        description="Performs functions whose implementation is an HTTP endpoint.",
        config_class=HTTPFunctionsConfig,
        serve=_serve_http_functions,
    ),
    BuiltinSpec(
        name="iii-bridge",
        aliases=("bridge",),
        description="Lends functions to another engine, and borrows some of it.",
        config_class=BridgeConfig,
        serve=_serve_bridge,
    ),
    BuiltinSpec(
        name="iii-exec",
        aliases=("exec",),
        description="Runs commands with the engine.",
        config_class=ExecConfig,
        serve=_serve_exec,
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
