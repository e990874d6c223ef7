"""Where data rests, by backend."""

from iii_trio.adapters._abc import (
    Change,
    Dead,
    Done,
    GiveBack,
    KeyValueStore,
    Message,
    NewMessage,
    QueueCounts,
    QueueStore,
    Retry,
    Settlement,
    Taken,
)

__all__ = [
    "Change",
    "Dead",
    "Done",
    "GiveBack",
    "KeyValueStore",
    "Message",
    "NewMessage",
    "QueueCounts",
    "QueueStore",
    "Retry",
    "Settlement",
    "Taken",
]
