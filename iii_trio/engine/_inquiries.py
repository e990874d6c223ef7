"""Inquiries: calls of the engine itself whose outcome decides what happens next."""

from collections.abc import Callable
from typing import final

from iii_trio.engine._invocation import Invocation, RawOutcome
from iii_trio.engine._router import Router
from iii_trio.protocol import DEFAULT_NAMESPACE

Then = Callable[[RawOutcome], None]
"""Called once with the outcome, maybe before `Inquiries.ask` returns."""


@final
class Inquiries:
    """Asks functions, each within a time limit; a caller port."""

    worker_id = ""

    def __init__(self, router: Router) -> None:
        self.made: dict[Invocation, None] = {}
        self._router = router
        self._then: dict[Invocation, Then] = {}

    def ask(
        self,
        function_id: str,
        payload: bytes,
        then: Then,
        *,
        timeout: float,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        """Call a function, hidden sender, and go on when it has answered.

        Args:
            function_id: in ``namespace``.
            payload: JSON text.
            then: gets the result, or the failure, which may be ``TIMEOUT``.
            timeout: seconds.
            namespace: where the function resolves.
        """
        invocation = Invocation(payload, namespace)
        invocation.caller = self
        invocation.timeout = timeout
        error = self._router.route(invocation, function_id)
        if error is not None:
            then(error)
            return
        self._then[invocation] = then
        invocation.callee.dispatch(invocation)

    def answer(self, invocation: Invocation, outcome: RawOutcome) -> None:
        """The answer came."""
        self._then.pop(invocation)(outcome)
