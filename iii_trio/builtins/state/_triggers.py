"""Which triggers a write fires, and the firing."""

import logging
from typing import Any, Final, final

from iii_trio.builtins._deliveries import Deliveries
from iii_trio.builtins._payloads import structure_trigger_config
from iii_trio.builtins.state._inputs import StateTriggerConfig
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
        self.bound: dict[str, tuple[Trigger, StateTriggerConfig]] = {}
        self._deliveries = Deliveries(worker, self.bound.__contains__, logger)

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
        """Begin to tell a write's triggers; sync, never waits.

        They are told one after another, unless they are unbound before their turn.
        """
        where = f"{event['scope']}/{event['key']}"
        self._deliveries.start(triggers, event, f"state triggers of {where}")

    async def wait_all_told(self) -> None:
        """Wait until no write has triggers left to tell."""
        await self._deliveries.wait_all_done()
