"""Channels that are promised: they cost nothing until somebody asks for one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from iii_trio.protocol import ChannelRef
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import ChannelPromise, Worker

CONTENT = b"x" * 100_000


@attrs.define
class PromiseRig:
    under_test: EngineUnderTest
    worker: Worker
    promise: ChannelPromise
    writers: int

    def channels(self) -> int:
        return self.under_test.engine.statistics().channels

    def promised(self) -> int:
        return len(self.under_test.engine.channels.promises)


@asynccontextmanager
async def open_promise_rig() -> AsyncIterator[PromiseRig]:
    async with open_test_engine() as under_test, under_test.open_worker("w") as worker:
        assert worker.channel_maker is not None

        def on_writer() -> None:
            rig.writers += 1

        promise = worker.channel_maker.promise(CONTENT, on_writer)
        rig = PromiseRig(under_test, worker, promise, 0)
        yield rig
        promise.abort("the test is over")
        await trio.testing.wait_all_tasks_blocked()
        assert (rig.channels(), rig.promised()) == (0, 0)


async def test_a_promise_is_no_channel() -> None:
    async with open_promise_rig() as rig:
        assert (rig.channels(), rig.promised()) == (0, 2)
        ids = {
            ref.channel_id for ref in (rig.promise.with_content, rig.promise.to_write)
        }
        assert len(ids) == 2
        assert rig.promise.to_read.channel_id == rig.promise.to_write.channel_id


async def test_the_content_is_read_by_whoever_asks() -> None:
    async with open_promise_rig() as rig:
        reader = rig.worker.open_reader(rig.promise.with_content)
        read = b""
        while isinstance(frame := await reader.receive(), bytes):
            read += frame
        assert read == CONTENT
        assert rig.writers == 0


async def test_what_is_written_is_read() -> None:
    async with open_promise_rig() as rig:
        writer = rig.worker.open_writer(rig.promise.to_write)
        await writer.send(b"one")
        assert (rig.writers, rig.channels(), rig.promised()) == (1, 1, 1)
        reader = rig.worker.open_reader(rig.promise.to_read)
        assert await reader.receive() == b"one"
        await writer.aclose()
        assert await reader.receive() is None
        assert rig.writers == 1


async def test_a_wrong_key_opens_nothing() -> None:
    async with open_promise_rig() as rig:
        ref = rig.promise.with_content
        wrong = ChannelRef(
            channel_id=ref.channel_id, access_key="wrong", direction="read"
        )
        with pytest.raises(trio.BrokenResourceError):
            await rig.worker.open_reader(wrong).receive()
        assert rig.promised() == 2


async def test_each_end_is_taken_once() -> None:
    async with open_promise_rig() as rig:
        await rig.worker.open_writer(rig.promise.to_write).send(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await rig.worker.open_writer(rig.promise.to_write).send(b"y")


async def test_a_promise_that_was_taken_back_is_not_kept() -> None:
    async with open_promise_rig() as rig:
        rig.promise.abort_writing("the response is there")
        with pytest.raises(trio.BrokenResourceError):
            await rig.worker.open_writer(rig.promise.to_write).send(b"x")
        assert rig.promised() == 1
        assert rig.writers == 0


async def test_a_channel_that_was_made_goes_with_its_promise() -> None:
    async with open_promise_rig() as rig:
        writer = rig.worker.open_writer(rig.promise.to_write)
        await writer.send(b"x")
        reader = rig.worker.open_reader(rig.promise.with_content)
        await reader.open()
        rig.promise.abort_writing("the response is there")
        with pytest.raises(trio.BrokenResourceError):
            await writer.send(b"y")
        assert rig.channels() == 1
        rig.promise.abort("the request is over")
        assert rig.channels() == 0
