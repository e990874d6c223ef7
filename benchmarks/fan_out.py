"""One write to 1,000 subscribers of a stream, and a plain loop of sends beside it.

Arguments: rounds, writes per round, the core of the subscribers. Prints one JSON line with
medians. The subscribers are sockets of one other process, which counts what they get. The
floor is a Trio program with 1,000 TCP connections that awaits ``send_all`` on one after
the other, of the same text made once; it knows no subscriptions and no frames.
"""

import base64
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.stream import StreamConfig, serve_stream
from iii_trio.engine import open_engine
from iii_trio.net import open_pump
from iii_trio.worker import Worker, open_worker

SUBSCRIBERS = 1000
MARK = b"^"  # once in every message, nowhere else
DATA = {"mark": MARK.decode(), "name": "a value of a common size", "tags": ["x", "y"]}
PLACE = {"stream_name": "bench", "group_id": "all"}
TEXT = json.dumps({"streamName": "bench", "event": {"data": DATA}}).encode()


def subscribe(connection: socket.socket) -> None:
    """Open a WebSocket and join the group; the answer is still to come."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    connection.sendall(head.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    names = {"subscriptionId": "1", "streamName": "bench", "groupId": "all"}
    text = json.dumps({"type": "join", "data": names}).encode()
    assert len(text) < 126
    connection.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)  # mask of 0
    connection.recv(65536)  # the snapshot


def tell(line: str) -> None:
    """Say a line to the other process, at once."""
    os.write(1, f"{line}\n".encode())


def count(port: int, core: int, *, websocket: bool) -> None:
    """Be the subscribers: for each number on stdin, say when so many messages came."""
    os.sched_setaffinity(0, {core})
    readiness = selectors.DefaultSelector()
    for _ in range(SUBSCRIBERS):
        connection = socket.create_connection(("127.0.0.1", port))
        if websocket:
            subscribe(connection)
        connection.setblocking(False)
        readiness.register(connection, selectors.EVENT_READ, connection)
    tell("ready")
    for line in sys.stdin:
        missing = int(line)
        while missing > 0:
            for ready, _ in readiness.select():
                missing -= ready.data.recv(65536).count(MARK)
        tell("got" if not missing else f"{-missing} too many")


async def open_subscribers(port: int, core: int, kind: str) -> trio.Process:
    """Start the other process; it is connected afterwards."""
    process = await trio.lowlevel.open_process(
        [sys.executable, __file__, kind, str(port), str(core)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    await said(process, b"ready\n")
    return process


async def said(process: trio.Process, what: bytes) -> None:
    """Wait for its next line."""
    assert process.stdout is not None
    line = await process.stdout.receive_some()
    if line != what:
        msg = f"the subscribers said {line!r}, not {what!r}"
        raise RuntimeError(msg)


async def measured(
    process: trio.Process, write: Callable[[], Awaitable[object]], writes: int
) -> tuple[float, float]:
    """Deliveries per second, and processor seconds of this process for each."""
    assert process.stdin is not None
    deliveries = writes * SUBSCRIBERS
    await process.stdin.send_all(b"%d\n" % deliveries)
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(writes):
        await write()
    await said(process, b"got\n")
    used = time.process_time() - cpu
    return deliveries / (time.perf_counter() - start), used / deliveries


async def serve_plain(
    listener: trio.SocketListener, streams: list[trio.SocketStream]
) -> None:
    """Accept what will be sent to."""
    while True:
        streams.append(await listener.accept())


async def send_to_all(streams: list[trio.SocketStream]) -> None:
    """The floor."""
    for stream in streams:
        await stream.send_all(TEXT)


async def stream_set(worker: Worker) -> None:
    """The product."""
    await worker.invoke("stream::set", {**PLACE, "item_id": "i", "data": DATA})


async def main(rounds: int, writes: int, core: int) -> None:
    """Measure both in turn."""
    found: dict[str, list[float]] = {"floor": [], "rate": [], "ratio": [], "cpu": []}
    streams: list[trio.SocketStream] = []
    async with (
        open_memory() as stores,
        open_engine() as engine,
        open_pump() as pump,
        open_worker(engine, name="stream") as keeper,
        open_worker(engine, name="caller") as caller,
        trio.open_nursery() as nursery,
    ):
        server: Any = await nursery.start(
            partial(
                serve_stream,
                keeper,
                StreamConfig(host="127.0.0.1", port=0),
                store=stores.key_value("stream"),
                pump=pump,
            )
        )
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(serve_plain, listener, streams)
        plain_port = listener.socket.getsockname()[1]
        plain = await open_subscribers(plain_port, core, "plain")
        real = await open_subscribers(server.addresses[0][1], core, "websocket")
        try:
            for _ in range(rounds):
                floor = await measured(plain, partial(send_to_all, streams), writes)
                rate = await measured(real, partial(stream_set, caller), writes)
                found["floor"].append(floor[0])
                found["rate"].append(rate[0])
                found["ratio"].append(rate[0] / floor[0])
                found["cpu"].append(rate[1] / floor[1])
        finally:
            with trio.move_on_after(10, shield=True):
                for process in (plain, real):
                    process.kill()
                    await process.wait()
        nursery.cancel_scope.cancel(reason="measured")
    medians = {name: statistics.median(values) for name, values in found.items()}
    print(json.dumps(medians))


if __name__ == "__main__":
    if sys.argv[1] in {"plain", "websocket"}:
        count(int(sys.argv[2]), int(sys.argv[3]), websocket=sys.argv[1] == "websocket")
    else:
        given_rounds, given_writes, given_core = map(int, sys.argv[1:])
        trio.run(main, given_rounds, given_writes, given_core)
