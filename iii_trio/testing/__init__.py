"""The public test harness: engines in process, virtual time, faults on demand.

Usable with or without pytest. Names are imported when they are first used, so that the
pytest plugin costs nothing to those who do not use it. Hypothesis strategies are in
``iii_trio.testing.strategies``, the steps of generated programs in
``iii_trio.testing.programs``.
"""

import importlib
from typing import Any

_HOME = {
    "Clock": "_clock",
    "EngineUnderTest": "_engine",
    "EventRecorder": "_events",
    "RawPeer": "_raw_peer",
    "cancel_at_every_step": "_cancel",
    "check_kv_store": "_stores",
    "check_link": "_links",
    "check_queue_store": "_queue_checks",
    "open_test_engine": "_engine",
    "run": "_clock",
}

__all__ = [
    "Clock",
    "EngineUnderTest",
    "EventRecorder",
    "RawPeer",
    "cancel_at_every_step",
    "check_kv_store",
    "check_link",
    "check_queue_store",
    "open_test_engine",
    "run",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    try:
        home = _HOME[name]
    except KeyError:
        msg = f"module 'iii_trio.testing' has no attribute {name!r}"
        raise AttributeError(msg) from None
    return getattr(importlib.import_module(f"iii_trio.testing.{home}"), name)


def __dir__() -> list[str]:
    return list(__all__)
