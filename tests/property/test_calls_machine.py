"""The engine's tables as a state machine: no task, no clock, no Trio run.

A real engine is composed around links that hand frames over when they are told to, and
around a clock that is a number. What the rules do, the model and the invariants are those
of the generated programs; here they come one by one, and shrink well.
"""

import itertools
import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from iii_trio.engine import Timers
from iii_trio.engine._engine import _compose
from iii_trio.engine._quotas import Quotas
from iii_trio.testing import EventRecorder, RawPeer
from iii_trio.testing import programs as p
from iii_trio.transport import LinkSink, MemoryConnection
from tests.property.actors import LinkActor
from tests.property.invariants import Invariants
from tests.property.model import GRACE
from tests.property.stage import Stage, pick


@pytest.fixture(scope="module", autouse=True)
def quiet_engine() -> Iterator[None]:
    """Refusals are part of what the rules do."""
    logger = logging.getLogger("iii_trio.engine")
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(logging.NOTSET)


class SyncLink:
    """One end of a link whose frames lie in a queue until they are moved."""

    peer = "sync"
    other: "SyncLink"

    def __init__(self, queue: "deque[tuple[SyncLink, bytes | str]]") -> None:
        self.sink: LinkSink | None = None
        self.waiting: list[bytes] = []
        self.is_open = True
        self._queue = queue

    @property
    def outbox_bytes(self) -> int:
        return sum(map(len, self.other.waiting))

    def start(self, sink: LinkSink) -> None:
        self.sink = sink

    def send_nowait(self, text: bytes) -> None:
        if self.is_open:
            self.other.waiting.append(text)
            self._queue.append((self.other, text))

    def close(self, reason: str, *, polite: bool) -> None:
        """What was sent before still arrives; what comes is not read any more."""
        del polite
        if self.is_open:
            self.is_open = False
            self._queue.append((self.other, reason))
            self._queue.append((self, reason))

    def hold(self) -> None:
        raise NotImplementedError

    def limit_outbox(self, size: int) -> None: ...

    def resume(self) -> None:
        raise NotImplementedError

    def take(self, arrived: bytes | str) -> None:
        """Text, or the reason of the end."""
        if self.sink is None:
            return
        if isinstance(arrived, bytes):
            self.waiting.remove(arrived)
            if self.is_open:
                self.sink.on_frame(arrived)
            return
        sink, self.sink, self.is_open = self.sink, None, False
        self.waiting.clear()
        sink.on_closed(arrived)


class SyncConnection:
    """Two ends; stands in for a `MemoryConnection`."""

    def __init__(self, queue: "deque[tuple[SyncLink, bytes | str]]") -> None:
        self.client, self.server = SyncLink(queue), SyncLink(queue)
        self.client.other, self.server.other = self.server, self.client
        self._queue = queue

    def cut(self, reason: str) -> None:
        """What is on its way is lost."""
        ends = (self.client, self.server)
        kept = [one for one in self._queue if one[0] not in ends]
        self._queue.clear()
        self._queue.extend(kept)
        for end in ends:
            end.waiting.clear()
            end.is_open = False
            self._queue.append((end, reason))


class SyncHarness:
    """An engine that no Trio run holds up."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers = Timers(lambda: self.now)
        rng = Random(0)
        self.engine = _compose(
            self.timers,
            lambda: self.now,
            lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            GRACE,
            lambda _data: None,
            lambda _worker_id: None,
            {},
            Quotas(),
        )
        self.events = EventRecorder()
        self.engine.subscribe(self.events)
        self._queue: deque[tuple[SyncLink, bytes | str]] = deque()

    def connect_raw_peer(self) -> RawPeer:
        connection = SyncConnection(self._queue)
        peer = RawPeer(cast("MemoryConnection", connection))
        self.engine.attach(connection.server)
        return peer

    def move_frames(self) -> None:
        while self._queue:
            link, arrived = self._queue.popleft()
            link.take(arrived)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        heap: list[Any] = self.timers._heap
        while heap and heap[0][0] <= until:
            self.now = heap[0][0]
            self.timers.run_due()
            self.move_frames()
            heap = self.timers._heap
        self.now = until


def steps(
    kind: Callable[..., p.Step], *values: Sequence[object]
) -> st.SearchStrategy[Any]:
    """One of all steps of a kind: drawing each field would take most of the time."""
    return st.sampled_from(list(itertools.starmap(kind, itertools.product(*values))))


PLACES = range(p.WORKERS)
CALLS = range(6)
BOTH = (False, True)
HOW_TO_CONNECT = (["link"], (True, True, True, False), p.NAMES, BOTH)
CALLING = steps(p.Call, PLACES, p.FUNCTIONS, [None], (None, 0.5, 2.5), BOTH)


class CallsMachine(RuleBasedStateMachine):
    """Link workers, what they offer, and the calls between them."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = SyncHarness()
        self.stage = Stage(self.harness)
        self.truths = Invariants(
            self.harness.engine,
            self.harness.events,
            lambda: 0,
            self.stage.model,
            self.stage.everybody,
        )

    @initialize(
        joins=st.tuples(*(steps(p.Connect, [n], *HOW_TO_CONNECT) for n in PLACES)),
        owners=st.tuples(*(st.sampled_from(PLACES) for _ in p.FUNCTIONS)),
    )
    def begin(self, joins: tuple[p.Connect, ...], owners: tuple[int, ...]) -> None:
        for join in joins:
            self.stage.connect_link(join)
        self.all_is_as_the_model_says()
        for place, function in zip(owners, p.FUNCTIONS, strict=True):
            self.stage.register(p.Register(place, function))

    @rule(step=steps(p.Connect, PLACES, *HOW_TO_CONNECT))
    def connect(self, step: p.Connect) -> None:
        self.stage.connect_link(step)

    @rule(step=steps(p.Announce, PLACES, p.NAMES))
    def announce(self, step: p.Announce) -> None:
        self.stage.announce(step)

    @rule(step=steps(p.Reattach, PLACES, PLACES, ("right", "wrong", "old")))
    def reattach(self, step: p.Reattach) -> None:
        self.stage.reattach(step)

    @rule(step=steps(p.Register, PLACES, p.FUNCTIONS))
    def register(self, step: p.Register) -> None:
        self.stage.register(step)

    @rule(step=steps(p.Unregister, PLACES, p.FUNCTIONS))
    def unregister(self, step: p.Unregister) -> None:
        self.stage.unregister(step)

    @rule(first=CALLING, second=CALLING)
    def call(self, first: p.Call, second: p.Call) -> None:
        self.stage.call(first)
        self.stage.call(second)

    @rule(step=steps(p.Answer, PLACES, CALLS, (None, "out_of_stock"), BOTH))
    def answer(self, step: p.Answer) -> None:
        self.stage.answer(step)

    @rule(step=steps(p.Lie, PLACES, (None, *CALLS)))
    def lie(self, step: p.Lie) -> None:
        self.stage.lie(step)

    @rule(step=steps(p.Cancel, PLACES, CALLS))
    def cancel(self, step: p.Cancel) -> None:
        self.stage.cancel(step)

    @rule(step=steps(p.Disconnect, PLACES, ("close", "cut")))
    def disconnect(self, step: p.Disconnect) -> None:
        if found := pick(list(self.stage.places.values()), step.worker):
            actor, member = found
            assert isinstance(actor, LinkActor)
            (actor.peer.cut if step.how == "cut" else actor.peer.close)()
            self.stage.model.leave(member)

    @rule(step=steps(p.Sleep, range(1, 7)))
    def pass_time(self, step: p.Sleep) -> None:
        self.harness.pass_time(step.seconds)

    @rule()
    def end_a_drain(self) -> None:
        self.harness.engine.router.draining = self.stage.model.draining = True
        self.harness.engine.invocations.stop_all("the engine is shutting down")
        self.stage.model.stop_all()

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        self.harness.move_frames()
        self.stage.model.advance(self.harness.now)
        self.stage.clear()
        self.truths.check()
        self.stage.model.end_step()

    def teardown(self) -> None:
        while self.stage.places:
            self.disconnect(p.Disconnect(0))
            self.all_is_as_the_model_says()
        self.harness.pass_time(1)
        self.truths.check_nothing_is_left()


TestCalls = CallsMachine.TestCase
TestCalls.settings = settings(
    max_examples=5 * settings().max_examples, stateful_step_count=60
)
