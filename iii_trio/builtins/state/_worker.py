"""The state functions over a key-value store, and `serve_state`.

Writes are atomic in the store. Results carry stored values as the text that the store
holds, so that nothing is lost or reformatted on the way.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn, final

import attrs
import msgspec
import trio

from iii_trio.adapters import Change, KeyValueStore
from iii_trio.builtins._failures import FailingAs
from iii_trio.builtins._payloads import InputReader, structure_input
from iii_trio.builtins._remote_engine import (
    Connect,
    connect_by_url,
    open_remote_engine,
)
from iii_trio.builtins.state._config import StateConfig
from iii_trio.builtins.state._inputs import (
    CompareAndSetInput,
    KeyInput,
    ListGroupsInput,
    ListInput,
    SetInput,
    UpdateInput,
)
from iii_trio.builtins.state._remote import RemoteState
from iii_trio.builtins.state._schemas import (
    DESCRIPTIONS,
    EVENT_FORMAT,
    REQUEST_FORMATS,
    TRIGGER_CONFIG_FORMAT,
)
from iii_trio.builtins.state._triggers import TRIGGER_TYPE, StateTriggers
from iii_trio.builtins.state._updates import StoredUpdates, Updates
from iii_trio.errors import AdapterError, FunctionFailedError
from iii_trio.worker import NULL, Worker

JSON = Any

encode: Final = msgspec.json.encode
decode: Final = msgspec.json.decode

SET: Final = InputReader("state::set", SetInput)
SET_FAILS: Final = FailingAs("SET_ERROR", "Failed to set value")


@final
@attrs.define(eq=False)
class StateHandle:
    """What a running state worker offers to whoever serves it."""

    _state: "_State"

    def reconfigure(self, config: StateConfig) -> None:
        """Use other settings from the next call on."""
        self._state.config = config

    async def drain(self, grace: float) -> None:
        """Wait until the triggers of all writes were told, at most ``grace`` seconds."""
        with trio.move_on_after(grace):
            await self._state.wait_all_told()


async def serve_state(
    worker: Worker,
    config: StateConfig,
    *,
    store: KeyValueStore,
    task_status: trio.TaskStatus[StateHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Offer the ``state::*`` functions and the trigger type ``state``, until cancelled.

    Args:
        worker: what offers them.
        config: settings; changed later through the handle.
        store: where values rest; an answered write is as durable as the store is.
        task_status: gets a `StateHandle` once everything is registered.

    Raises:
        RegistrationError: another worker offers one of the functions.

    Cancellation: the functions and the trigger type are withdrawn.
    """
    updates = StoredUpdates(store)
    triggers = StateTriggers(worker)
    state = _State(config=config, store=store, updates=updates, triggers=triggers)
    with _registered(worker, state, triggers, brief=True):
        task_status.started(StateHandle(state))
        await trio.sleep_forever()
    raise AssertionError  # pragma: no cover - sleep_forever does not return


async def serve_bridged_state(
    worker: Worker,
    config: StateConfig,
    *,
    url: str,
    new_id: Callable[[], str],
    connect: Connect = connect_by_url,
    task_status: trio.TaskStatus[StateHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """`serve_state` where another engine keeps the values.

    Triggers fire on both engines, here for the writes that were made here.

    Args:
        worker: what offers the functions and the trigger type.
        config: settings; changed later through the handle.
        url: of the other engine.
        new_id: makes UUID text.
        connect: what the worker of the other engine attaches to.
        task_status: gets a `StateHandle` once everything is registered; the connection
            may come later.

    Raises:
        RegistrationError: another worker offers one of the functions.

    Cancellation: the functions and the trigger type are withdrawn.
    """
    async with open_remote_engine(
        url, name="iii-state-bridge", new_id=new_id, connect=connect
    ) as remote:
        data = RemoteState(remote)
        triggers = StateTriggers(worker)
        state = _State(config=config, store=data, updates=data, triggers=triggers)
        with _registered(worker, state, triggers, brief=False):
            task_status.started(StateHandle(state))
            await trio.sleep_forever()
    raise AssertionError  # pragma: no cover - sleep_forever does not return


@contextmanager
def _registered(
    worker: Worker, state: "_State", triggers: StateTriggers, *, brief: bool
) -> Iterator[None]:
    registered: list[str] = []
    worker.register_trigger_type(
        TRIGGER_TYPE,
        bind=triggers.bind,
        unbind=triggers.unbind,
        description="Writes to state: a key was created, updated or deleted.",
        config_format=TRIGGER_CONFIG_FORMAT,
        call_format=EVENT_FORMAT,
    )
    try:
        for function_id, handler in state.functions().items():
            worker.register_function(
                function_id,
                handler,
                description=DESCRIPTIONS[function_id],
                request_format=REQUEST_FORMATS[function_id],
                brief=brief,
            )
            registered.append(function_id)
        yield
    finally:
        for function_id in registered:
            worker.unregister_function(function_id)
        worker.unregister_trigger_type(TRIGGER_TYPE)


@attrs.define(eq=False, kw_only=True)
class _State:
    """The functions. A write's triggers are started in the step that ends the write."""

    config: StateConfig
    _store: KeyValueStore | RemoteState
    _updates: Updates
    _triggers: StateTriggers

    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """Handlers by function id."""
        return {
            "state::set": self.set,
            "state::get": self.get,
            "state::delete": self.delete,
            "state::update": self.update,
            "state::compare_and_set": self.compare_and_set,
            "state::list": self.list,
            "state::list_groups": self.list_groups,
        }

    async def wait_all_told(self) -> None:
        await self._triggers.wait_all_told()

    async def set(self, payload: msgspec.Raw) -> JSON:
        given = SET.read(payload)
        value = encode(given.value)
        if self.config.max_value_bytes is not None:
            self._check_size(value)
        try:
            change = await self._store.set(given.scope, given.key, value)
        except AdapterError as exc:
            raise SET_FAILS.failure(exc) from exc
        if self._triggers.bound:
            self._written(given.scope, given.key, change)
        old = b"null" if change.old is None else change.old
        return msgspec.Raw(b'{"old_value":%b,"new_value":%b}' % (old, value))

    async def get(self, payload: JSON) -> JSON:
        given = structure_input("state::get", payload, KeyInput)
        with FailingAs("GET_ERROR", "Failed to get value"):
            value = await self._store.get(given.scope, given.key)
        return _result(value)

    async def delete(self, payload: JSON) -> JSON:
        given = structure_input("state::delete", payload, KeyInput)
        with FailingAs("DELETE_ERROR", "Failed to delete value"):
            change = await self._store.delete(given.scope, given.key)
        self._fire("state:deleted", given.scope, given.key, change)
        return _result(change.old)

    async def update(self, payload: JSON) -> JSON:
        given = structure_input("state::update", payload, UpdateInput)
        with FailingAs("UPDATE_ERROR", "Failed to update value"):
            change, errors = await self._updates.update(given, payload["ops"])
        self._written(given.scope, given.key, change)
        result = _old_and_new(change)
        if errors:
            result["errors"] = errors
        return result

    async def compare_and_set(self, payload: JSON) -> JSON:
        given = structure_input("state::compare_and_set", payload, CompareAndSetInput)
        value = encode(given.value)
        self._check_size(value)
        with FailingAs("COMPARE_AND_SET_ERROR", "Failed to compare and set value"):
            swapped, change = await self._updates.compare_and_set(given, value)
        if swapped:
            self._written(given.scope, given.key, change)
        return {"swapped": swapped, "value": _present(change.new)}

    async def list(self, payload: JSON) -> JSON:
        given = structure_input("state::list", payload, ListInput)
        with FailingAs("LIST_ERROR", "Failed to list values"):
            items = await self._store.items(given.scope)
        return [msgspec.Raw(value) for _, value in items]

    async def list_groups(self, payload: JSON) -> JSON:
        structure_input("state::list_groups", payload, ListGroupsInput)
        with FailingAs("LIST_GROUPS_ERROR", "Failed to list groups"):
            return {"groups": await self._store.spaces()}

    def _check_size(self, text: bytes) -> None:
        limit = self.config.max_value_bytes
        if limit is not None and len(text) > limit:
            raise FunctionFailedError(
                f"value of {len(text)} bytes exceeds the configured max_value_bytes "
                f"limit of {limit}",
                code="VALUE_TOO_LARGE",
            )

    def _written(self, scope: str, key: str, change: Change) -> None:
        kind = "state:created" if change.old is None else "state:updated"
        self._fire(kind, scope, key, change)

    def _fire(self, kind: str, scope: str, key: str, change: Change) -> None:
        matching = self._triggers.matching(scope, key)
        if not matching or not self.config.triggers_enabled:
            return
        event = {
            "type": TRIGGER_TYPE,
            "event_type": kind,
            "scope": scope,
            "key": key,
            **_old_and_new(change),
        }
        self._triggers.fire(matching, event)


def _present(value: bytes | None) -> JSON:
    """A stored value inside of a result, where an absent one is null."""
    return None if value is None else msgspec.Raw(value)


def _result(value: bytes | None) -> JSON:
    """A stored value as the whole result, where an absent one is no result."""
    if value is None:
        return None
    return NULL if value == b"null" else msgspec.Raw(value)


def _old_and_new(change: Change) -> dict[str, JSON]:
    return {"old_value": _present(change.old), "new_value": _present(change.new)}
