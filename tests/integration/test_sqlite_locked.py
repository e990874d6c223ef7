"""Another program that has the file locked: a clear error, reads go on, nothing is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from iii_trio.adapters.sqlite import _schema, open_sqlite
from iii_trio.errors import AdapterError

pytestmark = pytest.mark.slow

ADVICE = "Another process has the file: stop it"


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits five seconds for the other program waits no time at all."""
    monkeypatch.setattr(_schema, "BUSY_TIMEOUT_MS", 1)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Write to the file for the length of a block, as a shell or a backup might."""
    other = apsw.Connection(str(path))
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


async def test_writes_are_refused_while_another_program_writes(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_sqlite(path) as stores:
        store = stores.key_value("state")
        await store.set("s", "k", b"1")
        with locked(path):
            with pytest.raises(AdapterError, match=ADVICE) as caught:
                await store.set("s", "k", b"2")
            assert str(path) in str(caught.value)
            assert await store.get("s", "k") == b"1"
        await store.set("s", "k", b"3")
    async with open_sqlite(path) as stores:
        assert await stores.key_value("state").get("s", "k") == b"3"


async def test_a_file_that_another_program_writes_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_sqlite(path):
        pass
    with locked(path), pytest.raises(AdapterError, match=ADVICE) as caught:
        async with open_sqlite(path):
            pass
    assert str(path) in str(caught.value)
    async with open_sqlite(path) as stores:
        await stores.key_value("state").set("s", "k", b"1")
