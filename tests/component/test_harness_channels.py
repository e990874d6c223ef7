"""Channels of workers that have a memory link."""

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.protocol import ChannelRef
from iii_trio.testing import open_test_engine
from iii_trio.transport import MemoryConnection
from tests.component.worker_kinds import KINDS, opening


@KINDS
async def test_a_stream_goes_to_a_handler_and_back(
    kind: str, autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as t,
        t.open_link_worker("caller") as caller,
        opening(t, kind, "callee") as callee,
    ):

        @callee.function("shout")
        async def shout(ends: dict[str, ChannelRef]) -> None:
            async with callee.open_writer(ends["target"]) as writer:
                async for piece in callee.open_reader(ends["source"]):
                    assert isinstance(piece, str)
                    await writer.send(piece.upper())

        await wait_all_tasks_blocked()  # registered
        there, back = await caller.create_channel(), await caller.create_channel()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                ends = {"source": there.reader.ref, "target": back.writer.ref}
                await caller.invoke("shout", msgspec.to_builtins(ends))

            async with there.writer as writer:
                for piece in ("a", "b" * 100_000, ""):
                    await writer.send(piece)
            assert [piece async for piece in back.reader] == ["A", "B" * 100_000, ""]
        assert t.engine.statistics().channels == 0


async def test_ends_are_lost_with_their_worker(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_worker("maker") as maker:
        to_read, to_write = await maker.create_channel(), await maker.create_channel()
        await to_read.writer.send(b"unread")
        async with t.open_link_worker("taker") as taker:
            await taker.open_reader(to_read.reader.ref).open()
            await taker.open_writer(to_write.writer.ref).send(b"half")
        with pytest.raises(trio.BrokenResourceError, match=r"that read .* is gone"):
            await to_read.writer.send(b"unheard")
        with pytest.raises(trio.BrokenResourceError, match=r"that wrote .* is gone"):
            await to_write.reader.read_all()


async def test_ends_outlive_a_cut_link(autojump_clock: MockClock) -> None:
    connections: list[MemoryConnection] = []
    async with (
        open_test_engine() as t,
        t.open_worker("maker") as maker,
        t.open_link_worker("taker", on_connect=connections.append) as taker,
    ):
        channel = await maker.create_channel()
        async with taker.open_writer(channel.writer.ref) as writer:
            await writer.send(b"before ")
            connections[0].cut()
            await trio.sleep(60)
            assert len(connections) == 2
            await writer.send(b"after")
        assert await channel.reader.read_all() == b"before after"


async def test_a_wrong_key_takes_no_end(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_link_worker("taker") as taker:
        channel = await taker.create_channel()
        wrong = msgspec.structs.replace(channel.writer.ref, access_key="guessed")
        with pytest.raises(trio.BrokenResourceError, match="its key is wrong"):
            await taker.open_writer(wrong).send(b"x")
