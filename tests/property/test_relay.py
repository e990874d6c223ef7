"""The relay does what the router would do: the same frames, the same tables."""

import json
from typing import Any

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from iii_trio.engine import OUTBOX_SOFT_LIMIT, Engine, LinkPort, open_engine
from iii_trio.transport import LinkSink

CALLERS = 2
FUNCTIONS = ("f", "g", "absent", "engine::workers::list")


class Link:
    """Keeps what is sent, and its sink."""

    peer = "test:1"

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.outbox_bytes = 0
        self.sink: LinkSink

    def start(self, sink: LinkSink) -> None:
        self.sink = sink

    def send_nowait(self, text: bytes) -> None:
        self.sent.append(text)

    def hold(self) -> None:
        raise NotImplementedError

    def limit_outbox(self, size: int) -> None: ...

    def resume(self) -> None:
        raise NotImplementedError

    def close(self, reason: str, *, polite: bool) -> None:
        """Nothing is behind it."""


payloads = st.sampled_from(
    [
        *("{}", '{"a":1}', '{ "a" : 1 }', "null", "7", '"x"', '[{"a":1}]', '{"é":"ü"}'),
        *('{"_caller_worker_id":"forged"}', '{"long":"%s"}' % ("x" * 5000)),
    ]
)
optional = st.sampled_from(
    [{}] * 20
    + [{"metadata": {"m": 1}}, {"metadata": None}, {"namespace": "other"}]
    + [{"namespace": " "}, {"action": {"type": "void"}}, {"action": None}]
    + [{"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}, {"baggage": "a=b"}]
    + [{"deadline_ms": 1e6}, {"action": {"type": "unknown"}}]
)


@attrs.frozen
class Call:
    """A caller's frame; ``payload`` ``None`` leaves it out."""

    caller: int
    function_id: str
    payload: str | None
    extra: dict[str, Any]
    id_kind: str


@attrs.frozen
class Answer:
    """The callee answers one of the calls that it has got, or one that it has not."""

    which: int
    members: str


@attrs.frozen
class Overload:
    """The callee does, or does not, take what it is sent."""

    outbox_bytes: int


@attrs.frozen
class Leave:
    """A caller, or the callee (-1), is gone."""

    who: int


calls = st.builds(
    Call,
    st.integers(0, CALLERS - 1),
    st.sampled_from(("f", "f", "f", *FUNCTIONS)),
    st.one_of(payloads, st.none()),
    optional,
    st.sampled_from(["uuid"] * 12 + ["none", "bad", "plain hex"]),
)
answers = st.builds(
    Answer,
    st.integers(0, 9),
    st.sampled_from(
        [
            *['"result":{"ok":true}'] * 4,
            *('"result":null', '"result": [1] ', '"x":1', '"error":null'),
            *('"result":12', '"result":1,"error":"odd"', '"result":'),
            *('"error":{"code":"c","message":"m"}', '"result":"%s"' % ("y" * 5000)),
        ]
    ),
)
overloads = st.builds(
    Overload, st.sampled_from([0, OUTBOX_SOFT_LIMIT, OUTBOX_SOFT_LIMIT + 1])
)
leaves = st.builds(Leave, st.integers(-1, CALLERS - 1))
steps = st.one_of(*[calls] * 5, *[answers] * 5, overloads, leaves)


def ids(kind: str, number: int) -> str | None:
    if kind == "none":
        return None
    if kind == "bad":
        return f"call-{number}"
    text = f"{number:032x}"
    if kind == "uuid":
        text = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    return text


class World:
    """An engine, a callee and callers on links; ``relays`` says who reads frames."""

    def __init__(self, engine: Engine, *, relays: bool) -> None:
        self.engine = engine
        self.relays = relays
        self.number = 0
        self.callee = self.attach("callee")
        for name in ("f", "g"):
            self.say(self.callee, json.dumps({"type": "registerfunction", "id": name}))
        self.callers = [self.attach(f"caller-{n}") for n in range(CALLERS)]

    def attach(self, name: str) -> tuple[LinkPort, Link]:
        link = Link()
        port = self.engine.attach(link)
        data = {"name": name, "runtime": "test"}
        if name == "caller-1":
            data["features"] = ["iii-trio.cancel.v1"]  # type: ignore[assignment]
        frame = {
            "type": "invokefunction",
            "function_id": "engine::workers::register",
            "data": data,
        }
        self.say((port, link), json.dumps(frame))
        return port, link

    def say(self, who: tuple[LinkPort, Link], text: str) -> None:
        port, link = who
        if self.relays:
            link.sink.on_frame(text.encode())
        elif port.is_live:
            self.engine.router.on_text(port, text.encode())

    def take(self, step: object) -> None:
        if isinstance(step, Call):
            self.number += 1
            members: dict[str, Any] = {
                "type": "invokefunction",
                "invocation_id": ids(step.id_kind, self.number),
                "function_id": step.function_id,
            }
            text = json.dumps({**members, **step.extra}, ensure_ascii=False)
            if step.payload is not None:
                text = f'{text[:-1]},"data":{step.payload}}}'
            self.say(self.callers[step.caller], text)
        elif isinstance(step, Answer):
            got = [
                json.loads(text)["invocation_id"]
                for text in self.callee[1].sent
                if b'"invokefunction"' in text[:30]
            ]
            is_known = got and step.which < 9
            known = got[-1 - step.which % len(got)] if is_known else "unknown"
            head = f'{{"type":"invocationresult","invocation_id":"{known}"'
            self.say(self.callee, f"{head},{step.members}}}")
        elif isinstance(step, Overload):
            self.callee[1].outbox_bytes = step.outbox_bytes
        elif isinstance(step, Leave):
            who = self.callee if step.who < 0 else self.callers[step.who]
            who[1].sink.on_closed("gone")

    def seen(self) -> object:
        everybody = (self.callee, *self.callers)
        return (
            [link.sent for _, link in everybody],
            [len(port.made) for port, _ in everybody],
            [len(port.executing) for port, _ in everybody],
            [list(port.made_by_ref) for port, _ in everybody],
            self.engine.statistics(),
        )


@settings(max_examples=200)
@given(st.lists(steps, min_size=8, max_size=40))
def test_the_relay_and_the_router_do_the_same(program: list[object]) -> None:
    async def main() -> None:
        numbers = [iter(range(10**6)) for _ in range(2)]

        def new_id(which: int) -> str:
            return str(ids("uuid", next(numbers[which])))

        async with (
            open_engine(now=lambda: 0.0, new_id=lambda: new_id(0)) as one,
            open_engine(now=lambda: 0.0, new_id=lambda: new_id(1)) as two,
        ):
            relayed, routed = World(one, relays=True), World(two, relays=False)
            for step in program:
                relayed.take(step)
                routed.take(step)
                assert relayed.seen() == routed.seen()

    trio.run(main)


async def test_only_who_runs_a_call_may_answer_it() -> None:
    async with open_engine() as engine:
        world = World(engine, relays=True)
        await trio.lowlevel.checkpoint()
        world.take(Call(0, "f", "{}", {}, "uuid"))
        [ours] = [
            json.loads(text)["invocation_id"]
            for text in world.callee[1].sent
            if b'"invokefunction"' in text[:30]
        ]
        answer = f'{{"type":"invocationresult","invocation_id":"{ours}","result":'
        world.say(world.callers[1], answer + '{"forged":true}}')
        world.say(world.callee, answer + '{"real":true}}')
        [result] = [t for t in world.callers[0][1].sent if b"invocationresult" in t]
        assert b"real" in result
        assert engine.statistics().late_answers == 1


async def test_everything_but_plain_results_is_a_request() -> None:
    async with open_engine() as engine:
        world = World(engine, relays=True)
        await trio.lowlevel.checkpoint()
        port, link = world.callee
        head = '{"type":"invocationresult","invocation_id":"unknown",'
        for text, asks in (
            ("rubbish", True),
            ('{"type":"ping"}', True),
            ('{"type":"nobody knows"}', True),
            ('{"type":"invokefunction","function_id":"f","invocation_id":"1"}', True),
            ('{"type":"invokefunction","function_id":"f"}', True),
            (head + '"result":{"late":true}}', True),
        ):
            assert link.sink.on_frame(text.encode()) is asks, text
        world.take(Call(0, "f", "{}", {}, "uuid"))
        *_, call = port.executing  # the void one is there, too
        known = f'{{"type":"invocationresult","invocation_id":"{call.id}",'
        assert not link.sink.on_frame((known + '"result":{"a":1}}').encode())
