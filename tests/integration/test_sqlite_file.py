"""Opening the file: what is refused, how clearly, and that nothing is harmed."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from iii_trio.adapters.sqlite import open_sqlite
from iii_trio.errors import AdapterError

pytestmark = pytest.mark.slow


async def refusal(path: Path) -> str:
    with pytest.raises(AdapterError) as caught:
        async with open_sqlite(path):
            pass
    return str(caught.value)


async def test_directories_are_made_and_the_absolute_path_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO, logger="iii_trio.adapters.sqlite"):
        async with open_sqlite("deep/er/engine.db") as stores:
            assert stores.path == f"{tmp_path}/deep/er/engine.db"
    assert f"{tmp_path}/deep/er/engine.db" in caplog.text


async def test_second_engine_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_sqlite(path) as stores:
        message = await refusal(path)
        assert "in use by another engine" in message
        assert str(path) in message
        await stores.key_value("state").set("s", "k", b"1")
    async with open_sqlite(path) as stores:
        assert await stores.key_value("state").get("s", "k") == b"1"


async def test_same_file_through_a_link_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    async with open_sqlite(tmp_path / "engine.db"):
        assert "in use" in await refusal(tmp_path / "link" / "engine.db")


HOLD_AND_DIE = """
import os, sys, trio
from iii_trio.adapters.sqlite import open_sqlite

async def main():
    async with open_sqlite(sys.argv[1]) as stores:
        store = stores.key_value("state")
        for number in range(10):
            await store.set("s", str(number), b"1")
        async with trio.open_nursery() as nursery:
            for number in range(10, 1000):
                nursery.start_soon(store.set, "s", str(number), b"1")
            await store.set("s", "last", b"1")
            os.kill(os.getpid(), 9)

trio.run(main)
"""


async def test_a_killed_engine_leaves_its_data_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    dead = kill_while_writing(path)
    assert dead.returncode == -9, dead.stderr
    async with open_sqlite(path) as stores:
        keys = [key for key, _ in await stores.key_value("state").items("s")]
    # Acknowledged ones are there; of the others those whose transaction came through.
    assert keys[:10] == [str(number) for number in range(10)]
    assert "last" in keys


def kill_while_writing(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HOLD_AND_DIE, str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )


async def test_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_sqlite(path):
        pass
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    message = await refusal(path)
    assert "schema version 99" in message
    assert "Upgrade iii_trio" in message


async def test_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = path.read_bytes()
    assert "database of another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("just some notes, long enough to have a header " * 20)
    assert "no SQLite file" in await refusal(path)
    assert path.read_text().startswith("just some notes")


async def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = await refusal(tmp_path / "file" / "data" / "engine.db")
    assert f"{tmp_path}/file" in message
    assert "choose another path" in message


async def test_path_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    message = await refusal(tmp_path)
    assert str(tmp_path) in message
    assert "choose another path" in message


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_unwritable_directory_is_refused(unwritable: Path) -> None:
    assert "choose another path" in await refusal(unwritable / "engine.db")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, where none may write")
async def test_directory_that_takes_no_files_is_refused_even_to_root() -> None:
    message = await refusal(Path("/proc/engine.db"))
    assert "/proc/engine.db" in message
    assert "may write to its directory, or choose another path" in message
