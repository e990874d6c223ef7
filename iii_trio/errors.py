"""Every exception a user of iii_trio may catch, in one tree.

Trio's own exceptions keep their meaning beside it: ``trio.ClosedResourceError`` is
closed by you, ``trio.BrokenResourceError`` is lost, ``trio.BusyResourceError`` is two
users at once.
"""

from collections.abc import Mapping
from typing import Any

__all__ = [
    "AdapterError",
    "ConfigError",
    "EngineInternalError",
    "FunctionFailedError",
    "FunctionNotFoundError",
    "IIIError",
    "InvocationError",
    "InvocationRefusedError",
    "InvocationStoppedError",
    "InvocationTimeoutError",
    "LocalProtocolError",
    "ProtocolError",
    "RegistrationError",
    "RemoteProtocolError",
]


class IIIError(Exception):
    """Base of every error raised by iii_trio."""


class ProtocolError(IIIError):
    """Bytes or frames break the rules of their protocol."""


class LocalProtocolError(ProtocolError):
    """This side was about to break the protocol: a bug on this side."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol."""


class InvocationError(IIIError):
    """A call did not give a result.

    Attributes:
        code: the wire code, such as ``function_not_found``.
        function_id: the function that was asked for, ``""`` if unknown.
        invocation_id: the call's id on the wire, ``None`` if it never had one.
        stacktrace: the handler's stack trace as text, if the callee sent one.
        details: further fields of the wire error, passed unchanged.
    """

    default_code = "invocation_failed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        function_id: str = "",
        invocation_id: str | None = None,
        stacktrace: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.function_id = function_id
        self.invocation_id = invocation_id
        self.stacktrace = stacktrace
        self.details: Mapping[str, Any] = details or {}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class FunctionNotFoundError(InvocationError):
    """No live worker offers the function in the target namespace."""

    default_code = "function_not_found"


class InvocationTimeoutError(InvocationError):
    """The call's explicit deadline passed, or a peer answered ``TIMEOUT``."""

    default_code = "TIMEOUT"


class InvocationStoppedError(InvocationError):
    """The callee went away, or the engine stopped, while the call was in flight."""

    default_code = "invocation_stopped"


class InvocationRefusedError(InvocationError):
    """The call was not started: overload, drain, a full queue, or a message too large."""

    default_code = "invocation_refused"


class FunctionFailedError(InvocationError):
    """The handler failed.

    Raise it on purpose in a handler to choose the code that the caller sees; any other
    exception of a handler becomes code ``invocation_failed``.
    """


class RegistrationError(IIIError):
    """A function, worker name, trigger type or trigger could not be registered.

    Attributes:
        code: the wire code, such as ``FUNCTION_NAMESPACE_CONFLICT``.
        owner_worker_id: who holds it, ``""`` if nobody that has an id.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "trigger_registration_failed",
        owner_worker_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.owner_worker_id = owner_worker_id


class ConfigError(IIIError):
    """The configuration cannot be used.

    Attributes:
        path: where in the configuration, such as ``workers[2].config.port``; ``""`` for
            the file as a whole.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class AdapterError(IIIError):
    """A storage or broker failed; the driver's error is in ``__cause__``."""


class EngineInternalError(IIIError):
    """A bug of the engine. It is never caught by iii_trio itself."""
