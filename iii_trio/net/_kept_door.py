"""A front door in a task of its own, which can be given up for another one."""

import errno
from typing import final

import attrs
import trio

from iii_trio._listening import TLSConfig
from iii_trio.net._front_door import FrontDoor, open_front_door
from iii_trio.net._http_host import RequestHandler
from iii_trio.net._limits import HTTPLimits
from iii_trio.net._pump import Pump

__all__ = ["KeptDoor", "start_front_door"]


@final
@attrs.frozen(eq=False)
class KeptDoor:
    """A front door that is open. Made by `start_front_door`."""

    door: FrontDoor
    _given_up: trio.Event = attrs.field(factory=trio.Event)

    def give_up(self) -> None:
        """Close it, after the time that its requests were given. Idempotent."""
        self._given_up.set()

    async def _wait_given_up(self) -> None:
        await self._given_up.wait()


async def start_front_door(
    nursery: trio.Nursery,
    pump: Pump,
    handler: RequestHandler,
    *,
    name: str,
    host: str | None,
    port: int,
    limits: HTTPLimits | None = None,
    tls: TLSConfig | None = None,
    grace: float = 0.0,
) -> KeptDoor:
    """Open a front door that stays open until it is given up, or the nursery ends.

    Args:
        nursery: where its task lives.
        pump: see `open_front_door`.
        handler: see there.
        name: of the task, for people.
        host: see there.
        port: see there.
        limits: see there.
        tls: see there.
        grace: seconds that requests have once it is given up; 0 drops them at once.

    Raises:
        ConfigError: a certificate file cannot be used.
        OSError: the address cannot be bound; the message names it.
    """

    async def keep(*, task_status: trio.TaskStatus[KeptDoor]) -> None:
        async with open_front_door(
            pump, handler, host=host, port=port, limits=limits, tls=tls
        ) as door:
            kept = KeptDoor(door)
            task_status.started(kept)
            await kept._wait_given_up()  # noqa: SLF001 - of this module
            if grace:
                await door.drain(grace)

    try:
        started: KeptDoor = await nursery.start(keep, name=name)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise OSError(exc.errno, f"address {exc.strerror}") from exc
        raise
    return started
