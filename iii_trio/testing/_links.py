"""check_link: does a transport keep the contract of `iii_trio.transport.Link`?"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, final

import attrs
import trio

from iii_trio.testing._checking import expect, noting, require
from iii_trio.transport import Link

PATIENCE: Final = 10.0
"""Seconds that anything may take before the link is declared broken."""

PAUSE: Final = 0.1
"""Seconds in which what must not happen would happen."""

LARGE: Final = 3 * 2**20
"""Bytes of a message that needs fragments or several reads."""

OpenPair = Callable[[], AbstractAsyncContextManager[tuple[Link, Link]]]
"""Opens two connected ends, not started; leaving the block may drop them."""


@final
@attrs.define(eq=False)
class LinkEar:
    """A sink that notes what it hears, and what it should not have heard.

    It runs inside the transport, which may swallow what a sink raises: so it raises
    nothing, and whoever checks the link asks `verify` in the end.
    """

    frames: list[bytes] = attrs.field(factory=list, init=False)
    telemetry: list[bytes] = attrs.field(factory=list, init=False)
    closed: list[str] = attrs.field(factory=list, init=False)
    violations: list[str] = attrs.field(factory=list, init=False)
    _lot: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    def on_frame(self, text: bytes) -> None:
        """Note a frame."""
        self._note(self.frames, text)

    def on_telemetry(self, data: bytes) -> None:
        """Note a telemetry message."""
        self._note(self.telemetry, data)

    def on_closed(self, reason: str) -> None:
        """Note the end."""
        if self.closed:
            self.violations.append("on_closed was called again")
        self.closed.append(reason)
        self._lot.unpark_all()

    def _note(self, heard: list[bytes], data: bytes) -> None:
        if type(data) is not bytes:
            self.violations.append(f"a message came as {type(data)}")
        if self.closed:
            self.violations.append("a message came after on_closed")
        heard.append(data)
        self._lot.unpark_all()

    async def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition on what was heard holds."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(PATIENCE):
            await trio.lowlevel.checkpoint()
            while not condition():
                await self._lot.park()
        require(condition(), f"within {PATIENCE} s there was no {what}")

    async def wait_frames(self, count: int) -> None:
        """Wait until so many frames came."""
        await self.wait_for(lambda: len(self.frames) >= count, f"frame {count}")

    async def wait_closed(self) -> None:
        """Wait for the end."""
        await self.wait_for(lambda: bool(self.closed), "on_closed")

    def expect(self, frames: list[bytes], problem: str = "not what was sent") -> None:
        """Raise ``AssertionError`` unless these frames came, and all was in order."""
        self.verify()
        expect(problem, "the link", self.frames, frames)

    def verify(self) -> None:
        """Raise ``AssertionError`` for what should not have been heard."""
        if self.violations:
            raise AssertionError("; ".join(self.violations))


class _Check(Protocol):
    async def __call__(self, a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
        """Check one rule on a fresh pair that was started."""


async def check_link(open_pair: OpenPair) -> None:
    """Check a transport against the contract of `Link`; raises ``AssertionError``.

    A note on the error says which rule was broken. Needs a clock that does not jump if
    the transport uses sockets.

    Args:
        open_pair: called once per rule.
    """
    await trio.lowlevel.checkpoint()
    for rule, check in _RULES.items():
        at_a, at_b = LinkEar(), LinkEar()
        with noting(f"The rule that check_link tried: {rule}."):
            async with open_pair() as (a, b):
                a.start(at_a)
                b.start(at_b)
                await check(a, b, at_a, at_b)
                await trio.sleep(PAUSE)
            at_a.verify()
            at_b.verify()


async def _order(a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
    require(bool(a.peer), "a link does not say where its peer is")
    require(bool(b.peer), "a link does not say where its peer is")
    for n in range(200):
        a.send_nowait(b'{"a":%d}' % n)
        b.send_nowait(b'{"b":%d}' % n)
    await at_b.wait_frames(200)
    await at_a.wait_frames(200)
    at_b.expect([b'{"a":%d}' % n for n in range(200)])
    at_a.expect([b'{"b":%d}' % n for n in range(200)])


async def _sizes(a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
    texts = [b"x" * size for size in (1, 125, 126, 65535, 65536, LARGE)]
    texts.append("{é\U0001f600}".encode())
    texts.append(("\U0001f600é" * (LARGE // 6)).encode())
    for text in texts:
        a.send_nowait(text)
    await at_b.wait_frames(len(texts))
    at_b.expect(texts)
    for text in texts:
        b.send_nowait(text)
    await at_a.wait_frames(len(texts))
    at_a.expect(texts)


async def _outbox(a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
    require(
        a.outbox_bytes == 0,
        f"{a.outbox_bytes} bytes are counted before anything was sent",
    )
    b.hold()
    for _ in range(16):
        a.send_nowait(b"x" * LARGE)
    require(a.outbox_bytes > 0, "nothing is counted as waiting")
    b.resume()
    await at_b.wait_frames(16)
    b.send_nowait(b"seen")  # what was counted is taken when this arrives
    await at_a.wait_frames(1)
    require(
        a.outbox_bytes == 0,
        f"{a.outbox_bytes} bytes are counted that the peer has taken",
    )


async def _hold(a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
    a.send_nowait(b"before")
    await at_b.wait_frames(1)
    b.hold()
    for n in range(50):
        a.send_nowait(b"%d" % n)
    b.send_nowait(b"still sending")
    await at_a.wait_frames(1)
    await trio.sleep(PAUSE)  # the two directions may overtake each other
    at_b.expect([b"before"], "a frame came while the link was on hold")
    b.resume()
    at_b.expect([b"before"], "resume called on_frame itself")
    await at_b.wait_frames(51)
    at_b.expect([b"before", *(b"%d" % n for n in range(50))])


async def _outbox_limit(a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
    a.limit_outbox(2 * 2**20)
    a.send_nowait(b"x" * 2**20)
    await at_b.wait_frames(1)
    for _ in range(4):
        a.send_nowait(b"x" * 2**20)
    require(not at_a.closed, "on_closed was called from inside send_nowait")
    await at_a.wait_closed()
    b.close("enough", polite=False)
    await at_b.wait_closed()


async def _polite_close(a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
    await _close(a, at_a, at_b, polite=True)
    b.close("after the end", polite=True)


async def _abrupt_close(a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
    await _close(a, at_a, at_b, polite=False)
    b.send_nowait(b"after the end")


async def _close(a: Link, at_a: LinkEar, at_b: LinkEar, *, polite: bool) -> None:
    for n in range(20):
        a.send_nowait(b"%d" % n)
    a.close("the test is over", polite=polite)
    require(not at_a.closed, "on_closed was called from inside close")
    a.send_nowait(b"too late")
    a.close("again", polite=polite)
    await at_b.wait_closed()
    await at_a.wait_closed()
    at_b.expect([b"%d" % n for n in range(20)], "what was queued is lost")
    told = at_a.closed[0]
    require(told.startswith("the test is over"), f"on_closed was told {told!r}")


async def _closed_while_held(a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
    b.hold()
    a.close("gone", polite=False)
    await at_a.wait_closed()
    b.close("gone as well", polite=False)
    await at_b.wait_closed()
    b.resume()


async def _bounded_polite(a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
    await _close_against_hold(a, b, at_a, polite=True)


async def _bounded_abrupt(a: Link, b: Link, at_a: LinkEar, at_b: LinkEar) -> None:
    await _close_against_hold(a, b, at_a, polite=False)


async def _close_against_hold(a: Link, b: Link, at_a: LinkEar, *, polite: bool) -> None:
    b.hold()
    for _ in range(16):
        a.send_nowait(b"x" * LARGE)
    a.close("gone", polite=polite)
    await at_a.wait_closed()


_RULES: Final[dict[str, _Check]] = {
    "frames arrive in order, both ways": _order,
    "messages of every size arrive as they were sent": _sizes,
    "outbox_bytes counts what the peer has not taken": _outbox,
    "no frame comes while the link is on hold, and none is lost": _hold,
    "the link is dropped over the limit of its outbox": _outbox_limit,
    "a polite close sends what was queued, and on_closed is the end": _polite_close,
    "an abrupt close sends what was queued, and on_closed is the end": _abrupt_close,
    "a link on hold can be closed": _closed_while_held,
    "a polite close ends though the peer does not read": _bounded_polite,
    "an abrupt close ends though the peer does not read": _bounded_abrupt,
}
