"""A connection's outbox against sockets that take what they like."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from iii_trio.net._connection import Connection
from iii_trio.net._outboxes import Outboxes
from iii_trio.net._readiness import WRITE

LIMIT = 1 << 30


class Pump:
    """As much of a pump as a connection needs to write."""

    def __init__(self) -> None:
        self.mask = 0
        self.outboxes = Outboxes()

    def touch(self, connection: Connection) -> None:
        connection.dirty = True

    def change(self, _watched: object, _old: int, new: int) -> None:
        self.mask = new

    def defer(self, _owner: object, callback: Callable[[], None]) -> None:
        callback()


class Socket:
    """Takes as many bytes of each send as the test drew, then all of them."""

    def __init__(self, appetites: list[int]) -> None:
        self.appetites = appetites
        self.taken = b""

    def send(self, data: Any) -> int:
        return self.sendmsg([data])

    def sendmsg(self, pieces: list[Any]) -> int:
        data = b"".join(pieces)
        size = min(self.appetites.pop(0), len(data)) if self.appetites else len(data)
        if not size:
            raise BlockingIOError
        self.taken += data[:size]
        return size


sizes = st.one_of(
    st.integers(0, 40), st.sampled_from([2000, 2100, 5000, 33_000, 70_000])
)


@given(
    st.lists(st.one_of(st.tuples(sizes, sizes), st.none()), max_size=80),
    st.lists(st.one_of(st.integers(0, 50), st.integers(0, 100_000)), max_size=40),
)
def test_everything_is_sent_once_and_in_order_whatever_the_socket_takes(
    writes: list[tuple[int, int] | None], appetites: list[int]
) -> None:
    pump, sock = Pump(), Socket(appetites)
    connection = Connection(pump, sock, LIMIT, lambda _: None)  # type: ignore[arg-type]
    queued = b""
    for number, write in enumerate(writes):
        if write is None:
            connection.dirty = False
            connection.flush()
        else:
            head, body = (bytes([number]) * size for size in write)
            connection.write(head, memoryview(body) if number % 2 else body)
            queued += head + body
        assert connection.outbox_bytes == len(queued) - len(sock.taken)
    connection.flush()
    while connection.outbox_bytes:
        assert pump.mask & WRITE
        connection.on_ready(WRITE)
    connection.on_ready(WRITE)
    assert sock.taken == queued
    assert not pump.mask
    assert not pump.outboxes.total
