"""One subscriber: its frames are handled one after another, its outbox is bounded.

A connection costs no task; there is one while frames are handled, in the nursery of the
stream worker, so that leaves are told after the connection is gone.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, final

import attrs
import msgspec
import trio

from iii_trio.builtins._payloads import InputError
from iii_trio.builtins.stream import _events as events
from iii_trio.builtins.stream._config import StreamConfig
from iii_trio.builtins.stream._data import StreamData
from iii_trio.builtins.stream._inputs import Frame, Place, Wish, parse_frame
from iii_trio.builtins.stream._subscriptions import Subscription, Subscriptions
from iii_trio.builtins.stream._triggers import VisitTriggers, may_join
from iii_trio.errors import AdapterError, InvocationError
from iii_trio.net import WebSocket

JSON = Any

logger = logging.getLogger("iii_trio.builtins.stream")

OUTBOX_BYTES: Final = 1024 * 1024
"""What a subscriber may be behind, besides its largest snapshot, in bytes."""

MAX_PENDING_FRAMES: Final = 64
"""Frames that wait for the handling of earlier ones; more stay in TCP."""

MAX_SUBSCRIPTIONS: Final = 10_000
"""Subscriptions of one connection; joining more ends it."""

MAX_NAMES_BYTES: Final = 4 * 1024 * 1024
"""Of all their names: 400 bytes each, where one message may hold 64 KiB."""


@attrs.frozen(kw_only=True, eq=False)
class Hub:
    """What all subscribers share."""

    data: StreamData
    subscriptions: Subscriptions
    joins: VisitTriggers
    leaves: VisitTriggers
    now: Callable[[], float]


@final
class SubscriberSocket:
    """The sink of one WebSocket.

    Args:
        hub: what it shares with others.
        config: settings, for as long as it is connected.
        context: what the auth function gave, for handlers.
        nursery: frames are handled in it.
        on_done: called once, after it is gone and all its leaves are told.
    """

    def __init__(
        self,
        hub: Hub,
        config: StreamConfig,
        context: JSON,
        nursery: trio.Nursery,
        on_done: Callable[["SubscriberSocket"], None],
    ) -> None:
        self.socket: WebSocket
        self._hub = hub
        self._config = config
        self._context = context
        self._nursery = nursery
        self._on_done = on_done
        self._subscriptions: dict[str, tuple[Wish, Subscription]] = {}
        self._names_bytes = 0
        self._pending: deque[Frame] = deque()
        self._running = False
        self._gone = False
        self._joining = trio.CancelScope()  # around all that is asked for a join
        self._outbox_limit = OUTBOX_BYTES

    # As a subscriber

    def send(self, frame: bytes) -> None:
        """Send a frame; one who is too far behind is dropped instead."""
        if self.socket.outbox_bytes > self._outbox_limit:
            self.overflow()
        else:
            self.socket.send_text_nowait(frame)

    def overflow(self) -> None:
        """Drop the connection: its client joins again and gets a new snapshot."""
        if not self.socket.closed:
            logger.warning("subscriber %s is too slow, dropped", self.socket.peer)
            self.socket.drop("the subscriber is too slow")

    # As a sink

    def on_text(self, data: bytes) -> None:
        """Take a frame; what is none is ignored."""
        try:
            frame = parse_frame(data)
        except InputError as exc:
            logger.warning("subscriber %s: frame ignored: %s", self.socket.peer, exc)
            return
        if frame is None:
            return
        self._pending.append(frame)
        if len(self._pending) >= MAX_PENDING_FRAMES:
            self.socket.hold()
        self._run_soon()

    def on_binary(self, data: bytes) -> None:
        """The same JSON may come as binary."""
        self.on_text(data)

    def on_writable(self) -> None:
        """Nobody waits for that: who is too slow is dropped."""

    def on_closed(self, reason: str) -> None:
        """The subscriber is gone; what it is subscribed to is left."""
        logger.debug("subscriber %s is gone: %s", self.socket.peer, reason)
        self._gone = True
        self._joining.cancel(reason=f"the subscriber is gone: {reason}")
        self._pending.clear()
        for _, subscription in self._subscriptions.values():
            self._hub.subscriptions.remove(subscription)
        self._run_soon()

    # Handling

    def _run_soon(self) -> None:
        if not self._running:
            self._running = True
            self._nursery.start_soon(
                self._run, name=f"frames of subscriber {self.socket.peer}"
            )

    async def _run(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._pending:
            frame = self._pending.popleft()
            if frame.type == "join":
                await self._join(frame.data)
            else:
                await self._leave(frame.data)
            if not self._pending:
                self.socket.resume()
        if self._gone:
            for wish, _ in list(self._subscriptions.values()):
                await self._leave(wish)
            self._on_done(self)
        else:
            self._running = False

    async def _join(self, wish: Wish) -> None:
        visit, strict = events.visit(wish, self._context), self._config.strict_auth
        vetted = self._config.auth_function is not None
        answers: list[JSON] = []
        with trio.CancelScope() as self._joining:
            answers = await self._hub.joins.tell(visit, self._config.timeout)
        if not self._gone and not may_join(answers, strict=strict, vetted=vetted):
            self.send(self._frame(wish.place, events.unauthorized()))
            return
        subscription = Subscription(wish.subscription_id, wish.place, self)
        self._forget(wish.subscription_id)
        self._subscriptions[wish.subscription_id] = (wish, subscription)
        self._names_bytes += wish.names_bytes
        if self._gone:
            return  # its leave is told next: whoever heard of the join hears of that
        excess = self._excess()
        if excess:
            logger.warning("subscriber %s is closed: %s", self.socket.peer, excess)
            self.socket.close(1008, excess)
            self._pending.clear()
            return
        with trio.CancelScope() as self._joining:
            await self._send_snapshot(subscription)

    def _excess(self) -> str:
        """What it has too much of; ``""``: of nothing."""
        if len(self._subscriptions) > MAX_SUBSCRIPTIONS:
            return f"more than {MAX_SUBSCRIPTIONS} subscriptions"
        if self._names_bytes > MAX_NAMES_BYTES:
            return f"more than {MAX_NAMES_BYTES} bytes of names in its subscriptions"
        return ""

    async def _send_snapshot(self, subscription: Subscription) -> None:
        place = subscription.place

        def subscribe() -> None:
            if not self._gone:
                self._hub.subscriptions.add(subscription)

        def go_live(data: bytes) -> None:
            frame = self._frame(place, events.sync(msgspec.Raw(data)))
            self._outbox_limit = max(self._outbox_limit, OUTBOX_BYTES + len(frame))
            subscription.go_live(frame)

        try:
            await self._hub.data.snapshot(
                place, self._config.timeout, subscribe, go_live
            )
        except (AdapterError, InvocationError) as exc:
            logger.warning(
                "no snapshot of %s/%s for subscriber %s: %s",
                place.stream_name,
                place.group_id,
                self.socket.peer,
                exc,
            )
            subscription.go_live(None)
            await trio.lowlevel.checkpoint()

    async def _leave(self, wish: Wish) -> None:
        """Tell it, also of a subscription that is not known; then it ends."""
        await self._hub.leaves.tell(
            events.visit(wish, self._context), self._config.timeout
        )
        self._forget(wish.subscription_id)

    def _forget(self, subscription_id: str) -> None:
        known = self._subscriptions.pop(subscription_id, None)
        if known is not None:
            wish, subscription = known
            self._names_bytes -= wish.names_bytes
            self._hub.subscriptions.remove(subscription)

    def _frame(self, place: Place, event: JSON) -> bytes:
        return msgspec.json.encode(events.envelope(place, self._hub.now(), event))
