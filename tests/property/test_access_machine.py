"""Generated sessions do generated things; a plain model says which of them have effect.

What a session may not do must leave no trace: no call arrives, nothing is registered,
bound, replaced or ended, and no listing shows it.
"""

from typing import Any

import attrs
import msgspec
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from iii_trio.access import INFRASTRUCTURE
from iii_trio.protocol import InvocationResult, InvokeFunction
from iii_trio.testing import RawPeer, run
from tests.component.access_rig import AccessRig, open_access_rig
from tests.property.test_access_rules import exposed, grant

IDS = ("a::f", "b::f", "t::f", "f", "t::g")
NAMESPACES = ("default", "n")
KINDS = ("cron", "http", "state")
METADATA: dict[str, Any] = {"a::f": {"p": True}, "b::f": {"p": "ab"}}
LISTINGS = ("functions", "triggers", "registered-triggers")
TOOLS = (
    *(f"engine::{name}::list" for name in LISTINGS),
    "engine::register_trigger",
    "engine::unregister_trigger",
)

ids = st.sampled_from(IDS)
namespaces = st.sampled_from(NAMESPACES)
kinds = st.sampled_from(KINDS)
trigger_ids = st.sampled_from(("t1", "t2", "host-1", "host-2", "host-3"))
grants = ids | st.sampled_from(("a::*", "*", "t::*", 'match("*::f")'))
rules = st.lists(
    st.sampled_from(
        (
            'match("a::*")',
            {"match": "*::f", "namespace": "n"},
            {"metadata": {"p": True}},
        )
    ),
    max_size=2,
)
answers = st.fixed_dictionaries(
    {
        "allowed_functions": st.lists(ids, min_size=1, max_size=3).map(
            lambda some: [*some, *TOOLS]
        ),
        "allow_trigger_type_registration": st.booleans(),
        "allowed_trigger_types": st.lists(kinds, max_size=2) | st.none(),
    },
    optional={
        "namespaces": st.dictionaries(
            st.just("n"), st.lists(grants, max_size=2), min_size=1
        ).map(lambda some: {"default": [], **some}),
        "forbidden_functions": st.lists(ids, max_size=2),
        "allow_function_registration": st.booleans(),
        "function_registration_prefix": st.just("t"),
    },
)
steps = st.one_of(
    st.tuples(st.just("call"), ids, namespaces),
    st.tuples(st.just("enqueue"), ids, namespaces),
    st.tuples(st.just("register"), ids),
    st.tuples(st.just("unregister"), ids),
    st.tuples(st.just("provide"), kinds, namespaces),
    st.tuples(st.just("bind"), trigger_ids, kinds, ids, st.none() | ids),
    st.tuples(st.just("unbind"), trigger_ids),
    st.tuples(st.just("bind_durably"), kinds, ids),
    st.tuples(st.just("unbind_durably"), trigger_ids),
)


@attrs.define(eq=False)
class Model:
    """What the engine must hold, by the rules alone."""

    expose: list[Any]
    answer: dict[str, Any]
    functions: dict[tuple[str, str], str] = attrs.field(factory=dict)
    triggers: dict[str, tuple[str, str, str]] = attrs.field(factory=dict)
    providers: dict[tuple[str, str], str] = attrs.field(factory=dict)
    enqueued: int = 0

    def may_call(self, namespace: str, function_id: str) -> bool:
        if any(
            grant(g, function_id) for g in self.answer.get("forbidden_functions", [])
        ):
            return False
        owner = self.functions.get((namespace, function_id))
        metadata = METADATA.get(function_id) if owner == "host" else None
        granted = self.answer.get("namespaces", {}).get(namespace, [])
        return (
            any(grant(one, function_id) for one in granted)
            or (
                namespace == "default"
                and function_id in self.answer["allowed_functions"]
            )
            or function_id in INFRASTRUCTURE
            or any(exposed(e, namespace, function_id, metadata) for e in self.expose)
        )

    def allows_type(self, kind: str) -> bool:
        allowed = self.answer.get("allowed_trigger_types")
        return allowed is None or kind in allowed

    def public(self, function_id: str) -> str:
        prefix = self.answer.get("function_registration_prefix")
        return f"{prefix}::{function_id}" if prefix else function_id

    def may_end(self, trigger_id: str) -> bool:
        kind, target, owner = self.triggers[trigger_id]
        if owner == "session":
            return True
        prefix = self.answer.get("function_registration_prefix")
        inside = not prefix or target.startswith(f"{prefix}::")
        return inside and self.allows_type(kind) and self.may_call("default", target)

    # What each step does

    def register(self, function_id: str) -> None:
        key = ("default", self.public(function_id))
        if self.answer.get("allow_function_registration", True):
            self.functions.setdefault(key, "session")

    def unregister(self, function_id: str) -> None:
        key = ("default", self.public(function_id))
        if self.functions.get(key) == "session":
            del self.functions[key]

    def provide(self, kind: str, namespace: str) -> None:
        namespaces = self.answer.get("namespaces")
        if (
            self.answer.get("allow_trigger_type_registration", False)
            and (not namespaces or namespace in namespaces)
            and self.providers.get((namespace, kind)) != "operator"
        ):
            self.providers[namespace, kind] = "session"

    def bind(
        self, trigger_id: str, kind: str, function_id: str, condition: str | None
    ) -> None:
        public = self.public(function_id)
        if (
            self.allows_type(kind)
            and self.may_call("default", public)
            and (condition is None or self.may_call("default", condition))
            and (trigger_id not in self.triggers or self.may_end(trigger_id))
        ):
            self.triggers[trigger_id] = (kind, public, "session")

    def unbind(self, trigger_id: str) -> None:
        if trigger_id in self.triggers and self.may_end(trigger_id):
            del self.triggers[trigger_id]


@attrs.define(eq=False)
class Actor:
    """Does the steps of one program in an engine, and looks at what came of them."""

    rig: AccessRig
    model: Model
    host: RawPeer
    peer: RawPeer

    async def settle(self) -> None:
        await trio.testing.wait_all_tasks_blocked()

    async def ask(self, function_id: str, data: Any = None) -> Any:
        outcome = await self.peer.outcome(self.peer.call(function_id, data or {}))
        error = bytes(outcome.error)
        return msgspec.json.decode(error or outcome.result)

    async def do(self, step: tuple[Any, ...]) -> None:
        name, *arguments = step
        await getattr(self, name)(*arguments)
        await self.settle()
        self.check()

    async def call(self, function_id: str, namespace: str) -> None:
        owner = self.model.functions.get((namespace, function_id))
        may = self.model.may_call(namespace, function_id)
        call = self.peer.call(function_id, {"n": 1}, namespace=namespace)
        await self.settle()
        receiver = self.peer if owner == "session" else self.host
        served = receiver.unread(InvokeFunction)
        assert bool(served) == (may and owner is not None), (function_id, namespace)
        if served:
            receiver.answer(await receiver.expect(InvokeFunction), 1)
        outcome = await self.peer.outcome(call)
        assert (b"FORBIDDEN" in bytes(outcome.error)) == (not may)

    async def enqueue(self, function_id: str, namespace: str) -> None:
        action = {"type": "enqueue", "queue": "q"}
        fields = {"namespace": namespace, "action": action}
        outcome = await self.peer.outcome(self.peer.call(function_id, {}, **fields))
        may = self.model.may_call(namespace, function_id)
        assert (b"FORBIDDEN" in bytes(outcome.error)) == (not may)
        self.model.enqueued += may

    async def register(self, function_id: str) -> None:
        self.model.register(function_id)
        self.peer.register(function_id)
        await self.settle()

    async def unregister(self, function_id: str) -> None:
        self.model.unregister(function_id)
        self.peer.unregister(function_id)
        await self.settle()

    async def provide(self, kind: str, namespace: str) -> None:
        self.model.provide(kind, namespace)
        self.peer.send(
            {"type": "registertriggertype", "id": kind, "namespace": namespace}
        )
        await self.settle()

    async def bind(
        self, trigger_id: str, kind: str, function_id: str, condition: str | None
    ) -> None:
        self.model.bind(trigger_id, kind, function_id, condition)
        config = {} if condition is None else {"condition_function_id": condition}
        self.peer.send(
            {
                "type": "registertrigger",
                "id": trigger_id,
                "trigger_type": kind,
                "function_id": function_id,
                "config": config,
            }
        )
        await self.settle()

    async def unbind(self, trigger_id: str) -> None:
        self.model.unbind(trigger_id)
        self.peer.send({"type": "unregistertrigger", "id": trigger_id})
        await self.settle()

    async def bind_durably(self, kind: str, function_id: str) -> None:
        public = self.model.public(function_id)
        may = self.model.allows_type(kind) and self.model.may_call("default", public)
        asked = {"trigger_type": kind, "function_id": function_id}
        answer = await self.ask("engine::register_trigger", asked)
        assert ("id" in answer) == may, answer
        if may:
            self.model.triggers[answer["id"]] = (kind, public, "session")

    async def unbind_durably(self, trigger_id: str) -> None:
        there = trigger_id in self.model.triggers
        may = there and self.model.may_end(trigger_id)
        answer = await self.ask("engine::unregister_trigger", {"id": trigger_id})
        if there and not may:
            assert answer["code"] == "FORBIDDEN"
        else:
            assert answer == {"removed": may}
        self.model.unbind(trigger_id)

    # What must hold after each step

    def check(self) -> None:
        engine, session = self.rig.t.engine, self.peer_id
        held = {
            f.key: "session" if f.owner.worker_id == session else "host"
            for f in engine.registry
            if f.function_id.removeprefix("t::") in IDS or f.function_id in IDS
        }
        assert held == self.model.functions
        bound = {t.spec.trigger_id: t.spec for t in engine.triggers}
        assert {
            one: (spec.trigger_type, spec.function_id) for one, spec in bound.items()
        } == {one: row[:2] for one, row in self.model.triggers.items()}
        provided = {
            (k.namespace, k.trigger_type): k.provider.worker_id == session
            for k in engine.triggers.types
            if k.trigger_type in KINDS
        }
        assert provided == {
            key: owner == "session" for key, owner in self.model.providers.items()
        }

    @property
    def peer_id(self) -> str:
        worker_id: str = self.peer.received[0].worker_id  # type: ignore[union-attr]
        return worker_id

    async def check_listings(self) -> None:
        rows = (await self.ask("engine::functions::list"))["functions"]
        shown = {(row["namespace"], row["function_id"]) for row in rows}
        assert shown == {k for k in self.model.functions if self.model.may_call(*k)}
        rows = (await self.ask("engine::triggers::list"))["triggers"]
        shown = {(row["namespace"], row["id"]) for row in rows}
        assert shown == {
            key for key in self.model.providers if self.model.allows_type(key[1])
        }
        rows = (await self.ask("engine::registered-triggers::list"))[
            "registered_triggers"
        ]
        assert {row["id"] for row in rows} == {
            one
            for one, (_, target, _) in self.model.triggers.items()
            if self.model.may_call("default", target)
        }


async def open_world(rig: AccessRig, model: Model) -> RawPeer:
    """A free worker with functions, types and triggers; the operator has a type too."""
    rig.operator.register_trigger_type("state", bind=lambda _trigger: None)
    model.providers["default", "state"] = "operator"
    host = rig.t.connect_raw_peer()
    host.announce("host")
    twin = rig.t.connect_raw_peer()
    twin.announce("twin", namespace="n")
    for function_id in IDS[:3]:
        host.register(function_id, metadata=METADATA.get(function_id))
        model.functions["default", function_id] = "host"
    for kind in ("cron", "http"):
        host.send({"type": "registertriggertype", "id": kind})
        model.providers["default", kind] = "host"
    for trigger_id, kind, target in (
        ("host-1", "cron", "a::f"),
        ("host-2", "http", "b::f"),
        ("host-3", "state", "t::f"),
    ):
        row = {"type": "registertrigger", "id": trigger_id, "trigger_type": kind}
        host.send({**row, "function_id": target})
        model.triggers[trigger_id] = (kind, target, "host")
    await trio.testing.wait_all_tasks_blocked()
    return host


async def play(
    expose: list[Any], answer: dict[str, Any], program: list[tuple[Any, ...]]
) -> None:
    async with open_access_rig() as rig, rig.t.open_worker("iii-queue") as queue:
        enqueued: list[Any] = []
        queue.register_function("engine::queue::enqueue", enqueued.append)
        model = Model(expose, answer)
        host = await open_world(rig, model)
        rig.rules["expose_functions"] = expose
        rig.answer = answer
        peer = rig.connect()
        peer.announce("session")
        await rig.settle()
        actor = Actor(rig, model, host, peer)
        actor.check()
        for step in program:
            await actor.do(step)
        await actor.check_listings()
        assert len(enqueued) == model.enqueued
        assert not host.unread(InvokeFunction)
        assert not peer.unread(InvocationResult)


@settings(max_examples=150, deadline=None)
@given(rules, answers, st.lists(steps, min_size=8, max_size=24))
def test_a_session_does_nothing_that_the_model_forbids(
    expose: list[Any], answer: dict[str, Any], program: list[tuple[Any, ...]]
) -> None:
    run(lambda: play(expose, answer, program))
