"""Writes of one kind in one batch: as if each were done alone, in few statements."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import apsw
import pytest
import trio

from iii_trio.adapters.sqlite import SQLiteStores, open_sqlite
from iii_trio.errors import AdapterError
from tests.integration.sqlite_rig import Gate, insert, keys

pytestmark = pytest.mark.slow


def insert_all(connection: apsw.Connection, names: Sequence[str]) -> list[str]:
    """Inserts that share a call; what each is told names all of that call."""
    for name in names:
        insert(connection, name)
    return [f"{name} of {' '.join(names)}" for name in names]


async def test_writes_of_one_kind_that_follow_each_other_are_done_together(
    tmp_path: Path,
) -> None:
    told: list[object] = []

    async def together(name: str) -> None:
        told.append(await stores.writer.submit_to(insert_all, name))

    async def alone(name: str) -> None:
        told.append(await stores.writer.submit(lambda c: insert(c, name)))

    gate = Gate()
    async with open_sqlite(tmp_path / "engine.db", run=gate) as stores:
        await gate.gather(
            partial(alone, "1"),
            partial(together, "a"),
            partial(together, "b"),
            partial(alone, "c"),
            partial(together, "d"),
        )
        assert await keys(stores) == ["1", "a", "b", "c", "d"]
    assert sorted(map(str, told)) == ["1", "4", "a of a b", "b of a b", "d of d"]


async def test_of_writes_done_together_one_that_fails_fails_alone(
    tmp_path: Path,
) -> None:
    results: list[object] = []

    async def one(stores: SQLiteStores, name: str) -> None:
        try:
            results.append(await stores.writer.submit_to(insert_all, name))
        except AdapterError as exc:
            results.append(type(exc.__cause__))
            await trio.lowlevel.checkpoint()

    async with open_sqlite(tmp_path / "engine.db") as stores:
        async with trio.open_nursery() as nursery:
            for name in ("a", "b", "a", "c"):
                nursery.start_soon(one, stores, name)
        assert sorted(await keys(stores)) == ["a", "b", "c"]
    assert results.count(apsw.ConstraintError) == 1
    assert sorted(r for r in results if isinstance(r, str)) == [
        "a of a",
        "b of b",
        "c of c",
    ]


async def test_sets_of_one_batch_are_as_if_made_one_after_another(
    tmp_path: Path,
) -> None:
    changes: list[tuple[bytes | None, bytes | None]] = []

    async def set_one(key: str, value: bytes) -> None:
        change = await store.set("s", key, value)
        changes.append((change.old, change.new))

    async def delete(key: str) -> None:
        change = await store.delete("s", key)
        changes.append((change.old, change.new))

    gate = Gate()
    async with open_sqlite(tmp_path / "engine.db", run=gate) as stores:
        store = stores.key_value("c")
        await store.set("s", "old", b"0")
        await gate.gather(
            partial(store.set, "s", "alone", b""),
            partial(set_one, "k1", b"1"),
            partial(set_one, "k2", b"2"),
            partial(set_one, "k1", b"3"),
            partial(set_one, "old", b"4"),
            partial(delete, "k2"),
            partial(set_one, "k2", b"5"),
            partial(set_one, "k1", b"6"),
        )
        items = await store.items("s")
    assert sorted(changes, key=str) == sorted(
        [
            (None, b"1"),
            (None, b"2"),
            (b"1", b"3"),
            (b"0", b"4"),
            (b"2", None),
            (None, b"5"),
            (b"3", b"6"),
        ],
        key=str,
    )
    assert items == [("old", b"4"), ("alone", b""), ("k1", b"6"), ("k2", b"5")]
