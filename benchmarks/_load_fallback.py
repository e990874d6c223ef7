"""The load in Python, for machines without a C compiler: same options, same JSON.

It is several times slower than ``load/``, so it may be the bottleneck: its figures are
for seeing that things work. It speaks ``line``, ``worker`` and ``http``, not ``nats``.
"""

import argparse
import json
import os
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

UPGRADE = (
    "GET /%s HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ZERO_MASK = bytes(4)  # masking with zeros is legal and free
ID_MARK = b'"invocation_id":"'


def masked(opcode: int, data: bytes) -> bytes:
    """One frame of a client."""
    size = len(data)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    return head + ZERO_MASK + data


class Peer:
    """One connection; a protocol is a subclass with `begin`, `call` and `take`."""

    def __init__(self, load: "Load", port: int, role: str, index: int) -> None:
        self.load, self.role, self.index = load, role, index
        self.socket = socket.create_connection((load.options.host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inbox = b""
        self.ready = True
        self.sent: dict[int, float] = {}
        self.begin()
        while not self.ready:
            self.on_readable()

    def send(self, data: bytes) -> None:
        """Send all, blocking: the server never waits for us to read."""
        self.socket.sendall(data)

    def start(self, slot: int) -> None:
        """Make a call."""
        self.sent[slot] = time.perf_counter()
        self.call(slot)

    def settled(self, slot: int, *, failed: bool) -> None:
        """A call was answered: count it, make the next one."""
        self.load.count(self.role, self.sent[slot], failed=failed)
        self.start(slot)

    def on_readable(self) -> None:
        """Read once and handle what is complete."""
        data = self.socket.recv(1 << 18)
        if not data:
            sys.exit(f"load: the server closed connection {self.index}")
        self.inbox += data
        while self.take():
            pass

    def begin(self) -> None:
        """Say hello."""

    def call(self, slot: int) -> None:
        """Send one call."""
        raise NotImplementedError

    def take(self) -> bool:
        """Handle one complete message, if there is one."""
        raise NotImplementedError


class Line(Peer):
    """Lines to the relays."""

    def begin(self) -> None:
        """The first line is the name."""
        name = "callee" if self.role == "callee" else f"c{self.index:04}"
        self.send(name.encode() + b"\n")

    def call(self, slot: int) -> None:
        """One line of the wanted size."""
        head = f"c{self.index:04} {slot:04x} ".encode()
        self.send(head.ljust(self.load.options.size - 1, b"x") + b"\n")

    def take(self) -> bool:
        """One line."""
        line, mark, rest = self.inbox.partition(b"\n")
        if not mark:
            return False
        self.inbox = rest
        if self.role == "callee":
            self.send(line + mark)
        else:
            self.settled(int(line[6:10], 16), failed=False)
        return True


class Worker(Peer):
    """Worker frames over WebSocket."""

    def begin(self) -> None:
        """Upgrade, announce, register, and wait for the answer to a ping."""
        self.ready = False
        self.open = False
        self.send((UPGRADE % self.load.options.query).encode())

    def say(self, frame: dict[str, Any]) -> None:
        """Send one frame."""
        self.send(masked(1, json.dumps(frame).encode()))

    def announce(self) -> None:
        """Who this is and what it offers."""
        options = self.load.options
        who = f"bench-{self.role}-{self.index}-{os.getpid()}-{time.monotonic_ns()}"
        self.say(
            {
                "type": "invokefunction",
                "function_id": "engine::workers::register",
                "action": {"type": "void"},
                "data": {"name": who, "runtime": "python"},
            }
        )
        if self.role == "callee":
            self.say({"type": "registerfunction", "id": options.function})
            if options.api_path:
                config = {"api_path": options.api_path, "http_method": "POST"}
                self.say(
                    {
                        "type": "registertrigger",
                        "id": "bench-http",
                        "trigger_type": "http",
                        "function_id": options.function,
                        "config": config,
                    }
                )
        self.say({"type": "ping"})

    def call(self, slot: int) -> None:
        """One ``invokefunction``."""
        self.load.sequence += 1
        call_id = f"{self.load.sequence:08x}-{self.index:04x}-4000-8000-{slot:012x}"
        self.send(masked(1, self.load.call_frame(call_id)))

    def take(self) -> bool:
        """One frame, or the answer to the upgrade."""
        if not self.open:
            head, mark, rest = self.inbox.partition(b"\r\n\r\n")
            if not mark:
                return False
            if b" 101 " not in head:
                sys.exit("load: no WebSocket")
            self.open, self.inbox = True, rest
            self.announce()
            return True
        inbox = self.inbox
        if len(inbox) < 2:
            return False
        size, start = inbox[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(inbox[2:start], "big")
        if len(inbox) < start + size:
            return False
        self.inbox = inbox[start + size :]
        self.on_frame(inbox[0] & 15, inbox[start : start + size])
        return True

    def on_frame(self, opcode: int, text: bytes) -> None:
        """Answer pings and calls; count results."""
        if opcode == 9:
            self.send(masked(10, text))
        elif opcode == 8:
            sys.exit("load: the server sent Close")
        elif not self.ready:
            self.ready = b'"pong"' in text
        elif (at := text.find(ID_MARK)) >= 0:
            call_id = text[at + len(ID_MARK) :][:36]
            if self.role == "callee" and b'"invokefunction"' in text:
                self.send(masked(1, self.load.result_frame(call_id)))
            elif self.role != "callee" and b'"invocationresult"' in text:
                self.settled(int(call_id[24:], 16), failed=b'"error":' in text)


class HTTP(Peer):
    """Requests, one at a time, over one connection."""

    def call(self, _slot: int) -> None:
        """One POST."""
        body = self.load.payload()
        self.send(
            f"POST {self.load.options.path} HTTP/1.1\r\nHost: bench\r\nContent-Type: "
            f"application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    def take(self) -> bool:
        """One response that says its length."""
        head, mark, rest = self.inbox.partition(b"\r\n\r\n")
        if not mark:
            return False
        size = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                size = int(line[15:])
        if len(rest) < size:
            return False
        self.inbox = rest[size:]
        self.settled(0, failed=b" 200 " not in head[:16])
        return True


PROTOCOLS: dict[str, type[Peer]] = {"line": Line, "worker": Worker, "http": HTTP}


class Load:
    """All connections and what they saw."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.sequence = 0
        self.counting = False
        self.seen: dict[str, list[float]] = {"caller": [], "probe": []}
        self.failed = 0
        self.selector = selectors.DefaultSelector()
        size = options.size - len(self.call_frame("0" * 36, b""))
        filler = '{"n":1,"text":"' + "x" * max(size - 17, 1) + '"}'
        self.data: bytes = (options.data or filler).encode()

    def payload(self) -> bytes:
        """The payload of the next call."""
        self.sequence += 1
        number = b"%08x" % self.sequence
        return self.data.replace(b"@" * 8, number, 1)

    def call_frame(self, call_id: str, data: bytes | None = None) -> bytes:
        """An ``invokefunction`` frame."""
        return (
            f'{{"type":"invokefunction","invocation_id":"{call_id}",'
            f'"function_id":"{self.options.function}","data":'.encode()
            + (self.payload() if data is None else data)
            + b"}"
        )

    def result_frame(self, call_id: bytes) -> bytes:
        """An ``invocationresult`` frame."""
        http = self.options.protocol == "http"
        return (
            b'{"type":"invocationresult","invocation_id":"%b","result":' % call_id
            + (b'{"sum":5,"ok":true}' if http else self.payload())
            + b"}"
        )

    def count(self, role: str, sent: float, *, failed: bool) -> None:
        """One round trip."""
        if self.counting:
            self.seen[role].append(time.perf_counter() - sent)
            self.failed += failed

    def open(self, kind: type[Peer], port: int, role: str, index: int) -> Peer:
        """Connect one peer."""
        peer = kind(self, port, role, index)
        self.selector.register(peer.socket, selectors.EVENT_READ, peer.on_readable)
        return peer

    def run(self, until: Callable[[], bool]) -> None:
        """Move bytes until told otherwise."""
        while not until():
            for key, _ in self.selector.select(0.01):
                key.data()

    def measure(self) -> None:
        """Connect, warm up, count, print."""
        options = self.options
        kind = PROTOCOLS[options.protocol]
        if options.callee:
            callee = Worker if options.protocol == "http" else kind
            self.open(callee, options.callee_port or options.port, "callee", 9999)
        peers = []
        for index in range(options.callers + options.probes):
            role = "caller" if index < options.callers else "probe"
            peers.append(self.open(kind, options.port, role, index))
        for peer in peers:
            for slot in range(options.inflight if peer.role == "caller" else 1):
                peer.start(slot)
        warm = time.perf_counter() + options.warmup
        self.run(lambda: time.perf_counter() >= warm)
        cpu, own = cpu_of(options.server_pid), time.process_time()
        start = time.perf_counter()
        self.counting = True
        self.run(lambda: time.perf_counter() >= start + options.seconds)
        seconds = time.perf_counter() - start
        found = self.figures("caller", seconds) | {
            "errors": self.failed,
            "seconds": seconds,
            "server_cpu": cpu_of(options.server_pid) - cpu,
            "load_cpu": time.process_time() - own,
            "probe": self.figures("probe", seconds),
        }
        print(json.dumps(found))

    def figures(self, role: str, seconds: float) -> dict[str, Any]:
        """Rate and percentiles of one kind of caller."""
        times = [value * 1e6 for value in self.seen[role]]
        return {
            "round_trips": len(times),
            "rate": len(times) / seconds,
            "p50_us": statistics.median(times) if times else 0,
            "p99_us": sorted(times)[len(times) * 99 // 100] if times else 0,
        }

    def hold_idle(self) -> None:
        """Keep announced connections until stdin ends."""
        for index in range(self.options.idle):
            self.open(Worker, self.options.port, "idle", index)
        print("ready", flush=True)
        ended = False

        def on_stdin() -> None:
            nonlocal ended
            ended = not os.read(0, 64)

        self.selector.register(0, selectors.EVENT_READ, on_stdin)
        self.run(lambda: ended)


def cpu_of(pid: int) -> float:
    """Processor time of a process in seconds, 0 if it cannot be known."""
    try:
        return time.clock_gettime((~pid << 3) | 2) if pid else 0.0
    except OSError:
        return 0.0


def main() -> None:
    """Parse the options of ``load/main.c``."""
    parser = argparse.ArgumentParser()
    for name in ("port", "callers", "probes", "idle", "server-pid", "callee-port"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--inflight", type=int, default=1)
    parser.add_argument("--size", type=int, default=340)
    parser.add_argument("--warmup", type=float, default=0.3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), default="worker")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--function", default="bench::echo")
    parser.add_argument("--path", default="/")
    for name in ("data", "api-path", "query"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--callee", action="store_true")
    load = Load(parser.parse_args())
    if load.options.idle:
        load.hold_idle()
    else:
        load.measure()


if __name__ == "__main__":
    main()
