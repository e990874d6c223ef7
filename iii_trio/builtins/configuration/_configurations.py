"""The entries, the one writer that changes them, and the configuration functions.

Changes are made one after the other, each stored, then visible, then told, then
answered. Reads never wait for a write.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final, NoReturn

import attrs
import msgspec
import trio

from iii_trio.adapters import KeyValueStore
from iii_trio.builtins._payloads import structure_input
from iii_trio.builtins.configuration._config import ConfigurationConfig
from iii_trio.builtins.configuration._entries import (
    VALID_ID,
    Entry,
    from_record,
    registered,
    to_record,
)
from iii_trio.builtins.configuration._expand import expand_value
from iii_trio.builtins.configuration._inputs import (
    DELETED,
    REGISTERED,
    UPDATED,
    GetInput,
    ListInput,
    RegisterInput,
    SchemaInput,
    SetInput,
)
from iii_trio.builtins.configuration._schema import (
    MAX_DEPTH,
    SchemaError,
    Validator,
    compile_schema,
    is_too_deep,
    problems_of,
)
from iii_trio.builtins.configuration._schemas import (
    DESCRIPTIONS,
    EVENT_FORMAT,
    REQUEST_FORMATS,
    TRIGGER_CONFIG_FORMAT,
)
from iii_trio.builtins.configuration._triggers import (
    TRIGGER_TYPE,
    ConfigurationTriggers,
)
from iii_trio.errors import AdapterError, ConfigError, FunctionFailedError
from iii_trio.worker import Worker

JSON = Any
Check = Callable[[JSON], object]
"""Takes a value without placeholders, and raises `ConfigError` if it cannot be used."""

logger = logging.getLogger("iii_trio.builtins.configuration")

SPACE: Final = "configuration"
"""The one space of the collection; keys are ids."""


@attrs.define(eq=False, kw_only=True)
class Configurations:
    """The entries, and the functions."""

    _config: ConfigurationConfig
    _worker: Worker
    _store: KeyValueStore
    _environ: Mapping[str, str]
    _checks: Mapping[str, Check]
    _entries: dict[str, Entry] = attrs.field(init=False, factory=dict)
    # What the store holds, to spare it writes that change nothing.
    _records: dict[str, bytes] = attrs.field(init=False, factory=dict)
    _writer: trio.StrictFIFOLock = attrs.field(init=False, factory=trio.StrictFIFOLock)
    _triggers: ConfigurationTriggers = attrs.field(init=False)
    # By id of an entry, when the last trigger that named it went.
    _left_at: dict[str, float] = attrs.field(init=False, factory=dict)
    _left: trio.Event = attrs.field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self._triggers = ConfigurationTriggers(self._worker, self._on_named)

    def register(self, worker: Worker, stack: ExitStack) -> None:
        """Register everything; the stack takes it back."""
        worker.register_trigger_type(
            TRIGGER_TYPE,
            bind=self._triggers.bind,
            unbind=self._triggers.unbind,
            description="Changes of configurations.",
            config_format=TRIGGER_CONFIG_FORMAT,
            call_format=EVENT_FORMAT,
        )
        stack.callback(worker.unregister_trigger_type, TRIGGER_TYPE)
        for function_id, handler in (
            ("configuration::register", self.declare),
            ("configuration::set", self.set),
            ("configuration::get", self.get),
            ("configuration::list", self.list),
            ("configuration::schema", self.schema),
        ):
            worker.register_function(
                function_id,
                handler,
                description=DESCRIPTIONS[function_id],
                request_format=REQUEST_FORMATS[function_id],
            )
            stack.callback(worker.unregister_function, function_id)

    def reconfigure(self, config: ConfigurationConfig) -> None:
        self._config = config
        self._left.set()

    async def wait_all_told(self) -> None:
        await self._triggers.wait_all_told()

    async def load(self) -> None:
        for key, text in await self._store.items(SPACE):
            self._records[key] = text
            self._entries[key] = from_record(key, text)

    # The functions

    async def declare(self, payload: JSON) -> JSON:
        """``configuration::register``."""
        given = structure_input("configuration::register", payload, RegisterInput)
        _check_id(given.id)
        try:
            validator = compile_schema(given.schema)
        except SchemaError as exc:
            raise _invalid([str(exc)]) from exc
        for value in (given.initial_value, given.seed):
            if value is not None and value is not msgspec.UNSET:
                self._check_value(given.id, value, validator)
        async with self._writer:
            old = self._entries.get(given.id)
            entry = registered(old, given, validator)
            await self._keep(entry)
            self._tell(UPDATED if old else REGISTERED, entry, old=old, new=entry)
        return {**entry.described(), "value": entry.present_value}

    async def set(self, payload: JSON) -> JSON:
        """``configuration::set``."""
        given = structure_input("configuration::set", payload, SetInput)
        _check_id(given.id)
        async with self._writer:
            old = self._entries.get(given.id)
            if old is None:
                raise FunctionFailedError(
                    f"configuration '{given.id}' is not registered; call "
                    "configuration::register first",
                    code="NOT_REGISTERED",
                )
            if old.validator is None:
                raise FunctionFailedError(
                    f"configuration '{given.id}' has no schema available yet; the "
                    "owning worker must register before values can be set",
                    code="SCHEMA_UNAVAILABLE",
                )
            self._check_value(given.id, given.value, old.validator)
            entry = old.with_value(given.value)
            await self._keep(entry)
            self._tell(UPDATED, entry, old=old, new=entry)
        return {"old_value": old.present_value, "new_value": entry.present_value}

    async def get(self, payload: JSON) -> JSON:
        """``configuration::get``."""
        given = structure_input("configuration::get", payload, GetInput)
        await trio.lowlevel.checkpoint()
        entry = self._entry(given.id)
        if given.raw or entry.value is msgspec.UNSET:
            return {"id": entry.id, "value": entry.present_value}
        expanded = expand_value(entry.value, self._environ)
        if expanded.unset:
            raise FunctionFailedError(
                f"configuration '{entry.id}' references unset environment variable(s) "
                f"with no default: {', '.join(expanded.unset)}",
                code="EXPAND_FAILED",
            )
        if entry.validator is not None:
            problems = problems_of(expanded.value, entry.validator)
            if problems:
                raise _invalid(problems)
        return {"id": entry.id, "value": expanded.value}

    async def list(self, payload: JSON) -> JSON:
        """``configuration::list``."""
        structure_input("configuration::list", payload, ListInput)
        await trio.lowlevel.checkpoint()
        entries = sorted(self._entries.items())
        return {"configurations": [entry.described() for _, entry in entries]}

    async def schema(self, payload: JSON) -> JSON:
        """``configuration::schema``."""
        given = structure_input("configuration::schema", payload, SchemaInput)
        await trio.lowlevel.checkpoint()
        return self._entry(given.id).described()

    def _entry(self, configuration_id: str) -> Entry:
        entry = self._entries.get(configuration_id)
        if entry is None:
            raise FunctionFailedError(
                f"configuration '{configuration_id}' not found", code="NOT_FOUND"
            )
        return entry

    def _check_value(
        self, configuration_id: str, value: JSON, validator: Validator
    ) -> None:
        """Check a value as it is now; with an unset variable it cannot be checked."""
        if is_too_deep(value):
            raise _invalid([f"$: it nests deeper than {MAX_DEPTH}"])
        expanded = expand_value(value, self._environ)
        if expanded.unset:
            return
        problems = problems_of(expanded.value, validator)
        if problems:
            raise _invalid(problems)
        check = self._checks.get(configuration_id)
        if check is not None:
            try:
                check(expanded.value)
            except ConfigError as exc:
                raise _invalid([str(exc)]) from exc

    # Changes

    async def _keep(self, entry: Entry) -> None:
        """Store an entry, then show it."""
        await trio.lowlevel.checkpoint()
        record = to_record(entry)
        if record != self._records.get(entry.id):
            try:
                if record is None:
                    await self._store.delete(SPACE, entry.id)
                else:
                    await self._store.set(SPACE, entry.id, record)
            except AdapterError as exc:
                raise FunctionFailedError(str(exc), code="ADAPTER_ERROR") from exc
            if record is None:
                del self._records[entry.id]
            else:
                self._records[entry.id] = record
        self._entries[entry.id] = entry

    def _tell(
        self, event_type: str, about: Entry, *, old: Entry | None, new: Entry | None
    ) -> None:
        self._triggers.fire(
            {
                "type": TRIGGER_TYPE,
                "event_type": event_type,
                **about.described(),
                "old_value": self._shown(old),
                "new_value": self._shown(new),
            }
        )

    def _shown(self, entry: Entry | None) -> JSON:
        if entry is None:
            return None
        return expand_value(entry.present_value, self._environ).value

    # Expiry

    def _on_named(self, configuration_id: str, named: bool) -> None:
        if named:
            self._left_at.pop(configuration_id, None)
        elif configuration_id in self._entries:
            self._left_at[configuration_id] = trio.current_time()
            self._left.set()

    async def expire(self) -> NoReturn:
        """Delete entries whose triggers went ``ttl_seconds`` ago."""
        while True:
            self._left = trio.Event()
            ttl = self._config.ttl_seconds
            with trio.CancelScope() as scope:
                if ttl and self._left_at:
                    scope.deadline = min(self._left_at.values()) + ttl
                await self._left.wait()
            if scope.cancelled_caught:
                now = trio.current_time()
                for key in [k for k, at in self._left_at.items() if at + ttl <= now]:
                    await self._delete(key, ttl)

    async def _delete(self, key: str, ttl: int) -> None:
        async with self._writer:
            left_at = self._left_at.get(key)
            if left_at is None or trio.current_time() < left_at + ttl:
                return  # somebody named it meanwhile
            entry = self._entries[key]
            try:
                if key in self._records:
                    await self._store.delete(SPACE, key)
            except AdapterError as exc:
                self._left_at[key] = trio.current_time()
                logger.warning("configuration %s did not expire: %s", key, exc)
                return
            self._records.pop(key, None)
            self._left_at.pop(key, None)
            del self._entries[key]
            self._tell(DELETED, entry, old=entry, new=None)


def _check_id(configuration_id: str) -> None:
    if not VALID_ID.fullmatch(configuration_id):
        raise FunctionFailedError(
            f"invalid configuration id '{configuration_id}': must match "
            "[a-z0-9_-]{1,64}",
            code="INVALID_ID",
        )


def _invalid(problems: list[str]) -> FunctionFailedError:
    return FunctionFailedError(
        f"schema validation failed: {'; '.join(problems)}", code="SCHEMA_INVALID"
    )
