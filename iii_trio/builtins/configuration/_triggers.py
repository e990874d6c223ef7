"""The triggers bound to `configuration`: who is told of a change, in which order.

Each trigger is told of one change after the other, in the order of the changes, and
waits for no other trigger.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, final

import attrs
import trio

from iii_trio.builtins._deliveries import log_failure
from iii_trio.builtins._payloads import InputError, structure
from iii_trio.builtins.configuration._inputs import (
    EVENT_TYPES,
    ConfigurationTriggerConfig,
)
from iii_trio.errors import InvocationError, RegistrationError
from iii_trio.worker import Trigger, Worker

JSON = Any

logger = logging.getLogger("iii_trio.builtins.configuration")

TRIGGER_TYPE: Final = "configuration"

MAX_WAITING: Final = 1000
"""Changes that a trigger may be behind; above that it misses the oldest."""


@attrs.define(eq=False)
class _Bound:
    trigger: Trigger
    config: ConfigurationTriggerConfig
    waiting: deque[JSON] = attrs.field(factory=lambda: deque(maxlen=MAX_WAITING))
    telling: bool = False


@final
class ConfigurationTriggers:
    """The bound triggers.

    Args:
        worker: makes the calls.
        on_named: told when a trigger that names an id is bound (true) or was the last
            one of that id (false).
    """

    def __init__(self, worker: Worker, on_named: Callable[[str, bool], None]) -> None:
        self._worker = worker
        self._on_named = on_named
        self._bound: dict[str, _Bound] = {}
        self._naming: dict[str, int] = {}  # by id, how many triggers name it
        self._telling = 0
        self._all_told = trio.lowlevel.ParkingLot()

    def bind(self, trigger: Trigger) -> None:
        """Listen for a trigger.

        Raises:
            RegistrationError: its config does not fit.
        """
        config = _config_of(trigger)
        old = self._bound.get(trigger.trigger_id)
        self._bound[trigger.trigger_id] = _Bound(trigger, config)
        self._count(config.configuration_id, 1)
        if old is not None:
            self._count(old.config.configuration_id, -1)

    def unbind(self, trigger: Trigger) -> None:
        """Stop listening for a trigger; it is not told what it did not hear yet."""
        bound = self._bound.pop(trigger.trigger_id, None)
        if bound is None:
            return
        bound.waiting.clear()
        self._count(bound.config.configuration_id, -1)

    def _count(self, configuration_id: str | None, change: int) -> None:
        if configuration_id is None:
            return
        count = self._naming.get(configuration_id, 0) + change
        if count:
            self._naming[configuration_id] = count
        else:
            del self._naming[configuration_id]
        if change > 0 or not count:
            self._on_named(configuration_id, change > 0)

    def fire(self, event: JSON) -> None:
        """Tell whom it concerns; sync, never waits."""
        for bound in self._bound.values():
            if not bound.config.matches(event["id"], event["event_type"]):
                continue
            if len(bound.waiting) == MAX_WAITING:
                logger.warning(
                    "configuration trigger %s: %s is %d changes behind, the oldest is "
                    "dropped",
                    bound.trigger.trigger_id,
                    bound.trigger.function_id,
                    MAX_WAITING,
                )
            bound.waiting.append(event)
            if not bound.telling:
                bound.telling = True
                self._telling += 1
                self._worker.start_soon(
                    self._tell,
                    bound,
                    name=f"configuration trigger {bound.trigger.trigger_id}",
                )

    async def wait_all_told(self) -> None:
        """Wait until no trigger is behind."""
        await trio.lowlevel.checkpoint()
        while self._telling:
            await self._all_told.park()

    async def _tell(self, bound: _Bound) -> None:
        try:
            await trio.lowlevel.checkpoint()
            # No checkpoint between the last look and the end: a change would be lost.
            while bound.waiting:
                await self._tell_one(bound.trigger, bound.waiting.popleft())
        finally:
            bound.telling = False
            self._telling -= 1
            if not self._telling:
                self._all_told.unpark_all()

    async def _tell_one(self, trigger: Trigger, event: JSON) -> None:
        await trio.lowlevel.checkpoint()
        try:
            await self._worker.emit(trigger, event)
        except InvocationError as exc:
            log_failure(logger, trigger, exc)


def _config_of(trigger: Trigger) -> ConfigurationTriggerConfig:
    given = {} if trigger.config is None else trigger.config
    try:
        config = structure(given, ConfigurationTriggerConfig)
    except InputError as exc:
        raise _refused(str(exc)) from exc
    for event_type in config.event_types or ():
        if event_type not in EVENT_TYPES:
            known = ", ".join(EVENT_TYPES)
            raise _refused(f"unknown event type {event_type!r}, known are {known}")
    return config


def _refused(reason: str) -> RegistrationError:
    return RegistrationError(f"Failed to parse configuration trigger config: {reason}")
