"""Durable stores on SQLite, one file per engine."""

from iii_trio.adapters.sqlite._run import RunSync, run_in_thread, run_inline
from iii_trio.adapters.sqlite._stores import SQLiteStores, open_sqlite

__all__ = ["RunSync", "SQLiteStores", "open_sqlite", "run_in_thread", "run_inline"]
