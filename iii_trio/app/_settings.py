"""What the configuration worker holds for the bundled workers of an app.

The ``config`` block of an entry is the seed of a configuration whose id is the entry's
name. A value that somebody sets holds from then on, also after a restart, until the block
in the file is edited. Everything goes through the functions and the trigger type that
every other worker uses.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, final

import attrs
import msgspec
import trio

from iii_trio.app._config import WorkerEntry, bundled_entry
from iii_trio.builtins import BuiltinSpec
from iii_trio.errors import ConfigError, InvocationError
from iii_trio.worker import Worker

JSON = Any

logger = logging.getLogger("iii_trio.app")

CONFIGURATION: Final = "configuration"
REGISTER: Final = "configuration::register"
GET: Final = "configuration::get"

PATIENCE: Final = 10.0
"""Seconds for a call of the configuration worker."""

ADAPTER_SCHEMA: Final = {
    "type": ["object", "null"],
    "properties": {"name": {"type": "string"}, "config": {"type": ["object", "null"]}},
    "required": ["name"],
    "additionalProperties": False,
}


def settings_schema(spec: BuiltinSpec) -> dict[str, JSON]:
    """The JSON Schema of a worker's ``config`` block; unknown keys do not fit."""
    schema = msgspec.json.schema(spec.config_class)
    for definition in schema["$defs"].values():
        definition["additionalProperties"] = False
        summary, _, _ = definition.get("description", "").partition("\n")
        definition["description"] = summary
    if spec.stores:
        own = schema["$defs"][spec.config_class.__name__]
        own["properties"]["adapter"] = ADAPTER_SCHEMA
    return schema


@final
@attrs.define(eq=False)
class Settings:
    """The settings of an app's entries.

    Attributes:
        checks: by configuration id, what raises `ConfigError` for a value that the
            entry could not run with; the configuration worker looks at it.
        changed: set when an entry may have to change; see `take_changes`.
    """

    _specs: Mapping[str, BuiltinSpec]
    checks: dict[str, Callable[[JSON], object]] = attrs.field(init=False, factory=dict)
    changed: trio.Event = attrs.field(init=False, factory=trio.Event)
    _declared: dict[str, WorkerEntry] = attrs.field(init=False, factory=dict)
    _changes: dict[str, bool] = attrs.field(init=False, factory=dict)

    def take_changes(self) -> Mapping[str, bool]:
        """Entries whose settings changed since the last time.

        Returns:
            By key, whether the settings must be declared again.
        """
        self.changed = trio.Event()
        changes, self._changes = self._changes, {}
        return changes

    def note_restart(self) -> None:
        """Note that the configuration worker knows of no schema any more."""
        self._changes |= dict.fromkeys(self._declared, True)
        self.changed.set()

    def note_changed(self, key: str, *, lost: bool = False) -> None:
        """Note that an entry may have to run with other settings.

        Args:
            key: which.
            lost: they must be declared again.
        """
        self._changes[key] = lost or self._changes.get(key, False)
        self.changed.set()

    async def declare(self, worker: Worker, declared: WorkerEntry) -> WorkerEntry:
        """Declare an entry's settings and watch them; give it as it should run now.

        Args:
            worker: the entry's own.
            declared: the entry as it is in the config file; it is what comes back if
                nothing else was set, or if what was set cannot be used (logged).
        """
        await trio.lowlevel.checkpoint()
        spec = self._specs[declared.kind]
        if not spec.has_settings or not worker.exists(REGISTER, "default"):
            return declared
        self.forget(self._declared.get(declared.key, declared))
        self._declared[declared.key] = declared
        self.checks[declared.name] = partial(bundled_entry, spec, declared.name)
        seed = {
            "id": declared.name,
            "name": declared.name,
            "description": spec.description,
            "schema": settings_schema(spec),
            "seed": dict(declared.block),
        }
        try:
            await worker.invoke(REGISTER, seed, namespace="default", deadline=PATIENCE)
            await self._watch(worker, declared)
        except InvocationError as exc:
            logger.error(  # noqa: TRY400 - it says all there is
                "the settings of %s could not be declared, those of the config file "
                "hold: %s",
                declared.key,
                exc,
            )
            return declared
        return await self.read(worker, declared) or declared

    async def read(self, worker: Worker, declared: WorkerEntry) -> WorkerEntry | None:
        """Read an entry's settings; ``None`` if they cannot be used (logged)."""
        await trio.lowlevel.checkpoint()
        asked = {"id": declared.name}
        try:
            found = await worker.invoke(
                GET, asked, namespace="default", deadline=PATIENCE
            )
            spec = self._specs[declared.kind]
            return bundled_entry(spec, declared.name, found["value"])
        except (InvocationError, ConfigError) as exc:
            logger.error(  # noqa: TRY400 - it says all there is
                "configuration %r cannot be used: %s", declared.name, exc
            )
            return None

    async def _watch(self, worker: Worker, declared: WorkerEntry) -> None:
        async def on_config_change() -> JSON:
            await trio.lowlevel.checkpoint()
            self.note_changed(declared.key)
            return {"ok": True}

        function_id = f"{declared.kind}::on-config-change"
        worker.register_function(
            function_id, on_config_change, metadata={"internal": True}
        )
        await worker.bind(
            CONFIGURATION,
            function_id,
            {
                "configuration_id": declared.name,
                "event_types": ["configuration:updated"],
            },
            trigger_id=f"{declared.kind}::config-watch",
        )

    def forget(self, declared: WorkerEntry) -> None:
        """Let others use the configuration of an entry that does not run any more."""
        self._declared.pop(declared.key, None)
        self.checks.pop(declared.name, None)
