"""Which triggers a write fires, and the firing."""

import logging
from typing import Any, Final, final

import trio

from iii_trio.builtins._payloads import structure_trigger_config
from iii_trio.builtins.state._inputs import StateTriggerConfig
from iii_trio.errors import InvocationError
from iii_trio.worker import Trigger, Worker

logger = logging.getLogger("iii_trio.builtins.state")

TRIGGER_TYPE: Final = "state"


@final
class StateTriggers:
    """The triggers bound to `state`, in the order in which they were bound.

    Attributes:
        bound: by trigger id; not to be changed from outside.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.bound: dict[str, tuple[Trigger, StateTriggerConfig]] = {}
        self._telling = 0
        self._all_told = trio.lowlevel.ParkingLot()

    def bind(self, trigger: Trigger) -> None:
        """Listen for a trigger; a known id replaces it.

        Raises:
            RegistrationError: its config does not fit.
        """
        config = structure_trigger_config(trigger.config, StateTriggerConfig)
        self.bound[trigger.trigger_id] = (trigger, config)

    def unbind(self, trigger: Trigger) -> None:
        """Stop listening for a trigger."""
        self.bound.pop(trigger.trigger_id, None)

    def matching(self, scope: str, key: str) -> list[Trigger]:
        """The triggers that a write to that key fires."""
        return [
            trigger
            for trigger, config in self.bound.values()
            if config.matches(scope, key)
        ]

    def fire(self, triggers: list[Trigger], event: dict[str, Any]) -> None:
        """Start the one task that tells a write's triggers; sync, never waits.

        They are told one after another, unless they are unbound before their turn.
        """
        where = f"{event['scope']}/{event['key']}"
        self._worker.start_soon(
            self._tell, triggers, event, name=f"state triggers of {where}"
        )
        self._telling += 1

    async def wait_all_told(self) -> None:
        """Wait until no write has triggers left to tell."""
        await trio.lowlevel.checkpoint()
        while self._telling:
            await self._all_told.park()

    async def _tell(self, triggers: list[Trigger], event: dict[str, Any]) -> None:
        try:
            await self._tell_each(triggers, event)
        finally:
            self._telling -= 1
            if not self._telling:
                self._all_told.unpark_all()

    async def _tell_each(self, triggers: list[Trigger], event: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        for trigger in triggers:
            if trigger.trigger_id not in self.bound:
                continue
            try:
                await self._worker.emit(trigger, event)
            except InvocationError as exc:
                logger.warning(
                    "state trigger %s: %s failed: %s",
                    trigger.trigger_id,
                    trigger.function_id,
                    exc,
                )
