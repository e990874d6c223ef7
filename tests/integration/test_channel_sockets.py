"""Ends of channels that are sockets, against an end in this process."""

import pathlib

from iii_trio.worker import open_worker
from tests.live import open_live_engine

PIECE = bytes(64 * 1024)


async def test_a_reader_that_comes_late_gets_everything_and_the_end(
    tmp_path: pathlib.Path,
) -> None:
    async with open_live_engine(tmp_path) as live, open_worker(live.url) as remote:
        channel = await live.caller.create_channel()
        async with channel.writer as writer:
            for _ in range(50):
                await writer.send(PIECE)
        received = await remote.open_reader(channel.reader_ref).read_all()
        assert len(received) == 50 * len(PIECE)
        assert live.engine.statistics().channels == 0
