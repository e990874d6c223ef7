"""The ``stream::*`` functions: from payloads to data and back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import attrs
import msgspec
import trio

from iii_trio.adapters import Change
from iii_trio.builtins._payloads import structure_input
from iii_trio.builtins.stream import _events as events
from iii_trio.builtins.stream._data import StreamData
from iii_trio.builtins.stream._inputs import (
    GroupInput,
    ItemInput,
    ListAllInput,
    Place,
    SendInput,
    SetInput,
    StreamInput,
    UpdateInput,
)
from iii_trio.builtins.stream._providers import ProviderError
from iii_trio.errors import AdapterError, FunctionFailedError
from iii_trio.worker import NULL

JSON = Any


@final
@attrs.define(eq=False, kw_only=True)
class StreamFunctions:
    """The functions. Errors have the codes of the reference engine."""

    _data: StreamData
    _tell: Callable[[Place, JSON], None]

    def by_id(self) -> Mapping[str, Callable[..., Any]]:
        """Handlers by function id."""
        return {
            "stream::set": self.set,
            "stream::get": self.get,
            "stream::delete": self.delete,
            "stream::update": self.update,
            "stream::list": self.list,
            "stream::list_groups": self.list_groups,
            "stream::list_all": self.list_all,
            "stream::send": self.send,
        }

    async def set(self, payload: JSON) -> JSON:
        """``stream::set``."""
        given = structure_input("stream::set", payload, SetInput)
        with _failing_as("STREAM_SET_ERROR", "Failed to set value"):
            change = await self._data.set(_place(given), given.data)
        return _old_and_new(change)

    async def get(self, payload: JSON) -> JSON:
        """``stream::get``."""
        given = structure_input("stream::get", payload, ItemInput)
        with _failing_as("STREAM_GET_ERROR", "Failed to get value"):
            return _result(await self._data.get(_place(given)))

    async def delete(self, payload: JSON) -> JSON:
        """``stream::delete``."""
        given = structure_input("stream::delete", payload, ItemInput)
        with _failing_as("STREAM_DELETE_ERROR", "Failed to delete value"):
            change = await self._data.delete(_place(given))
        return {"old_value": _present(change.old)}

    async def update(self, payload: JSON) -> JSON:
        """``stream::update``."""
        given = structure_input("stream::update", payload, UpdateInput)
        with _failing_as("STREAM_UPDATE_ERROR", "Failed to update value"):
            updated = await self._data.update(_place(given), given.ops, payload["ops"])
        result = _old_and_new(updated.change)
        if updated.errors:
            result["errors"] = updated.errors
        return result

    async def list(self, payload: JSON) -> JSON:
        """``stream::list``."""
        given = structure_input("stream::list", payload, GroupInput)
        with _failing_as("STREAM_GET_GROUP_ERROR", "Failed to get group"):
            place = Place(given.stream_name, given.group_id)
            return _result(await self._data.items(place))

    async def list_groups(self, payload: JSON) -> JSON:
        """``stream::list_groups``."""
        given = structure_input("stream::list_groups", payload, StreamInput)
        with _failing_as("STREAM_LIST_GROUPS_ERROR", "Failed to list groups"):
            return _result(await self._data.groups(given.stream_name))

    async def list_all(self, payload: JSON) -> JSON:
        """``stream::list_all``."""
        structure_input("stream::list_all", payload, ListAllInput)
        with _failing_as("STREAM_LIST_ALL_ERROR", "Failed to list stream"):
            streams = await self._data.streams()
        listed = [{"id": name, "groups": groups} for name, groups in streams.items()]
        return {"stream": listed, "count": len(listed)}

    async def send(self, payload: JSON) -> JSON:
        """``stream::send``."""
        given = structure_input("stream::send", payload, SendInput)
        place = Place(given.stream_name, given.group_id, given.id)
        # Calls begin in the order in which they were made; after a wait they have none.
        self._tell(place, events.sent(given.type, given.data))
        await trio.lowlevel.checkpoint()
        return NULL


def _place(given: SetInput | ItemInput | UpdateInput) -> Place:
    return Place(given.stream_name, given.group_id, given.item_id)


@contextmanager
def _failing_as(code: str, message: str) -> Iterator[None]:
    """Give failures of the store or a provider the wire code of the function."""
    try:
        yield
    except (AdapterError, ProviderError) as exc:
        raise FunctionFailedError(f"{message}: {exc}", code=code) from exc


def _present(value: bytes | None) -> JSON:
    """A value inside of a result, where an absent one is null."""
    return None if value is None else msgspec.Raw(value)


def _result(value: bytes | None) -> JSON:
    """A value as the whole result, where an absent one is no result."""
    if value is None:
        return None
    return NULL if value == b"null" else msgspec.Raw(value)


def _old_and_new(change: Change) -> dict[str, JSON]:
    return {"old_value": _present(change.old), "new_value": _present(change.new)}
