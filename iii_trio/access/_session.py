"""Session: what one connection may do. The order of the rules is in `refuses_call`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, final

import attrs
import msgspec

from iii_trio.access._patterns import IdPattern
from iii_trio.access._rules import INFRASTRUCTURE, AccessRules
from iii_trio.protocol import DEFAULT_NAMESPACE

_NOT_EXPOSED: Final = "add to rbac.expose_functions"
_FORBIDDEN: Final = "remove from rbac.forbidden_functions"


class BadAuthResultError(ValueError):
    """What an auth function answered does not make a session; the text says why."""


class _AuthResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of an auth function; fields that it does not have are ignored."""

    namespaces: dict[str, list[str]] = {}
    allowed_functions: list[str] = []
    forbidden_functions: list[str] = []
    allowed_trigger_types: list[str] | None = None
    allow_trigger_type_registration: bool = False
    allow_function_registration: bool = True
    allow_http_function_registration: bool = False
    context: Any = msgspec.field(default_factory=dict)
    function_registration_prefix: str | None = None


@final
@attrs.frozen(kw_only=True)
class Session:
    """What one connection may do.

    Attributes:
        rules: those of its listener; ``None``: everything may be called.
        namespaces: what may be called where; with any, the only ones that the worker
            may declare.
        allowed_functions: ids in ``default``.
        forbidden_functions: ids in every namespace; these win over everything.
        allowed_trigger_types: ``None``: all.
        allow_http_function_registration: functions that the engine performs by HTTP
            requests. Ours: they can name variables of the engine's environment.
        context: a JSON value for hooks and middleware.
        function_registration_prefix: what it registers as ``id`` becomes
            ``prefix::id``.
    """

    rules: AccessRules | None = None
    namespaces: Mapping[str, tuple[IdPattern, ...]] = attrs.field(factory=dict)
    allowed_functions: frozenset[str] = frozenset()
    forbidden_functions: tuple[IdPattern, ...] = ()
    allowed_trigger_types: frozenset[str] | None = None
    allow_trigger_type_registration: bool = True
    allow_function_registration: bool = True
    allow_http_function_registration: bool = True
    context: Any = attrs.field(factory=dict, repr=False)
    function_registration_prefix: str | None = None

    def refuses_call(
        self,
        namespace: str,
        function_id: str,
        metadata: Any,  # noqa: ANN401 - JSON
    ) -> str | None:
        """Why a function may not be called, ``None`` if it may.

        Args:
            namespace: where it would be called.
            function_id: need not exist.
            metadata: as it was registered; ``None`` if there is no such function.
        """
        if self.forbids(function_id):
            return f"function '{function_id}' not allowed ({_FORBIDDEN})"
        if any(one.fits(function_id) for one in self.namespaces.get(namespace, ())):
            return None
        if namespace == DEFAULT_NAMESPACE and function_id in self.allowed_functions:
            return None
        if function_id in INFRASTRUCTURE or self.rules is None:
            return None
        for rule in self.rules.expose_functions:
            if rule.exposes(namespace, function_id, metadata):
                return None
        return f"function '{function_id}' not allowed ({_NOT_EXPOSED})"

    def forbids(self, function_id: str) -> bool:
        """Tell whether a function is forbidden by name."""
        return any(one.fits(function_id) for one in self.forbidden_functions)

    def allows_trigger_type(self, trigger_type: str) -> bool:
        """Tell whether triggers of a type may be bound."""
        allowed = self.allowed_trigger_types
        return allowed is None or trigger_type in allowed

    def refuses_namespace(self, namespace: str) -> str | None:
        """Why the worker may not be in a namespace, ``None`` if it may."""
        if not self.namespaces or namespace in self.namespaces:
            return None
        permitted = ", ".join(sorted(self.namespaces))
        return (
            f"namespace '{namespace}' not allowed for this session "
            f"(permitted: {permitted})"
        )

    def may_bind(self, trigger_type: str, function_id: str) -> bool:
        """Tell whether it could make such a trigger, as far as type and prefix go."""
        prefix = self.function_registration_prefix
        inside = prefix is None or function_id.startswith(f"{prefix}::")
        return inside and self.allows_trigger_type(trigger_type)

    def prefixed(self, function_id: str) -> str:
        """The id under which a function of this worker is known to others."""
        prefix = self.function_registration_prefix
        return function_id if prefix is None else f"{prefix}::{function_id}"


def session_without_auth(rules: AccessRules | None) -> Session:
    """The session of every connection where no auth function is asked."""
    return Session(rules=rules, allow_http_function_registration=rules is None)


def session_from(rules: AccessRules, result: bytes) -> Session:
    """Make a session of an auth function's answer.

    Args:
        rules: those of the listener.
        result: JSON text, empty if it returned nothing.

    Raises:
        BadAuthResultError: it is no such answer.
    """
    if result in {b"", b"null"}:
        raise BadAuthResultError("auth function returned no result")
    try:
        told = msgspec.json.decode(result, type=_AuthResult)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise BadAuthResultError(f"auth function returned no session: {exc}") from exc
    prefix = told.function_registration_prefix
    if prefix is not None and not prefix.strip():
        msg = "auth function returned no session: function_registration_prefix is blank"
        raise BadAuthResultError(msg)
    types = told.allowed_trigger_types
    return Session(
        rules=rules,
        namespaces={
            name: tuple(map(IdPattern, grants))
            for name, grants in told.namespaces.items()
        },
        allowed_functions=frozenset(told.allowed_functions),
        forbidden_functions=tuple(map(IdPattern, told.forbidden_functions)),
        allowed_trigger_types=None if types is None else frozenset(types),
        allow_trigger_type_registration=told.allow_trigger_type_registration,
        allow_function_registration=told.allow_function_registration,
        allow_http_function_registration=told.allow_http_function_registration,
        context=told.context,
        function_registration_prefix=prefix,
    )


def functions_named_in(config: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """The functions that a trigger's config names, such as ``condition_function_id``.

    A provider calls them with rights of its own, so who binds the trigger must be
    allowed to call them. What nests in the config counts too: providers differ in where
    they look.
    """
    inside = [config]
    while inside:
        value = inside.pop()
        if isinstance(value, list):
            inside += value
        elif isinstance(value, dict):
            for key, member in value.items():
                yield from _functions_at(key, member)
            inside += value.values()


def _functions_at(key: str, value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    name = key.replace("_", "").lower()
    if name.endswith("functionid") and isinstance(value, str):
        yield value
    elif name.endswith("functionids") and isinstance(value, list):
        yield from (one for one in value if isinstance(one, str))
