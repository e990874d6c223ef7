from iii_trio.testing._cancel import cancel_at_every_step
from iii_trio.testing._clock import Clock, run
from iii_trio.testing._engine import EngineUnderTest, open_test_engine
from iii_trio.testing._events import EventRecorder
from iii_trio.testing._links import check_link
from iii_trio.testing._queue_checks import check_queue_store
from iii_trio.testing._raw_peer import RawPeer
from iii_trio.testing._stores import check_kv_store

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
