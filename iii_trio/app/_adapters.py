"""Where an entry's data rests, from the ``adapter`` block of its configuration. Pure.

The names of the reference engine map to ours; what does not exist yet says so.
"""

from typing import Any, Final, Literal

import attrs

from iii_trio.app._structure import nearest, structure
from iii_trio.errors import ConfigError
from iii_trio.protocol import check_engine_url


@attrs.frozen
class OtherEngine:
    """Data is kept by another engine, and its functions are asked for it."""

    url: str


StoreKind = Literal["sqlite", "memory"]
Backend = StoreKind | OtherEngine


@attrs.frozen(kw_only=True)
class _AdapterConfig:
    name: str
    config: dict[str, Any] | None = None


@attrs.frozen(kw_only=True)
class _KVConfig:
    """The settings of the reference's ``kv``; only the first has a meaning here."""

    store_method: str = "file_based"
    file_path: str | None = None
    save_interval_ms: int | None = None
    channel_size: int | None = None


def _url(_config: object, _field: "attrs.Attribute[str]", value: str) -> None:
    check_engine_url(value)


@attrs.frozen(kw_only=True)
class _BridgeConfig:
    """The settings of ``bridge``."""

    bridge_url: str = attrs.field(default="ws://localhost:49134", validator=_url)


@attrs.frozen(kw_only=True)
class _FilesConfig:
    """The settings of the reference's ``fs``."""

    directory: str | None = None


_OURS: Final[dict[str, StoreKind]] = {"sqlite": "sqlite", "memory": "memory"}
_STORE_METHODS: Final[dict[str, StoreKind]] = {
    "file_based": "sqlite",
    "in_memory": "memory",
}
_NOT_YET: Final = ("redis", "bridge", "rabbitmq")


def choose_backend(
    adapter: object, path: str, *, bridges: bool
) -> tuple[Backend, str | None]:
    """Choose a backend; give a note for the log with it, if there is something to say.

    Nothing given means durable, and so does ``kv`` without ``store_method``: volatile
    data has to be asked for.

    Args:
        adapter: the block, ``None`` if absent.
        path: where it is, for errors.
        bridges: whether the worker can do without a store, with another engine.

    Raises:
        ConfigError: an adapter that does not exist, or not yet, or a setting of it.
    """
    if adapter is None:
        return "sqlite", None
    chosen = structure(adapter, _AdapterConfig, path)
    settings = chosen.config or {}
    if chosen.name in ("kv", "builtin"):
        return _kv_backend(settings, f"{path}.config")
    if chosen.name == "fs":
        return _files_backend(settings, f"{path}.config")
    if chosen.name == "bridge" and bridges:
        bridge = structure(settings, _BridgeConfig, f"{path}.config")
        return OtherEngine(bridge.bridge_url), None
    if chosen.name in _OURS:
        for key in settings:
            raise ConfigError("unknown key", path=f"{path}.config.{key}")
        return _OURS[chosen.name], None
    if chosen.name in _NOT_YET:
        known = (*_OURS, *(("bridge",) if bridges else ()))
        msg = (
            f"adapter {chosen.name!r} is not available in this version of iii-trio; "
            f"available: {', '.join(map(repr, known))}"
        )
        raise ConfigError(msg, path=f"{path}.name")
    hint = nearest(chosen.name, (*_OURS, "kv"))
    raise ConfigError(f"unknown adapter {chosen.name!r}{hint}", path=f"{path}.name")


def _kv_backend(settings: object, path: str) -> tuple[StoreKind, str | None]:
    kv = structure(settings, _KVConfig, path)
    backend = _STORE_METHODS.get(kv.store_method)
    if backend is None:
        msg = f"expected one of {', '.join(_STORE_METHODS)}, got {kv.store_method!r}"
        raise ConfigError(msg, path=f"{path}.store_method")
    if backend == "sqlite" and kv.file_path is not None:
        note = f"{path}.file_path: ignored, all durable data rests in one file"
        return backend, note
    return backend, None


def _files_backend(settings: object, path: str) -> tuple[StoreKind, str | None]:
    files = structure(settings, _FilesConfig, path)
    if files.directory is None:
        return "sqlite", None
    note = f"{path}.directory: ignored, all durable data rests in one file"
    return "sqlite", note
