"""The state functions, called through an engine."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio

from iii_trio.adapters import Change
from iii_trio.builtins.state import StateConfig
from iii_trio.errors import AdapterError, FunctionNotFoundError
from tests.component.state_rig import open_state_rig


async def test_set_answers_old_and_new_value() -> None:
    async with open_state_rig() as rig:
        assert await rig.call("set", scope="s", key="k", value={"a": 1}) == {
            "old_value": None,
            "new_value": {"a": 1},
        }
        assert await rig.call("set", scope="s", key="k", data=[2]) == {
            "old_value": {"a": 1},
            "new_value": [2],
        }
        assert await rig.call("get", scope="s", key="k") == [2]


async def test_a_missing_key_has_no_result_and_a_stored_null_is_null() -> None:
    async with open_state_rig() as rig:

        async def raw(name: str) -> bytes:
            return await rig.client.invoke_json(name, b'{"scope":"s","key":"k"}')

        assert await raw("state::get") == b""
        assert await raw("state::delete") == b""
        await rig.call("set", scope="s", key="k", value=None)
        assert await raw("state::get") == b"null"
        assert await raw("state::delete") == b"null"
        assert await raw("state::get") == b""


async def test_a_link_worker_sees_the_result_key_left_out_or_null() -> None:
    async with open_state_rig() as rig:
        async with rig.under_test.open_raw_peer("peer") as peer:

            async def frame(name: str, **data: Any) -> Any:
                call_id = peer.call(name, {"scope": "s", "key": "k", **data})
                outcome = await peer.outcome(call_id)
                assert not bytes(outcome.error)
                return msgspec.json.decode(msgspec.json.encode(outcome))

            assert "result" not in await frame("state::get")
            assert (await frame("state::set", value=None))["result"] == {
                "old_value": None,
                "new_value": None,
            }
            assert (await frame("state::get"))["result"] is None
            assert (await frame("state::delete"))["result"] is None
            assert "result" not in await frame("state::delete")


async def test_delete_answers_the_removed_value_itself() -> None:
    async with open_state_rig() as rig:
        await rig.call("set", scope="s", key="k", value={"a": 1})
        assert await rig.call("delete", scope="s", key="k") == {"a": 1}


async def test_list_gives_values_in_order_of_first_insertion() -> None:
    async with open_state_rig() as rig:
        for key in "cab":
            await rig.call("set", scope="s", key=key, value=key)
        await rig.call("set", scope="s", key="a", value="again")
        assert await rig.call("list", scope="s") == ["c", "again", "b"]
        assert await rig.call("list", scope="unknown") == []


async def test_list_groups_gives_scopes_sorted_without_empty_ones() -> None:
    async with open_state_rig() as rig:
        for scope in ("b", "a", "b"):
            await rig.call("set", scope=scope, key="k", value=1)
        assert await rig.call("list_groups") == {"groups": ["a", "b"]}
        await rig.call("delete", scope="b", key="k")
        assert await rig.call("list_groups") == {"groups": ["a"]}


async def test_update_applies_operations_and_reports_the_skipped_ones() -> None:
    async with open_state_rig() as rig:
        ops: list[dict[str, Any]] = [
            {"type": "set", "path": "a", "value": 1},
            {"type": "increment", "path": "n", "by": 2},
        ]
        assert await rig.call("update", scope="s", key="k", ops=ops) == {
            "old_value": None,
            "new_value": {"a": 1, "n": 2},
        }
        ops = [{"type": "append", "path": "a", "value": 1}]
        result = await rig.call("update", scope="s", key="k", ops=ops)
        assert result["old_value"] == result["new_value"] == {"a": 1, "n": 2}
        (error,) = result["errors"]
        assert error["code"] == "append.type_mismatch"
        assert error["op_index"] == 0
        assert error["doc_url"].startswith("https://")


@pytest.mark.parametrize("ops", [[], [{"type": "set", "path": "__proto__"}]])
async def test_update_stores_an_empty_object_even_if_nothing_applied(ops: Any) -> None:
    async with open_state_rig() as rig:
        result = await rig.call("update", scope="s", key="k", ops=ops)
        assert result["new_value"] == {}
        assert await rig.call("get", scope="s", key="k") == {}


async def test_floats_are_taken_as_amounts() -> None:
    async with open_state_rig() as rig:
        ops = [{"type": "increment", "path": "", "by": 0.5}] * 3
        result = await rig.call("update", scope="s", key="k", ops=ops)
        assert result["new_value"] == 1.5


async def test_updates_of_many_callers_are_atomic() -> None:
    async with open_state_rig() as rig:
        ops = [{"type": "increment", "path": "n", "by": 1}]

        async def add() -> None:
            await rig.call("update", scope="s", key="k", ops=ops)

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(add)
        assert await rig.call("get", scope="s", key="k") == {"n": 50}


async def test_compare_and_set_swaps_only_what_is_expected() -> None:
    async with open_state_rig() as rig:

        async def swap(**fields: Any) -> tuple[bool, Any]:
            result = await rig.call("compare_and_set", scope="s", key="k", **fields)
            assert result.keys() == {"swapped", "value"}
            return result["swapped"], result["value"]

        assert await swap(expected=None, value=1) == (False, None)
        assert await swap(value={"v": 1}) == (True, {"v": 1})
        assert await swap(value=2) == (False, {"v": 1})
        assert await swap(expected={"v": True}, value=2) == (False, {"v": 1})
        assert await swap(expected={"v": 1.0}, value=None) == (True, None)
        assert await swap(value=3) == (False, None)
        assert await swap(expected=None, value=3) == (True, 3)


async def test_integers_of_any_size_survive() -> None:
    large = 2**200
    async with open_state_rig() as rig:
        await rig.call("set", scope="s", key="k", value={"n": large})
        assert await rig.call("get", scope="s", key="k") == {"n": large}
        ops = [{"type": "set", "path": "m", "value": -large}]
        result = await rig.call("update", scope="s", key="k", ops=ops)
        assert result["new_value"] == {"n": large, "m": -large}


MALFORMED: list[tuple[str, object, str]] = [
    ("get", {"scope": "s"}, "missing field `key`"),
    ("get", {"key": "k"}, "missing field `scope`"),
    ("get", None, "invalid type: null"),
    ("get", ["s", "k"], "invalid type: sequence"),
    ("get", {"scope": 1, "key": "k"}, "scope: invalid type: integer `1`"),
    ("set", {"scope": "s", "key": "k"}, "missing field `value`"),
    (
        "set",
        {"scope": "s", "key": "k", "value": 1, "data": 1},
        "duplicate field `value`",
    ),
    ("delete", {}, "missing field `scope`"),
    ("list", {}, "missing field `scope`"),
    ("list_groups", None, "invalid type: null"),
    ("list_groups", [], "invalid type: sequence"),
    ("compare_and_set", {"scope": "s", "key": "k"}, "missing field `value`"),
    ("update", {"scope": "s", "key": "k"}, "missing field `ops`"),
    ("update", {"scope": "s", "key": "k", "ops": {}}, "ops: invalid type: map"),
    *[
        ("update", {"scope": "s", "key": "k", "ops": [op]}, reason)
        for op, reason in [
            ({"type": "push"}, "ops[0]: unknown variant `push`"),
            ({"type": 1}, "ops[0]: invalid type: integer `1`"),
            ({"path": "a"}, "ops[0]: missing field `type`"),
            ("set", "ops[0]: invalid type: string"),
            ({"type": "set"}, "ops[0]: missing field `path`"),
            ({"type": "remove"}, "ops[0]: missing field `path`"),
            ({"type": "increment", "by": 1}, "ops[0]: missing field `path`"),
            ({"type": "decrement", "path": "a"}, "ops[0]: missing field `by`"),
            ({"type": "merge"}, "ops[0]: missing field `value`"),
            ({"type": "append"}, "ops[0]: missing field `value`"),
            ({"type": "set", "path": ["a"]}, "ops[0].path: invalid type: sequence"),
            ({"type": "append", "path": [1], "value": 1}, "ops[0].path: invalid type"),
            ({"type": "append", "path": 1, "value": 1}, "ops[0].path: invalid type"),
            ({"type": "increment", "path": "a", "by": "1"}, "ops[0].by: invalid type"),
            (
                {"type": "increment", "path": "a", "by": 2**63},
                "ops[0].by: invalid value",
            ),
        ]
    ],
]


@pytest.mark.parametrize(("name", "payload", "reason"), MALFORMED)
async def test_malformed_input_fails_the_whole_call(
    name: str, payload: object, reason: str
) -> None:
    async with open_state_rig() as rig:
        error = await rig.failure(name, payload)
        assert error.code == "deserialization_error"
        prefix = f"Failed to deserialize input for state::{name}: "
        assert error.message.startswith(prefix + reason)
        assert await rig.call("list_groups") == {"groups": []}


async def test_unknown_keys_of_the_input_are_ignored() -> None:
    async with open_state_rig() as rig:
        await rig.call("set", scope="s", key="k", value=1, _caller_worker_id="x")
        assert await rig.call("list_groups", anything=1) == {"groups": ["s"]}


async def test_too_large_a_value_is_refused_by_its_compact_size() -> None:
    async with open_state_rig(StateConfig(max_value_bytes=7)) as rig:
        await rig.call("set", scope="s", key="k", value=[1, 2, 3])
        error = await rig.failure(
            "set", {"scope": "s", "key": "k", "value": [1, 2, 34]}
        )
        assert error.code == "VALUE_TOO_LARGE"
        assert error.message == (
            "value of 8 bytes exceeds the configured max_value_bytes limit of 7"
        )
        assert await rig.call("get", scope="s", key="k") == [1, 2, 3]
        ops = [{"type": "append", "value": 4567}]
        result = await rig.call("update", scope="s", key="k", ops=ops)
        assert result["new_value"] == [1, 2, 3, 4567]


async def test_new_settings_hold_from_the_next_call() -> None:
    async with open_state_rig() as rig:
        rig.handle.reconfigure(StateConfig(max_value_bytes=1))
        error = await rig.failure("set", {"scope": "s", "key": "k", "value": 10})
        assert error.code == "VALUE_TOO_LARGE"
        rig.handle.reconfigure(StateConfig())
        await rig.call("set", scope="s", key="k", value=10)


class BrokenStore:
    """A store whose backend is gone."""

    async def get(self, space: str, key: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        raise AdapterError(f"no disk for {space}/{key}")

    async def set(self, space: str, key: str, value: bytes) -> Change:
        await trio.lowlevel.checkpoint()
        raise AdapterError(f"no disk for {space}/{key} of {len(value)} bytes")

    async def delete(self, space: str, key: str) -> Change:
        await trio.lowlevel.checkpoint()
        raise AdapterError(f"no disk for {space}/{key}")

    async def update(
        self, space: str, key: str, change: Callable[[bytes | None], bytes | None]
    ) -> Change:
        await trio.lowlevel.checkpoint()
        raise AdapterError(f"no disk for {space}/{key} by {change}")

    async def items(self, space: str) -> list[tuple[str, bytes]]:
        await trio.lowlevel.checkpoint()
        raise AdapterError(f"no disk for {space}")

    async def spaces(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        raise AdapterError("no disk")


@pytest.mark.parametrize(
    ("name", "code", "prefix"),
    [
        ("set", "SET_ERROR", "Failed to set value: no disk"),
        ("get", "GET_ERROR", "Failed to get value: no disk"),
        ("delete", "DELETE_ERROR", "Failed to delete value: no disk"),
        ("update", "UPDATE_ERROR", "Failed to update value: no disk"),
        ("compare_and_set", "COMPARE_AND_SET_ERROR", "Failed to compare and set"),
        ("list", "LIST_ERROR", "Failed to list values: no disk"),
        ("list_groups", "LIST_GROUPS_ERROR", "Failed to list groups: no disk"),
    ],
)
async def test_failing_store_gives_the_code_of_the_function_and_no_event(
    name: str, code: str, prefix: str
) -> None:
    async with open_state_rig(store=BrokenStore()) as rig:
        events = await rig.record("test::on_state", {})
        payload = {"scope": "s", "key": "k", "value": 1, "ops": []}
        error = await rig.failure(name, payload)
        assert error.code == code
        assert error.message.startswith(prefix)
        await rig.settle()
        assert events == []


async def test_functions_are_withdrawn_when_serving_ends() -> None:
    async with open_state_rig() as rig:
        await rig.call("set", scope="s", key="k", value=1)
        rig.serving.cancel(reason="test")
        with trio.CancelScope(shield=True):
            await rig.settle()
            with pytest.raises(FunctionNotFoundError):
                await rig.call("get", scope="s", key="k")


async def test_discovery_shows_what_the_functions_take() -> None:
    async with open_state_rig() as rig:
        info = await rig.client.invoke(
            "engine::functions::info", {"function_id": "state::update"}
        )
        assert info["description"]
        assert "ops" in str(info["request_schema"])


@pytest.mark.parametrize("burst", [2, 20])
async def test_a_burst_of_writes_is_done_in_its_order(burst: int) -> None:
    async with open_state_rig() as rig:
        place = {"scope": "s", "key": "k"}
        for _ in range(8):  # Trio lets tasks go on in any order
            for number in range(burst):
                rig.client.fire("state::set", {**place, "value": number})
            await rig.settle()
            assert await rig.call("get", **place) == burst - 1
            rig.client.fire("state::delete", place)
            for number in range(burst):
                op = {"type": "append", "value": number}
                rig.client.fire("state::update", {**place, "ops": [op]})
            await rig.settle()
            assert await rig.call("get", **place) == [*range(burst)]
