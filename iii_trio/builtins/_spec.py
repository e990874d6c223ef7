"""What a row in the table of bundled workers says, and what it gets from the app."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs
import trio

from iii_trio.adapters import KeyValueStore, QueueStore
from iii_trio.builtins.observability import Telemetry
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
