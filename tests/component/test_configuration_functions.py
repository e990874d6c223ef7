"""The configuration functions: what they answer, store and refuse."""

from typing import Any

import attrs
import pytest
import trio

from iii_trio.adapters import Change, KeyValueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.errors import AdapterError, ConfigError
from tests.component.configuration_rig import ConfigurationRig, open_configuration_rig

PORT = {
    "type": "object",
    "properties": {"port": {"type": "integer"}},
    "required": ["port"],
    "additionalProperties": False,
}
ABOUT = {"id": "web", "name": "A name", "description": "For tests.", "schema": PORT}


async def declared(rig: ConfigurationRig, **more: Any) -> Any:
    return await rig.declare("web", PORT, **more)


# --- register


async def test_register_gives_the_whole_entry_and_null_without_a_value() -> None:
    async with open_configuration_rig() as rig:
        assert await declared(rig) == {**ABOUT, "value": None}
        assert await rig.call("get", id="web") == {"id": "web", "value": None}
        assert await rig.call("get", id="web", raw=True) == {"id": "web", "value": None}


async def test_registering_again_renews_what_is_said_and_keeps_the_value() -> None:
    async with open_configuration_rig() as rig:
        await declared(rig, initial_value={"port": 1}, metadata={"a": 1})
        entry = await rig.call(
            "register", id="web", name="New", description="", schema={"type": "string"}
        )
        assert entry == {
            "id": "web",
            "name": "New",
            "description": "",
            "schema": {"type": "string"},
            "value": {"port": 1},  # kept, and not checked again
        }
        refused = await rig.refusal("get", id="web")
        assert refused[0] == "SCHEMA_INVALID"


async def test_initial_value_replaces_the_value_and_null_is_none() -> None:
    async with open_configuration_rig() as rig:
        await declared(rig, initial_value={"port": 1})
        assert (await declared(rig, initial_value=None))["value"] == {"port": 1}
        assert (await declared(rig, initial_value={"port": 2}))["value"] == {"port": 2}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "nope"}, '"nope" is not valid'),
        (5, "is not of types"),
        (None, "is not of types"),
        ({"$ref": "http://localhost:1/s"}, "is not fetched"),
        ({"$ref": "file:///etc/passwd"}, "is not fetched"),
        ({"$schema": "http://nowhere/"}, "Unknown meta-schema"),
        ({"pattern": "("}, "is not a"),
        ({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}, "refers to itself"),
    ],
)
async def test_a_bad_schema_is_refused_also_without_a_value(
    schema: Any, reason: str
) -> None:
    async with open_configuration_rig() as rig:
        code, message = await rig.refusal("register", **(ABOUT | {"schema": schema}))
        assert code == "SCHEMA_INVALID"
        assert message.startswith("schema validation failed: invalid JSON Schema: ")
        assert reason in message
        assert await rig.call("list") == {"configurations": []}


async def test_a_bad_initial_value_is_refused_and_nothing_is_registered() -> None:
    async with open_configuration_rig() as rig:
        code, message = await rig.refusal("register", **ABOUT, initial_value={})
        assert code == "SCHEMA_INVALID"
        expected = '$: "port" is a required property'
        assert message == f"schema validation failed: {expected}"
        assert (await rig.refusal("schema", id="web"))[0] == "NOT_FOUND"


# --- set


async def test_set_replaces_the_whole_value_and_gives_both() -> None:
    async with open_configuration_rig() as rig:
        await rig.declare("any", True, initial_value={"a": 1, "b": 2})
        result = await rig.call("set", id="any", value={"a": "${X:5}"})
        assert result == {
            "old_value": {"a": 1, "b": 2},
            "new_value": {"a": "${X:5}"},
        }
        assert (await rig.call("get", id="any"))["value"] == {"a": 5}


async def test_all_problems_of_a_value_are_named_with_their_paths() -> None:
    schema = {"properties": {"l": {"items": {"type": "string"}}}, "maxProperties": 1}
    async with open_configuration_rig() as rig:
        await rig.declare("any", schema)
        value = {"l": ["a", 1, 2], "m": 0}
        code, message = await rig.refusal("set", id="any", value=value)
        assert code == "SCHEMA_INVALID"
        assert message.startswith("schema validation failed: ")
        assert '$.l[1]: 1 is not of type "string"' in message
        assert '; $.l[2]: 2 is not of type "string"' in message
        assert "$: " in message
        assert (await rig.call("get", id="any"))["value"] is None


@pytest.mark.parametrize("configuration_id", ["", "A", "a b", "é", "a" * 65, "a\n"])
async def test_an_id_that_cannot_be(configuration_id: str) -> None:
    async with open_configuration_rig() as rig:
        refused = ("INVALID_ID", f"invalid configuration id '{configuration_id}': ")
        for name, more in (
            ("register", {k: v for k, v in ABOUT.items() if k != "id"}),
            ("set", {"value": 1}),
        ):
            code, message = await rig.refusal(name, id=configuration_id, **more)
            assert (code, message) == (
                refused[0],
                refused[1] + "must match [a-z0-9_-]{1,64}",
            )
        for name in ("get", "schema"):
            missing = f"configuration '{configuration_id}' not found"
            failure = await rig.refusal(name, id=configuration_id)
            assert failure == ("NOT_FOUND", missing)


async def test_what_is_not_registered_cannot_be_set() -> None:
    async with open_configuration_rig() as rig:
        assert await rig.refusal("set", id="web", value=1) == (
            "NOT_REGISTERED",
            "configuration 'web' is not registered; call configuration::register first",
        )


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("register", {"id": "a"}, "missing field `name`"),
        ("register", ABOUT | {"id": 5}, "id: invalid type: integer `5`"),
        ("set", {"id": "a"}, "missing field `value`"),
        ("get", {}, "missing field `id`"),
        ("get", {"id": "a", "raw": 1}, "raw: invalid type"),
        ("schema", {"id": None}, "id: invalid type: null"),
    ],
)
async def test_input_that_does_not_fit(name: str, payload: Any, reason: str) -> None:
    async with open_configuration_rig() as rig:
        code, message = await rig.refusal(name, **payload)
        assert code == "deserialization_error"
        prefix = f"Failed to deserialize input for configuration::{name}: "
        assert message.startswith(prefix + reason)
        with pytest.raises(Exception, match="expected an object"):
            await rig.client.invoke("configuration::list", None)


# --- get, list, schema


async def test_list_and_schema_never_show_values() -> None:
    async with open_configuration_rig() as rig:
        await rig.declare("b", True, initial_value="secret")
        await rig.declare("a", True, metadata=[1])
        first, second = (await rig.call("list"))["configurations"]
        about = {"name": "A name", "description": "For tests.", "schema": True}
        assert first == {"id": "a", **about, "metadata": [1]}
        assert second == {"id": "b", **about}
        assert await rig.call("schema", id="b") == second


async def test_placeholders_are_replaced_when_a_value_is_read() -> None:
    value = {"port": "${PORT:80}"}
    async with open_configuration_rig() as rig:
        await declared(rig, initial_value=value)
        assert (await rig.call("get", id="web"))["value"] == {"port": 80}
        rig.environ["PORT"] = "81"
        assert (await rig.call("get", id="web"))["value"] == {"port": 81}
        assert (await rig.call("get", id="web", raw=True))["value"] == value
        rig.environ["PORT"] = "high"
        code, message = await rig.refusal("get", id="web")
        assert code == "SCHEMA_INVALID"
        assert '$.port: "high" is not of type "integer"' in message


async def test_an_unset_variable_is_stored_unchecked_and_refused_when_read() -> None:
    async with open_configuration_rig() as rig:
        await declared(rig)
        await rig.call("set", id="web", value={"port": "${B} ${A}", "x": "${A}"})
        assert await rig.refusal("get", id="web") == (
            "EXPAND_FAILED",
            (
                "configuration 'web' references unset environment variable(s) with no "
                "default: B, A"
            ),
        )
        raw = await rig.call("get", id="web", raw=True)
        assert raw["value"]["x"] == "${A}"


# --- restarts


async def test_after_a_restart_values_are_there_and_wait_for_their_schema() -> None:
    async with open_memory() as stores:
        store = stores.key_value("configuration")
        async with open_configuration_rig(store) as rig:
            await declared(rig, metadata="m")
            await rig.call("set", id="web", value={"port": 1})
        async with open_configuration_rig(store) as rig:
            shown = {**ABOUT, "schema": None, "metadata": "m"}
            assert await rig.call("schema", id="web") == shown
            assert (await rig.call("get", id="web"))["value"] == {"port": 1}
            assert await rig.refusal("set", id="web", value={"port": 2}) == (
                "SCHEMA_UNAVAILABLE",
                (
                    "configuration 'web' has no schema available yet; the owning worker "
                    "must register before values can be set"
                ),
            )
            assert (await declared(rig))["value"] == {"port": 1}
            await rig.call("set", id="web", value={"port": 2})


async def test_a_null_that_was_set_is_a_value() -> None:
    async with open_configuration_rig() as rig:
        await rig.declare("any", {"type": ["null", "integer"]}, initial_value=1)
        await rig.call("set", id="any", value=None)
        await rig.declare("any", {"type": "integer"})
        assert (await rig.refusal("get", id="any"))[0] == "SCHEMA_INVALID"


# --- seeds


async def test_a_seed_is_the_value_until_one_is_set() -> None:
    async with open_memory() as stores:
        store = stores.key_value("configuration")
        async with open_configuration_rig(store) as rig:
            assert (await declared(rig, seed={"port": 1}))["value"] == {"port": 1}
            assert await store.items("configuration") == []  # its owner brings it
            assert (await declared(rig, seed={"port": 2}))["value"] == {"port": 2}
            assert (await declared(rig))["value"] == {"port": 2}
            await rig.call("set", id="web", value={"port": 3})
        for _ in range(2):
            async with open_configuration_rig(store) as rig:
                entry = await declared(rig, seed={"port": 2})
                assert entry["value"] == {"port": 3}  # a stale seed changes nothing


async def test_a_seed_that_changed_replaces_what_was_set() -> None:
    async with open_memory() as stores:
        store = stores.key_value("configuration")
        async with open_configuration_rig(store) as rig:
            await declared(rig, seed={"port": 1})
            await rig.call("set", id="web", value={"port": 3})
            await declared(rig)  # no seed is no opinion
        async with open_configuration_rig(store) as rig:
            assert (await declared(rig, seed={"port": 2}))["value"] == {"port": 2}
            assert await store.items("configuration") == []


async def test_the_first_seed_leaves_alone_what_was_set_before() -> None:
    async with open_configuration_rig() as rig:
        await declared(rig, initial_value={"port": 3})
        assert (await declared(rig, seed={"port": 1}))["value"] == {"port": 3}
        assert (await declared(rig, seed={"port": 2}))["value"] == {"port": 2}


async def test_a_bad_seed_is_refused() -> None:
    async with open_configuration_rig() as rig:
        refused = await rig.refusal("register", **ABOUT, seed={"port": "x"})
        assert refused[0] == "SCHEMA_INVALID"


# --- what hosts add


async def test_a_check_of_the_host_refuses_what_the_schema_takes() -> None:
    def check(value: Any) -> None:
        if value["port"] == 1:
            raise ConfigError("port 1 is taken", path="port")

    async with open_configuration_rig(checks={"web": check}) as rig:
        await declared(rig)
        await rig.declare("other", PORT, initial_value={"port": 1})
        code, message = await rig.refusal("set", id="web", value={"port": 1})
        assert (code, message) == (
            "SCHEMA_INVALID",
            "schema validation failed: port: port 1 is taken",
        )
        await rig.call("set", id="web", value={"port": 2})


# --- faults


@attrs.define(eq=False)
class FaultyStore:
    """A store whose writes fail while told so."""

    store: KeyValueStore
    broken: bool = False

    async def items(self, space: str) -> list[tuple[str, bytes]]:
        return await self.store.items(space)

    async def set(self, space: str, key: str, value: bytes) -> Change:
        if self.broken:
            await trio.lowlevel.checkpoint()
            raise AdapterError("the disk is full")
        return await self.store.set(space, key, value)

    async def delete(self, space: str, key: str) -> Change:
        if self.broken:
            await trio.lowlevel.checkpoint()
            raise AdapterError("the disk is full")
        return await self.store.delete(space, key)


async def test_what_could_not_be_stored_did_not_happen() -> None:
    async with open_memory() as stores:
        store: Any = FaultyStore(stores.key_value("configuration"))
        async with open_configuration_rig(store) as rig:
            events = await rig.record("configuration", "test::on_change", {})
            await declared(rig, seed={"port": 1}, initial_value={"port": 1})
            store.broken = True
            full = ("ADAPTER_ERROR", "the disk is full")
            assert await rig.refusal("set", id="web", value={"port": 2}) == full
            assert await rig.refusal("register", **(ABOUT | {"id": "new"})) == full
            assert await rig.refusal("register", **ABOUT, seed={"port": 3}) == full
            assert (await rig.call("get", id="web"))["value"] == {"port": 1}
            assert len((await rig.call("list"))["configurations"]) == 1
            await rig.settle()
            assert [event["event_type"] for event in events] == [
                "configuration:registered"
            ]
            store.broken = False
            await rig.call("set", id="web", value={"port": 2})


async def test_a_value_nested_too_deep_is_refused() -> None:
    value: Any = "${A}"
    for _ in range(500):
        value = [value]
    async with open_configuration_rig() as rig:
        await rig.declare("any", True)
        code, message = await rig.refusal("set", id="any", value=value)
        assert code == "SCHEMA_INVALID"
        assert message == "schema validation failed: $: it nests deeper than 128"
