"""What a restricted worker can find out: listings, details and discovery events."""

from typing import Any

import msgspec
from trio.testing import MockClock

from iii_trio.protocol import InvokeFunction
from iii_trio.testing import RawPeer
from tests.component.access_rig import (
    AccessRig,
    error_of,
    open_access_rig,
    result_of,
)
from tests.component.test_access_registration import bind

LISTINGS = [
    "engine::functions::list",
    "engine::functions::info",
    "engine::triggers::list",
    "engine::triggers::info",
    "engine::registered-triggers::list",
    "engine::registered-triggers::info",
    "engine::workers::info",
    "engine::workers::list",
]


async def furnish(rig: AccessRig) -> RawPeer:
    """Register open and shut things; connect a session that sees the open ones."""
    host = rig.t.connect_raw_peer()
    host.announce("host", pid=1)
    for function_id in ("open::f", "shut::f"):
        host.register(function_id, description="about it")
    for kind in ("cron", "http"):
        host.send({"type": "registertriggertype", "id": kind})
    bind(host, "open-trigger", "cron", "open::f")
    bind(host, "shut-trigger", "http", "shut::f")
    bind(host, "waiting", "nobody", "shut::g")
    await rig.settle()
    return await rig.enter(
        "w",
        allowed_functions=["open::f", "open::missing", *LISTINGS],
        allowed_trigger_types=["cron", "engine::functions-available"],
    )


async def test_lists_show_what_the_session_may_use(autojump_clock: MockClock) -> None:
    async with open_access_rig() as rig:
        peer = await furnish(rig)

        async def listed(function_id: str, key: str, name: str, **fields: Any) -> Any:
            rows = result_of(await rig.call(peer, function_id, fields))[key]
            return [row[name] for row in rows]

        everything = {"include_internal": True}
        ids = await listed(
            "engine::functions::list", "functions", "function_id", **everything
        )
        assert set(ids) == {"open::f", *LISTINGS} | {
            "engine::channels::create",
            "engine::workers::register",
        }
        found = await listed(
            "engine::functions::list", "functions", "function_id", search="about"
        )
        assert found == ["open::f"]
        kinds = await listed("engine::triggers::list", "triggers", "id", **everything)
        assert kinds == ["cron", "engine::functions-available"]
        bound = await listed(
            "engine::registered-triggers::list",
            "registered_triggers",
            "id",
            **everything,
        )
        assert bound == ["open-trigger"]
        outcome = await rig.call(peer, "engine::workers::info", {"name": "host"})
        told = result_of(outcome)
        assert [row["function_id"] for row in told["functions"]] == ["open::f"]
        assert [row["id"] for row in told["trigger_types"]] == ["cron"]
        assert [row["id"] for row in told["registered_triggers"]] == ["open-trigger"]


async def test_workers_that_offer_a_session_nothing_do_not_show(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        peer = await furnish(rig)
        for name, function_id in (("vault", "shut::g"), ("bank", "shut::h")):
            hidden = rig.t.connect_raw_peer()
            hidden.announce(name, pid=1)
            hidden.register(function_id)
        types = rig.t.connect_raw_peer()
        types.announce("clock", pid=1)
        types.send({"type": "registertriggertype", "id": "cron", "namespace": "x"})
        await rig.settle()

        async def names(asking: RawPeer) -> set[str]:
            told = result_of(await rig.call(asking, "engine::workers::list"))
            return {row["name"] for row in told["workers"]}

        peer.announce("w", pid=1)
        assert await names(peer) == {"host", "clock", "w", "iii-engine-functions"}
        free = rig.t.connect_raw_peer()
        free.announce("free", pid=1)
        assert await names(free) >= {"host", "clock", "w", "vault", "bank", "free"}
        for name in ("vault", "nobody"):
            gone = error_of(
                await rig.call(peer, "engine::workers::info", {"name": name})
            )
            assert gone == ("NOT_FOUND", f"Worker '{name}' is not connected.")


async def test_details_of_what_is_shut_are_no_oracle(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        peer = await furnish(rig)

        async def details(kind: str, **fields: Any) -> Any:
            return await rig.call(peer, f"engine::{kind}::info", fields)

        detail = result_of(await details("functions", function_id="open::f"))
        assert detail["function_id"] == "open::f"
        for function_id in ("shut::f", "shut::missing"):
            assert error_of(await details("functions", function_id=function_id)) == (
                "FORBIDDEN",
                f"Function '{function_id}' is not visible to this session.",
            )
        missing = error_of(await details("functions", function_id="open::missing"))
        assert missing[0] == "NOT_FOUND"
        ids = ["open::f", "shut::f", "shut::missing", "open::missing"]
        batch = result_of(await details("functions", function_ids=ids))["functions"]
        assert [row.get("error") for row in batch] == [
            None,
            "forbidden",
            "forbidden",
            "not_found",
        ]
        http = error_of(await details("triggers", id="http"))
        assert http == (
            "NOT_FOUND",
            "Trigger type 'http' is not registered in namespace 'default'.",
        )
        for trigger_id in ("shut-trigger", "waiting", "none"):
            gone = error_of(await details("registered-triggers", id=trigger_id))
            assert gone == (
                "NOT_FOUND",
                f"Registered trigger '{trigger_id}' was not found.",
            )
        assert result_of(await details("registered-triggers", id="open-trigger"))


async def test_namespaces_that_are_shut_do_not_show(autojump_clock: MockClock) -> None:
    async with (
        open_access_rig() as rig,
        rig.t.open_worker("a", namespace="team") as team,
        rig.t.open_worker("b", namespace="other") as other,
        rig.t.open_worker("c", namespace="hidden") as hidden,
    ):
        for worker in (team, other, hidden):
            worker.register_function("f", lambda _payload: 1)
        info = "engine::functions::info"

        async def ask(peer: RawPeer, **fields: Any) -> Any:
            return await rig.call(peer, info, {"function_id": "f", **fields})

        one = await rig.enter(
            "w1", allowed_functions=[info], namespaces={"team": ["f"], "default": []}
        )
        assert result_of(await ask(one))["namespace"] == "team"
        assert error_of(await ask(one, namespace="hidden"))[1].endswith(
            "It is registered in namespace(s): team."
        )
        both = await rig.enter(
            "w2",
            allowed_functions=[info],
            namespaces={"team": ["f"], "other": ["*"], "default": []},
        )
        text = error_of(await ask(both))[1]
        assert "is registered in namespace(s): other, team." in text
        assert "hidden" not in text


async def test_discovery_events_tell_a_session_only_what_it_may_use(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_access_rig() as rig,
        rig.t.open_raw_peer("free", "free::on") as free,
    ):
        peer = await furnish(rig)
        told = await rig.serve("open::missing")
        bind(peer, "news", "engine::functions-available", "open::missing")
        bind(free, "all-news", "engine::functions-available", "free::on")
        await rig.settle()
        free.register("shut::new")
        event = msgspec.json.decode((await free.served("free::on")).data)
        ids = {row["function_id"] for row in event["functions"]}
        assert {"shut::new", "shut::f", "open::f"} <= ids
        await rig.settle()
        ids = {row["function_id"] for row in told[-1]["functions"]}
        assert "open::f" in ids
        assert not any(one.startswith(("shut", "free", "auth")) for one in ids)
        assert not peer.unread(InvokeFunction)
