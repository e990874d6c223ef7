"""What a worker needs from whatever it is attached to: an engine or a URL.

`Attachment` is satisfied structurally by ``iii_trio.engine.Engine`` and by the remote
attachment of ``iii_trio.worker``. It turns a `WorkerSpec` and `Handlers` into an
`AttachedPort`, through which the worker registers, binds and calls.

Payloads and results are JSON bytes on both sides of this border: a call means the same in
process and over a link. ``b""`` is "no value", ``b"null"`` is a present null. A failed
outcome is an `ErrorBody`, never an exception.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

import attrs
import msgspec
import trio

from iii_trio.protocol import ChannelRef, ErrorBody
from iii_trio.transport._channel_ends import ChannelEnd, ChannelMaker

Outcome = bytes | ErrorBody
"""JSON bytes of a result (``b""``: none), or the failure."""

CallKind = Literal["call", "delivery"]
"""``delivery``: a firing, condition, middleware or hook; hides who called."""


@attrs.frozen(kw_only=True)
class WorkerSpec:
    """Who a worker is; the fields of ``engine::workers::register``."""

    name: str | None = None
    namespace: str = "default"
    runtime: str = "python"
    version: str | None = None
    description: str | None = None
    os: str | None = None
    pid: int | None = None
    isolation: str | None = None
    internal: bool = False


@attrs.frozen(kw_only=True)
class FunctionSpec:
    """A function as it is registered. Schemas and metadata are JSON values.

    Attributes:
        invocation: JSON value that says how others perform it, ``None``: the worker
            itself runs it.
        brief: its handler always waits for something, and only for a moment: calls in
            process need neither a checkpoint nor a cancel scope of their own.
    """

    function_id: str
    description: str | None = None
    request_format: Any = None
    response_format: Any = None
    metadata: Any = None
    invocation: Any = attrs.field(default=None, repr=False)
    brief: bool = False


@attrs.frozen(kw_only=True)
class TriggerTypeSpec:
    """A trigger type as its provider registers it. Schemas are JSON values.

    Attributes:
        details: gives what listings say of a trigger besides, by its id: a JSON value,
            ``None`` for nothing. Sync; asked in process only.
    """

    trigger_type: str
    description: str = ""
    config_format: Any = None
    call_format: Any = None
    return_format: Any = None
    details: Callable[[str], Any] | None = None


@attrs.frozen(kw_only=True)
class TriggerSpec:
    """One binding of an event to a function.

    Attributes:
        namespace: where ``function_id`` resolves.
        trigger_namespace: where the provider must be; ``None``: the binder's own, else
            ``default``.
        config: JSON value for the provider.
        metadata: JSON value for the handler, or ``None``.
        owner_worker_id: who bound it, ``None`` for a durable trigger; filled in by the
            engine for providers.
    """

    trigger_id: str
    trigger_type: str
    function_id: str
    config: Any = None
    metadata: Any = None
    namespace: str = "default"
    trigger_namespace: str | None = None
    owner_worker_id: str | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One call that a worker makes.

    A struct, as `IncomingCall` is: every call in process makes both, and as attrs
    classes they cost five times as much.

    Attributes:
        namespace: where ``function_id`` resolves; already defaulted by the worker.
        payload: JSON text, never empty.
        metadata: JSON text or ``b""``.
        action: JSON text of the action object, or ``b""`` for a plain call.
        timeout: seconds from now after which the call is cancelled everywhere;
            ``None``: none.
        kind: see `CallKind`.
        scope: the scope around the call, which the callee's end may cancel: it needs
            none of its own then, and no checkpoint. For a caller that has a scope for
            the call anyway, and checkpoints of its own. Not with ``fire``.
    """

    function_id: str
    payload: bytes
    namespace: str = "default"
    metadata: bytes = b""
    action: bytes = b""
    timeout: float | None = None
    kind: CallKind = "call"
    traceparent: str | None = None
    baggage: str | None = None
    scope: trio.CancelScope | None = None


class IncomingCall(msgspec.Struct, kw_only=True, eq=False):
    """One call that a worker's handler has to run.

    Attributes:
        payload: JSON text; without the caller's id.
        metadata: JSON text or ``b""``.
        deadline: absolute time of ``trio.current_time``, ``math.inf`` if none.
        is_over: its handler has ended; tasks that it left behind still know the call.
    """

    invocation_id: str
    function_id: str
    payload: bytes
    metadata: bytes = b""
    namespace: str = "default"
    caller_worker_id: str | None = None
    deadline: float = float("inf")
    traceparent: str | None = None
    baggage: str | None = None
    is_over: bool = False


@attrs.frozen(kw_only=True)
class InvokedFunction:
    """A function that was registered with an ``invocation`` and without a handler.

    Attributes:
        namespace: where it is.
        invocation: JSON value that says how it is performed; it may hold secrets.
    """

    function_id: str
    namespace: str
    invocation: Any = attrs.field(repr=False)


RunCall = Callable[[IncomingCall], Awaitable[Outcome]]
"""Runs calls of one function in the current task, as `Handlers.run` does."""


class Invoker(Protocol):
    """A worker that performs the functions of others: see `InvokedFunction`."""

    def admit(self, function: InvokedFunction) -> RunCall:
        """Get ready for a function, which may come again.

        Raises:
            RegistrationError: it cannot be performed, or may not be; the text holds no
                secret.
        """

    def start_soon(
        self, async_fn: Callable[..., Awaitable[None]], *args: object, name: str
    ) -> None:
        """Start a task in the worker's nursery."""


class Handlers(Protocol):
    """The worker's side: what the attachment calls."""

    def run(self, call: IncomingCall) -> Awaitable[Outcome]:
        """Run a handler in the current task and give its outcome.

        Only cancellation and ``BaseException`` that is no ``Exception`` leave it.
        """

    def start_soon(
        self, async_fn: Callable[..., Awaitable[None]], *args: object, name: str
    ) -> None:
        """Start a task in the worker's nursery."""

    def bind(self, trigger: TriggerSpec) -> Awaitable[None] | None:
        """A trigger of a type that this worker provides came; a known id: replace it.

        A sync provider returns ``None``; an async one returns an awaitable that the
        attachment awaits in the worker's nursery.

        Raises:
            RegistrationError: refused; its code and message reach the binder.
        """

    def unbind(self, trigger_id: str, *, lost: bool = False) -> None:
        """That trigger is gone. Unknown ids are ignored.

        Args:
            trigger_id: which.
            lost: nobody ended it: whoever bound it, or the connection, was lost.
        """

    def on_connected(self, worker_id: str) -> None:
        """The worker is attached (again), under this id."""

    def on_disconnected(self, reason: str) -> None:
        """The attachment is lost; a remote one tries again by itself."""

    def on_failed(self, error: Exception) -> None:
        """The attachment failed for good, such as by a name conflict."""


class StartedCall(Protocol):
    """A call that was started, whose outcome will be told."""

    def cancel(self, reason: str) -> None:
        """Nobody wants the outcome any more, nor will be told of it. Idempotent."""


class AttachedPort(Protocol):
    """A worker's hold on its attachment. All ``register``/``bind`` calls are sync.

    They raise `RegistrationError` at once where the answer is known at once (in
    process); over a link a refusal comes later and is logged.
    Once the worker is closed, everything but `unregister_x` raises
    ``trio.ClosedResourceError``: what it would leave, nobody would take out again.
    """

    @property
    def channel_maker(self) -> ChannelMaker | None:
        """``None`` behind a URL. Its channels live until they are aborted, or read."""

    @property
    def worker_id(self) -> str:
        """The current id; ``""`` while a remote worker is not connected."""

    async def invoke(self, request: Request) -> bytes:
        """Call and wait. Cancellation cancels the call everywhere it can.

        Raises:
            InvocationError: any failed outcome.
        """

    def start(
        self, request: Request, on_outcome: Callable[[Outcome], None]
    ) -> StartedCall | None:
        """Call, and be told of the outcome, once: at once or from wherever it comes.

        ``on_outcome`` must be sync and brief. No task is made for a callee behind a
        link; nothing is cancelled with the task that starts the call.

        Returns:
            ``None`` behind a URL, where nothing was done: use `invoke`.
        """

    def fire(self, request: Request) -> None:
        """Call without an answer: at most once, never blocks.

        Raises:
            InvocationRefusedError: the bounded queue of a disconnected worker is full.
            trio.ClosedResourceError: the worker was closed.
        """

    def register_function(self, spec: FunctionSpec) -> None:
        """Offer a function."""

    def unregister_function(self, function_id: str) -> None:
        """Stop offering it."""

    def register_invoker(self, invoker: Invoker) -> None:
        """Perform the functions that others register with an ``invocation``.

        The functions stay registered when that ends, and are admitted anew by the
        next one who does it.

        Raises:
            RegistrationError: another worker does, or the engine is behind a URL: the
                protocol has no frame for it.
        """

    def unregister_invoker(self) -> None:
        """Stop performing them; calls under way end with ``invocation_stopped``."""

    def register_trigger_type(self, spec: TriggerTypeSpec) -> None:
        """Provide a trigger type."""

    def unregister_trigger_type(self, trigger_type: str) -> None:
        """Stop providing it."""

    async def register_trigger(self, spec: TriggerSpec) -> None:
        """Bind; in process it waits for an async provider's answer."""

    def unregister_trigger(self, trigger_id: str) -> None:
        """End a binding."""

    def note_fired(self, trigger_id: str) -> None:
        """A provider tells that a trigger fired (for its state in listings)."""

    def is_local(self, function_id: str, namespace: str) -> bool:
        """Tell whether a worker in this process serves the function right now.

        A remote attachment answers False. Needs the exact namespace; a function that
        nobody offers is not local.
        """

    def exists(self, function_id: str, namespace: str) -> bool:
        """Tell whether a live worker serves the function right now.

        A remote attachment cannot know and answers True. Needs the exact namespace.
        """

    async def open_channel_end(self, ref: ChannelRef) -> ChannelEnd:
        """Take the end of a channel that ``ref`` names.

        Raises:
            trio.BrokenResourceError: no such channel, wrong key, or the end is taken.
        """


class Attachment(Protocol):
    """Anything that workers attach to."""

    def attach_local(
        self, spec: WorkerSpec, handlers: Handlers
    ) -> AbstractAsyncContextManager[AttachedPort]:
        """Attach for the length of a block.

        Leaving the block detaches first: nothing is routed to the worker any more, its
        calls in flight are cancelled, calls to it end with ``invocation_stopped``.

        Raises:
            RegistrationError: the name is held by a live worker.
        """
