"""Gate: who comes in through a listener with rules, and which of its calls pass.

A connection waits, unread and unknown to everybody, until the auth function has answered.
Then it is a worker like any other, with another table of what its frames do: connections
without rules do not come here, and pay nothing. Source: the protocol, section 8.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, final

import msgspec

from iii_trio.access import (
    INFRASTRUCTURE,
    Access,
    BadAuthResultError,
    ConnectRequest,
    Session,
    middleware_payload,
    session_from,
    session_without_auth,
)
from iii_trio.engine._actions import parse_action
from iii_trio.engine._denials import Denials
from iii_trio.engine._engine_port import EnginePort
from iii_trio.engine._guard import Guard
from iii_trio.engine._hooks import Hooks
from iii_trio.engine._inquiries import Inquiries
from iii_trio.engine._invocation import Invocation, RawOutcome
from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._registrar import Registrar
from iii_trio.engine._registry import Function
from iii_trio.engine._router import ENQUEUE, Router, refuse_call
from iii_trio.engine._supervisor import Supervisor
from iii_trio.engine._trigger_vetting import TriggerVetting, refuses_target
from iii_trio.engine._triggers import Triggers
from iii_trio.engine._vetting import Vetting
from iii_trio.protocol import (
    DEFAULT_NAMESPACE,
    Error,
    ErrorBody,
    Event,
    Frame,
    InvokeFunction,
    blank_namespace,
    encode_error,
    function_field,
    is_absent,
    is_blank,
    not_found,
)
from iii_trio.transport import Link

_log: Final = logging.getLogger("iii_trio.engine.access")

MAX_REMEMBERED: Final = 1000
"""Functions of which a connection is known to be let through."""


class _Message(msgspec.Struct):
    """What the function that enqueues is told to have called."""

    function_id: str
    namespace: str | None = None


_message_decoder: Final = msgspec.json.Decoder(_Message)


@final
class Gate:
    """Lets connections in, and their calls through.

    Args:
        router: performs calls that are allowed.
        supervisor: takes workers that are let in.
        inquiries: asks auth functions.
        hooks: takes the registrations of workers that were let in.
        denials: told of what is not allowed.
        take_back: ends registrations of restricted workers, by function id.

    Attributes:
        is_open: whether listeners, also those without rules, let new workers in; ends
            of channels do not depend on it. For whoever drains an app.
    """

    def __init__(
        self,
        router: Router,
        supervisor: Supervisor,
        inquiries: Inquiries,
        hooks: Hooks,
        denials: Denials,
        take_back: Callable[[str], None],
    ) -> None:
        self.is_open = True
        self._router = router
        self._supervisor = supervisor
        self._inquiries = inquiries
        self._hooks = hooks
        self._denials = denials
        self._take_back = take_back
        self._handlers: dict[type[Frame], Callable[[LinkPort, Any], None]] = {
            **router.handlers,
            InvokeFunction: self._on_invoke,
        }
        self._in_use: list[Access] = []

    @property
    def denied(self) -> int:
        """How much was refused so far."""
        return self._denials.count

    # Rules in use

    @contextmanager
    def using(self, access: Access) -> Iterator[None]:
        """Keep restricted workers from offering anew what these rules rest on."""
        self._in_use.append(access)
        try:
            yield
        finally:
            self._in_use.remove(access)

    def take_back(self, access: Access) -> None:
        """Let restricted workers no longer offer what these rules rest on, and tell them.

        For rules that came into use later; once it is certain that they do.
        """
        for function_id in sorted(access.own_functions):
            self._take_back(function_id)

    def is_protected(self, function_id: str) -> bool:
        """Tell whether rules in use rest on a function of this id."""
        return any(function_id in access.own_functions for access in self._in_use)

    # Who comes in

    def admit(self, link: Link, access: Access, request: ConnectRequest) -> LinkPort:
        """Take a link whose worker is restricted; it waits for the auth function."""
        port = self._supervisor.port_for(link)

        def let_in(session: Session) -> None:
            port.session = session
            port.guard = Guard(access, session)
            port.handlers = self._handlers
            port.apply = self._hooks.apply
            self._supervisor.welcome(port)

        self._authenticate(port, access, request, let_in)
        return port

    def admit_telemetry(
        self, link: Link, access: Access, request: ConnectRequest
    ) -> None:
        """Take a link that only carries telemetry; it never is a worker."""
        port = self._supervisor.port_for(link)
        port.handlers = {}
        self._authenticate(port, access, request, lambda _session: None)

    def _authenticate(
        self,
        port: LinkPort,
        access: Access,
        request: ConnectRequest,
        let_in: Callable[[Session], None],
    ) -> None:
        rules = access.rules
        link = port.link
        if rules is None or rules.auth_function_id is None:
            let_in(session_without_auth(rules))
            self._supervisor.start(port, restricted=True)
            return
        self._supervisor.start(port, restricted=True)
        link.hold()

        def answered(outcome: RawOutcome) -> None:
            if not port.is_live:
                return
            if isinstance(outcome, ErrorBody):
                self._refuse(port, outcome.message)
                return
            try:
                session = session_from(rules, bytes(outcome))
            except BadAuthResultError as exc:
                self._refuse(port, str(exc))
                return
            for function_id in filter(session.forbids, sorted(INFRASTRUCTURE)):
                _log.warning("%s may not even call %r", port, function_id)
            let_in(session)
            link.resume()

        self._inquiries.ask(
            rules.auth_function_id,
            request.as_payload(),
            answered,
            made=port.inquiries,
            timeout=access.timeout,
        )

    def _refuse(self, port: LinkPort, reason: str) -> None:
        """Tell a connection why it is not let in, and close it."""
        self._denials.tell(port, "connect", port.link.peer, reason)
        port.record.is_live = False
        error = encode_error(ErrorBody(code="AUTH_ERROR", message=reason))
        port.send(Error(error=msgspec.Raw(error)))
        port.link.close(f"refused: {reason}", polite=True)
        port.link.resume()  # to read the answer to the Close

    # Which calls pass

    def _on_invoke(self, port: LinkPort, frame: InvokeFunction) -> None:
        guard = port.guard
        assert guard is not None, "only guarded ports have these handlers"
        namespace = DEFAULT_NAMESPACE if frame.namespace is None else frame.namespace
        function = self._router.registry.find(namespace, frame.function_id)
        error = self._refuses(guard, namespace, frame, function)
        if error is not None:
            if error.code == "FORBIDDEN":
                self._denials.tell(port, "call", frame.function_id, error.message)
            _refuse_frame(port, frame, error)
            return
        engines_own = function is not None and isinstance(function.owner, EnginePort)
        if guard.access.middleware_function_id is None:
            if function is not None and function.function_id != ENQUEUE:
                _remember(port, function)
            self._router.on_invoke(port, frame)
        elif engines_own:
            self._router.on_invoke(port, frame)
        else:
            self._call_middleware(port, guard, namespace, frame)

    def _refuses(
        self,
        guard: Guard,
        namespace: str,
        frame: InvokeFunction,
        function: Function[AnyPort] | None,
    ) -> ErrorBody | None:
        if is_blank(namespace):
            return blank_namespace()
        session, function_id = guard.session, frame.function_id
        reason = session.refuses_call(
            namespace, function_id, None if function is None else function.metadata
        )
        if reason is None and not is_absent(frame.action):
            reason = self._refuses_action(session, frame, function)
        if reason is None and function_id == ENQUEUE:
            reason = self._refuses_message(session, frame.data)
        if reason is None and function is None and is_absent(frame.action):
            if guard.access.middleware_function_id is not None:
                return None
            elsewhere = [
                one.namespace
                for one in self._router.registry.all_of(function_id)
                if not session.refuses_call(*one.key, one.metadata)
            ]
            return not_found(function_id, namespace, elsewhere)
        return None if reason is None else ErrorBody(code="FORBIDDEN", message=reason)

    def _refuses_action(
        self,
        session: Session,
        frame: InvokeFunction,
        function: Function[AnyPort] | None,
    ) -> str | None:
        """Why a call may not be made with its action.

        Whoever performs it calls with rights of its own: so nothing of the engine itself,
        and only through what the session may call too.
        """
        try:
            kind = parse_action(frame.action).type
        except msgspec.DecodeError:
            return None  # the router says what is wrong
        if kind == "void":
            return None
        if function is not None and isinstance(function.owner, EnginePort):
            return f"function '{frame.function_id}' not allowed with an action"
        performer = None if kind == "enqueue" else self._router.action_function(kind)
        if performer is None:
            return None
        return session.refuses_call(*performer.key, performer.metadata)

    def _refuses_message(self, session: Session, data: msgspec.Raw) -> str | None:
        """Why a message may not be enqueued, which the queue would deliver."""
        try:
            message = _message_decoder.decode(data)
        except msgspec.DecodeError:
            return None  # the queue says what is wrong
        except RecursionError:  # whoever has more of the stack left may read it
            return "a message that nests so deep is not allowed"
        registry, namespace = self._router.registry, message.namespace
        if namespace is None:
            namespace = DEFAULT_NAMESPACE
        if refuses_target(registry, session, namespace, message.function_id):
            return f"function '{message.function_id}' not allowed in a message"
        return None

    def _call_middleware(
        self, port: LinkPort, guard: Guard, namespace: str, frame: InvokeFunction
    ) -> None:
        """Let the middleware answer a call; it performs the call itself, if it does."""
        middleware = guard.access.middleware_function_id
        assert middleware is not None
        payload = middleware_payload(frame, namespace, guard.session.context)
        invocation = Invocation(payload, namespace)
        invocation.asked = function_field(frame.function_id)
        if not is_absent(frame.metadata):
            invocation.metadata = frame.metadata
        if frame.deadline_ms is not None:
            invocation.timeout = frame.deadline_ms / 1000
        invocation.traceparent = frame.traceparent
        invocation.baggage = frame.baggage
        if frame.invocation_id is not None and not _is_void(frame):
            invocation.caller = port
            invocation.caller_ref = frame.invocation_id
        quotas = self._router.invocations.quotas
        if invocation.caller is port and len(port.made) >= quotas.pending_calls:
            error: ErrorBody | None = quotas.refuse_call("this worker")
        else:
            error = self._router.route(invocation, middleware)
        if error is not None:
            _refuse_frame(port, frame, error)
            return
        if port.cancels and invocation.caller is port:
            port.made_by_ref[invocation.caller_ref] = invocation
        invocation.callee.dispatch(invocation)


def compose_gate(
    *,
    router: Router,
    supervisor: Supervisor,
    registrar: Registrar,
    triggers: Triggers[AnyPort],
    on_event: Callable[[Event], None],
) -> tuple[Gate, TriggerVetting]:
    """Make a gate, and what vets triggers for it and for ``engine::register_trigger``."""
    denials = Denials(on_event)
    inquiries = Inquiries(router)
    hooks = Hooks(router.registry, inquiries, denials)

    def is_protected(function_id: str) -> bool:
        return gate.is_protected(function_id)

    vetting = Vetting(
        registry=router.registry,
        triggers=triggers,
        registrar=registrar,
        hooks=hooks,
        denials=denials,
        is_protected=is_protected,
    )
    gate = Gate(router, supervisor, inquiries, hooks, denials, vetting.take_back)
    return gate, TriggerVetting(
        registry=router.registry,
        triggers=triggers,
        registrar=registrar,
        hooks=hooks,
        denials=denials,
    )


def _remember(port: LinkPort, function: Function[AnyPort]) -> None:
    """Calls of a function pass, as long as this registration of it is the one found."""
    if port.passes is not None:
        if len(port.passes) >= MAX_REMEMBERED:
            port.passes.clear()
        port.passes.add(function.serial)


def _is_void(frame: InvokeFunction) -> bool:
    if is_absent(frame.action):
        return False
    try:
        return parse_action(frame.action).type == "void"
    except msgspec.DecodeError:
        return False


def _refuse_frame(port: LinkPort, frame: InvokeFunction, error: ErrorBody) -> None:
    """Answer a call that does not pass; void ones have no answer."""
    if frame.invocation_id is None or _is_void(frame):
        _log.debug("%s: void call dropped: %s", port, error.message)
        return
    invocation = Invocation(b"null", DEFAULT_NAMESPACE)
    invocation.caller_ref = frame.invocation_id
    invocation.traceparent, invocation.baggage = frame.traceparent, frame.baggage
    refuse_call(port, invocation, frame.function_id, error)
