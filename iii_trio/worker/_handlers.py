"""What an attachment calls on a worker: `Handlers`, as a plain object."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import final

import attrs
import trio

from iii_trio.errors import RegistrationError
from iii_trio.transport import (
    IncomingCall,
    InvokedFunction,
    Outcome,
    RunCall,
    TriggerSpec,
)
from iii_trio.worker._serve import (
    Handler,
    RunSync,
    ServedFunction,
    prepare,
    run_handler,
)
from iii_trio.worker._triggers import ProviderTable

logger = logging.getLogger(__name__)


@final
@attrs.define(eq=False, kw_only=True)
class WorkerHandlers:
    """The callee half of a worker; satisfies `Handlers`.

    Attributes:
        name: of the worker, for the log.
        nursery: where its tasks live.
        body: the scope of the user's block, cancelled when the attachment fails.
        failure: why it failed for good.
        rejections: see `Worker.rejections`.
        http_functions: ids of functions that the worker offers and does not run.
        admit_invoked: see `Worker.register_invoker`.
    """

    name: str | None = None
    nursery: trio.Nursery
    body: trio.CancelScope
    run_sync: RunSync
    functions: dict[str, ServedFunction] = attrs.field(factory=dict)
    providers: ProviderTable = attrs.field(factory=ProviderTable)
    rejections: dict[str, RegistrationError] = attrs.field(factory=dict)
    admit_invoked: Callable[[InvokedFunction], Handler] | None = None
    http_functions: set[str] = attrs.field(factory=set)
    failure: Exception | None = None

    def admit(self, function: InvokedFunction) -> RunCall:
        """Get ready for a function of another worker; see `Invoker`."""
        assert self.admit_invoked is not None, "registered with it"
        return partial(
            run_handler, prepare(self.admit_invoked(function), self.run_sync)
        )

    def run(self, call: IncomingCall) -> Awaitable[Outcome]:
        """Run a handler in the current task and give its outcome."""
        return run_handler(self.functions.get(call.function_id), call)

    def start_soon(
        self, async_fn: Callable[..., Awaitable[None]], *args: object, name: str
    ) -> None:
        """Start a task in the worker's nursery."""
        self.nursery.start_soon(async_fn, *args, name=name)

    def bind(self, trigger: TriggerSpec) -> Awaitable[None] | None:
        """Bind a trigger of a type that this worker provides."""
        return self.providers.bind(trigger)

    def unbind(self, trigger_id: str, *, lost: bool = False) -> None:
        """Unbind a trigger; unknown ids are ignored."""
        self.providers.unbind(trigger_id, lost=lost)

    def on_connected(self, worker_id: str) -> None:
        """Log it."""
        logger.debug("attached as worker %s", worker_id)

    def on_disconnected(self, reason: str) -> None:
        """Forget what the engine refused: everything is told again.

        Not when it is connected again: by then it may have been refused again.
        """
        self.rejections.clear()
        logger.warning("worker %r disconnected: %s", self.name, reason)

    def on_rejected(self, what: str, error: RegistrationError) -> None:
        """Remember what an engine behind a URL refused, by function or trigger id."""
        logger.warning("the engine refused %s: %s", what, error)
        self.rejections[what] = error

    def on_failed(self, error: Exception) -> None:
        """The attachment failed for good: end the user's block with ``error``."""
        self.failure = error
        self.body.cancel(reason=f"attachment failed: {error}")
