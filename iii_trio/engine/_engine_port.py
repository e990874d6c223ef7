"""The engine itself as an owner of functions and a provider of trigger types."""

import re
from collections.abc import Callable
from typing import Any, final

import msgspec

from iii_trio.engine._connection import Connection
from iii_trio.engine._invocation import Invocation, InvocationTable, RawOutcome
from iii_trio.engine._ports import AnyPort, BindAnswer
from iii_trio.engine._roster import WorkerRecord
from iii_trio.engine._triggers import Trigger, TriggerType
from iii_trio.protocol import KEPT_DEPTH, ErrorBody, bad_input, nests_deeper

Handler = Callable[[Invocation, Any], RawOutcome | None]
"""Gives the outcome, or ``None`` if it settles the invocation later."""


@final
class EnginePort(Connection):
    """The engine itself as the owner of functions and provider of trigger types.

    Args:
        record: who it is.
        invocations: where its functions are called.
        on_unbound: told of the id of each binding that ends or is replaced.

    Attributes:
        undo: for calls that wait for somebody: takes back what they have begun, for a
            reason.
        handlers: the functions, with what decodes their input.
    """

    is_local = True

    def __init__(
        self,
        record: WorkerRecord,
        invocations: InvocationTable,
        on_unbound: Callable[[str], None],
    ) -> None:
        super().__init__(record)
        self._on_unbound = on_unbound
        self._invocations = invocations
        self.undo: dict[Invocation, Callable[[str], object]] = {}
        self.handlers: dict[str, tuple[Handler, msgspec.json.Decoder[Any]]] = {}

    def refuses(self) -> ErrorBody | None:
        """Never."""
        return None

    def dispatch(self, invocation: Invocation) -> None:
        """Run the function now."""
        handler, decoder = self.handlers[invocation.function.function_id]
        outcome = self._run(invocation, handler, decoder)
        if outcome is not None:
            self._invocations.settle(invocation, outcome)

    @staticmethod
    def _run(
        invocation: Invocation, handler: Handler, decoder: msgspec.json.Decoder[Any]
    ) -> RawOutcome | None:
        payload = bytes(invocation.payload)
        if nests_deeper(payload, KEPT_DEPTH):
            reason = f"it nests deeper than {KEPT_DEPTH}"
            return bad_input(invocation.function.function_id, reason)
        try:
            data = decoder.decode(b"{}" if payload == b"null" else payload)
        except (msgspec.DecodeError, RecursionError) as exc:
            reason = re.sub(
                "Object missing required field (`[^`]*`)", r"missing field \1", str(exc)
            )
            return bad_input(invocation.function.function_id, reason)
        return handler(invocation, data)

    def abandon(self, invocation: Invocation, reason: str) -> None:
        """Take back what the call has begun."""
        undo = self.undo.pop(invocation, None)
        if undo is not None:
            undo(reason)

    def bind_trigger(
        self, trigger: Trigger[AnyPort], kind: TriggerType[AnyPort]
    ) -> BindAnswer:
        """Everybody may listen to the engine's own events."""
        del kind
        self._on_unbound(trigger.spec.trigger_id)  # the one that it replaces, if so
        return "accepted"

    def unbind_trigger(self, trigger: Trigger[AnyPort]) -> None:
        """Nobody listens by it any more."""
        self._on_unbound(trigger.spec.trigger_id)
