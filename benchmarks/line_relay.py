"""The floor: a plain line relay in Trio, one awaited send per line, parsing nothing.

The first line of a connection is its name. A line of ``callee`` goes to the connection
that its first five bytes name, a line of anyone else to ``callee``. Two tasks must not
send on one socket at once, hence the lock; it is taken without a checkpoint when it is
free. (``SocketStream.send_all`` under ``async with lock`` costs 60% more: the floor shall
be the best plain relay, not the worst.)
"""

import sys

import trio

READ = 65536  # bytes per recv
peers: dict[bytes, tuple[trio.socket.SocketType, trio.Lock]] = {}


async def send(line: bytes, target: trio.socket.SocketType, lock: trio.Lock) -> None:
    """Send one whole line."""
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()
    try:
        sent = await target.send(line)
        while sent < len(line):
            sent += await target.send(line[sent:])
    finally:
        lock.release()


async def relay(stream: trio.SocketStream) -> None:
    """Serve one connection until it ends."""
    name, rest = b"", b""
    try:
        while data := await stream.socket.recv(READ):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if name:
                    target = line[:5] if name == b"callee" else b"callee"
                    await send(line + b"\n", *peers[target])
                else:
                    name = line
                    peers[name] = (stream.socket, trio.Lock())
    except OSError:
        pass


async def main() -> None:
    """Listen on the port given as argument."""
    await trio.serve_tcp(relay, int(sys.argv[1]), host="127.0.0.1")


if __name__ == "__main__":
    trio.run(main)
