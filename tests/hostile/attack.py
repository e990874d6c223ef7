"""Send hostile traffic and check what comes back."""

import json
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, final

import attrs
import trio

from iii_trio.net import OP_CLOSE, OP_TEXT
from tests.hostile.messages import Message, hostile_message
from tests.hostile.requests import hostile_request
from tests.hostile.wires import hostile_wire
from tests.integration.net_rig import Client, frame

PATIENCE: Final = 60.0
"""Seconds that an answer may take under all that load."""

BATCH: Final = 100
"""Messages of one link, which then goes."""


@final
@attrs.define(eq=False)
class Attack:
    """Attacks one server.

    Attributes:
        port: of its worker listener.
        http_port: of its HTTP triggers.
        seed: the same one makes the same traffic.
        rate: frames a second at most, and a tenth as many requests.
        frames: sent.
        requests: sent.
        violations: what the server did not do as it should.
    """

    port: int
    http_port: int
    seed: int
    rate: float = math.inf
    frames: int = 0
    requests: int = 0
    violations: list[str] = attrs.Factory(list)
    _serial: int = 0
    _frames_begin: float = 0.0
    _requests_begin: float = 0.0

    async def run(self, frames: int, requests: int, tasks: int = 8) -> None:
        """Send that many, from several tasks at once."""
        frame_goal, request_goal = self.frames + frames, self.requests + requests
        now = trio.current_time()
        self._frames_begin = now - self.frames / self.rate
        self._requests_begin = now - self.requests / (self.rate / 10)
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(self._send_frames, frame_goal)
                nursery.start_soon(self._send_requests, request_goal)

    async def drip(self) -> None:
        """Be slow for ever: a byte now and then, of a head that does not end."""
        while True:
            async with await self._dial(self.http_port) as stream:
                try:
                    for byte in b"GET /echo HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1000:
                        await stream.send_all(bytes([byte]))
                        await trio.sleep(0.2)
                except trio.BrokenResourceError:
                    pass  # as it should be, in the end

    async def _dial(self, port: int) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", port)

    def _dice(self) -> tuple[int, random.Random]:
        self._serial += 1
        return self._serial, random.Random(f"{self.seed}:{self._serial}")

    async def _try(
        self, attack: Callable[[random.Random], Awaitable[str | None]]
    ) -> None:
        serial, rng = self._dice()
        with trio.move_on_after(PATIENCE) as scope:
            problem = await attack(rng)
        if scope.cancelled_caught:
            problem = "no answer"
        if problem is not None:
            self.violations.append(f"{attack.__name__} {self.seed}:{serial}: {problem}")

    # Frames.

    async def _send_frames(self, goal: int) -> None:
        await trio.lowlevel.checkpoint()
        while self.frames < goal:
            _, rng = self._dice()
            await trio.sleep_until(self._frames_begin + self.frames / self.rate)
            if rng.random() < 0.9:
                self.frames += BATCH
                await self._try(self.messages)
            else:
                for _ in range(10):
                    self.frames += 1
                    await self._try(self.wire)

    async def messages(self, rng: random.Random) -> str | None:
        """One link: messages, then a call that is answered when all of them were read."""
        batch = [hostile_message(rng) for _ in range(BATCH)]
        marker = f"00000000-0000-4000-8000-{rng.getrandbits(48):012x}"
        batch.append(
            Message(
                b'{"type":"invokefunction","invocation_id":"%s","function_id":"no"}'
                % marker.encode(),
                marker,
                frozenset({"function_not_found"}),
            )
        )
        data = b"".join(frame(OP_TEXT, message.text) for message in batch)
        async with await self._dial(self.port) as stream:
            client = await Client(stream).upgrade("/")
            due = {message.call: message for message in batch if message.call}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_in_pieces, client, data, rng)
                problem = await _collect(client, due)
                nursery.cancel_scope.cancel(reason="all is answered")
            if rng.random() < 0.5:
                client.reset()
        return problem

    async def wire(self, rng: random.Random) -> str | None:
        """One connection that breaks WebSocket."""
        wire = hostile_wire(rng)
        async with await self._dial(self.port) as stream:
            client = await Client(stream).upgrade("/")
            if not await _sent(client, wire.data):
                return None  # it was ended while we were still at it
            if not wire.codes:
                await stream.send_eof()
                await _until_end(client)
                return None
            code = await _close_code(client)
            if code in wire.codes:
                return None
            return f"{wire.data[:40]!r} was closed with {code}, not {set(wire.codes)}"

    # Requests.

    async def _send_requests(self, goal: int) -> None:
        await trio.lowlevel.checkpoint()
        while self.requests < goal:
            due = self._requests_begin + self.requests / (self.rate / 10)
            await trio.sleep_until(due)
            self.requests += 1
            await self._try(self.request)

    async def request(self, rng: random.Random) -> str | None:
        """One connection with one bad request, perhaps one more behind it."""
        request = hostile_request(rng)
        async with await self._dial(self.http_port) as stream:
            client = Client(stream)
            if len(request.data) < 400 and rng.random() < 0.1:
                for byte in request.data:
                    if not await _sent(client, bytes([byte])):
                        break
            else:
                for piece in _pieces(request.data, rng):
                    if not await _sent(client, piece):
                        break
            if request.silent:
                try:
                    await stream.send_eof()
                except trio.BrokenResourceError:
                    return None
            answer = await _first_line(client)
        if not answer and request.silent:
            return None
        status = int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else None
        if status in request.statuses:
            return None
        return f"{request.data[:120]!r} was answered {answer!r}"


async def _collect(client: Client, due: dict[str, Message]) -> str | None:
    """Read until every call is answered."""
    await trio.lowlevel.checkpoint()
    while due:
        data = await client.receive_event()
        if data is None:
            return f"the link was lost, {len(due)} answers are missing"
        opcode, payload = data
        if opcode == OP_CLOSE:
            return f"the link was closed: {payload!r}"
        if opcode != OP_TEXT:
            continue  # the server looks whether we live
        answer = json.loads(payload)
        if answer.get("type") != "invocationresult":
            continue
        message = due.pop(answer.get("invocation_id"), None)
        if message is None:
            continue
        code = (answer.get("error") or {}).get("code")
        if code not in message.codes:
            return f"{message.text[:200]!r} was answered {payload[:200]!r}"
    return None


async def _send_in_pieces(client: Client, data: bytes, rng: random.Random) -> None:
    await trio.lowlevel.checkpoint()
    for piece in _pieces(data, rng):
        if not await _sent(client, piece):
            return


def _pieces(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Cut at a few places."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 5))))
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if begin < end:
            yield data[begin:end]


async def _sent(client: Client, data: bytes) -> bool:
    try:
        await client.send(data)
    except trio.BrokenResourceError:
        await trio.lowlevel.checkpoint()
        return False
    return True


async def _close_code(client: Client) -> int | None:
    """The code of the Close that comes; ``None``: none."""
    while (event := await client.receive_event()) is not None:
        opcode, payload = event
        if opcode == OP_CLOSE:
            return int.from_bytes(payload[:2], "big")
    return None


async def _until_end(client: Client) -> None:
    while await client.receive():
        pass


async def _first_line(client: Client) -> bytes:
    data = b""
    await trio.lowlevel.checkpoint()
    while b"\r\n" not in data:
        more = await client.receive()
        if not more:
            break
        data += more
    return data.split(b"\r\n")[0]
