"""Whatever JSON is in whatever member of a frame: nobody's program ends of it."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.errors import InvocationError
from iii_trio.protocol import FRAME_TYPES
from iii_trio.testing import open_test_engine
from iii_trio.testing.strategies import json_texts
from iii_trio.worker import Trigger, Worker, open_worker
from tests.component.scripted_engine import ScriptedEngine
from tests.property.test_relay import Link

PAUSE = 1.0
"""Virtual seconds after each frame, in which whatever it began may end."""

CALL = "22222222-2222-4222-8222-222222222222"
CALLED = (
    "x::local",
    "x::link",
    "engine::workers::register",
    "engine::register_trigger",
)

ANNOUNCEMENT = (
    b'{"type":"invokefunction","function_id":"engine::workers::register",'
    b'"data":{"name":"odd","features":["iii-trio.cancel.v1"]}}'
)


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


ODD = (
    *(
        b"1e400",
        b"-1e400",
        b"1e308",
        b"-1",
        b"1" * 400,
        b"1.5",
        b"true",
        b"null",
        b"NaN",
    ),
    *(b'"\\ud83d"', b'"\\u0000"', b'"%b"' % (b"a" * 5000), b'""', b'" "', b"[]", b"{}"),
    *(b'{"_caller_worker_id":1e400}', b'{"\\u005fcaller_worker_id":[]}'),
    *(b'{"code":1e400,"message":{}}', b'{"message":"m","n":1e400}', b'{"code":[]}'),
    *(b'{"features":1e400}', b'{"features":["iii-trio.cancel.v1"]}'),
    *(b'{"type":"void"}', b'{"type":"enqueue","queue":1e400}', b'{"type":"x"}'),
    *(b'{"trigger_action":"x"}', b'{"type":"http","url":1e400}'),
)
# About as deep as Python reads: one decoder comes through, and the next does not.
DEEP = tuple(
    shape % deep(levels)
    for levels in range(930, 995)
    for shape in (b"%b", b'{"message":%b}', b'{"message":"m","type":"x","n":%b}')
)
kept = {
    "id": [b'"t"', b'"x::raw2"', b'"mine"'],
    "trigger_type": [b'"mine"', b'"theirs"', b'"engine::functions-available"'],
    "function_id": [msgspec.json.encode(name) for name in CALLED],
    "invocation_id": [b'"pending"', b'"%b"' % CALL.encode(), b'"announcement"'],
}


Program = Callable[[Sequence[bytes]], Awaitable[None]]


def run(program: Program, texts: Sequence[bytes]) -> None:
    trio.run(program, texts, clock=MockClock(autojump_threshold=0))


def text_of(name: str, members: Mapping[str, bytes]) -> bytes:
    pairs = (b',"%b":%b' % (key.encode(), value) for key, value in members.items())
    return b'{"type":"%b"%b}' % (name.encode(), b"".join(pairs))


def with_one_odd_member() -> Iterator[bytes]:
    """Frames of each type that are usual, but for one member."""
    for name, kind in FRAME_TYPES.items():
        fields = msgspec.structs.fields(kind)
        usual = {one.name: kept[one.name][0] for one in fields if one.name in kept}
        for field in fields:
            odd = ODD + DEEP if field.type is msgspec.Raw else ODD
            if name != "registrationrejected" or field.name != "function_id":
                yield from (text_of(name, {**usual, field.name: one}) for one in odd)


@st.composite
def frame_texts(draw: st.DrawFn) -> bytes:
    """A frame of a known type; some of its members are what they should be."""
    name = draw(st.sampled_from(sorted(FRAME_TYPES)))
    members = {}
    for field in msgspec.structs.fields(FRAME_TYPES[name]):
        usual = kept.get(field.name)
        refuses_worker = name == "registrationrejected"  # without a function it does
        if usual is not None and (refuses_worker or draw(st.integers(0, 5))):
            members[field.name] = draw(st.sampled_from(usual))
        elif field.required or draw(st.booleans()):
            members[field.name] = draw(json_texts() | st.sampled_from(ODD + DEEP))
    return text_of(name, members)


def with_ids(text: bytes, pending: str, announcement: str) -> bytes:
    text = text.replace(b'"pending"', b'"%b"' % pending.encode())
    return text.replace(b'"announcement"', b'"%b"' % announcement.encode())


async def call_for_ever(worker: Worker, function_id: str) -> None:
    """Call; whatever the outcome is, call again."""
    while True:
        with suppress(InvocationError):
            await worker.invoke(function_id)
        await trio.sleep(PAUSE / 2)


def provide(worker: Worker, function_id: str, trigger_type: str) -> None:
    """Offer something to call and to bind."""

    async def handler(_: Any) -> None:
        await trio.lowlevel.checkpoint()

    def bind(_: Trigger) -> None: ...

    worker.register_function(function_id, handler)
    worker.register_trigger_type(trigger_type, bind=bind, unbind=bind)


async def send_to_worker(texts: Sequence[bytes]) -> None:
    engine = ScriptedEngine()
    async with (
        open_worker(engine.attachment()) as worker,
        trio.open_nursery() as nursery,
    ):
        provide(worker, "x::local", "mine")
        nursery.start_soon(call_for_ever, worker, "x::raw")
        link = engine.link
        await link.heard("invokefunction", function_id="x::raw")
        announced = link.said[0]["invocation_id"]
        for text in texts:
            pending = link.said[-1].get("invocation_id") or CALL
            link.say_text(with_ids(text, pending, announced).decode())
            await trio.sleep(PAUSE)
        assert link.closed is None
        pongs = link.kinds().count("pong")
        link.say("ping")
        assert link.kinds().count("pong") == pongs + 1
        nursery.cancel_scope.cancel(reason="enough")


async def send_to_engine(texts: Sequence[bytes]) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("local") as local,
        t.open_link_worker("link") as remote,
        trio.open_nursery() as nursery,
    ):
        provide(local, "x::local", "mine")
        provide(remote, "x::link", "theirs")
        link = Link()
        t.engine.attach(link)
        link.sink.on_frame(ANNOUNCEMENT)
        link.sink.on_frame(b'{"type":"registerfunction","id":"x::raw"}')
        nursery.start_soon(call_for_ever, remote, "x::raw")
        await wait_all_tasks_blocked()
        for text in texts:
            last = msgspec.json.decode(link.sent[-1])
            pending = last.get("invocation_id") or CALL
            link.sink.on_frame(with_ids(text, pending, CALL))
            await trio.sleep(PAUSE)
        await local.invoke("x::link")
        await remote.invoke("x::local")
        nursery.cancel_scope.cancel(reason="enough")


EACH_SIDE = pytest.mark.parametrize("program", [send_to_worker, send_to_engine])


@EACH_SIDE
@given(texts=st.lists(frame_texts(), min_size=1, max_size=8))
def test_no_frame_ends_who_gets_it(program: Program, texts: list[bytes]) -> None:
    run(program, texts)


@EACH_SIDE
def test_no_member_of_any_depth_ends_who_gets_it(program: Program) -> None:
    # Hypothesis would let Python nest deeper; in a thread, pytest has no part of the stack.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(run, program, list(with_one_odd_member())).result()
