"""The worker port of an engine: a front door whose sockets become links."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NoReturn, final

import trio

from iii_trio._util import open_background_nursery
from iii_trio.access import Access, ConnectRequest
from iii_trio.engine._channel_sockets import ChannelReaderSocket, ChannelWriterSocket
from iii_trio.engine._engine import Engine
from iii_trio.net import (
    FrontDoor,
    HTTPLimits,
    HTTPRequest,
    Pump,
    TLSConfig,
    open_front_door,
)
from iii_trio.transport import ChannelSocket, Link, Listener

DEFAULT_PORT: Final = 49134

PING_EVERY: Final = 25.0
"""Seconds between WebSocket pings on worker links; a link that was silent for two of
them in a row, and took nothing of what waited for it, is dropped, so a half-open worker
gives its name free."""

_log: Final = logging.getLogger("iii_trio.engine.listener")


@final
class _EngineDoor:
    """What a listener needs from an engine; see `ListenerHandler`."""

    def __init__(self, engine: Engine, access: Access | None) -> None:
        self._engine = engine
        self._access = access

    @property
    def admits_workers(self) -> bool:
        return self._engine.gate.is_open

    def attach(self, link: Link, request: HTTPRequest) -> object:
        if self._access is None:
            return self._engine.supervisor.attach(link)
        return self._engine.attach(link, self._access, _facts(request))

    def attach_telemetry(self, link: Link, request: HTTPRequest) -> None:
        if self._access is None:
            link.start(_TelemetrySink(self._engine))
        else:
            self._engine.gate.admit_telemetry(link, self._access, _facts(request))

    def void_call_dropped(self) -> None:
        self._engine.invocations.quotas.dropped_fires += 1

    def channel_end(
        self, channel_id: str, access_key: str, direction: str
    ) -> ChannelSocket | None:
        channel = self._engine.channels.find(channel_id, access_key)
        if channel is None:
            return None
        if direction == "read":
            return ChannelReaderSocket(channel)
        return ChannelWriterSocket(channel)


@final
class _TelemetrySink:
    """Takes nothing but telemetry, and never is a worker."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def on_frame(self, text: bytes) -> None:
        """Text means nothing here."""

    def on_telemetry(self, data: bytes) -> None:
        self._engine.supervisor.on_telemetry(data)

    def on_closed(self, reason: str) -> None:
        """Nothing depends on it."""


def _facts(request: HTTPRequest) -> ConnectRequest:
    """What the auth function is told of a handshake."""
    certificate = request.peer_certificate
    return ConnectRequest.of(
        request.headers,
        request.query,
        request.peer[0],
        None if certificate is None else certificate.as_json(),
    )


@asynccontextmanager
async def open_listener(
    engine: Engine,
    pump: Pump,
    *,
    host: str | None = None,
    port: int = DEFAULT_PORT,
    limits: HTTPLimits | None = None,
    ping_every: float = PING_EVERY,
    access: Access | None = None,
    tls: TLSConfig | None = None,
) -> AsyncIterator[FrontDoor]:
    """Listen for workers.

    Args:
        engine: what they attach to.
        pump: moves the bytes; shared by all front doors of a program.
        host: ``None``: loopback, IPv4 and IPv6.
        port: 0 takes a free one; see the door's ``addresses``.
        limits: of the HTTP side, such as the time to a complete handshake.
        ping_every: seconds between WebSocket pings on every link.
        access: the rules for all that connect here; ``None``: everything is allowed.
        tls: speak TLS, with these certificates, read again when they are renewed.

    Raises:
        ConfigError: a certificate file cannot be read or used.
        OSError: the address is in use, or cannot be bound.
    """
    listener = Listener(_EngineDoor(engine, access))
    press = engine.invocations.quotas.set_pressed
    rules = access or Access()
    with engine.gate.using(rules), pump.outboxes.telling(press):
        async with (
            open_front_door(
                pump, listener, host=host, port=port, limits=limits, tls=tls
            ) as door,
            open_background_nursery("the listener was closed") as nursery,
        ):
            engine.gate.take_back(rules)  # in the step in which it opened
            nursery.start_soon(_keep_alive, listener, ping_every, name="keepalive")
            yield door


async def serve_listener(
    engine: Engine,
    pump: Pump,
    *,
    host: str | None = None,
    port: int = DEFAULT_PORT,
    access: Access | None = None,
    tls: TLSConfig | None = None,
    task_status: trio.TaskStatus[FrontDoor] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Listen for workers until cancelled; see `open_listener`."""
    async with open_listener(
        engine, pump, host=host, port=port, access=access, tls=tls
    ) as door:
        task_status.started(door)
        await trio.sleep_forever()
    raise AssertionError  # sleep_forever does not return


async def _keep_alive(listener: Listener, ping_every: float) -> NoReturn:
    silent: dict[object, int] = {}
    while True:
        await trio.sleep(ping_every)
        still: dict[object, int] = {}
        for link in list(listener.links):
            # Who takes a large message has to take all of it before our ping.
            alive = link.outbox.was_taken() or link.socket.heard
            missed = 0 if alive else silent.get(link, 0) + 1
            link.socket.heard = False
            if missed > 1:
                link.socket.drop(f"silent for {missed} pings ({ping_every:g} s each)")
                continue
            still[link] = missed
            link.socket.ping_nowait()
        silent = still
