"""Compose an engine from its parts, without `open_engine`.

A host that wants its own tables, or its own order of shutting down, takes the components
and joins them itself: the connection supervisor, the registry, the router and the
invocation table, with the roster of workers, the triggers and what connects them.

Run it: ``python examples/compose_by_hand.py``
"""

import time
import uuid
from collections.abc import Awaitable, Callable

import trio

from iii_trio.engine import (
    AnyPort,
    Bindings,
    Channels,
    InvocationTable,
    InvokerPort,
    LocalWorkerPort,
    Registrar,
    Registry,
    Roster,
    Router,
    Supervisor,
    Timers,
    Topology,
    Triggers,
)
from iii_trio.protocol import Event
from iii_trio.transport import (
    FunctionSpec,
    IncomingCall,
    Outcome,
    Request,
    TriggerSpec,
    WorkerSpec,
)


def new_id() -> str:
    return str(uuid.uuid4())


def ignore(_event: Event) -> None:
    """Take an event and do nothing with it."""


class UpperCase:
    """The smallest worker: what an attachment calls, with no library around it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def run(self, call: IncomingCall) -> Outcome:
        await trio.lowlevel.checkpoint()
        return call.payload.upper()

    def start_soon(
        self, async_fn: Callable[..., Awaitable[None]], *args: object, name: str
    ) -> None:
        self._nursery.start_soon(async_fn, *args, name=name)

    def bind(self, trigger: TriggerSpec) -> None:
        """Provide no trigger types."""

    def unbind(self, trigger_id: str, *, lost: bool = False) -> None:
        """Provide no trigger types."""

    def on_connected(self, worker_id: str) -> None:
        print(f"attached as {worker_id}")

    def on_disconnected(self, reason: str) -> None:
        print(f"detached: {reason}")

    def on_failed(self, error: Exception) -> None:
        raise error


async def main() -> None:
    timers = Timers()
    registry: Registry[AnyPort] = Registry()
    triggers: Triggers[AnyPort] = Triggers()
    invocations = InvocationTable(timers, lambda: new_id()[:24])
    bindings = Bindings(triggers, time.time, ignore)
    router = Router(registry, invocations, bindings, new_id)
    topology = Topology(
        triggers, router, timers, lambda _session: [], bindings.note_fired
    )
    invoker = InvokerPort(invocations)
    registrar = Registrar(
        registry, bindings, invoker, ignore, topology.functions_changed
    )
    channels = Channels(timers, new_id)
    supervisor = Supervisor(
        roster=Roster(),
        registrar=registrar,
        invocations=invocations,
        bindings=bindings,
        channels=channels,
        router=router,
        timers=timers,
        topology=topology,
        now=time.time,
        new_id=new_id,
        grace=5.0,
        on_event=ignore,
        on_telemetry=lambda _data: None,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.serve)
        port = supervisor.attach_local(WorkerSpec(name="upper"), UpperCase(nursery))
        worker = LocalWorkerPort(
            port=port,
            router=router,
            invocations=invocations,
            registrar=registrar,
            bindings=bindings,
            channels=channels,
        )
        worker.register_function(FunctionSpec(function_id="text::upper"))
        request = Request(function_id="text::upper", payload=b'"by hand"')
        print((await worker.invoke(request)).decode())
        supervisor.detach(port, "the example is over")
        print(f"calls in flight: {len(invocations)}, functions: {len(registry)}")
        nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
