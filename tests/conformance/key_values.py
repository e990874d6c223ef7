"""Key-value stores that keep the contract in their own way, or break one rule of it."""

import unicodedata
from collections.abc import Callable
from typing import Any

import trio

from iii_trio.adapters import Change

checkpoint = trio.lowlevel.checkpoint

Spaces = dict[str, dict[str, bytes]]
Modify = Callable[[bytes | None], bytes | None]


class Plain:
    """A right store, to be spoilt by the others."""

    def __init__(self) -> None:
        self.data: Spaces = {}

    async def get(self, space: str, key: str) -> bytes | None:
        await checkpoint()
        return self.value(space, key)

    async def set(self, space: str, key: str, value: bytes) -> Change:
        await checkpoint()
        return self.put(space, key, value)

    async def delete(self, space: str, key: str) -> Change:
        await checkpoint()
        return self.remove(space, key)

    async def update(self, space: str, key: str, change: Modify) -> Change:
        await checkpoint()
        return self.modify(space, key, change)

    async def items(self, space: str) -> list[tuple[str, bytes]]:
        await checkpoint()
        return list(self.data.get(space, {}).items())

    async def spaces(self) -> list[str]:
        await checkpoint()
        return sorted(self.data)

    def value(self, space: str, key: str) -> bytes | None:
        return self.data.get(space, {}).get(key)

    def put(self, space: str, key: str, value: bytes) -> Change:
        values = self.data.setdefault(space, {})
        old = values.get(key)
        values[key] = value
        return Change(old, value)

    def remove(self, space: str, key: str) -> Change:
        values = self.data.get(space, {})
        old = values.pop(key, None)
        if not values:
            self.data.pop(space, None)
        return Change(old, None)

    def modify(self, space: str, key: str, change: Modify) -> Change:
        old = self.value(space, key)
        new = change(old)
        return Change(old, old) if new is None else self.put(space, key, new)


# Right, each in its own way


class Slow(Plain):
    """Once a write has begun it is waited for, cancelled or not."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = trio.Lock()

    async def set(self, space: str, key: str, value: bytes) -> Change:
        async with self.lock:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            return self.put(space, key, value)

    async def delete(self, space: str, key: str) -> Change:
        async with self.lock:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            return self.remove(space, key)

    async def update(self, space: str, key: str, change: Modify) -> Change:
        async with self.lock:
            with trio.CancelScope(shield=True):
                await checkpoint()
            return self.modify(space, key, change)


class Rewriting(Slow):
    """Every write reads everything and writes it anew; until then it can be cancelled."""

    async def set(self, space: str, key: str, value: bytes) -> Change:
        async with self.lock:
            copy = {name: dict(values) for name, values in self.data.items()}
            old = copy.setdefault(space, {}).get(key)
            copy[space][key] = value
            await checkpoint()
            self.data = copy
            return Change(old, value)


# Wrong, each in one way


class FalseOld(Plain):
    def put(self, space: str, key: str, value: bytes) -> Change:
        return Change(None, super().put(space, key, value).new)


class EmptyIsAbsent(Plain):
    async def get(self, space: str, key: str) -> bytes | None:
        return await super().get(space, key) or None


class EmptyLeavesAsItIs(Plain):
    async def update(self, space: str, key: str, change: Modify) -> Change:
        return await super().update(space, key, lambda old: change(old) or None)


class Mutable(Plain):
    async def get(self, space: str, key: str) -> Any:
        value = await super().get(space, key)
        return None if value is None else bytearray(value)


class MutableItems(Plain):
    async def items(self, space: str) -> Any:
        return [(key, bytearray(value)) for key, value in await super().items(space)]


class MutableChange(Plain):
    def put(self, space: str, key: str, value: bytes) -> Any:
        return Change(super().put(space, key, value).old, bytearray(value))  # type: ignore[arg-type]


class Stripping(Plain):
    def put(self, space: str, key: str, value: bytes) -> Change:
        return Change(super().put(space, key, value.strip()).old, value)


class NoneDeletes(Plain):
    def modify(self, space: str, key: str, change: Modify) -> Change:
        old = self.value(space, key)
        new = change(old)
        if new is None:
            return self.remove(space, key)
        return self.put(space, key, new)


class BlindUpdate(Plain):
    def modify(self, space: str, key: str, change: Modify) -> Change:
        return super().modify(space, key, lambda _old: change(None))


class SwallowsRefusal(Plain):
    def modify(self, space: str, key: str, change: Modify) -> Change:
        try:
            return super().modify(space, key, change)
        except LookupError:
            return Change(None, None)


class WritesRefused(Plain):
    def modify(self, space: str, key: str, change: Modify) -> Change:
        try:
            return super().modify(space, key, change)
        except LookupError:
            self.put(space, key, b"refused")
            raise


class KeepsSpaces(Plain):
    def remove(self, space: str, key: str) -> Change:
        return Change(self.data.get(space, {}).pop(key, None), None)


class LastWrittenLast(Plain):
    def put(self, space: str, key: str, value: bytes) -> Change:
        old = self.data.setdefault(space, {}).pop(key, None)
        super().put(space, key, value)
        return Change(old, value)


class UpdatedFirst(Plain):
    def modify(self, space: str, key: str, change: Modify) -> Change:
        done = super().modify(space, key, change)
        if done.old is None and done.new is not None:
            self.data[space] = {key: done.new, **self.data[space]}
        return done


class SpacesAsTheyCame(Plain):
    async def spaces(self) -> list[str]:
        await checkpoint()
        return list(self.data)


class Renaming(Plain):
    @staticmethod
    def rename(name: str) -> str:
        raise NotImplementedError

    def value(self, space: str, key: str) -> bytes | None:
        return super().value(self.rename(space), self.rename(key))

    def put(self, space: str, key: str, value: bytes) -> Change:
        return super().put(self.rename(space), self.rename(key), value)


class Normalising(Renaming):
    @staticmethod
    def rename(name: str) -> str:
        return unicodedata.normalize("NFC", name)


class Folding(Renaming):
    @staticmethod
    def rename(name: str) -> str:
        return name.lower()


class Shortening(Renaming):
    @staticmethod
    def rename(name: str) -> str:
        return name[:255]


class Ending(Renaming):
    @staticmethod
    def rename(name: str) -> str:
        return name.partition("\x00")[0]


class SetTakesItsNeighbours(Plain):
    async def set(self, space: str, key: str, value: bytes) -> Change:
        values = dict(self.data.get(space, {}))
        await checkpoint()
        change = Change(values.get(key), value)
        self.data[space] = {**values, key: value}
        return change


class DeleteTakesItsNeighbours(Plain):
    async def delete(self, space: str, key: str) -> Change:
        values = dict(self.data.get(space, {}))
        await checkpoint()
        change = Change(values.pop(key, None), None)
        self.data[space] = values
        if not values:
            del self.data[space]
        return change


class DeleteTakesTheSpace(Plain):
    async def delete(self, space: str, key: str) -> Change:
        await checkpoint()
        if list(self.data.get(space, {})) != [key]:
            return self.remove(space, key)
        change = Change(self.data[space][key], None)
        await checkpoint()
        self.data.pop(space, None)
        return change


class UpdateForgetsSet(Plain):
    """Updates wait for each other, but not for sets."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = trio.Lock()

    async def update(self, space: str, key: str, change: Modify) -> Change:
        async with self.lock:
            old = self.value(space, key)
            new = change(old)
            await checkpoint()
            return Change(old, old) if new is None else self.put(space, key, new)


class UpdateForgetsUpdate(UpdateForgetsSet):
    async def update(self, space: str, key: str, change: Modify) -> Change:
        self.lock = trio.Lock()
        return await super().update(space, key, change)


class UpdateForgetsDelete(Plain):
    """As if the key were there still."""

    async def delete(self, space: str, key: str) -> Change:
        old = self.value(space, key)
        await checkpoint()
        self.remove(space, key)
        return Change(old, None)


class ShowsHalf(Plain):
    async def set(self, space: str, key: str, value: bytes) -> Change:
        await checkpoint()
        old = self.put(space, key, b"half").old
        await checkpoint()
        self.put(space, key, value)
        return Change(old, value)


class HalfSet(Plain):
    async def set(self, space: str, key: str, value: bytes) -> Change:
        await checkpoint()
        try:
            await checkpoint()
        except trio.Cancelled:
            self.put(space, key, value[:1])
            raise
        return self.put(space, key, value)


class HalfUpdate(Plain):
    async def update(self, space: str, key: str, change: Modify) -> Change:
        await checkpoint()
        try:
            await checkpoint()
        except trio.Cancelled:
            self.modify(space, key, lambda old: (change(old) or b"")[:1])
            raise
        return self.modify(space, key, change)


class HalfDelete(Plain):
    async def delete(self, space: str, key: str) -> Change:
        await checkpoint()
        try:
            await checkpoint()
        except trio.Cancelled:
            self.put(space, key, b"")
            raise
        return self.remove(space, key)


class SetThenCancelled(Plain):
    async def set(self, space: str, key: str, value: bytes) -> Change:
        change = self.put(space, key, value)
        await checkpoint()
        return change


class UpdateThenCancelled(Plain):
    async def update(self, space: str, key: str, change: Modify) -> Change:
        with trio.CancelScope(shield=True):
            done = await super().update(space, key, change)
        await checkpoint()
        return done


class CommitInAnotherTask(Plain):
    """The write goes on in another task when its caller has been cancelled."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__()
        self.nursery = nursery

    async def delete(self, space: str, key: str) -> Change:
        await checkpoint()
        done = trio.Event()
        changes: list[Change] = []

        async def work() -> None:
            changes.append(self.remove(space, key))
            await checkpoint()
            done.set()

        self.nursery.start_soon(work)
        await done.wait()
        return changes[0]


class SaysDoneWhenCancelled(Plain):
    async def set(self, space: str, key: str, value: bytes) -> Change:
        await checkpoint()
        await trio.lowlevel.cancel_shielded_checkpoint()
        if trio.current_effective_deadline() <= trio.current_time():
            return Change(self.value(space, key), value)
        return self.put(space, key, value)


# Wrong once they are opened again


class Disk(Plain):
    """Every opening begins with what was written."""

    def __init__(self, written: Spaces) -> None:
        super().__init__()
        self.written = written
        self.data = {space: dict(values) for space, values in written.items()}


class KeepsNothing(Disk):
    pass


class KeepsSets(Disk):
    def put(self, space: str, key: str, value: bytes) -> Change:
        change = super().put(space, key, value)
        self.written.setdefault(space, {})[key] = value
        return change

    def remove(self, space: str, key: str) -> Change:
        change = super().remove(space, key)
        self.written.get(space, {}).pop(key, None)
        if not self.written.get(space):
            self.written.pop(space, None)
        return change

    def modify(self, space: str, key: str, change: Modify) -> Change:
        old = self.value(space, key)
        new = change(old)
        return Change(old, old) if new is None else Plain.put(self, space, key, new)


class KeepsWhatWasDeleted(KeepsSets):
    modify = Plain.modify

    def remove(self, space: str, key: str) -> Change:
        return Plain.remove(self, space, key)


class KeepsNamesInPart(KeepsSets):
    modify = Plain.modify

    def put(self, space: str, key: str, value: bytes) -> Change:
        change = Plain.put(self, space, key, value)
        self.written.setdefault(space.strip(), {})[key.strip()] = value
        return change


class KeepsNoOrder(KeepsSets):
    modify = Plain.modify

    def put(self, space: str, key: str, value: bytes) -> Change:
        change = super().put(space, key, value)
        self.written[space] = dict(sorted(self.written[space].items()))
        return change
