"""Conformance checks of stores: every implementation must pass them.

An ``open_store`` gives an async context manager that yields a store. Opening again must
give the same data if the backend is durable (``durable=True``).
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import trio

from iii_trio.adapters import Change, KeyValueStore

OpenStore = Callable[[], AbstractAsyncContextManager[KeyValueStore]]

AWKWARD = (
    "",
    " ",
    "a:b",
    "a/b",
    "%",
    "_",
    "it's",
    "\x00",
    "a\x00b",
    "é",
    "😀",
    "A",
    "a",
)
"""Names that break stores which build paths or patterns out of them."""


async def check_kv_store(open_store: OpenStore, *, durable: bool = False) -> None:
    """Check everything that `KeyValueStore` promises.

    Args:
        open_store: opens a store; empty at the first time.
        durable: check also that data is still there when it is opened again.

    Raises:
        AssertionError: a promise is broken.
    """
    async with open_store() as store:
        for check in (
            _check_absence,
            _check_values,
            _check_update,
            _check_order,
            _check_names,
            _check_atomic_updates,
            _check_checkpoints,
        ):
            await check(store)
            await _empty(store)
        await store.set("kept", "b", b"1")
        await store.set("kept", "a", b"2")
        await store.set("kept", "b", b"3")
    if durable:
        async with open_store() as store:
            assert await store.items("kept") == [("b", b"3"), ("a", b"2")]
            assert await store.spaces() == ["kept"]


async def _empty(store: KeyValueStore) -> None:
    for space in await store.spaces():
        for key, _ in await store.items(space):
            await store.delete(space, key)
    assert await store.spaces() == []


async def _check_absence(store: KeyValueStore) -> None:
    assert await store.get("s", "k") is None
    assert await store.items("s") == []
    assert await store.spaces() == []
    assert await store.delete("s", "k") == Change(None, None)
    assert await store.update("s", "k", lambda _old: None) == Change(None, None)
    assert await store.spaces() == [], "no write may leave an empty space"


async def _check_values(store: KeyValueStore) -> None:
    assert await store.set("s", "k", b"null") == Change(None, b"null")
    assert await store.get("s", "k") == b"null"
    large = b'"' + b"x" * 3_000_000 + b'"'
    assert await store.set("s", "k", large) == Change(b"null", large)
    assert await store.get("s", "k") == large
    assert await store.set("s", "k", b" 1e0 ") == Change(large, b" 1e0 ")
    assert await store.get("s", "k") == b" 1e0 ", "the text is kept as it is"
    assert await store.get("s", "other") is None
    assert await store.get("t", "k") is None
    assert await store.delete("s", "k") == Change(b" 1e0 ", None)
    assert await store.get("s", "k") is None
    assert await store.spaces() == [], "a space goes with its last key"


async def _check_update(store: KeyValueStore) -> None:
    seen: list[bytes | None] = []

    def change(old: bytes | None) -> bytes:
        seen.append(old)
        return b"1" if old is None else old + b"1"

    assert await store.update("s", "k", change) == Change(None, b"1")
    assert await store.update("s", "k", change) == Change(b"1", b"11")
    assert seen == [None, b"1"]
    assert await store.update("s", "k", lambda _old: None) == Change(b"11", b"11")

    refusal = LookupError("refused")

    def refuse(_old: bytes | None) -> bytes:
        raise refusal

    for key in ("k", "new"):
        caught: Exception | None = None
        try:
            await store.update("s", key, refuse)
        except LookupError as exc:
            caught = exc
        assert caught is refusal, "the exception of the change did not come through"
    assert await store.items("s") == [("k", b"11")]


async def _check_order(store: KeyValueStore) -> None:
    for key in ("c", "a", "b", "d"):
        await store.set("s", key, b"0")
    await store.set("s", "a", b"1")
    await store.update("s", "c", lambda _old: b"2")
    await store.delete("s", "d")
    assert await store.items("s") == [("c", b"2"), ("a", b"1"), ("b", b"0")]
    await store.delete("s", "c")
    await store.set("s", "c", b"3")
    assert await store.items("s") == [("a", b"1"), ("b", b"0"), ("c", b"3")]


async def _check_names(store: KeyValueStore) -> None:
    for number, name in enumerate(AWKWARD):
        await store.set(name, "k", b"%d" % number)
        await store.set("keys", name, b"%d" % number)
    for number, name in enumerate(AWKWARD):
        assert await store.get(name, "k") == b"%d" % number
    assert [key for key, _ in await store.items("keys")] == list(AWKWARD)
    assert await store.spaces() == sorted([*AWKWARD, "keys"])


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
    assert failed == 20
    assert await store.get("s", "n") == b"80"


async def _check_checkpoints(store: KeyValueStore) -> None:
    """Each method is a checkpoint, and a cancelled write did not happen."""
    await store.set("s", "k", b"0")
    for call in (
        lambda: store.get("s", "k"),
        lambda: store.set("s", "k", b"1"),
        lambda: store.delete("s", "k"),
        lambda: store.update("s", "k", lambda _old: b"1"),
        lambda: store.items("s"),
        store.spaces,
    ):
        with trio.CancelScope() as scope:
            scope.cancel(reason="checking that it is a checkpoint")
            await call()
        assert scope.cancelled_caught, "a method was no checkpoint"
    assert await store.items("s") == [("k", b"0")]
