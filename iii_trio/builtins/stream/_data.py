"""The data of streams: a custom provider if there is one, else the store.

Whoever writes tells the event before the next write of the same item begins.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, final

import attrs
import msgspec

from iii_trio.adapters import Change, KeyValueStore
from iii_trio.builtins._update_ops import UpdateError, UpdateOp, apply_update
from iii_trio.builtins.stream import _events as events
from iii_trio.builtins.stream._inputs import Deleted, Place, Written
from iii_trio.builtins.stream._order import WriteOrder
from iii_trio.builtins.stream._providers import ProviderError, Providers
from iii_trio.builtins.stream._remote import RemoteStreams
from iii_trio.errors import FunctionFailedError

JSON = Any

encode: Final = msgspec.json.encode
decode: Final = msgspec.json.decode


@attrs.frozen
class Updated:
    """What an update did, and the operations that were skipped."""

    change: Change
    errors: list[JSON]


def space_of(stream_name: str, group_id: str) -> str:
    """Where the store keeps a group; names may hold any character."""
    return encode([stream_name, group_id]).decode()


@final
@attrs.define(eq=False, kw_only=True)
class StreamData:
    """Reads and writes. ``tell`` gets every event; it is sync."""

    _store: KeyValueStore | None
    _providers: Providers | RemoteStreams
    _tell: Callable[[Place, JSON], None]
    _order: WriteOrder = attrs.field(factory=WriteOrder)

    @property
    def _kept(self) -> KeyValueStore:
        assert self._store is not None, "what takes its place always answers"
        return self._store

    async def set(self, place: Place, data: JSON) -> Change:
        """Store a value."""
        fields = {**_fields(place), "data": data}
        async with self._order.changing(place):
            answer = await self._providers.write("set", fields, Written)
            if answer is not None:
                return self._told(place, _change(answer))
            assert place.item_id is not None
            async with self._order.writing(place):
                return self._told(
                    place,
                    await self._kept.set(_space(place), place.item_id, encode(data)),
                )

    async def delete(self, place: Place) -> Change:
        """Remove a value."""
        async with self._order.changing(place):
            answer = await self._providers.write("delete", _fields(place), Deleted)
            if answer is not None:
                return self._told(place, Change(_present(answer.old_value), None))
            assert place.item_id is not None
            async with self._order.writing(place):
                return self._told(
                    place, await self._kept.delete(_space(place), place.item_id)
                )

    async def update(self, place: Place, ops: list[UpdateOp], raw: JSON) -> Updated:
        """Apply operations in one step.

        Args:
            place: the item.
            ops: what to do.
            raw: the same as JSON, for a provider.
        """
        fields = {**_fields(place), "ops": raw}
        async with self._order.changing(place):
            answer = await self._providers.write("update", fields, Written)
            if answer is not None:
                return Updated(self._told(place, _change(answer)), answer.errors)
            if self._providers.has("set", place.stream_name):
                updated = await self._update_by_hand(place, ops)
                if updated is not None:
                    return updated
            return await self._update_stored(place, ops)

    async def get(self, place: Place, *, deadline: float | None = None) -> bytes | None:
        """A value; ``None`` if there is none, or the provider gave no result."""
        answer = await self._providers.read("get", _fields(place), deadline=deadline)
        if answer is not None:
            return answer or None
        assert place.item_id is not None
        return await self._kept.get(_space(place), place.item_id)

    async def items(
        self, place: Place, *, deadline: float | None = None
    ) -> bytes | None:
        """The values of a group, as JSON text; ``None``: the provider gave no result."""
        fields = {"stream_name": place.stream_name, "group_id": place.group_id}
        answer = await self._providers.read("list", fields, deadline=deadline)
        if answer is not None:
            return answer or None
        items = await self._kept.items(_space(place))
        return encode([msgspec.Raw(value) for _, value in items])

    async def groups(self, stream_name: str) -> bytes | None:
        """The groups of a stream, as JSON text; ``None`` as in `items`."""
        fields = {"stream_name": stream_name}
        answer = await self._providers.read("list_groups", fields)
        if answer is not None:
            return answer or None
        return encode((await self.streams()).get(stream_name, []))

    async def streams(self) -> dict[str, list[str]]:
        """The groups of every stream that the store holds, both sorted."""
        elsewhere = await self._providers.streams()
        if elsewhere is not None:
            return elsewhere
        found: dict[str, list[str]] = {}
        for space in await self._kept.spaces():
            stream_name, group_id = decode(space)
            found.setdefault(stream_name, []).append(group_id)
        return {name: sorted(found[name]) for name in sorted(found)}

    async def snapshot(
        self,
        place: Place,
        deadline: float,
        subscribe: Callable[[], None],
        go_live: Callable[[bytes], None],
    ) -> None:
        """Subscribe, read an item or a group as JSON text, and hand it on.

        Stored data does not change in between; a provider's may.

        Args:
            place: the item or group.
            deadline: seconds that a provider may take.
            subscribe: called when the reading begins: what is told later may be new.
            go_live: called in the step that ends the reading.

        Raises:
            AdapterError: the store failed; subscribed all the same.
            FunctionFailedError: the provider failed; subscribed all the same.
        """
        operation = "list" if place.item_id is None else "get"
        if self._providers.has(operation, place.stream_name):
            subscribe()
            go_live(await self._read(place, deadline))
            return
        async with self._order.snapshot(place):
            subscribe()
            go_live(await self._read(place, deadline))

    async def _read(self, place: Place, deadline: float) -> bytes:
        read = self.items if place.item_id is None else self.get
        return await read(place, deadline=deadline) or b"null"

    async def _update_stored(self, place: Place, ops: list[UpdateOp]) -> Updated:
        errors: list[UpdateError] = []

        def apply(old: bytes | None) -> bytes:
            before = None if old is None else decode(old)
            updated = apply_update(before, ops, exists=old is not None)
            errors[:] = updated.errors
            return encode(updated.value)

        assert place.item_id is not None
        async with self._order.writing(place):
            change = await self._kept.update(_space(place), place.item_id, apply)
            self._told(place, change)
        return Updated(change, [error.to_json() for error in errors])

    async def _update_by_hand(
        self, place: Place, ops: list[UpdateOp]
    ) -> Updated | None:
        """For providers that set but do not update, as those of the SDKs."""
        try:
            old = await self._providers.read("get", _fields(place))
        except FunctionFailedError as exc:
            raise ProviderError(f"Failed to invoke function: {exc}") from exc
        exists = old not in (None, b"", b"null")
        before = decode(old) if old and exists else None
        updated = apply_update(before, ops, exists=exists)
        fields = {**_fields(place), "data": updated.value}
        answer = await self._providers.write("set", fields, Written)
        if answer is None:
            return None
        errors = [error.to_json() for error in updated.errors]
        return Updated(self._told(place, _change(answer)), errors)

    def _told(self, place: Place, change: Change) -> Change:
        """Tell a change in the step that ends its write: the next may be cancelled."""
        if change.new is not None:
            existed = change.old is not None
            new = msgspec.Raw(change.new)
            self._tell(place, events.written(new, existed=existed))
        elif change.old is not None:
            self._tell(place, events.deleted(msgspec.Raw(change.old)))
        return change


def _space(place: Place) -> str:
    return space_of(place.stream_name, place.group_id)


def _fields(place: Place) -> Mapping[str, JSON]:
    return {
        "stream_name": place.stream_name,
        "group_id": place.group_id,
        "item_id": place.item_id,
    }


def _change(answer: Written) -> Change:
    return Change(_present(answer.old_value), encode(answer.new_value))


def _present(value: JSON) -> bytes | None:
    return None if value is None else encode(value)
