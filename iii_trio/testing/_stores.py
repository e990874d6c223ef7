"""Conformance check of key-value stores: every implementation must pass it."""

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

import trio

from iii_trio.adapters import Change, KeyValueStore
from iii_trio.testing._checking import (
    check_cancelled_read,
    check_cancelled_write,
    expect,
    expect_from,
    refuse_full,
)

OpenStore = Callable[[], AbstractAsyncContextManager[KeyValueStore]]

LONG: Final = "long" * 100

AWKWARD: Final = (
    "",
    " ",
    ".",
    "..",
    "a:b",
    "a/b",
    "%",
    "_",
    "*",
    "it's",
    "\n",
    "\x00",
    "a\x00b",
    "\u00e9",
    "e\u0301",
    "\u212b",
    "\u00c5",
    "😀",
    "A",
    "a",
    "a ",
    "0",
    "00",
    f"{LONG}1",
    f"{LONG}2",
)
"""Names that break stores which build paths or patterns out of them, or shorten or
normalise them."""

KEPT: Final = "values are kept as they are, byte by byte"
CHANGE: Final = "a write tells the value before it and after it"
ABSENT: Final = "an absent key has no value"
EMPTY_SPACE: Final = "a space is there exactly as long as it has keys"
ORDER: Final = "items come in the order in which their keys were first inserted"
UPDATE: Final = "update gives the old value to the change and stores what it returns"
REFUSED: Final = "an exception of the change passes to the caller, nothing changed"
SORTED: Final = "spaces are sorted by code point"
NAMES: Final = "names of spaces and keys are any text, each different from each other"
ALONE: Final = "writes at the same time to different keys leave each other alone"
ATOMIC: Final = (
    "writes of a key are atomic: each replaces the value that it tells as old"
)
DURABLE: Final = "what was written is there when the store is opened again"


async def check_kv_store(open_store: OpenStore, *, durable: bool = False) -> None:
    """Check everything that `KeyValueStore` promises.

    Args:
        open_store: gives an async context manager that yields the store; empty at the
            first time. If it is durable, opening again must give the same data.
        durable: check also that data is still there when it is opened again.

    Raises:
        AssertionError: a promise is broken; the text names it, and what was seen.
        ValueError: the store is not empty.
    """
    async with open_store() as store:
        refuse_full(await store.spaces())
        for check in (
            _check_absence,
            _check_values,
            _check_update,
            _check_refusals,
            _check_order,
            _check_names,
            _check_atomic_updates,
            _check_neighbours,
            _check_vanishing_space,
            _check_atomic_writes,
            _check_checkpoints,
            _check_cancelled_writes,
        ):
            await check(store)
            await _empty(store)
        await _fill(store)
    if durable:
        async with open_store() as store:
            await _check_filled(store)


async def _empty(store: KeyValueStore) -> None:
    for space in await store.spaces():
        for key, _ in await store.items(space):
            await store.delete(space, key)
    await expect_from(EMPTY_SPACE, [], store.spaces)


async def _check_absence(store: KeyValueStore) -> None:
    await expect_from(ABSENT, None, store.get, "s", "k")
    await expect_from(ABSENT, [], store.items, "s")
    await expect_from(EMPTY_SPACE, [], store.spaces)
    await expect_from(CHANGE, Change(None, None), store.delete, "s", "k")
    await expect_from(CHANGE, Change(None, None), store.update, "s", "k", _leave)
    await expect_from(EMPTY_SPACE, [], store.spaces)


async def _check_values(store: KeyValueStore) -> None:
    large = b'"' + b"x" * 3_000_000 + b'"'
    old = None
    for new in (b"null", large, b" 1e0 ", b"", bytes(range(256)), b"1"):
        await expect_from(CHANGE, Change(old, new), store.set, "s", "k", new)
        await expect_from(KEPT, new, store.get, "s", "k")
        await expect_from(KEPT, [("k", new)], store.items, "s")
        await expect_from(CHANGE, Change(new, new), store.update, "s", "k", _leave)
        old = new
    await expect_from(ABSENT, None, store.get, "s", "other")
    await expect_from(ABSENT, None, store.get, "t", "k")
    await expect_from(CHANGE, Change(b"1", None), store.delete, "s", "k")
    await expect_from(ABSENT, None, store.get, "s", "k")
    await expect_from(EMPTY_SPACE, [], store.spaces)


async def _check_update(store: KeyValueStore) -> None:
    old = None
    for new in (b"1", b"11", b"", b"2"):
        seen: list[bytes | None] = []
        change = partial(_note_and_give, seen, new)
        await expect_from(CHANGE, Change(old, new), store.update, "s", "k", change)
        expect(UPDATE, "what the change was given", seen, [old])
        await expect_from(UPDATE, new, store.get, "s", "k")
        await expect_from(CHANGE, Change(new, new), store.update, "s", "k", _leave)
        await expect_from(UPDATE, new, store.get, "s", "k")
        old = new


def _leave(_old: bytes | None) -> None:
    """Leave a value as it is."""


def _note_and_give(seen: list[bytes | None], new: bytes, old: bytes | None) -> bytes:
    seen[:] = [old]  # it may be run again: the last time counts
    return new


async def _check_refusals(store: KeyValueStore) -> None:
    refusal = LookupError("refused")

    def refuse(_old: bytes | None) -> bytes:
        raise refusal

    await store.set("s", "k", b"1")
    for key in ("k", "new"):
        caught: Exception | None = None
        try:
            await store.update("s", key, refuse)
        except LookupError as exc:
            caught = exc
        expect(REFUSED, f"update('s', {key!r}, refuse)", caught is refusal, True)
    await expect_from(REFUSED, [("k", b"1")], store.items, "s")


async def _check_order(store: KeyValueStore) -> None:
    for key in ("c", "a", "b", "d"):
        await store.set("s", key, b"0")
    await store.update("s", "0", lambda _old: b"0")
    await store.set("s", "a", b"1")
    await store.update("s", "c", lambda _old: b"2")
    await store.delete("s", "d")
    rows = [("c", b"2"), ("a", b"1"), ("b", b"0"), ("0", b"0")]
    await expect_from(ORDER, rows, store.items, "s")
    await store.delete("s", "c")
    await store.set("s", "c", b"3")
    rows = [*rows[1:], ("c", b"3")]
    await expect_from(ORDER, rows, store.items, "s")


async def _check_names(store: KeyValueStore) -> None:
    for number, name in enumerate(AWKWARD):
        await store.set(name, "k", b"%d" % number)
        await store.set("keys", name, b"%d" % number)
    for number, name in enumerate(AWKWARD):
        await expect_from(NAMES, b"%d" % number, store.get, name, "k")
        await expect_from(NAMES, b"%d" % number, store.get, "keys", name)
    rows = await store.items("keys")
    for name, row in zip(AWKWARD, rows, strict=False):
        expect(NAMES, f"items('keys') for the key {name!r}", row[0], name)
    expect(NAMES, "the number of items('keys')", len(rows), len(AWKWARD))
    await expect_from(SORTED, sorted([*AWKWARD, "keys"]), store.spaces)


async def _check_atomic_updates(store: KeyValueStore) -> None:
    """Many tasks add at once: none is lost, and none fails because a neighbour does."""
    failed = 0

    def add(old: bytes | None) -> bytes:
        return b"%d" % (int(old or b"0") + 1)

    def fail(_old: bytes | None) -> bytes:
        raise LookupError

    async def add_or_fail(number: int) -> None:
        nonlocal failed
        try:
            await store.update("s", "n", fail if number % 5 == 0 else add)
        except LookupError:
            failed += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(add_or_fail, number)
    expect(REFUSED, "20 of 100 updates whose change raised", failed, 20)
    await expect_from(ATOMIC, b"80", store.get, "s", "n")


async def _check_neighbours(store: KeyValueStore) -> None:
    for number in range(10):
        await store.set("s", f"old {number}", b"0")
        await store.set("s", f"gone {number}", b"0")
        await store.set("s", f"more {number}", b"0")
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(store.set, "s", f"new {number}", b"1")
            nursery.start_soon(store.set, "s", f"old {number}", b"1")
            nursery.start_soon(store.delete, "s", f"gone {number}")
            for name in ("more", "made"):
                change = partial(_append, b"1")
                nursery.start_soon(store.update, "s", f"{name} {number}", change)
    wanted = {"new": b"1", "old": b"1", "more": b"0,1", "made": b",1"}
    rows = [(f"{name} {n}", value) for name, value in wanted.items() for n in range(10)]
    expect(ALONE, "sorted items('s')", sorted(await store.items("s")), sorted(rows))


async def _check_vanishing_space(store: KeyValueStore) -> None:
    """The last key of a space goes while another one comes, in either order."""
    for turn in range(20):
        await store.set("s", "going", b"0")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.delete, "s", "going")
            nursery.start_soon(store.set, "s", "coming", b"%d" % turn)
        await expect_from(ALONE, [("coming", b"%d" % turn)], store.items, "s")
        await store.delete("s", "coming")


async def _check_atomic_writes(store: KeyValueStore) -> None:
    """Sets, updates and deletes of one key at once have one order.

    No two of them write the same value, so each value that was there is told as old by
    exactly one write, except the last one; nothing was there before the first.
    """
    changes: list[Change] = []
    updates: list[tuple[bytes, Change]] = []

    async def write(number: int) -> None:
        for turn in range(16):
            mark = b"%d.%d" % (number, turn)
            match number % 4:
                case 1:
                    change = await store.update("s", "k", partial(_append, mark))
                    updates.append((mark, change))
                case 3:
                    change = await store.delete("s", "k")
                case _:
                    change = await store.set("s", "k", mark)
            changes.append(change)

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(write, number)
    for mark, change in updates:
        what = f"update('s', 'k', append {mark!r}) that told {change.old!r} as old"
        expect(ATOMIC, what, change.new, _append(mark, change.old))
    last = await store.get("s", "k")
    replaced = Counter([*(change.old for change in changes), last])
    written = Counter([None, *(change.new for change in changes)])
    what = "writes of 's', 'k' at once: values that were replaced but not written"
    expect(ATOMIC, what, list((replaced - written).elements()), [])
    what = "writes of 's', 'k' at once: values that went without being told as old"
    expect(ATOMIC, what, list((written - replaced).elements()), [])


def _append(mark: bytes, old: bytes | None) -> bytes:
    return (old or b"") + b"," + mark


async def _check_checkpoints(store: KeyValueStore) -> None:
    await store.set("s", "k", b"0")
    await check_cancelled_read(store.get, "s", "k")
    await check_cancelled_read(store.items, "s")
    await check_cancelled_read(store.spaces)


async def _check_cancelled_writes(store: KeyValueStore) -> None:
    async def prepare() -> None:
        await _empty(store)
        await store.set("s", "k", b"old")
        await store.set("s", "l", b"0")

    async def look() -> list[tuple[str, bytes]]:
        return await store.items("s") + await store.items("t")

    async def check(
        after: list[tuple[str, bytes]],
        method: Callable[..., Awaitable[Change]],
        *args: object,
    ) -> None:
        await check_cancelled_write(
            method, *args, prepare=prepare, look=look, after=after
        )

    def change(_old: bytes | None) -> bytes:
        return b"changed"

    kept = ("l", b"0")
    old = ("k", b"old")
    await check([("k", b"new"), kept], store.set, "s", "k", b"new")
    await check([old, kept, ("m", b"new")], store.set, "t", "m", b"new")
    await check([("k", b"changed"), kept], store.update, "s", "k", change)
    await check([old, kept, ("m", b"changed")], store.update, "t", "m", change)
    await check([kept], store.delete, "s", "k")


async def _fill(store: KeyValueStore) -> None:
    for key in ("b", "a", "gone", "c"):
        await store.set("kept", key, b"1")
    await store.set("kept", "b", b"2")
    await store.update("kept", "a", lambda _old: b"3")
    await store.update("kept", "made", lambda _old: b"")
    await store.delete("kept", "gone")
    await store.set("gone", "k", b"1")
    await store.delete("gone", "k")
    for name in AWKWARD:
        await store.set(f"in {name}", name, name.encode())


async def _check_filled(store: KeyValueStore) -> None:
    rows = [("b", b"2"), ("a", b"3"), ("c", b"1"), ("made", b"")]
    await expect_from(DURABLE, rows, store.items, "kept")
    for name in AWKWARD:
        row = (name, name.encode())
        await expect_from(DURABLE, [row], store.items, f"in {name}")
    spaces = sorted(["kept", *(f"in {name}" for name in AWKWARD)])
    await expect_from(DURABLE, spaces, store.spaces)
    await store.set("kept", "later", b"4")
    await store.update("kept", "b", lambda _old: b"5")
    rows = [("b", b"5"), *rows[1:], ("later", b"4")]
    await expect_from(ORDER, rows, store.items, "kept")
