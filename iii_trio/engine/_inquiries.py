"""Inquiries: calls of the engine itself whose outcome decides what happens next."""

from collections.abc import Callable
from typing import final

from iii_trio.engine._invocation import Invocation, InvocationTable, RawOutcome
from iii_trio.engine._router import Router

Then = Callable[[RawOutcome], None]
"""Called once with the outcome, maybe before `Inquiries.ask` returns."""


@final
class Inquiries:
    """Asks functions of ``default``, each within a time limit; a caller port."""

    worker_id = ""

    def __init__(self, router: Router, invocations: InvocationTable) -> None:
        self.made: dict[Invocation, None] = {}
        self._router = router
        self._invocations = invocations
        self._then: dict[Invocation, Then] = {}

    def ask(
        self, function_id: str, payload: bytes, then: Then, *, timeout: float
    ) -> Invocation:
        """Call a function, hidden sender, and go on when it has answered.

        Args:
            function_id: in ``default``.
            payload: JSON text.
            then: gets the result, or the failure, which may be ``TIMEOUT``.
            timeout: seconds.

        Returns:
            The call, for `forget`.
        """
        invocation = Invocation(payload, "default")
        invocation.caller = self
        invocation.timeout = timeout
        error = self._router.route(invocation, function_id)
        if error is not None:
            then(error)
            return invocation
        self._then[invocation] = then
        invocation.callee.dispatch(invocation)
        return invocation

    def forget(self, invocation: Invocation, reason: str) -> None:
        """Nobody wants that answer any more; ``then`` is not called."""
        if self._then.pop(invocation, None) is not None:
            self._invocations.cancel(invocation, reason)

    def answer(self, invocation: Invocation, outcome: RawOutcome) -> None:
        """The answer came."""
        self._then.pop(invocation)(outcome)
