"""Inquiries: calls of the engine itself whose outcome decides what happens next."""

from collections.abc import Callable
from typing import final

from iii_trio.engine._invocation import Calls, Invocation, RawOutcome
from iii_trio.engine._router import Router
from iii_trio.protocol import DEFAULT_NAMESPACE

Then = Callable[[RawOutcome], None]
"""Called once with the outcome, maybe before `Inquiries.ask` returns."""


@final
class _Inquirer:
    """The caller port of one inquiry."""

    __slots__ = ("_then", "made")

    worker_id = ""

    def __init__(self, made: Calls, then: Then) -> None:
        self.made = made
        self._then = then

    def answer(self, invocation: Invocation, outcome: RawOutcome) -> None:
        """The answer came."""
        del invocation
        self._then(outcome)


@final
class Inquiries:
    """Asks functions, each within a time limit and for somebody, who may go."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def ask(
        self,
        function_id: str,
        payload: bytes,
        then: Then,
        *,
        made: Calls,
        timeout: float,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        """Call a function, hidden sender, and go on when it has answered.

        Args:
            function_id: in ``namespace``.
            payload: JSON text.
            then: gets the result, or the failure, which may be ``TIMEOUT``.
            made: where it is kept while it is in flight. Whoever goes, and was what
                this is about, cancels it there; ``then`` is not called.
            timeout: seconds.
            namespace: where the function resolves.
        """
        invocation = Invocation(payload, namespace)
        invocation.caller = _Inquirer(made, then)
        invocation.timeout = timeout
        error = self._router.route(invocation, function_id)
        if error is not None:
            then(error)
            return
        invocation.callee.dispatch(invocation)
