"""Where data rests, by backend."""

from iii_trio.adapters._abc import Change, KeyValueStore

__all__ = ["Change", "KeyValueStore"]
