"""The front door of the stream worker, and the subscribers behind it."""

import logging
from functools import partial
from typing import Any, Final, final

import attrs
import trio

from iii_trio._util import ConflictDetector, NoPublicConstructor
from iii_trio.builtins.stream._admission import (
    Admitted,
    admitted,
    auth_input,
    first_subprotocol,
)
from iii_trio.builtins.stream._config import StreamConfig
from iii_trio.builtins.stream._socket import Hub, SubscriberSocket
from iii_trio.builtins.stream._triggers import StreamTriggers
from iii_trio.errors import InvocationError
from iii_trio.net import (
    HTTPExchange,
    HTTPLimits,
    HTTPRequest,
    KeptDoor,
    Pump,
    limits_of,
    start_front_door,
)
from iii_trio.worker import Worker

JSON = Any

logger = logging.getLogger("iii_trio.builtins.stream")

MAX_MESSAGE_BYTES: Final = 64 * 1024
"""Of a subscriber; joins are small."""


@attrs.frozen(kw_only=True)
class StreamStatistics:
    """A snapshot of a stream worker: who is connected, and subscriptions."""

    subscribers: int
    subscriptions: int


@final
@attrs.define(eq=False, kw_only=True)
class StreamServer(metaclass=NoPublicConstructor):
    """A running stream worker: where it listens, and how to change its settings."""

    _config: StreamConfig
    _worker: Worker
    _hub: Hub
    _triggers: StreamTriggers
    _pump: Pump
    _nursery: trio.Nursery
    _door: KeptDoor | None = None
    _sockets: dict[SubscriberSocket, None] = attrs.field(factory=dict)
    _all_gone: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _one_user: ConflictDetector = attrs.field(
        factory=lambda: ConflictDetector("another task is changing the stream server")
    )

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every socket that listens."""
        return () if self._door is None else self._door.door.addresses

    def statistics(self) -> StreamStatistics:
        """Count subscribers and subscriptions."""
        return StreamStatistics(
            subscribers=len(self._sockets),
            subscriptions=len(self._hub.subscriptions),
        )

    async def reconfigure(self, config: StreamConfig) -> None:
        """Change the settings, for new connections.

        Another address is bound first; then all old connections are dropped.

        Raises:
            ConfigError: a certificate file cannot be used; everything stays as it was.
            OSError: the new address cannot be bound; everything stays as it was.
            trio.BusyResourceError: another task is at it.
        """
        with self._one_user:
            await trio.lowlevel.checkpoint()
            if self._door is None or config.address != self._config.address:
                await self.open_door(config)
            elif config.tls != self._config.tls:
                await self._door.door.use_tls(config.tls)
            if self._door is not None:
                self._door.door.limits = _limits(config)
            self._config = config

    async def drain(self, grace: float) -> None:
        """Say goodbye (1001) and tell all leaves and events, within ``grace`` seconds."""
        with trio.move_on_after(grace):
            if self._door is not None:
                self._door.door.stop_accepting()
                self._door.door.draining = True
            for socket in list(self._sockets):
                socket.socket.close(1001, "the server is going away")
            while self._sockets:
                await self._all_gone.park()
            await self._triggers.wait_all_told()
        await trio.lowlevel.checkpoint_if_cancelled()

    async def open_door(self, config: StreamConfig) -> None:
        """Bind; an older door is then given up.

        Raises:
            OSError: the address cannot be bound.
        """
        old = self._door
        self._door = await start_front_door(
            self._nursery,
            self._pump,
            self,
            name="stream front door",
            host=config.host,
            port=config.port,
            limits=_limits(config),
            tls=config.tls,
        )
        if old is not None:
            old.give_up()

    # As the request handler of its doors

    def on_request(self, exchange: HTTPExchange) -> None:
        """Take a connection, whatever its path."""
        request = exchange.request
        if request.method != "GET":
            exchange.respond(405, [("allow", "GET")])
        elif not request.is_websocket_upgrade:
            exchange.respond(426, [("upgrade", "websocket")])
        elif self._config.auth_function is None:
            self._accept(exchange, self._config, Admitted())
        else:
            scope = trio.CancelScope()
            exchange.on_gone = partial(_cancel, scope)
            self._nursery.start_soon(
                self._vet,
                exchange,
                self._config,
                self._config.auth_function,
                scope,
                name="stream authentication",
            )

    async def _vet(
        self,
        exchange: HTTPExchange,
        config: StreamConfig,
        auth_function: str,
        scope: trio.CancelScope,
    ) -> None:
        with scope:
            answer = await self._ask(exchange.request, config, auth_function)
            admission = admitted(answer, strict=config.strict_auth)
            if admission is None:
                exchange.respond(401)
            else:
                self._accept(exchange, config, admission)

    async def _ask(
        self, request: HTTPRequest, config: StreamConfig, auth_function: str
    ) -> JSON:
        try:
            return await self._worker.invoke(
                auth_function,
                auth_input(request),
                namespace="default",
                deadline=config.timeout,
                kind="delivery",
            )
        except InvocationError as exc:
            logger.warning("auth function %s failed: %s", auth_function, exc)
        await trio.lowlevel.checkpoint()
        return None

    def _accept(
        self, exchange: HTTPExchange, config: StreamConfig, admission: Admitted
    ) -> None:
        if self._door is not None and self._door.door.draining:
            exchange.respond(503)  # it would be told no goodbye
            return
        sink = SubscriberSocket(
            self._hub, config, admission.context, self._nursery, self._on_done
        )
        sink.socket = exchange.accept_websocket(
            sink,
            subprotocol=first_subprotocol(exchange.request),
            max_message_bytes=MAX_MESSAGE_BYTES,
        )
        self._sockets[sink] = None

    def _on_done(self, sink: SubscriberSocket) -> None:
        self._sockets.pop(sink, None)
        if not self._sockets:
            self._all_gone.unpark_all()


def _limits(config: StreamConfig) -> HTTPLimits:
    return limits_of(
        config.limits, handshake_timeout=config.handshake_timeout_ms / 1000
    )


def _cancel(scope: trio.CancelScope, reason: str) -> None:
    scope.cancel(reason=reason)
