"""Ends of channels that are WebSockets of link workers."""

from typing import final

from iii_trio.engine._channels import Channel
from iii_trio.net import HIGH_WATER, WebSocket


@final
class ChannelWriterSocket:
    """The socket of a worker that writes: its frames go into the channel."""

    holder: object = None

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._socket: WebSocket | None = None

    def attach(self, socket: WebSocket) -> bool:
        """The socket is up; false if the end is taken."""
        if not self._channel.attach_writer(self):
            return False
        self._socket = socket
        return True

    def on_text(self, data: bytes) -> None:
        """A message."""
        self._put(data, text=True)

    def on_binary(self, data: bytes) -> None:
        """A piece of a byte stream."""
        self._put(data, text=False)

    def on_writable(self) -> None:
        """Nothing is sent to a writer."""

    def on_closed(self, reason: str) -> None:
        """Close and loss both end the stream, but a loss is noted."""
        if self._socket is not None:
            lost = "" if self._socket.close_received else reason
            self._channel.end(lost)

    def on_room(self) -> None:
        """Read on."""
        if self._socket is not None:
            self._socket.resume()

    def on_broken(self, reason: str) -> None:
        """Nobody reads: drop the writer, which sees it at its next write."""
        if self._socket is not None:
            self._socket.drop(reason)

    def _put(self, data: bytes, *, text: bool) -> None:
        if self._socket is None:
            return
        self._channel.put(data, text=text)
        if self._channel.is_full:
            self._socket.hold()


@final
class ChannelReaderSocket:
    """The socket of a worker that reads: the channel's frames go to it."""

    holder: object = None

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._socket: WebSocket | None = None

    def attach(self, socket: WebSocket) -> bool:
        """The socket is up; false if the end is taken."""
        self._socket = socket
        if not self._channel.attach_reader(self):
            self._socket = None
            return False
        return True

    def on_text(self, data: bytes) -> None:
        """Readers have nothing to say."""

    def on_binary(self, data: bytes) -> None:
        """Readers have nothing to say."""

    def on_writable(self) -> None:
        """The socket took what it had: go on."""
        self.on_data()

    def on_closed(self, reason: str) -> None:
        """The reader left; unless it had everything, the channel is broken."""
        if self._socket is not None:
            self._channel.abort(f"the reader is gone: {reason}")

    def on_data(self) -> None:
        """Send what the socket can take: it tells only when it was above the mark."""
        socket, channel = self._socket, self._channel
        if socket is None or socket.closed:
            return
        while socket.outbox_bytes <= HIGH_WATER:
            frame = channel.take()
            if frame is None:
                break
            data, text = frame
            if text:
                socket.send_text_nowait(data)
            else:
                socket.send_binary_nowait(data)
        if channel.is_finished and not channel.broken:
            channel.free()
            socket.close(None, patient=True)  # its writer was told that all is well

    def on_broken(self, reason: str) -> None:
        """The channel was aborted."""
        if self._socket is not None:
            self._socket.drop(reason)
