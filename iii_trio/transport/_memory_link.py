"""One end of a memory link: frames in and out of two byte pipes, and how it ends."""

import math
from collections import deque
from typing import Final, Literal, Protocol, final

import trio

from iii_trio._util import NoPublicConstructor
from iii_trio.net import (
    OP_BINARY,
    OP_CLOSE,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    FrameReader,
    encode_frame,
    encode_message,
)
from iii_trio.transport._byte_pipe import BytePipe
from iii_trio.transport._deliver import deliver_binary, deliver_text
from iii_trio.transport._link import LinkSink

CLOSE_GRACE: Final = 5.0
"""Seconds that a polite close waits for the peer's Close."""

WATCH_BYTES: Final = 16 * 1024
"""Bytes after which a link on hold reads no further, though no message is complete."""

OUTBOX_LIMIT_BYTES: Final = 96 * 2**20
"""A link whose peer lets this much pile up is dropped."""


class Mover(Protocol):
    """The network that moves the bytes, as its links see it."""

    def wake(self) -> None:
        """Something may be due now."""

    def new_mask(self) -> bytes:
        """Four bytes for a client's frame."""


@final
class MemoryLink(metaclass=NoPublicConstructor):
    """One end of a memory link; satisfies `Link`."""

    def __init__(
        self,
        network: Mover,
        role: Literal["client", "server"],
        outbox: BytePipe,
    ) -> None:
        self._network = network
        self._role: Final = role
        self._outbox = outbox
        self._reader = FrameReader(role)
        self._arrived: deque[tuple[int, bytes]] = deque()
        self._sink: LinkSink | None = None
        self._held = False
        self._taken_on_hold = 0
        self._told = False
        self._closing: str | None = None
        self._lost: str | None = None
        self._orderly = False  # lost after what arrived, and not at once
        self._outbox_limit = OUTBOX_LIMIT_BYTES
        self._give_up_at = math.inf

    def __repr__(self) -> str:
        return f"<MemoryLink {self._role}>"

    @property
    def peer(self) -> str:
        """Where the peer is, for people."""
        return "memory"

    @property
    def outbox_bytes(self) -> int:
        """Bytes sent that the other end has not taken yet."""
        return self._outbox.waiting_bytes

    def limit_outbox(self, size: int) -> None:
        """Let no more wait than this."""
        self._outbox_limit = size

    def start(self, sink: LinkSink) -> None:
        """Begin to deliver to ``sink``. Called once."""
        assert self._sink is None
        self._sink = sink
        self._network.wake()

    def send_nowait(self, text: bytes) -> None:
        """Queue one frame; over the limit of its outbox the link is dropped."""
        self._send(self._framed(OP_TEXT, text))

    def send_binary_nowait(self, data: bytes) -> None:
        """Queue one binary message."""
        self._send(self._framed(OP_BINARY, data))

    def send_bytes_nowait(self, data: bytes) -> None:
        """Queue raw bytes beside all frames: whatever a broken peer may send."""
        self._send(data)

    def hold(self) -> None:
        """Stop reading until `resume`, when one message waits; the end may come before.

        As with sockets, a message that is long is not taken whole.
        """
        self._held = True
        self._taken_on_hold = 0

    def resume(self) -> None:
        """Read on after `hold`."""
        self._held = False
        self._network.wake()

    def close(self, reason: str, *, polite: bool) -> None:
        """End the link after what was queued; polite: with a Close without code."""
        if self._closing is not None:
            return
        self._closing = reason
        self._arrived.clear()
        if polite:
            self._outbox.put(self._framed(OP_CLOSE, b""))
            self._give_up_at = trio.current_time() + CLOSE_GRACE
            self._network.wake()
        else:
            self.lose(reason)

    def _framed(self, opcode: int, data: bytes) -> bytes:
        if self._role == "server":
            return b"".join(encode_message(opcode, data))
        return encode_frame(opcode, data, mask=self._network.new_mask())

    def _send(self, data: bytes) -> None:
        if self._closing is not None or self._lost is not None:
            return
        self._outbox.put(data)
        if self._outbox.waiting_bytes > self._outbox_limit:
            self.lose("the peer does not read: outbox is full")

    # What follows is for the network that moves the bytes.

    @property
    def is_reading(self) -> bool:
        """Whether bytes may be delivered now."""
        if self._held and (self._arrived or self._taken_on_hold >= WATCH_BYTES):
            return False
        return self._lost is None and self._sink is not None

    def receive(self, data: bytes | None) -> None:
        """Bytes arrived; ``None``: the peer's end."""
        if data is None:
            self.lose(self._closing or "the peer hung up", orderly=True)
            return
        self._taken_on_hold += len(data)
        for opcode, payload in self._reader.feed(data):
            if opcode == OP_CLOSE:
                self._hang_up(payload, "closed by the peer")
            elif opcode == OP_PING:
                self._outbox.put(self._framed(OP_PONG, payload))
            elif opcode != OP_PONG and self._closing is None:
                self._arrived.append((opcode, payload))
        if self._reader.failure is not None:
            code, reason = self._reader.failure
            self._hang_up(code.to_bytes(2, "big"), f"protocol error: {reason}")

    def _hang_up(self, close_payload: bytes, reason: str) -> None:
        """Say Close, if that was not said before, and end."""
        if self._closing is None:
            self._outbox.put(self._framed(OP_CLOSE, close_payload))
        self.lose(self._closing or reason, orderly=True)

    def lose(self, reason: str, *, orderly: bool = False) -> None:
        """It is gone for this end: at once, or after what arrived; the network tells."""
        self._orderly = orderly
        if self._lost is None:
            self._lost = reason
            self._outbox.end()
            self._network.wake()

    def due_at(self) -> float:
        """When `step` has something to do; ``math.inf``: not by itself."""
        if self._sink is None or self._told:
            return math.inf
        waits = self._held and self._arrived and (self._orderly or self._lost is None)
        is_due = not waits and (self._arrived or self._lost is not None)
        return -math.inf if is_due else self._give_up_at

    @property
    def is_over(self) -> bool:
        """Whether nothing will ever be due again: the sink was told of the end."""
        return self._told

    @property
    def is_behind(self) -> bool:
        """Whether something arrived that the sink was not given yet."""
        return bool(self._arrived)

    def step(self) -> None:
        """Do one thing that is due: deliver a message, give up, or tell of the end."""
        sink = self._sink
        assert sink is not None
        if self._arrived and not self._held:
            opcode, data = self._arrived.popleft()
            if opcode == OP_TEXT:
                deliver_text(sink, data)
            else:
                deliver_binary(sink, data, peer=self.peer)
        elif self._lost is not None:
            self._told = True
            self._arrived.clear()
            sink.on_closed(self._lost)
        elif self._give_up_at <= trio.current_time():
            self.lose(f"{self._closing} (the peer did not answer the Close)")
