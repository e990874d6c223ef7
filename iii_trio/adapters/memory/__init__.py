"""Stores in memory, for tests and for hosts that say so."""
