"""Who is connected, what they offer, what is in flight.

`open_engine` is the ordinary composition. The components are public, so that a host can
compose its own: `Supervisor`, `Registry`, `Router` and `InvocationTable`, with `Roster`,
`Triggers` and what joins them.
"""

from iii_trio.engine._bindings import Bindings
from iii_trio.engine._channel_ends import LocalChannelEnd
from iii_trio.engine._channels import (
    Channel,
    Channels,
    ChannelStatistics,
)
from iii_trio.engine._discovery import Discovery
from iii_trio.engine._engine import NAMESPACE_GRACE, Engine, open_engine
from iii_trio.engine._engine_port import EnginePort
from iii_trio.engine._gate import Gate
from iii_trio.engine._intrinsics import Intrinsics
from iii_trio.engine._invocation import Invocation, InvocationTable
from iii_trio.engine._invoker import InvokerPort
from iii_trio.engine._link_port import (
    OUTBOX_LARGE_LIMIT,
    LinkPort,
)
from iii_trio.engine._listen import DEFAULT_PORT, open_listener, serve_listener
from iii_trio.engine._listings import Listings
from iii_trio.engine._local import LocalWorkerPort
from iii_trio.engine._ports import AnyPort, LocalPort
from iii_trio.engine._quotas import OUTBOX_SOFT_LIMIT, Quotas
from iii_trio.engine._registrar import Registrar
from iii_trio.engine._registry import PROVIDER_IDS, Conflict, Function, Registry
from iii_trio.engine._roster import Announcement, Roster, WorkerRecord
from iii_trio.engine._router import Router
from iii_trio.engine._statistics import EngineStatistics
from iii_trio.engine._supervisor import Supervisor
from iii_trio.engine._timers import Timer, Timers
from iii_trio.engine._topology import Topology
from iii_trio.engine._triggers import Tell, Trigger, Triggers, TriggerType

__all__ = [
    "DEFAULT_PORT",
    "NAMESPACE_GRACE",
    "OUTBOX_LARGE_LIMIT",
    "OUTBOX_SOFT_LIMIT",
    "PROVIDER_IDS",
    "Announcement",
    "AnyPort",
    "Bindings",
    "Channel",
    "ChannelStatistics",
    "Channels",
    "Conflict",
    "Discovery",
    "Engine",
    "EnginePort",
    "EngineStatistics",
    "Function",
    "Gate",
    "Intrinsics",
    "Invocation",
    "InvocationTable",
    "InvokerPort",
    "LinkPort",
    "Listings",
    "LocalChannelEnd",
    "LocalPort",
    "LocalWorkerPort",
    "Quotas",
    "Registrar",
    "Registry",
    "Roster",
    "Router",
    "Supervisor",
    "Tell",
    "Timer",
    "Timers",
    "Topology",
    "Trigger",
    "TriggerType",
    "Triggers",
    "WorkerRecord",
    "open_engine",
    "open_listener",
    "serve_listener",
]
