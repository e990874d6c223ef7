"""The engine::* functions: what they list, in which order, and every error text."""

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.protocol import InvokeFunction, TriggerChanged
from iii_trio.testing import EngineUnderTest, RawPeer, open_test_engine

ENGINE_NAME = "iii-engine-functions"
TYPE = {"type": "registertriggertype", "description": ""}


async def ask(peer: RawPeer, function_id: str, data: object = None) -> Any:
    """The result of an ``engine::`` function, or its error as a dict."""
    asked = {} if data is None else data
    outcome = await peer.outcome(peer.call(f"engine::{function_id}", asked))
    return msgspec.json.decode(outcome.error or outcome.result)


async def ids(peer: RawPeer, listing: str, /, **data: object) -> list[str]:
    """The ids of a listing, in its order."""
    (rows,) = (await ask(peer, listing, data)).values()
    return [row.get("id", row.get("function_id")) for row in rows]


def bind(
    peer: RawPeer, trigger_id: str, kind: str, target: str, **more: object
) -> None:
    frame = {"id": trigger_id, "trigger_type": kind, "function_id": target}
    peer.send({"type": "registertrigger", **frame, **more})


async def id_of(peer: RawPeer) -> str:
    return (await peer.accepted()).worker_id


# Functions


async def test_functions_are_listed_by_id_with_what_is_known(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("w", "z::z") as peer:
        peer.register("a::b", description="d", metadata={"k": 1}, request_format={})
        rows = (await ask(peer, "functions::list"))["functions"]
        assert rows == [
            {
                "function_id": "a::b",
                "namespace": "default",
                "worker_name": "w",
                "description": "d",
                "metadata": {"k": 1},
            },
            {"function_id": "z::z", "namespace": "default", "worker_name": "w"},
        ]


async def test_internal_functions_are_listed_only_when_asked_for(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("w", "a::b") as peer:
        peer.register("a::hidden", metadata={"internal": True})
        peer.register("a::shown", metadata={"internal": "true"})
        peer.register("engine::queue::enqueue")
        shown = await ids(peer, "functions::list")
        assert shown == ["a::b", "a::shown", "engine::queue::enqueue"]
        everything = await ids(peer, "functions::list", include_internal=True)
        assert everything == sorted([*shown, "a::hidden", *ENGINE_FUNCTIONS])


ENGINE_FUNCTIONS = [
    "engine::channels::create",
    "engine::functions::info",
    "engine::functions::list",
    "engine::register_trigger",
    "engine::registered-triggers::info",
    "engine::registered-triggers::list",
    "engine::triggers::info",
    "engine::triggers::list",
    "engine::unregister_trigger",
    "engine::workers::info",
    "engine::workers::list",
    "engine::workers::register",
]


async def test_functions_are_filtered_by_prefix_and_workers(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("one", "a::b", "a::c") as peer,
        t.open_raw_peer("two", "a::d"),
        t.open_raw_peer("three", "A::e"),
        t.open_raw_peer(None, "nobody::f", runtime="x"),
    ):
        await wait_all_tasks_blocked()
        assert await ids(peer, "functions::list", prefix="a::") == [
            "a::b",
            "a::c",
            "a::d",
        ]
        assert await ids(peer, "functions::list", worker="two") == ["a::d"]
        assert await ids(
            peer, "functions::list", worker="two", workers=["three", "x"]
        ) == ["A::e", "a::d"]
        assert await ids(peer, "functions::list", worker="nobody") == ["nobody::f"]
        blank = {"prefix": "", "worker": "", "workers": [], "search": ""}
        assert len(await ids(peer, "functions::list", **blank)) == 5


async def test_a_search_ranks_segments_before_ids_before_descriptions(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("w") as peer:
        peer.register("a::described", description="does MATH things")
        peer.register("aa::mathematics")
        peer.register("z::math::x")
        peer.register("math::add")
        peer.register("other::thing")
        assert await ids(peer, "functions::list", search="Math") == [
            "math::add",
            "z::math::x",
            "aa::mathematics",
            "a::described",
        ]
        assert await ids(peer, "functions::list", search="  ") == []
        assert await ids(peer, "functions::list", search="th th") == ["a::described"]


async def test_details_of_a_function_have_schemas_and_triggers(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("w") as peer:
        schema = {"type": "object"}
        peer.register("a::b", request_format=schema, response_format={"x": None})
        bind(peer, "t1", "bell", "a::b", config={"v": 1})
        bind(peer, "t2", "bell", "a::b", namespace="other")
        assert await ask(peer, "functions::info", {"function_id": "a::b"}) == {
            "function_id": "a::b",
            "namespace": "default",
            "worker_name": "w",
            "request_schema": schema,
            "response_schema": {"x": None},
            "registered_triggers": [
                {"id": "t1", "trigger_type": "bell", "config": {"v": 1}}
            ],
        }


async def test_a_bare_id_means_default_or_the_only_namespace(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("w", "both::x") as peer,
        t.open_raw_peer("w", "both::x", "only::x", "two::x", namespace="n"),
        t.open_raw_peer("w", "two::x", namespace="m"),
    ):
        await wait_all_tasks_blocked()

        async def namespace_of(function_id: str, **more: str) -> str:
            asked = {"function_id": function_id, **more}
            answer = await ask(peer, "functions::info", asked)
            return str(answer.get("namespace", answer.get("message")))

        assert await namespace_of("both::x") == "default"
        assert await namespace_of("both::x", namespace="n") == "n"
        assert await namespace_of("only::x") == "n"
        assert await namespace_of("two::x") == (
            "Function 'two::x' is ambiguous: it is registered in namespace(s): m, n. "
            "Pass `namespace` to select one."
        )
        assert await namespace_of("only::x", namespace="m") == (
            "Function 'only::x' is not registered in namespace 'm'. "
            "It is registered in namespace(s): n."
        )
        assert await namespace_of("both::x", namespace="") == (
            "Function 'both::x' is not registered in namespace ''. "
            "It is registered in namespace(s): default, n."
        )


async def test_a_batch_keeps_the_order_and_never_fails(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("w", "a::a", "b::b") as peer:
        asked = {"function_ids": ["b::b", "x", "a::a", "b::b"]}
        rows = (await ask(peer, "functions::info", asked))["functions"]
        assert [row["function_id"] for row in rows] == ["b::b", "x", "a::a"]
        assert rows[1] == {"function_id": "x", "error": "not_found"}
        assert rows[0]["registered_triggers"] == []


# Trigger types and triggers


async def test_trigger_types_are_listed_with_their_provider(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("w") as peer,
        t.open_raw_peer(None, runtime="x") as nameless,
    ):
        peer.send({**TYPE, "id": "bell", "description": "Rings LOUD."})
        for kind in ("http", "state", "durable:subscriber", "my::own"):
            nameless.send({**TYPE, "id": kind})
        await wait_all_tasks_blocked()
        rows = (await ask(peer, "triggers::list"))["triggers"]
        assert rows[0] == {
            "id": "bell",
            "namespace": "default",
            "worker_name": "w",
            "description": "Rings LOUD.",
        }
        assert [(row["id"], row["worker_name"]) for row in rows[1:]] == [
            ("durable:subscriber", "queue"),
            ("http", "iii-http"),
            ("my::own", "my"),
            ("state", "iii-state"),
        ]
        assert await ids(peer, "triggers::list", search="loud") == ["bell"]
        assert await ids(peer, "triggers::list", prefix="my") == ["my::own"]
        assert await ids(peer, "triggers::list", worker="iii-http") == ["http"]
        internal = await ids(
            peer, "triggers::list", include_internal=True, prefix="engine::"
        )
        assert internal == [
            "engine::functions-available",
            "engine::workers-available",
        ]


async def test_details_of_a_trigger_type_count_its_triggers_at_once(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("w") as peer,
        t.open_raw_peer("binder") as binder,
    ):
        peer.send(
            {
                **TYPE,
                "id": "bell",
                "trigger_request_format": {"c": 1},
                "call_request_format": {"p": 1},
            }
        )
        await wait_all_tasks_blocked()
        bind(binder, "t1", "bell", "f")
        await wait_all_tasks_blocked()
        detail = await ask(peer, "triggers::info", {"id": "bell"})
        assert detail == {
            "id": "bell",
            "namespace": "default",
            "worker_name": "w",
            "description": "",
            "configuration_schema": {"c": 1},
            "request_schema": {"p": 1},
            "instance_count": 1,
        }
        binder.close()
        await t.events.wait_for(TriggerChanged, state="unregistered")
        detail = await ask(peer, "triggers::info", {"id": "bell"})
        assert detail["instance_count"] == 0
        assert await ids(peer, "registered-triggers::list") == []


async def test_triggers_are_listed_with_a_summary_of_their_config(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("w", "a::b") as peer:
        peer.send({**TYPE, "id": "bell"})
        long = {"text": "é" * 100}
        bind(peer, "t2", "bell", "a::b", config=long)
        bind(peer, "t1", "gong", "gone::c", config={"a": [1, 2]})
        bind(peer, "t3", "bell", "engine::functions::list")
        rows = (await ask(peer, "registered-triggers::list"))["registered_triggers"]
        assert [row["id"] for row in rows] == ["t1", "t2"]
        parked, live = rows
        assert (parked["worker_name"], live["worker_name"]) == ("gone", "w")
        assert parked["config_summary"] == '{"a":[1,2]}'
        assert (parked["status"], live["status"]) == ("pending", "active")
        assert live["config"] == long
        assert live["config_summary"] == '{"text":"' + "é" * 71 + "…"

        async def found(**asked: object) -> list[str]:
            return await ids(peer, "registered-triggers::list", **asked)

        assert await found(include_internal=True) == ["t1", "t2", "t3"]
        assert await found(include_pending=False) == ["t2"]
        assert await found(trigger_type="gong") == ["t1"]
        assert await found(function_id="a::b") == ["t2"]
        assert await found(worker="w") == ["t2"]
        assert await found(search="GONG") == ["t1"]
        assert await found(search="T2") == ["t2"]
        assert await found(search="one::") == ["t1"]


async def test_details_of_a_trigger_show_its_type_and_its_function(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("w", "a::b") as peer:
        peer.send({**TYPE, "id": "bell"})
        bind(peer, "t1", "bell", "a::b", config=1, metadata={"m": 1})
        bind(peer, "t2", "gong", "gone::c")
        row = await ask(peer, "registered-triggers::info", {"id": "t1"})
        assert (row["config"], row["metadata"]) == (1, {"m": 1})
        assert row["trigger"]["instance_count"] == 1
        assert row["function"]["registered_triggers"][0]["id"] == "t1"
        row = await ask(peer, "registered-triggers::info", {"id": "t2"})
        assert (row["trigger"], row["function"]) == (None, None)
        assert "metadata" not in row


# Workers


async def test_workers_are_listed_with_every_key(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer(
            "b", "a::b", pid=7, version="1", os="linux", description="d", isolation="i"
        ) as peer,
        t.open_raw_peer("hidden"),
        t.open_raw_peer(None, pid=8),
        t.open_worker("a", description="local", version="2") as local,
    ):
        rows = (await ask(peer, "workers::list"))["workers"]
        assert [row["name"] for row in rows] == ["a", "b", ENGINE_NAME]
        assert rows[1] == {
            "name": "b",
            "description": "d",
            "version": "1",
            "id": await id_of(peer),
            "namespace": "default",
            "runtime": "test",
            "os": "linux",
            "status": "connected",
            "function_count": 1,
            "connected_at_ms": int(t.clock.epoch * 1000),
            "active_invocations": 0,
            "isolation": "i",
            "ip_address": None,
        }
        own = rows[0]
        assert own["id"] == local.worker_id
        assert (own["runtime"], own["status"], own["isolation"]) == (
            "engine",
            "available",
            "in-process",
        )
        assert own.keys() == rows[1].keys()
        assert rows[2]["active_invocations"] == 0


async def test_workers_are_filtered(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("one", pid=1) as peer,
        t.open_raw_peer("Two", pid=2, runtime="node"),
    ):
        await wait_all_tasks_blocked()

        async def names(**asked: object) -> list[str]:
            rows = (await ask(peer, "workers::list", asked))["workers"]
            return [row["name"] for row in rows]

        assert await names(search="TWO") == ["Two"]
        assert await names(runtime="node") == ["Two"]
        assert await names(status="connected") == ["Two", "one"]
        assert await names(status="available") == [ENGINE_NAME]
        assert await names(worker_id="ignored") == ["Two", ENGINE_NAME, "one"]


async def test_calls_in_flight_are_counted_but_not_the_one_that_asks(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a", "f::f", pid=1) as callee,
        t.open_raw_peer("b", pid=2) as caller,
    ):
        await wait_all_tasks_blocked()
        caller.call("f::f")
        await callee.served("f::f")
        rows = (await ask(caller, "workers::list"))["workers"]
        active = {row["name"]: row["active_invocations"] for row in rows}
        assert active == {"a": 1, "b": 1, ENGINE_NAME: 0}


async def test_details_of_a_worker_show_what_it_offers(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine(latest_metrics=lambda _: {"cpu": 1}) as t,
        t.open_raw_peer("w", "b::b", "a::a", pid=7) as peer,
        t.open_raw_peer("binder") as binder,
    ):
        peer.send({**TYPE, "id": "bell"})
        bind(binder, "t1", "bell", "a::a")
        bind(binder, "t2", "bell", "other::a")
        await wait_all_tasks_blocked()
        answer = await ask(peer, "workers::info", {"name": "w"})
        worker = answer["worker"]
        assert (worker["pid"], worker["internal"]) == (7, False)
        assert worker["latest_metrics"] == {"cpu": 1}
        assert worker["function_count"] == 2
        assert [row["function_id"] for row in answer["functions"]] == ["a::a", "b::b"]
        assert [row["id"] for row in answer["trigger_types"]] == ["bell"]
        assert [row["id"] for row in answer["registered_triggers"]] == ["t1"]
        answer = await ask(peer, "workers::info", {"name": "binder"})
        assert "pid" not in answer["worker"]
        answer = await ask(peer, "workers::info", {"name": ENGINE_NAME})
        assert answer["worker"]["internal"] is True
        assert answer["worker"]["function_count"] == len(ENGINE_FUNCTIONS)


async def test_a_bare_worker_name_means_default_or_the_only_namespace(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("both") as peer,
        t.open_raw_peer("both", namespace="n"),
        t.open_raw_peer("only", namespace="n"),
        t.open_raw_peer("two", namespace="n"),
        t.open_raw_peer("two", namespace="m"),
    ):
        await wait_all_tasks_blocked()

        async def place(name: str, **more: str) -> str:
            answer = await ask(peer, "workers::info", {"name": name, **more})
            if "worker" in answer:
                return str(answer["worker"]["namespace"])
            assert answer["code"] == "NOT_FOUND"
            return str(answer["message"])

        assert await place("both") == "default"
        assert await place("both", namespace="n") == "n"
        assert await place("only") == "n"
        assert await place("two") == (
            "Worker 'two' is ambiguous: it is connected in namespace(s): m, n. "
            "Pass `namespace` to select one."
        )
        assert await place("only", namespace="m") == (
            "Worker 'only' is not connected in namespace 'm', but in: n."
        )
        assert await place("only", namespace="default") == (
            "Worker 'only' is not connected in namespace 'default', but in: n."
        )
        assert await place("none") == "Worker 'none' is not connected."


async def test_the_engine_keeps_its_own_name(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_raw_peer(ENGINE_NAME) as peer:
        await peer.wait_closed()
        assert "WORKER_NAMESPACE_CONFLICT" in str(peer.received)


# Errors


@pytest.mark.parametrize(
    ("function_id", "asked", "code", "message"),
    [
        (
            "functions::info",
            {"function_id": "x"},
            "NOT_FOUND",
            "Function 'x' is not registered.",
        ),
        (
            "functions::info",
            {"function_id": "x", "function_ids": ["x"]},
            "INVALID_ARGUMENTS",
            "pass either `function_id` or `function_ids`, not both",
        ),
        (
            "functions::info",
            {"id": "x"},
            "INVALID_ARGUMENTS",
            "missing field `function_id` (or `function_ids` for a batch)",
        ),
        (
            "functions::info",
            {"function_ids": []},
            "INVALID_ARGUMENTS",
            "`function_ids` must be a non-empty array of function ids",
        ),
        (
            "functions::info",
            {"function_ids": ["x"] * 33},
            "INVALID_ARGUMENTS",
            "too many function_ids (max 32)",
        ),
        (
            "triggers::info",
            {"id": "x"},
            "NOT_FOUND",
            "Trigger type 'x' is not registered in namespace 'default'.",
        ),
        (
            "triggers::info",
            {"id": "x", "namespace": "n"},
            "NOT_FOUND",
            "Trigger type 'x' is not registered in namespace 'n'.",
        ),
        (
            "registered-triggers::info",
            {"id": "x"},
            "NOT_FOUND",
            "Registered trigger 'x' was not found.",
        ),
        (
            "workers::info",
            {"name": "x"},
            "NOT_FOUND",
            "Worker 'x' is not connected.",
        ),
    ],
)
async def test_errors_have_the_texts_that_clients_know(
    function_id: str,
    asked: object,
    code: str,
    message: str,
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer() as peer:
        assert await ask(peer, function_id, asked) == {"code": code, "message": message}


@pytest.mark.parametrize(
    ("function_id", "asked", "reason"),
    [
        ("functions::list", [], "Expected `object`, got `array`"),
        ("functions::list", {"search": 1}, "Expected `str | null`, got `int`"),
        ("triggers::info", {}, "missing field `id`"),
        ("registered-triggers::info", {"id": None}, "Expected `str`, got `null`"),
        ("workers::info", {}, "missing field `name`"),
        ("register_trigger", {"function_id": "f"}, "missing field `trigger_type`"),
        ("register_trigger", {"trigger_type": "f"}, "missing field `function_id`"),
        ("unregister_trigger", {}, "missing field `id`"),
        ("channels::create", {"buffer_size": "x"}, "Expected `int | null`, got `str`"),
    ],
)
async def test_unusable_input_says_what_is_wrong(
    function_id: str, asked: object, reason: str, autojump_clock: MockClock
) -> None:
    async with open_test_engine() as t, t.open_raw_peer() as peer:
        error = await ask(peer, function_id, asked)
        assert error["code"] == "deserialization_error"
        start = f"Failed to deserialize input for engine::{function_id}: "
        assert error["message"].startswith(start)
        assert reason in error["message"]


async def test_null_input_is_taken_for_no_input(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_raw_peer("w", "a::b") as peer:
        outcome = await peer.outcome(peer.call("engine::functions::list", None))
        assert b"a::b" in bytes(outcome.result)


async def test_a_local_worker_does_not_announce_itself(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("w") as worker:
        with pytest.raises(Exception, match="connected by a link"):
            await worker.invoke("engine::workers::register", {"name": "other"})


# Announcements


async def test_an_announcement_is_answered_cleaned_and_may_change_the_name(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer() as peer:
        told = {"name": " a\u202eb\n" + "c" * 300, "pid": 1, "version": "1"}
        assert await ask(peer, "workers::register", told) == {"success": True}
        cleaned = "ab" + "c" * 277
        assert t.engine.roster.holder("default", cleaned) is not None
        assert await ask(peer, "workers::register", {"name": "new"}) == {
            "success": True
        }
        assert t.engine.roster.holder("default", cleaned) is None
        worker = (await ask(peer, "workers::info", {"name": "new"}))["worker"]
        assert (worker["runtime"], worker["pid"], worker["version"]) == (
            "unknown",
            1,
            None,
        )


async def test_an_announcement_with_unknown_fields_is_taken(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer() as peer:
        told = {
            "name": "w",
            "telemetry": {"language": "en", "amplitude_api_key": "x"},
            "features": ["nobody.knows.v9"],
            "namespace": None,
        }
        assert await ask(peer, "workers::register", told) == {"success": True}


# Events


def listen(peer: RawPeer, what: str, **more: object) -> None:
    """Bind ``on::<what>`` of this peer to an event of the engine."""
    bind(peer, f"t-{what}", f"engine::{what}-available", f"on::{what}", **more)


def taken(peer: RawPeer, what: str) -> list[Any]:
    """The payloads of the events that came and were not taken."""
    return [
        msgspec.json.decode(call.data)
        for call in peer.unread(InvokeFunction)
        if isinstance(call, InvokeFunction) and call.function_id == f"on::{what}"
    ]


async def open_listener(t: EngineUnderTest, what: str, **more: object) -> RawPeer:
    peer = t.connect_raw_peer()
    peer.announce("listener")
    peer.register(f"on::{what}")
    await trio.sleep(1)
    listen(peer, what, **more)
    await wait_all_tasks_blocked()
    return peer


async def test_a_burst_of_registrations_is_one_event_after_100_ms(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t:
        listener = await open_listener(t, "functions", metadata={"m": 1})
        async with t.open_raw_peer("w", "a::b", "a::c", "a::d"):
            began = trio.current_time()
            call = await listener.served("on::functions")
            assert trio.current_time() - began == pytest.approx(0.1)
            event = msgspec.json.decode(call.data)
            assert event["event"] == "functions_changed"
            found = {row["function_id"] for row in event["functions"]}
            assert {"a::b", "a::c", "a::d", *ENGINE_FUNCTIONS} <= found
            assert isinstance(event["revision"], int)
            assert msgspec.json.decode(call.metadata) == {"m": 1}
            await trio.sleep(1)
            assert taken(listener, "functions") == []
        await trio.sleep(1)
        (later,) = taken(listener, "functions")
        assert later["revision"] > event["revision"]


async def test_a_change_of_a_description_or_there_and_back_is_no_event(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t:
        listener = await open_listener(t, "functions")
        listener.register("on::functions", description="new")
        listener.register("x::y")
        listener.unregister("x::y")
        await trio.sleep(1)
        assert taken(listener, "functions") == []


async def test_functions_that_come_and_go_before_the_first_event_are_no_event(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("w") as worker:
        heard: list[object] = []
        worker.register_function("on::functions", heard.append)
        worker.unregister_function("on::functions")
        await worker.bind("engine::functions-available", "on::functions")
        await trio.sleep(1)
        assert t.engine.statistics().dropped_fires == 0


async def test_every_step_of_a_workers_life_is_an_event_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t:
        listener = await open_listener(t, "workers")
        peer = t.connect_raw_peer()
        worker_id = await id_of(peer)
        peer.announce("w")
        await wait_all_tasks_blocked()
        peer.close()
        await trio.sleep(0.05)
        events = taken(listener, "workers")
        assert [(e["event"], e["worker_id"]) for e in events] == [
            ("worker_connected", worker_id),
            ("worker_metadata_updated", worker_id),
            ("worker_disconnected", worker_id),
        ]
        revisions = [e["revision"] for e in events]
        assert revisions == sorted(set(revisions))


async def test_events_count_as_firings(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t:
        await open_listener(t, "workers")
        async with t.open_raw_peer("w") as peer:
            await wait_all_tasks_blocked()
            (row,) = (await ask(peer, "registered-triggers::list"))[
                "registered_triggers"
            ]
            assert (row["state"], row["fired"]) == ("invoked", 2)
            assert row["last_fired_ms"] == int(t.clock() * 1000)
        states = t.events.of(TriggerChanged, trigger_id="t-workers")
        assert [event.state for event in states] == [
            "registered",
            "active",
            "invoked",
        ]


async def test_an_event_finds_its_function_in_the_triggers_namespace(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer(None, namespace="n") as peer:
        peer.register("on::workers")
        listen(peer, "workers", namespace="n")
        await wait_all_tasks_blocked()
        async with t.open_raw_peer("w"):
            call = await peer.served("on::workers")
            assert b"_caller_worker_id" not in bytes(call.data)
