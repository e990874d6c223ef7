"""Stores in memory, for tests and for hosts that say so."""

from iii_trio.adapters.memory._stores import MemoryStores, open_memory

__all__ = ["MemoryStores", "open_memory"]
