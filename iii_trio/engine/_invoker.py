"""Functions that were registered with an ``invocation`` and without a handler.

They belong to the worker that registered them, like any other. A worker of this process
performs them: it says how for each one when it is registered. While there is no such
worker those that are registered stay, and calls to them are refused.
"""

from collections.abc import Iterable
from typing import Any, final

import trio

from iii_trio.engine._invocation import Invocation, InvocationTable
from iii_trio.engine._ports import LocalPort, incoming_call
from iii_trio.engine._registry import Function
from iii_trio.errors import RegistrationError
from iii_trio.protocol import STOPPED, ErrorBody, refused
from iii_trio.transport import InvokedFunction, Invoker

NOT_LOADED = "nobody performs HTTP-invoked functions: HTTP functions module not loaded"


@final
class InvokerPort:
    """The callee of those functions; a `CalleePort`.

    Attributes:
        executing: calls in flight that the invoker runs.
        worker_id: of the worker that performs them; ``""`` while there is none.
    """

    is_live = True
    is_local = True

    def __init__(self, invocations: InvocationTable) -> None:
        self.executing: dict[Invocation, None] = {}
        self.worker_id = ""
        self._invocations = invocations
        self._provider: LocalPort | None = None
        self._invoker: Invoker | None = None

    # Who performs them

    def take(
        self,
        provider: LocalPort,
        invoker: Invoker,
        functions: Iterable[Function[Any]],
    ) -> list[tuple[Function[Any], RegistrationError]]:
        """A worker performs them from now on.

        Args:
            provider: the worker.
            invoker: what it does.
            functions: those that are registered already.

        Returns:
            Those that it does not take, and why.

        Raises:
            RegistrationError: another worker does already.
        """
        if self._provider is not None and self._provider is not provider:
            owner = self._provider.worker_id
            msg = f"live worker {owner} performs HTTP-invoked functions already"
            raise RegistrationError(msg, owner_worker_id=owner)
        self._provider, self._invoker = provider, invoker
        self.worker_id = provider.worker_id
        lost = []
        for function in functions:
            try:
                self.admit(function)
            except RegistrationError as exc:
                lost.append((function, exc))
        return lost

    def leave(self, provider: object, reason: str) -> None:
        """A worker is gone; if it performed them, what it runs ends."""
        if provider is not None and provider is self._provider:
            self._provider = self._invoker = None
            self.worker_id = ""
            self._invocations.callee_gone(self, reason)

    def admit(self, function: Function[Any]) -> None:
        """Make a function that has an ``invocation`` callable through this port.

        Raises:
            RegistrationError: it cannot be performed, or nobody performs any.
        """
        if self._invoker is None:
            raise RegistrationError(NOT_LOADED)
        function.run = self._invoker.admit(
            InvokedFunction(
                function_id=function.function_id,
                namespace=function.namespace,
                invocation=function.invocation,
            )
        )
        function.callee = self

    # As a callee

    def refuses(self) -> ErrorBody | None:
        """Refuse calls while nobody performs them."""
        return None if self._invoker is not None else refused(NOT_LOADED)

    def dispatch(self, invocation: Invocation) -> None:
        """Perform a call in a task of its own, in the nursery of the invoker."""
        assert self._invoker is not None, "refuses() comes first"
        name = f"{invocation.function.function_id} {invocation.id}"
        self._invoker.start_soon(self._run, invocation, name=name)

    def abandon(self, invocation: Invocation, reason: str) -> None:
        """Cancel the request."""
        if invocation.scope is not None:
            invocation.scope.cancel(reason=reason)

    async def _run(self, invocation: Invocation) -> None:
        if invocation.outcome is not None:  # cancelled before it began
            await trio.lowlevel.checkpoint()
            return
        run = invocation.function.run
        assert run is not None, "admitted"
        try:
            with trio.CancelScope() as invocation.scope:
                outcome = await run(incoming_call(invocation))
                self._invocations.settle(invocation, outcome)
        finally:
            self._invocations.settle(invocation, STOPPED)
