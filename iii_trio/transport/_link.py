"""Link: one duplex of frames with one peer. The contract, in prose.

Links push. Whoever attaches a link gives it a `LinkSink`; from then on the link calls
``on_frame`` once per text message, in order, and ``on_closed`` exactly once, last. Both
run synchronously in whatever task moves the bytes (the pump, or a reader task) and must
not block, await, or wait for another peer.

Sending never blocks either: ``send_nowait`` takes the frame or the link dies. A link
counts the bytes that the peer has not taken (``outbox_bytes``); the engine refuses new
calls above its soft limit, the link drops itself above its hard limit. Sending on a link
that is already lost does nothing: its ``on_closed`` has been, or is about to be, called.
``on_closed`` is never called from inside ``send_nowait``.
"""

from typing import Protocol


class LinkSink(Protocol):
    """What a link tells the one who attached it."""

    def on_frame(self, text: bytes) -> bool | None:
        """One text message: valid UTF-8, in order; a blank one means nothing.

        Returns:
            True for a request, of which one peer gets only so many served in a row,
            where links take turns.
        """

    def on_telemetry(self, data: bytes) -> None:
        """One binary message that begins with ``OTLP``, ``MTRC`` or ``LOGS``."""

    def on_closed(self, reason: str) -> None:
        """The link is gone, for whatever reason. Called exactly once."""


class Outbox(Protocol):
    """What waits for a peer, as `Link.outbox_bytes`."""

    @property
    def outbox_bytes(self) -> int:
        """Bytes."""


class Link(Protocol):
    """One duplex of frames with one peer.

    One that carries very many may also have an ``outbox``: an `Outbox` whose number is a
    plain attribute, where the link's own would be a property.
    """

    @property
    def peer(self) -> str:
        """Where the peer is, for people: ``127.0.0.1:51234`` or ``memory``."""

    @property
    def outbox_bytes(self) -> int:
        """Bytes accepted by `send_nowait` that the peer has not taken yet."""

    def start(self, sink: LinkSink) -> None:
        """Begin to deliver to ``sink``. Called once."""

    def send_nowait(self, text: bytes) -> None:
        """Queue one frame, complete JSON text."""

    def hold(self) -> None:
        """Stop reading: no ``on_frame`` until `resume`. Decoded frames are kept.

        ``on_closed`` may come meanwhile; where the end is only seen by reading, after
        frames that were sent before it.
        """

    def resume(self) -> None:
        """Read on after `hold`."""

    def limit_outbox(self, size: int) -> None:
        """From the next frame on drop the link when more bytes wait than this.

        Args:
            size: less than 1 MiB may count as that; without a call it is 96 MiB.
        """

    def close(self, reason: str, *, polite: bool) -> None:
        """End the link after what was queued has been sent, within a bound.

        Args:
            reason: for logs and for the sink's ``on_closed``.
            polite: say goodbye (a WebSocket Close without code); without it TCP is
                dropped, which is what old SDKs need in order to reconnect.
        """
