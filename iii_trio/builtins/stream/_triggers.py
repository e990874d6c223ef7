"""The three trigger types: events, and subscribers that come and go."""

import logging
from typing import Any, Final, final

import msgspec
import trio

from iii_trio.builtins._deliveries import Deliveries, log_failure
from iii_trio.builtins._payloads import InputError, structure
from iii_trio.builtins.stream._inputs import Place, StreamTriggerConfig
from iii_trio.errors import InvocationError, RegistrationError
from iii_trio.worker import Trigger, Worker

JSON = Any

logger = logging.getLogger("iii_trio.builtins.stream")

STREAM: Final = "stream"
JOIN: Final = "stream:join"
LEAVE: Final = "stream:leave"


@final
class StreamTriggers:
    """The triggers bound to `stream`, in the order in which they were bound."""

    def __init__(self, worker: Worker) -> None:
        self._bound: dict[str, tuple[Trigger, StreamTriggerConfig]] = {}
        self._deliveries = Deliveries(worker, self._bound.__contains__, logger)

    def bind(self, trigger: Trigger) -> None:
        """Listen for a trigger.

        Raises:
            RegistrationError: its config does not fit.
        """
        try:
            config = structure(trigger.config, StreamTriggerConfig)
        except InputError as exc:
            raise RegistrationError(
                f"Failed to deserialize stream trigger: {exc}"
            ) from exc
        self._bound[trigger.trigger_id] = (trigger, config)

    def unbind(self, trigger: Trigger) -> None:
        """Stop listening for a trigger."""
        self._bound.pop(trigger.trigger_id, None)

    def fire(self, place: Place, event: JSON) -> None:
        """Begin to tell the triggers of an event; sync, never waits.

        They are told one after another, unless they are unbound before their turn.
        """
        matching = [
            trigger for trigger, config in self._bound.values() if config.matches(place)
        ]
        if matching:
            name = f"stream triggers of {place.stream_name}/{place.group_id}"
            self._deliveries.start(matching, event, name)

    async def wait_all_told(self) -> None:
        """Wait until no event has triggers left to tell."""
        await self._deliveries.wait_all_done()


@final
class VisitTriggers:
    """The triggers bound to `stream:join` or to `stream:leave`.

    Every one sees every join or leave, unless its condition says that it is not for it.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._bound: dict[str, Trigger] = {}

    def bind(self, trigger: Trigger) -> None:
        """Listen for a trigger."""
        self._bound[trigger.trigger_id] = trigger

    def unbind(self, trigger: Trigger) -> None:
        """Stop listening for a trigger."""
        self._bound.pop(trigger.trigger_id, None)

    async def tell(self, visit: JSON, deadline: float) -> list[JSON]:
        """Call all handlers one after another.

        Args:
            visit: what they get.
            deadline: seconds that each may take, and as many its condition.

        Returns:
            What they answered; ``None`` for one that failed or gave no value, or whose
            condition did. Nothing for one whose condition says no.
        """
        await trio.lowlevel.checkpoint()
        payload = msgspec.json.encode(visit)
        answers: list[JSON] = []
        for trigger in list(self._bound.values()):
            wanted = await self._is_wanted(trigger, visit, deadline)
            if wanted:
                answers.append(await self._ask(trigger, payload, deadline))
            elif wanted is None:
                answers.append(None)
        return answers

    async def _is_wanted(
        self, trigger: Trigger, visit: JSON, deadline: float
    ) -> bool | None:
        """What its condition says; ``None``: nothing, it failed or hangs."""
        with trio.move_on_after(deadline):
            try:
                return await self._worker.check_condition(trigger, visit)
            except InvocationError as exc:
                log_failure(logger, trigger, exc)
                await trio.lowlevel.checkpoint()
                return None
        logger.warning(
            "%s trigger %s: condition %s gave no answer in time",
            trigger.trigger_type,
            trigger.trigger_id,
            trigger.condition,
        )
        return None

    async def _ask(self, trigger: Trigger, payload: bytes, deadline: float) -> JSON:
        try:
            answer = await self._worker.deliver_json(
                trigger, payload, deadline=deadline
            )
            return msgspec.json.decode(answer) if answer else None
        except (InvocationError, msgspec.DecodeError, RecursionError) as exc:
            log_failure(logger, trigger, exc)
            await trio.lowlevel.checkpoint()
            return None


def may_join(answers: list[JSON], *, strict: bool, vetted: bool) -> bool:
    """Whether a subscriber may join.

    Args:
        answers: what the handlers of the join gave.
        strict: refuse unless all said yes.
        vetted: an auth function let the connection in: handlers are not needed.
    """
    verdicts = [
        answer.get("unauthorized") if isinstance(answer, dict) else None
        for answer in answers
    ]
    if strict:
        return all(verdict is False for verdict in verdicts) and bool(
            verdicts or vetted
        )
    return not any(verdict is True for verdict in verdicts)
