"""What a configuration means: frozen entries, made of a plain mapping.

Pure: no file, no clock, no worker is touched. Which bundled workers exist is an argument
(`KnownWorker` rows), so a new one needs no change here.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import attrs

from iii_trio._listening import EngineLimits, SocketLimitsConfig, TLSConfig
from iii_trio.access import Access, AccessRules, parse_rules, unknown_keys
from iii_trio.app._adapters import Backend, choose_backend
from iii_trio.app._structure import describe, nearest, structure
from iii_trio.errors import ConfigError

LISTENER = "iii-worker-manager"
"""The entry that opens a port for workers; the only one that may appear twice."""

GRACE_VARIABLE = "III_NAMESPACE_GRACE_MS"
MAX_GRACE_MS = 86_400_000
"""A day: no worker takes that long, and a slip of the pen is no number for ever."""


class KnownWorker(Protocol):
    """One row of the table of bundled workers, as far as a configuration needs it."""

    @property
    def name(self) -> str:
        """The canonical name."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names for the same worker."""

    @property
    def config_class(self) -> type[Any]:
        """The attrs class of its ``config`` block."""

    @property
    def stores(self) -> tuple[str, ...]:
        """The collections it keeps; with any, its block may have an ``adapter``."""

    @property
    def bridges(self) -> bool:
        """Whether its data may be kept by another engine."""

    @property
    def always(self) -> bool:
        """Whether it runs also when no entry names it; such workers start first."""

    @property
    def unnamed_block(self) -> Mapping[str, Any]:
        """The ``config`` block with which it runs when no entry names it."""


_NEEDLESS: Mapping[str, str] = {
    "iii-engine-functions": "the engine always has them",
    "iii-telemetry": "nothing about the use of this engine is sent to anybody",
    "iii-worker-ops": "workers are not started by this engine",
}
"""Names that config files of the reference engine may have, and why they do nothing."""


def _between(low: int, high: int) -> "Callable[[Any, attrs.Attribute[int], int], None]":
    def check(_: Any, field: "attrs.Attribute[int]", value: int) -> None:  # noqa: ANN401
        if not low <= value <= high:
            msg = f"{field.name} must be {low} to {high}, not {value}"
            raise ValueError(msg)

    return check


def _not_blank(_: Any, field: "attrs.Attribute[str]", value: str) -> None:  # noqa: ANN401
    if not value.strip():
        raise ValueError(f"{field.name} is blank: name a function or leave it out")


@attrs.frozen(kw_only=True)
class ListenerConfig:
    """The ``config`` block of a listener for workers.

    Attributes:
        port: 0 takes any free one.
        host: ``None`` and ``localhost`` are loopback, IPv4 and IPv6.
        handshake_timeout_ms: time for a peer to complete its handshake, TLS included.
        tls: certificates; ``None``: no TLS.
        limits: of one client.
        rbac: access rules; ``None``: everything is allowed.
        middleware_function_id: gets every call instead of the function that was called.
        access_timeout_ms: time for the auth function, and for each registration hook.
    """

    port: int = attrs.field(default=49134, validator=_between(0, 65535))
    host: str | None = None
    handshake_timeout_ms: int = attrs.field(
        default=10_000, validator=_between(1, 600_000)
    )
    tls: TLSConfig | None = None
    limits: SocketLimitsConfig = attrs.field(factory=SocketLimitsConfig)
    rbac: AccessRules | None = None
    middleware_function_id: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(_not_blank)
    )
    access_timeout_ms: int = attrs.field(default=10_000, validator=_between(1, 600_000))

    @property
    def access(self) -> Access | None:
        """What is asked of connections; ``None``: nothing."""
        if self.rbac is None and self.middleware_function_id is None:
            return None
        return Access(
            rules=self.rbac,
            middleware_function_id=self.middleware_function_id,
            timeout=self.access_timeout_ms / 1000,
        )

    @property
    def handshake_timeout(self) -> float:
        """In seconds."""
        return self.handshake_timeout_ms / 1000


@attrs.frozen(kw_only=True)
class WorkerEntry:
    """One entry that the app runs.

    Attributes:
        key: its identity: the canonical name, ``#1``, ``#2`` appended for more listeners.
        kind: the canonical name.
        name: as it is written in the file: the id of its settings.
        block: the ``config`` block, as it is written.
        config: the structured ``config`` block.
        backend: where its data rests, ``None`` if it keeps none.
    """

    key: str
    kind: str
    name: str = ""
    block: Mapping[str, Any] = attrs.field(factory=dict)
    config: Any
    backend: Backend | None = None


def bundled_entry(spec: KnownWorker, name: str, block: object) -> WorkerEntry:
    """Make the entry of a bundled worker that does what a ``config`` block says.

    Raises:
        ConfigError: the block does not fit; the path begins with ``name``.
    """
    return _bundled_entry(spec, name, block, name)[0]


def _bundled_entry(
    spec: KnownWorker, name: str, block: object, path: str
) -> tuple[WorkerEntry, str | None]:
    """The entry, and a note for the log if there is something to say."""
    backend, note, rest = None, None, block
    if spec.stores and isinstance(block, dict):
        backend, note = choose_backend(
            block.get("adapter"), f"{path}.adapter", bridges=spec.bridges
        )
        rest = {key: value for key, value in block.items() if key != "adapter"}
    config = structure(rest, spec.config_class, path)
    assert isinstance(block, dict), "structured"
    entry = WorkerEntry(
        key=spec.name,
        kind=spec.name,
        name=name,
        block=block,
        config=config,
        backend=backend,
    )
    return entry, note


@attrs.frozen(kw_only=True)
class AppConfig:
    """A whole configuration, checked.

    Attributes:
        entries: in the order of the file, listeners last.
        registration_namespace_grace: seconds that a new connection has to announce
            its namespace.
        limits: what workers on links may take.
        notes: what a reader of the log should know: skipped entries, ignored keys.
    """

    entries: tuple[WorkerEntry, ...]
    registration_namespace_grace: float = 5.0
    limits: EngineLimits = attrs.field(factory=EngineLimits)
    notes: tuple[str, ...] = ()


DEFAULT_DOCUMENT: Mapping[str, Any] = {
    "workers": [
        {"name": "iii-http"},
        {"name": "iii-state"},
        {"name": "iii-queue"},
        {"name": "iii-cron"},
        {"name": "iii-pubsub"},
        {"name": "iii-stream"},
    ]
}
"""What runs when there is no configuration at all."""

_TOP_KEYS = ("workers", "modules", "limits", "registration_namespace_grace_ms")
_ENTRY_KEYS = ("name", "config", "image")
_ELSEWHERE = ("image", "worker_path")


def parse_config(
    document: object,
    known: Iterable[KnownWorker],
    environ: Mapping[str, str] | None = None,
) -> AppConfig:
    """Check a document and structure it.

    Args:
        document: what the file holds: a mapping, or ``None`` for an empty file.
        known: the bundled workers.
        environ: for ``III_NAMESPACE_GRACE_MS``, which wins over the document.

    Raises:
        ConfigError: an unknown key or worker, a value that does not fit, two entries of
            one worker; ``path`` says where.
    """
    top = {} if document is None else document
    if not isinstance(top, dict):
        raise ConfigError(f"expected a mapping at the top, got {describe(top)}")
    for key in top:
        if key not in _TOP_KEYS:
            msg = f"unknown top-level key{nearest(str(key), _TOP_KEYS)}"
            raise ConfigError(msg, path=str(key))
    reader = _Reader(known)
    for section in ("workers", "modules"):
        entries = top.get(section, [])
        if not isinstance(entries, list):
            msg = f"expected a list, got {describe(entries)}"
            raise ConfigError(msg, path=section)
        for index, entry in enumerate(entries):
            reader.read(entry, f"{section}[{index}]")
    return AppConfig(
        entries=reader.finish(),
        registration_namespace_grace=_grace(top, environ or {}),
        limits=structure(top.get("limits", {}), EngineLimits, "limits"),
        notes=tuple(reader.notes),
    )


def _grace(top: Mapping[str, Any], environ: Mapping[str, str]) -> float:
    path, value = "registration_namespace_grace_ms", None
    value = top.get(path, 5000)
    if GRACE_VARIABLE in environ:
        path, text = GRACE_VARIABLE, environ[GRACE_VARIABLE].strip()
        value = int(text) if text.isdecimal() and len(text) < 20 else text
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and 0 <= int(value) <= MAX_GRACE_MS:
        return int(value) / 1000
    wanted = f"milliseconds (an integer from 0 to {MAX_GRACE_MS})"
    raise ConfigError(f"expected {wanted}, got {describe(value)}", path=path)


class _Reader:
    """Collects entries; one per configuration."""

    def __init__(self, known: Iterable[KnownWorker]) -> None:
        self.notes: list[str] = []
        self._entries: list[WorkerEntry] = []
        self._listeners: list[WorkerEntry] = []
        self._seen: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._specs = {spec.name: spec for spec in known}
        self._canonical = {LISTENER: LISTENER}
        for name in _NEEDLESS:
            short = name.removeprefix("iii-")
            self._canonical |= dict.fromkeys((name, short), name)
        for spec in self._specs.values():
            self._canonical |= dict.fromkeys((spec.name, *spec.aliases), spec.name)

    def read(self, entry: object, path: str) -> None:
        """Take one entry of the list."""
        if not isinstance(entry, dict):
            raise ConfigError(f"expected a mapping, got {describe(entry)}", path=path)
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip():
            msg = f"expected a worker's name, got {describe(name)}"
            raise ConfigError(msg, path=f"{path}.name")
        kind = self._canonical.get(name)
        if kind is None:
            self._skip_external(name, entry, path)
            return
        self._refuse_odd_keys(entry, name, path)
        self._seen[kind].append((name, path))
        block = entry.get("config")
        block = {} if block is None else block
        if kind == LISTENER:
            self._listeners.append(self._listener(block, f"{path}.config"))
        elif kind in self._specs:
            self._entries.append(self._bundled(kind, name, block, f"{path}.config"))
        else:
            note = f"worker {name!r} needs no entry, skipped: {_NEEDLESS[kind]}"
            self.notes.append(f"{path}: {note}")

    def finish(self) -> tuple[WorkerEntry, ...]:
        """All entries; refuses two of one worker, adds what is always there."""
        pairs = [
            f"  {first} ({first_path}) and {second} ({second_path})"
            for kind, places in self._seen.items()
            for (first, first_path), (second, second_path) in itertools.pairwise(places)
            if kind != LISTENER
        ]
        if pairs:
            raise ConfigError("\n".join(["Duplicate worker configurations:", *pairs]))
        if not self._listeners:
            self._listeners.append(self._listener({}, LISTENER))
        return (*self._always(), *self._entries, *self._listeners)

    def _always(self) -> list[WorkerEntry]:
        """Take out the entries that start first; make those that nobody named."""
        first = []
        for spec in self._specs.values():
            if spec.always:
                named = [entry for entry in self._entries if entry.kind == spec.name]
                block = dict(spec.unnamed_block)
                first += named or [bundled_entry(spec, spec.name, block)]
        self._entries = [entry for entry in self._entries if entry not in first]
        return first

    def _skip_external(self, name: str, entry: Mapping[str, Any], path: str) -> None:
        if any(key in entry for key in _ELSEWHERE) or any(c in name for c in "/@:"):
            note = f"worker {name!r} is not bundled: start it yourself, entry skipped"
            self.notes.append(f"{path}: {note}")
            return
        msg = f"unknown worker {name!r}{nearest(name, self._canonical)}"
        raise ConfigError(msg, path=f"{path}.name")

    def _refuse_odd_keys(self, entry: Mapping[str, Any], name: str, path: str) -> None:
        if "image" in entry:
            msg = f"worker {name!r} is bundled and takes no image"
            raise ConfigError(msg, path=f"{path}.image")
        for key in entry:
            # Other tools keep keys of their own here; only a slip of the pen is refused.
            hint = nearest(str(key), _ENTRY_KEYS)
            if key not in _ENTRY_KEYS and hint:
                raise ConfigError(f"unknown key{hint}", path=f"{path}.{key}")

    def _listener(self, block: object, path: str) -> WorkerEntry:
        rules: AccessRules | None = None
        if isinstance(block, dict) and "rbac" in block:
            block = dict(block)
            rbac, where = block.pop("rbac"), f"{path}.rbac"
            rules = parse_rules(rbac, where)
            self.notes += [f"{where}.{key}: ignored" for key in unknown_keys(rbac)]
        config = attrs.evolve(structure(block, ListenerConfig, path), rbac=rules)
        number = len(self._listeners)
        return WorkerEntry(
            key=f"{LISTENER}#{number}" if number else LISTENER,
            kind=LISTENER,
            config=config,
        )

    def _bundled(self, kind: str, name: str, block: object, path: str) -> WorkerEntry:
        entry, note = _bundled_entry(self._specs[kind], name, block, path)
        self.notes.extend([note] if note else [])
        return entry
