"""The tables, their versions, and how a file gets from one version to the next.

SQLite keeps two numbers in a file's header for its application: ``application_id`` says
that the file is ours, ``user_version`` counts the migrations that it went through.
"""

from typing import Final

import apsw

from iii_trio.errors import AdapterError

APPLICATION_ID: Final = 0x69696974  # "iiit"

BUSY_TIMEOUT_MS: Final = 5000
"""Only a foreign tool, such as a backup or a shell, can make us wait."""

MIGRATIONS: Final = (
    # 1. The order of first insertion is the rowid: SQLite gives out the largest plus one.
    """
    CREATE TABLE key_value (
        place INTEGER PRIMARY KEY,
        collection TEXT NOT NULL,
        space TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        UNIQUE (collection, space, key)
    ) STRICT
    """,
    # 2. The age of a message is its rowid, which AUTOINCREMENT never gives out twice.
    """
    CREATE TABLE queue_message (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        state INTEGER NOT NULL,
        grp TEXT,
        priority INTEGER NOT NULL,
        due REAL NOT NULL,
        attempts INTEGER NOT NULL,
        function_id TEXT NOT NULL,
        namespace TEXT NOT NULL,
        payload BLOB NOT NULL,
        traceparent TEXT,
        baggage TEXT,
        error TEXT,
        failed_at REAL
    ) STRICT;
    CREATE INDEX queue_ready ON queue_message (queue, state, priority DESC, place);
    CREATE INDEX queue_delayed ON queue_message (queue, due) WHERE state = 2;
    CREATE INDEX queue_group ON queue_message (queue, grp, state, place)
        WHERE grp IS NOT NULL
    """,
)
"""Migration N brings a file from version N-1 to N. Append only: files exist."""


def read_version(connection: apsw.Connection, path: str) -> int:
    """How many migrations the file went through; changes nothing.

    Raises:
        AdapterError: the file belongs to another program, or to a newer iii_trio.
    """
    application_id = connection.execute("PRAGMA application_id").get
    version = connection.execute("PRAGMA user_version").get
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if not application_id and not version and not tables:
        return 0
    if application_id != APPLICATION_ID:
        raise AdapterError(
            f"{path} is a database of another program and is left alone. Choose "
            "another path."
        )
    assert isinstance(version, int)
    if version > len(MIGRATIONS):
        raise AdapterError(
            f"{path} has schema version {version}, this iii_trio knows versions up to "
            f"{len(MIGRATIONS)}. Upgrade iii_trio, or choose another path."
        )
    return version


def configure(connection: apsw.Connection) -> None:
    """Set what holds per connection, and the journal mode, which holds per file."""
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = full")
    connection.execute("PRAGMA mmap_size = 0")


def migrate(connection: apsw.Connection, version: int) -> None:
    """Bring a file of that version to the newest one, all steps or none."""
    if version == len(MIGRATIONS):
        return
    with connection:
        for script in MIGRATIONS[version:]:
            connection.execute(script)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
