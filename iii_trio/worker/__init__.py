"""How a worker is written: the same API remote, embedded or bundled."""

from iii_trio.protocol import ChannelRef
from iii_trio.transport import (
    Attachment,
    ChannelMaker,
    ChannelPromise,
    InvokedFunction,
    Outcome,
    StartedCall,
)
from iii_trio.worker._channels import Channel, ChannelReader, ChannelWriter
from iii_trio.worker._context import (
    Invocation,
    beyond_deadline,
    current_invocation,
    passing_baggage,
)
from iii_trio.worker._dialler import Dialler, WebSocketDialler
from iii_trio.worker._json import JSON, NULL
from iii_trio.worker._open import open_worker
from iii_trio.worker._provide import TriggerTypeHandle
from iii_trio.worker._remote import RemoteAttachment
from iii_trio.worker._serve import SYNC_RUNNER, RunSync, run_inline
from iii_trio.worker._triggers import NOT_DELIVERED, Trigger
from iii_trio.worker._worker import Worker

__all__ = [
    "JSON",
    "NOT_DELIVERED",
    "NULL",
    "SYNC_RUNNER",
    "Attachment",
    "Channel",
    "ChannelMaker",
    "ChannelPromise",
    "ChannelReader",
    "ChannelRef",
    "ChannelWriter",
    "Dialler",
    "Invocation",
    "InvokedFunction",
    "Outcome",
    "RemoteAttachment",
    "RunSync",
    "StartedCall",
    "Trigger",
    "TriggerTypeHandle",
    "WebSocketDialler",
    "Worker",
    "beyond_deadline",
    "current_invocation",
    "open_worker",
    "passing_baggage",
    "run_inline",
]
