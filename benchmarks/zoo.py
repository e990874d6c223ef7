"""One misbehaving worker over plain sockets, until killed; arguments: port, kind.

The kinds are those of ``tests/peers.py``, here to be measured beside: each does its worst
about a thousand times a second, the flooding one as fast as it can.
"""

import json
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: zoo\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PAUSE = 0.001  # seconds between two misdeeds
STRANGER = "00000000-0000-4000-8000-00000000dead"
OWN, VICTIM = "zoo::own", "bench::echo"


class Wire:
    """A worker link with nothing between it and its socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(HANDSHAKE)
        welcome = b""
        while b'"reattach_token"' not in welcome or not welcome.endswith(b"}"):
            welcome += self.socket.recv(4096)
        found = re.findall(rb'"(worker_id|reattach_token)":"([^"]+)"', welcome)
        self.told = {key.decode(): value.decode() for key, value in found}

    def send(self, frame: dict[str, Any]) -> None:
        """Send a frame; its mask is zero, so the payload stays as it is."""
        text = json.dumps(frame).encode()
        size = len(text)
        head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else b""
        head = head or struct.pack("!BBH", 0x81, 0x80 | 126, size)
        self.socket.sendall(head + bytes(4) + text)

    def call(self, function_id: str, data: object, wanted: str | None) -> None:
        """Call a function, void without an id."""
        frame = {"type": "invokefunction", "function_id": function_id, "data": data}
        self.send(frame | ({} if wanted is None else {"invocation_id": wanted}))

    def register(self) -> None:
        """Announce itself and offer a function."""
        self.call("engine::workers::register", {"runtime": "zoo"}, None)
        self.send({"type": "registerfunction", "id": OWN})

    def drain(self) -> bytes:
        """Take what has come."""
        taken = b""
        try:
            while data := self.socket.recv(65536, socket.MSG_DONTWAIT):
                taken += data
        except BlockingIOError:
            pass
        return taken

    def vanish(self) -> None:
        """Close without a goodbye: the other side gets a reset."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


def crashing(port: int) -> None:
    """Connects, offers, begins a frame and vanishes."""
    while True:
        wire = Wire(port)
        wire.register()
        wire.socket.sendall(b"\x81\xe4\0\0\0\0{")
        time.sleep(PAUSE)
        wire.vanish()


def silent(port: int) -> None:
    """Takes calls, here of itself, and never answers one."""
    wire = Wire(port)
    wire.register()
    while True:
        wire.call(OWN, {}, STRANGER)
        wire.drain()
        time.sleep(PAUSE)


def slow(port: int) -> None:
    """Never reads the calls that another one sends to it."""
    wire, caller = Wire(port), Wire(port)
    wire.register()
    while True:
        caller.call(OWN, "x" * 10_000, STRANGER)
        caller.drain()
        time.sleep(PAUSE)


def flooding(port: int) -> None:
    """Sends calls and garbage as fast as the engine takes them."""
    wire = Wire(port)
    wire.register()
    while True:
        wire.call(VICTIM, {"flood": True}, STRANGER)
        wire.call("nobody::home", {}, None)
        wire.send({"type": "invocationresult"})
        wire.drain()


def lying(port: int) -> None:
    """Answers what it was never asked."""
    wire = Wire(port)
    wire.register()
    while True:
        for wanted in (STRANGER, "no uuid"):
            result = {"type": "invocationresult", "invocation_id": wanted, "result": 1}
            wire.send(result)
        wire.drain()
        time.sleep(PAUSE)


def half_closed(port: int) -> None:
    """Hangs up its side in the middle of a call, and goes on reading."""
    while True:
        wire = Wire(port)
        wire.register()
        wire.call(OWN, {}, STRANGER)
        wire.socket.shutdown(socket.SHUT_WR)
        while wire.socket.recv(65536):
            pass
        wire.socket.close()
        time.sleep(PAUSE)


def storming(port: int) -> None:
    """Reconnects with its token again and again, and never says goodbye."""
    wire = Wire(port)
    while True:
        newer = Wire(port)
        token = wire.told["reattach_token"]
        frame = {"type": "reattach", "previous_worker_id": wire.told["worker_id"]}
        newer.send(frame | {"reattach_token": token})
        newer.register()
        time.sleep(PAUSE)
        wire.vanish()
        wire = newer


ANIMALS: dict[str, Callable[[int], None]] = {
    "crashing": crashing,
    "silent": silent,
    "slow": slow,
    "flooding": flooding,
    "lying": lying,
    "half-closed": half_closed,
    "storming": storming,
}


def stand_back() -> None:
    """Leave this core to the load whenever it wants it, under real time, too."""
    os.nice(10)
    priority = (
        os.sched_getparam(0).sched_priority if hasattr(os, "sched_getparam") else 0
    )
    if priority > 1:
        os.sched_setparam(0, os.sched_param(priority - 1))


if __name__ == "__main__":
    stand_back()
    ANIMALS[sys.argv[2]](int(sys.argv[1]))
