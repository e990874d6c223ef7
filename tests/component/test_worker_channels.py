"""Channels of workers in process: whole streams, messages, closing, aborting."""

from typing import Any

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.engine import open_engine
from iii_trio.protocol import ChannelRef
from iii_trio.testing import open_test_engine, run
from iii_trio.worker import open_worker
from tests.component.worker_kinds import KINDS, opening


async def test_bytes_are_cut_into_pieces_and_text_stays_whole() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        channel = await worker.create_channel()
        async with channel.writer as writer:
            await writer.send(b"x" * 150_000)
            await writer.send("t" * 100_000)
            await writer.send(b"")
        got = [piece async for piece in channel.reader]
    assert [len(piece) for piece in got] == [65536, 65536, 18928, 100_000, 0]
    assert [type(piece) for piece in got] == [bytes, bytes, bytes, str, bytes]


async def test_read_all_joins_until_the_end() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        channel = await worker.create_channel(buffer_size=1)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                async with channel.writer as writer:
                    for piece in (b"ab", "c\u00e9", b"d"):
                        await writer.send(piece)

            assert await channel.reader.read_all() == "abc\u00e9d".encode()
        assert await channel.reader.receive() is None


async def test_an_end_can_be_handed_to_another_worker() -> None:
    async with (
        open_engine() as engine,
        open_worker(engine) as first,
        open_worker(engine) as second,
    ):
        channel = await first.create_channel()

        @second.function("upload")
        async def upload(ref: dict[str, str]) -> int:
            return len(await second.open_reader(ChannelRef(**ref)).read_all())

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                await channel.writer.wait_peer()
                await channel.writer.send(b"12345")
                await channel.writer.aclose()

            assert await first.invoke("upload", channel.reader_ref) == 5


async def test_a_ref_anywhere_inside_a_payload_can_be_opened() -> None:
    @attrs.frozen
    class Upload:
        parts: list[ChannelRef]

    async with (
        open_engine() as engine,
        open_worker(engine) as first,
        open_worker(engine) as second,
    ):

        @second.function("plain")
        async def plain(payload: dict[str, Any]) -> int:
            return len(await second.open_reader(payload["a"][0]["b"]).read_all())

        @second.function("typed")
        async def typed(payload: Upload) -> int:
            return len(await second.open_reader(payload.parts[0]).read_all())

        channel = await first.create_channel()
        await channel.writer.send(b"12345")
        await channel.writer.aclose()
        assert await first.invoke("plain", {"a": [{"b": channel.reader_ref}]}) == 5
        channel = await first.create_channel()
        await channel.writer.aclose()
        assert await first.invoke("typed", Upload([channel.reader_ref])) == 0


async def test_what_is_no_ref_is_refused() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        with pytest.raises(ValueError, match=r"not a channel ref.*access_key"):
            worker.open_writer({"channel_id": "c", "direction": "write"})
        channel = await worker.create_channel()
        with pytest.raises(ValueError, match="'write' end"):
            worker.open_reader(msgspec.to_builtins(channel.writer_ref))


async def test_an_unused_writer_that_closes_ends_the_stream() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        channel = await worker.create_channel()
        await channel.writer.aclose()
        await channel.writer.aclose()
        assert await channel.reader.receive() is None
        with pytest.raises(trio.ClosedResourceError):
            await channel.writer.send(b"late")


async def test_a_reader_that_closes_breaks_the_writer() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        channel = await worker.create_channel()
        await channel.writer.send(b"1")
        await channel.reader.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await channel.writer.send(b"2")
        with pytest.raises(trio.ClosedResourceError):
            await channel.reader.receive()


@pytest.mark.parametrize("direction", ["read", "write"])
@KINDS
async def test_an_end_whose_task_is_cancelled_drops_the_channel(
    direction: str, kind: str, autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("maker") as maker,
        opening(t, kind, "taker") as taker,
        trio.open_nursery() as nursery,
    ):
        channel = await maker.create_channel(buffer_size=1)

        async def use() -> None:
            if direction == "read":
                async with taker.open_reader(channel.reader_ref) as reader:
                    await reader.read_all()
            else:
                async with taker.open_writer(channel.writer_ref) as writer:
                    await writer.send(b"half")
                    await trio.sleep_forever()

        nursery.start_soon(use)
        await wait_all_tasks_blocked()
        assert t.engine.statistics().channels == 1
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            assert t.engine.statistics().channels == 0
            reading, writing = channel.reader.receive, channel.writer.send
            with pytest.raises(trio.BrokenResourceError):
                await (writing(b"") if direction == "read" else reading())


@pytest.mark.parametrize("sent", [b"half", None])
@KINDS
async def test_a_writer_whose_task_fails_does_not_end_the_stream(
    sent: bytes | None, kind: str, autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("maker") as maker,
        opening(t, kind, "taker") as taker,
    ):
        channel = await maker.create_channel()

        async def write() -> None:
            async with taker.open_writer(channel.writer_ref) as writer:
                if sent is not None:
                    await writer.send(sent)
                raise ValueError("nothing more")

        with pytest.raises(ValueError, match="nothing more"):
            await write()
        with pytest.raises(trio.BrokenResourceError):
            await channel.reader.read_all()
        await wait_all_tasks_blocked()
        assert t.engine.statistics().channels == 0


async def test_an_end_that_was_closed_is_not_dropped_by_closing_it_again() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        channel = await worker.create_channel()
        with trio.CancelScope() as scope:
            async with channel.writer as writer:
                await writer.send(b"all")
                await writer.aclose()
                scope.cancel()
        assert await channel.reader.read_all() == b"all"


@pytest.mark.parametrize("seed", range(8))
def test_an_end_can_be_closed_while_another_task_opens_it(seed: int) -> None:
    async def main() -> None:
        async with open_test_engine(seed=seed) as t, t.open_worker() as worker:
            channel = await worker.create_channel()

            async def receive() -> None:
                with pytest.raises(
                    (trio.ClosedResourceError, trio.BrokenResourceError)
                ):
                    await channel.reader.receive()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                nursery.start_soon(channel.reader.aclose)
            assert t.engine.statistics().channels == 0

    run(main, seed=seed, time_limit=60)


async def test_abort_drops_the_channel_for_both() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        channel = await worker.create_channel()
        await channel.writer.send(b"1")
        assert await channel.reader.receive() == b"1"
        channel.writer.abort("enough")
        with pytest.raises(trio.BrokenResourceError):
            await channel.reader.receive()
        unused = await worker.create_channel()
        unused.writer.abort("never used")
        with pytest.raises(trio.ClosedResourceError):
            await unused.writer.send(b"1")


@KINDS
async def test_an_end_is_not_opened_after_its_worker(
    kind: str, autojump_clock: MockClock
) -> None:
    async with open_test_engine() as t:
        async with opening(t, kind, "w") as worker:
            channel = await worker.create_channel()
        with pytest.raises(trio.ClosedResourceError):
            await channel.reader.receive()
        with pytest.raises(trio.ClosedResourceError):
            await channel.writer.aclose()
        assert t.engine.statistics().channels == 0


async def test_an_end_is_for_one_task_at_a_time() -> None:
    async with (
        open_engine() as engine,
        open_worker(engine) as worker,
        trio.open_nursery() as nursery,
    ):
        channel = await worker.create_channel()
        nursery.start_soon(channel.reader.receive)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await channel.reader.receive()
        nursery.cancel_scope.cancel()


async def test_a_ref_of_the_wrong_direction_or_channel_is_refused() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        channel = await worker.create_channel()
        with pytest.raises(ValueError, match="end"):
            worker.open_reader(channel.writer_ref)
        assert channel.reader.ref is channel.reader_ref
        forged = ChannelRef(channel_id="x", access_key="y", direction="read")
        with pytest.raises(trio.BrokenResourceError):
            await worker.open_reader(forged).receive()
        await worker.open_reader(forged).aclose()
        await channel.reader.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await worker.open_reader(channel.reader_ref).receive()
