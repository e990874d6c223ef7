"""The rules of a listener: the ``rbac`` block, checked, and which functions it exposes.

A block that cannot be understood is an error, never a looser rule.
"""

import difflib
from collections.abc import Mapping
from typing import Any, Final, final

import attrs

from iii_trio.access._patterns import matches, same_json, wildcard_in
from iii_trio.errors import ConfigError
from iii_trio.protocol import DEFAULT_NAMESPACE, is_blank

INFRASTRUCTURE: Final = frozenset(
    {
        "engine::channels::create",
        "engine::workers::register",
        *(f"engine::log::{x}" for x in ("info", "warn", "error", "debug", "trace")),
        *(f"engine::baggage::{x}" for x in ("get", "set", "get_all")),
    }
)
"""What a worker needs to be one: allowed unless a session forbids it by name."""


@final
@attrs.frozen(kw_only=True)
class ExposeRule:
    """One entry of ``expose_functions``: a pattern of ids, or required metadata.

    Attributes:
        metadata: members that a function's metadata must have; text that reads
            ``match("pattern")`` is a pattern, everything else must be equal.
    """

    namespace: str = DEFAULT_NAMESPACE
    pattern: str | None = None
    metadata: tuple[tuple[str, Any], ...] = ()

    def exposes(self, namespace: str, function_id: str, metadata: Any) -> bool:  # noqa: ANN401 - JSON
        """Tell whether the rule exposes a function, by id and registered metadata."""
        if namespace != self.namespace:
            return False
        if self.pattern is not None:
            return matches(self.pattern, function_id)
        if not isinstance(metadata, dict):
            return False
        return all(
            key in metadata and _fits(wanted, metadata[key])
            for key, wanted in self.metadata
        )


def _fits(wanted: Any, value: Any) -> bool:  # noqa: ANN401 - JSON values
    pattern = wildcard_in(wanted) if isinstance(wanted, str) else None
    if pattern is None:
        return same_json(wanted, value)
    return isinstance(value, str) and matches(pattern, value)


@final
@attrs.frozen(kw_only=True)
class AccessRules:
    """An ``rbac`` block. Function ids are resolved in ``default``.

    Attributes:
        auth_function_id: who decides on each connection; ``None``: nobody is asked, and
            only ``expose_functions`` restricts.
    """

    auth_function_id: str | None = None
    expose_functions: tuple[ExposeRule, ...] = ()
    on_function_registration_function_id: str | None = None
    on_trigger_registration_function_id: str | None = None
    on_trigger_type_registration_function_id: str | None = None


@final
@attrs.frozen(kw_only=True)
class Access:
    """What a listener asks of the connections that it accepts.

    Attributes:
        rules: ``None``: everything is allowed.
        middleware_function_id: gets every call instead of the function that was called.
        timeout: seconds for the auth function, and for each hook.
    """

    rules: AccessRules | None = None
    middleware_function_id: str | None = None
    timeout: float = 10.0

    @property
    def own_functions(self) -> frozenset[str]:
        """The functions that the rules themselves rest on."""
        rules = self.rules or AccessRules()
        named = (
            self.middleware_function_id,
            rules.auth_function_id,
            rules.on_function_registration_function_id,
            rules.on_trigger_registration_function_id,
            rules.on_trigger_type_registration_function_id,
        )
        return frozenset(name for name in named if name is not None)


_KEYS: Final = tuple(field.name for field in attrs.fields(AccessRules))


def unknown_keys(block: Mapping[str, Any]) -> list[str]:
    """The keys of an ``rbac`` block that mean nothing; the reference ignores them."""
    return sorted(key for key in block if key not in _KEYS)


def parse_rules(block: object, path: str = "rbac") -> AccessRules:
    """Check an ``rbac`` block.

    Args:
        block: a mapping, as a configuration file gives it.
        path: where it stands, for errors.

    Raises:
        ConfigError: it cannot be understood, or a key looks like a misspelled one.
    """
    if not isinstance(block, dict):
        msg = (
            "expected a mapping: `{}` exposes nothing, and without the key the "
            "listener is open"
        )
        raise ConfigError(msg, path=path)
    for key in unknown_keys(block):
        near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.6)
        if near:
            msg = f"unknown key (did you mean {near[0]!r}?)"
            raise ConfigError(msg, path=f"{path}.{key}")
    values: dict[str, Any] = {
        key: _function_id(block.get(key), f"{path}.{key}")
        for key in _KEYS
        if key != "expose_functions"
    }
    entries = block.get("expose_functions", [])
    where = f"{path}.expose_functions"
    if not isinstance(entries, list):
        raise ConfigError("expected a list", path=where)
    exposed = [_expose_rule(entry, f"{where}[{i}]") for i, entry in enumerate(entries)]
    return AccessRules(expose_functions=tuple(exposed), **values)


def _function_id(value: object, path: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ConfigError("expected the id of a function", path=path)
    return value


def _expose_rule(entry: object, path: str) -> ExposeRule:
    if isinstance(entry, str):
        pattern = wildcard_in(entry)
        if pattern is None:
            msg = f'expected match("pattern"), got {entry!r}'
            raise ConfigError(msg, path=path)
        return ExposeRule(pattern=pattern)
    if not isinstance(entry, dict):
        msg = 'expected match("pattern"), {match: pattern} or {metadata: {...}}'
        raise ConfigError(msg, path=path)
    for key in entry:
        if key not in {"match", "metadata", "namespace"}:
            msg = "unknown key; there are match, metadata and namespace"
            raise ConfigError(msg, path=f"{path}.{key}")
    namespace = entry.get("namespace", DEFAULT_NAMESPACE)
    if not isinstance(namespace, str) or is_blank(namespace):
        raise ConfigError("expected a namespace", path=f"{path}.namespace")
    if ("match" in entry) == ("metadata" in entry):
        raise ConfigError("expected either match or metadata", path=path)
    if "match" in entry:
        return ExposeRule(
            namespace=namespace, pattern=_pattern(entry["match"], f"{path}.match")
        )
    metadata = entry["metadata"]
    if not isinstance(metadata, dict) or not metadata:
        msg = "expected a mapping that is not empty: it would expose every function"
        raise ConfigError(msg, path=f"{path}.metadata")
    return ExposeRule(namespace=namespace, metadata=tuple(metadata.items()))


def _pattern(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise ConfigError("expected a pattern", path=path)
    inner = wildcard_in(value)
    return value if inner is None else inner
