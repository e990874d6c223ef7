"""Channels between ends in this process: order, buffer, abort, loss, time."""

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.net import EngineLimits
from iii_trio.protocol import ChannelRef, InvocationResult
from iii_trio.testing import EngineUnderTest, RawPeer, open_test_engine
from iii_trio.worker import ChannelReader, ChannelWriter, Worker


async def create(worker: Worker, **asked: object) -> tuple[ChannelRef, ChannelRef]:
    """Make a channel through the function; its writing and its reading end."""
    answer: Any = await worker.invoke("engine::channels::create", asked)
    assert list(answer) == ["writer", "reader"]
    refs = [ChannelRef(**answer[end]) for end in ("writer", "reader")]
    return refs[0], refs[1]


async def ends(worker: Worker, **asked: object) -> tuple[ChannelWriter, ChannelReader]:
    """Make a channel and take both ends."""
    writer_ref, reader_ref = await create(worker, **asked)
    writer, reader = worker.open_writer(writer_ref), worker.open_reader(reader_ref)
    await writer.open()
    await reader.open()
    return writer, reader


def channels(t: EngineUnderTest) -> int:
    return t.engine.statistics().channels


async def test_both_ends_share_an_id_and_a_key(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer, reader = await create(worker)
        assert (writer.channel_id, writer.access_key) == (
            reader.channel_id,
            reader.access_key,
        )
        assert writer.channel_id != writer.access_key
        assert (writer.direction, reader.direction) == ("write", "read")


@pytest.mark.parametrize("writer_first", [True, False])
async def test_the_ends_come_in_any_order(
    writer_first: bool, autojump_clock: MockClock
) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer_ref, reader_ref = await create(worker)
        writer, reader = worker.open_writer(writer_ref), worker.open_reader(reader_ref)
        if not writer_first:
            await reader.open()
        await writer.send("text")
        await writer.send(b"bytes")
        await writer.aclose()
        assert await reader.receive() == "text"
        assert await reader.receive() == b"bytes"
        assert await reader.receive() is None
        assert channels(t) == 0


@pytest.mark.parametrize(
    ("asked", "capacity"),
    [
        ({}, 64),
        ({"buffer_size": None}, 64),
        ({"buffer_size": 3}, 3),
        ({"buffer_size": 0}, 1),
        ({"buffer_size": -1}, 1),
        ({"buffer_size": 5000}, 1024),
    ],
)
async def test_a_full_buffer_holds_the_writer_until_one_frame_is_taken(
    asked: dict[str, object], capacity: int, autojump_clock: MockClock
) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer, reader = await ends(worker, **asked)
        sent: list[int] = []

        async def send_all() -> None:
            await trio.lowlevel.checkpoint()
            for n in range(capacity + 2):
                await writer.send(str(n))
                sent.append(n)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            await wait_all_tasks_blocked()
            assert len(sent) == capacity
            assert await reader.receive() == "0"
            await wait_all_tasks_blocked()
            assert len(sent) == capacity + 1
            assert await reader.receive() == "1"


async def test_a_channel_is_also_full_by_bytes(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer, reader = await ends(worker)
        await writer.send("x" * (5 * 2**20))
        with trio.move_on_after(1) as scope:
            await writer.send("y")
        assert scope.cancelled_caught
        await reader.receive()
        await writer.send("z")
        assert await reader.receive() == "z"


async def test_a_reader_waits_for_the_first_frame_and_may_give_up(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer, reader = await ends(worker)
        with trio.move_on_after(1) as scope:
            await reader.receive()
        assert scope.cancelled_caught
        await writer.send("later")
        assert await reader.receive() == "later"


async def test_an_end_is_taken_once(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer_ref, reader_ref = await create(worker)
        for opened, ref, name in (
            (worker.open_writer, writer_ref, "write"),
            (worker.open_reader, reader_ref, "read"),
        ):
            await opened(ref).open()
            with pytest.raises(trio.BrokenResourceError, match=f"the {name} end"):
                await opened(ref).open()
        assert channels(t) == 1


@pytest.mark.parametrize("field", ["channel_id", "access_key"])
async def test_a_wrong_id_or_key_opens_nothing(
    field: str, autojump_clock: MockClock
) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        _, ref = await create(worker)
        fields = msgspec.structs.asdict(ref)
        forged = ChannelRef(**{**fields, field: "00000000-0000-4000-8000-000000000000"})
        with pytest.raises(trio.BrokenResourceError, match="its key is wrong"):
            await worker.open_reader(forged).open()
        await worker.open_reader(ref).open()


async def test_an_end_that_nobody_takes_ends_the_channel_after_5_minutes(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        await create(worker)
        writer_ref, _ = await create(worker)
        writer = worker.open_writer(writer_ref)
        await writer.send("lost")
        await trio.sleep(299)
        assert channels(t) == 2
        await trio.sleep(2)
        assert channels(t) == 0
        with pytest.raises(trio.BrokenResourceError, match="not taken within 300 s"):
            await writer.send("more")
        with pytest.raises(trio.BrokenResourceError, match="is not known"):
            await worker.open_writer(writer_ref).open()


async def test_a_channel_with_both_ends_has_all_the_time(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer, reader = await ends(worker)
        await trio.sleep(3600)
        await writer.send("still here")
        assert await reader.receive() == "still here"


async def test_a_worker_that_leaves_takes_its_channels_along(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("reader") as other,
        t.open_raw_peer("owner") as peer,
    ):
        call = peer.call("engine::channels::create", {})
        answer = msgspec.json.decode((await peer.outcome(call)).result)
        reader = other.open_reader(ChannelRef(**answer["reader"]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_broken, reader, "made the channel is gone")
            await wait_all_tasks_blocked()
            peer.close()
        assert channels(t) == 0
        assert t.engine.statistics().timers <= 1  # the debounce of discovery events


async def _expect_broken(reader: ChannelReader, reason: str) -> None:
    with pytest.raises(trio.BrokenResourceError, match=reason):
        await reader.receive()


@pytest.mark.parametrize("by_writer", [True, False])
async def test_an_abort_breaks_both_ends_and_loses_what_was_buffered(
    by_writer: bool, autojump_clock: MockClock
) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer, reader = await ends(worker)
        await writer.send("lost")
        (writer if by_writer else reader).abort("changed my mind")
        assert channels(t) == 0
        if by_writer:
            await _expect_broken(reader, "changed my mind")
        else:
            with pytest.raises(trio.BrokenResourceError, match="changed my mind"):
                await writer.send("more")


async def test_what_is_dropped_after_the_end_was_said_is_no_end(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer, reader = await ends(worker)
        await writer.send("read")
        await writer.send("dropped")
        await writer.aclose()
        assert await reader.receive() == "read"
        writer.abort("changed my mind")
        await _expect_broken(reader, "changed my mind")


async def test_a_reader_that_leaves_breaks_a_writer_that_waits(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer, reader = await ends(worker, buffer_size=1)
        await writer.send("full")

        async def wait_for_room() -> None:
            with pytest.raises(trio.BrokenResourceError, match="reader closed"):
                await writer.send("more")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_room)
            await wait_all_tasks_blocked()
            await reader.aclose()
        assert channels(t) == 0


async def test_closing_both_ends_leaves_nothing_in_either_order(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        for order in ((0, 1), (1, 0)):
            both = await ends(worker)
            for index in order:
                await both[index].aclose()
            assert channels(t) == 0
        writer, reader = await ends(worker)
        await writer.send("unread")
        await writer.aclose()
        await reader.aclose()
        assert channels(t) == 0
        assert t.engine.statistics().timers == 0


async def test_both_ends_may_wait_for_each_other(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_worker() as worker:
        writer_ref, reader_ref = await create(worker)
        writer, reader = worker.open_writer(writer_ref), worker.open_reader(reader_ref)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.wait_peer)
            await wait_all_tasks_blocked()
            nursery.start_soon(reader.wait_peer)
        await writer.aclose()
        assert await reader.read_all() == b""


async def test_a_ref_passes_through_a_call_to_another_worker(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("a") as a,
        t.open_worker("b") as b,
    ):

        @b.function("b::count")
        async def count(payload: dict[str, Any]) -> int:
            reader = b.open_reader(ChannelRef(**payload["from"]))
            return len(await reader.read_all())

        writer_ref, reader_ref = await create(a)
        async with trio.open_nursery() as nursery:
            writer = a.open_writer(writer_ref)

            async def write() -> None:
                async with writer:
                    await writer.send(bytes(200_000))

            nursery.start_soon(write)
            payload = {"from": msgspec.structs.asdict(reader_ref)}
            assert await a.invoke("b::count", payload) == 200_000
        assert channels(t) == 0


async def test_a_stream_that_ended_outlives_the_worker_that_made_it(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("reader") as other:
        async with t.open_worker("owner") as owner:
            writer_ref, reader_ref = await create(owner)
            async with owner.open_writer(writer_ref) as writer:
                await writer.send("last words")
        reader = other.open_reader(reader_ref)
        assert await reader.receive() == "last words"
        assert await reader.receive() is None
        assert channels(t) == 0


async def test_a_writer_elsewhere_goes_on_when_the_link_that_made_it_is_gone(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("other") as other,
        t.open_raw_peer("owner") as peer,
    ):
        call = peer.call("engine::channels::create", {})
        answer = msgspec.json.decode((await peer.outcome(call)).result)
        writer = other.open_writer(ChannelRef(**answer["writer"]))
        await writer.open()
        peer.close()
        await trio.sleep(1)
        await writer.send("still here")
        reader = other.open_reader(ChannelRef(**answer["reader"]))
        assert await reader.receive() == "still here"


async def test_a_local_worker_that_leaves_breaks_what_it_did_not_finish(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("reader") as other:
        async with t.open_worker("owner") as owner:
            writer_ref, reader_ref = await create(owner)
            reader = other.open_reader(reader_ref)
            await owner.open_writer(writer_ref).send("half")
            await reader.open()
        await _expect_broken(reader, "made the channel is gone")
        assert channels(t) == 0


async def test_a_worker_with_too_many_channels_gets_no_further_one(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine(limits=EngineLimits(channels_per_worker=2)) as t,
        t.open_raw_peer("greedy") as greedy,
        t.open_raw_peer("modest") as modest,
        t.open_worker() as local,
    ):

        async def create(peer: RawPeer) -> InvocationResult:
            return await peer.outcome(peer.call("engine::channels::create", {}))

        refs = [msgspec.json.decode((await create(greedy)).result) for _ in range(2)]
        refused = await create(greedy)
        assert b"invocation_refused" in bytes(refused.error)
        assert b"has 2 open channels, which is the limit" in bytes(refused.error)
        assert not (await create(modest)).error
        for _ in range(5):  # bundled workers need as many as they have requests
            await local.create_channel()
        counts = t.engine.channels.statistics()
        assert (counts.open, counts.opened, counts.refused) == (8, 8, 1)

        reader = local.open_reader(refs[0]["reader"])
        await local.open_writer(refs[0]["writer"]).aclose()
        assert await reader.receive() is None
        assert not (await create(greedy)).error


async def test_above_the_limit_of_all_buffers_each_channel_holds_one_frame(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine(limits=EngineLimits(channels_bytes=100_000)) as t,
        t.open_worker() as worker,
        trio.open_nursery() as nursery,
    ):
        stuck, _ = await ends(worker)
        await stuck.send(bytes(60_000))
        await stuck.send(bytes(60_000))
        assert t.engine.channels.statistics().buffered_bytes == 120_000
        with trio.move_on_after(1) as scope:
            await stuck.send(b"one more")
        assert scope.cancelled_caught

        # Others go on, one frame at a time.
        writer, reader = await ends(worker)
        pieces = [bytes([number]) * 1000 for number in range(20)]

        @nursery.start_soon
        async def _() -> None:
            async with writer:
                for piece in pieces:
                    await writer.send(piece)
                    buffered = t.engine.channels.statistics().buffered_bytes
                    assert buffered <= 122_000

        assert [piece async for piece in reader] == pieces
        stuck.abort("enough")
        assert t.engine.channels.statistics().buffered_bytes == 0


async def test_a_writer_that_others_made_wait_goes_on_when_its_frame_is_taken(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine(limits=EngineLimits(channels_bytes=100_000)) as t,
        t.open_worker() as worker,
        trio.open_nursery() as nursery,
    ):
        writer, reader = await ends(worker)
        await writer.send(b"one")  # there is room for more
        greedy, _ = await ends(worker)
        await greedy.send(bytes(100_000))
        nursery.start_soon(writer.send, b"two")
        await wait_all_tasks_blocked()
        with trio.fail_after(1):
            assert [await reader.receive(), await reader.receive()] == [b"one", b"two"]


async def test_the_time_to_take_an_end_can_be_set_and_is_counted(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine(limits=EngineLimits(channels_take_within_ms=1500)) as t,
        t.open_worker() as worker,
    ):
        writer_ref, _ = await create(worker)
        writer = worker.open_writer(writer_ref)
        await writer.open()
        await trio.sleep(2)
        with pytest.raises(trio.BrokenResourceError, match=r"within 1\.5 s"):
            await writer.send("late")
        counts = t.engine.channels.statistics()
        assert (counts.open, counts.expired) == (0, 1)


async def test_a_reader_is_lost_with_its_worker_and_its_writer_is_told(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("owner") as owner:
        writer_ref, reader_ref = await create(owner, buffer_size=1)
        writer = owner.open_writer(writer_ref)
        await writer.send("first")
        async with t.open_worker("reader") as other:
            await other.open_reader(reader_ref).open()
        with pytest.raises(trio.BrokenResourceError, match="read the channel is gone"):
            await writer.send("second")  # the buffer is full: it would wait for ever
        assert channels(t) == 0


async def test_a_writer_is_lost_with_its_worker_and_its_reader_is_told(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("owner") as owner:
        writer_ref, reader_ref = await create(owner)
        reader = owner.open_reader(reader_ref)
        async with t.open_worker("writer") as other:
            await other.open_writer(writer_ref).send("half")
        assert await reader.receive() == "half"
        await _expect_broken(reader, "wrote to the channel is gone")
        assert channels(t) == 0


async def test_a_worker_that_held_both_ends_leaves_no_channel(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t:
        async with t.open_worker("owner") as owner:
            writer, _ = await ends(owner)
            await writer.send("nobody reads it")
            await writer.aclose()
            assert channels(t) == 1
        assert channels(t) == 0
