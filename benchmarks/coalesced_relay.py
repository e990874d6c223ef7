"""The proof that the load is not the bottleneck: the line relay with joined writes.

Still a task per connection, but a pass over all lines of one ``recv`` makes at most one
send per receiver. It says the same protocol as ``line_relay.py``.
"""

import sys

import trio

READ = 65536  # bytes per recv


class Peer:
    """A connection and the lines that it shall get, sent by one writer task."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.pending: list[bytes] = []
        self.wake = trio.Event()

    async def write(self) -> None:
        """Send what is pending, joined, whenever there is something."""
        while True:
            await self.wake.wait()
            self.wake = trio.Event()
            data = b"".join(self.pending)
            self.pending.clear()
            await self.stream.send_all(data)

    def send(self, line: bytes) -> None:
        """Queue one line."""
        self.pending.append(line)
        if len(self.pending) == 1:
            self.wake.set()


peers: dict[bytes, Peer] = {}


async def read(me: Peer, nursery: trio.Nursery) -> None:
    """Route the lines of one connection until it ends."""
    name, rest = b"", b""
    while data := await me.stream.receive_some(READ):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if name:
                peers[line[:5] if name == b"callee" else b"callee"].send(line + b"\n")
            else:
                name = line
                peers[name] = me
    nursery.cancel_scope.cancel(reason="the connection ended")


async def relay(stream: trio.SocketStream) -> None:
    """Serve one connection until it ends."""
    me = Peer(stream)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(me.write)
            nursery.start_soon(read, me, nursery)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


async def main() -> None:
    """Listen on the port given as argument."""
    await trio.serve_tcp(relay, int(sys.argv[1]), host="127.0.0.1")


if __name__ == "__main__":
    trio.run(main)
