"""Every function of the workers with data, called by the newest Python and Node SDKs.

One table: what is called, and what comes back. The sheets' rules of shape are in it: what
is wrapped and what is not, absent against null, codes and the texts that clients know.
"""

import pathlib
import re
from typing import Any

import pytest
import trio

from iii_trio.app import open_app
from tests.integration.calls_rig import (
    ABSENT,
    ANY,
    Call,
    Fails,
    check_calls,
    malformed,
)
from tests.live import PATIENCE, Language

WORKERS = [
    {"name": "iii-worker-manager", "config": {"port": 0}},
    {"name": "iii-state", "config": {"max_value_bytes": 100}},
    {"name": "iii-stream", "config": {"port": 0}},
    {
        "name": "iii-queue",
        "config": {
            "queue_configs": {
                "once": {"max_retries": 1},
                "line": {"type": "fifo", "message_group_field": "g"},
            }
        },
    },
    {"name": "iii-cron"},
    {"name": "iii-pubsub"},
    {"name": "configuration"},
]


def key(name: str, **more: Any) -> dict[str, Any]:
    return {"scope": "s", "key": name, **more}


def changed(old: Any, new: Any, **more: Any) -> dict[str, Any]:
    return {"old_value": old, "new_value": new, **more}


ADD = {"type": "increment", "path": "n", "by": 2}
MISPLACED = {
    "op_index": 1,
    "code": "set.target_not_object",
    "message": ANY,
    "doc_url": ANY,
}

STATE = [
    Call("state::set", key("a", value={"n": 1}), changed(None, {"n": 1})),
    Call("state::set", key("nil", data=None), changed(None, None)),
    Call("state::get", key("a"), {"n": 1}),
    Call("state::get", key("nil"), None),
    Call("state::get", key("none"), ABSENT),
    Call("state::update", key("a", ops=[ADD]), changed({"n": 1}, {"n": 3})),
    Call(
        "state::update",
        key("a", ops=[{"type": "remove", "path": ""}, {"type": "set", "path": "x"}]),
        changed({"n": 3}, None, errors=[MISPLACED]),
    ),
    Call(
        "state::compare_and_set",
        key("a", expected=None, value=[4]),
        {"swapped": True, "value": [4]},
    ),
    Call(
        "state::compare_and_set",
        key("a", value=5),
        {"swapped": False, "value": [4]},
    ),
    Call("state::list", {"scope": "s"}, [[4], None]),
    Call("state::list", {"scope": "none"}, []),
    Call("state::list_groups", {}, {"groups": ["s"]}),
    Call("state::delete", key("a"), [4]),
    Call("state::delete", key("a"), ABSENT),
    Call(
        "state::set",
        key("a", value="x" * 99),
        Fails("VALUE_TOO_LARGE", "value of 101 bytes exceeds the configured"),
    ),
    malformed("state::set", key("a"), "missing field `value`"),
    malformed("state::set", key("a", value=1, data=1), "duplicate field `value`"),
    malformed("state::get", {"scope": "s"}, "missing field `key`"),
    malformed("state::delete", {"scope": 1, "key": "k"}, "scope: invalid type"),
    malformed("state::update", key("a", ops=[{"type": "grow"}]), "ops[0]: unknown"),
    malformed("state::list", {}, "missing field `scope`"),
    malformed("state::list_groups", [], "invalid type: sequence"),
]

LONG = "x" * 257
DEEP = ["a"] * 33
NESTED: Any = 0
for _ in range(17):
    NESTED = [NESTED]


def op(kind: str, path: Any = "", **more: Any) -> dict[str, Any]:
    return {"type": kind, "path": path, **more}


BAD_PATHS = [
    *(
        (op(kind, "__proto__"), f"{kind}.path.proto_polluted")
        for kind in ("set", "remove")
    ),
    *((op(kind, LONG), f"{kind}.path.segment_too_long") for kind in ("set", "remove")),
    *(
        (op(kind, path, by=1), f"{kind}.path.{why}")
        for kind in ("increment", "decrement")
        for path, why in (("prototype", "proto_polluted"), (LONG, "segment_too_long"))
    ),
    *(
        (op(kind, path, value={}), f"{kind}.path.{why}")
        for kind in ("merge", "append")
        for path, why in (
            ("constructor", "proto_polluted"),
            (LONG, "segment_too_long"),
            (DEEP, "too_deep"),
            (["a", ""], "empty_segment"),
        )
    ),
]
BAD_VALUES = [
    (op("merge", value=1), "merge.value.not_an_object"),
    (op("merge", value={str(n): n for n in range(1025)}), "merge.value.too_many_keys"),
    (op("merge", value={"__proto__": 1}), "merge.value.proto_polluted"),
    (op("merge", value={"a": NESTED}), "merge.value.too_deep"),
    (op("increment", "t", by=1), "increment.not_number"),
    (op("decrement", "t", by=1), "decrement.not_number"),
    (op("append", "t", value=1), "append.type_mismatch"),
]
NO_OBJECT = [
    (op("set", "a", value=1), "set.target_not_object"),
    (op("increment", "a", by=1), "increment.target_not_object"),
    (op("decrement", "a", by=1), "decrement.target_not_object"),
    (op("append", "a", value=1), "append.target_not_object"),
    (op("remove", "a"), "remove.target_not_object"),
]


def failing(
    value: Any, ops: list[tuple[dict[str, Any], str]], where: dict[str, Any]
) -> list[Call]:
    """Operations that all fail, each with its code, and change nothing."""
    errors = [
        {"op_index": index, "code": code, "message": ANY, "doc_url": ANY}
        for index, (_, code) in enumerate(ops)
    ]
    name = "state" if "key" in where else "stream"
    field = "value" if "key" in where else "data"
    return [
        Call(f"{name}::set", {**where, field: value}, ANY),
        Call(
            f"{name}::update",
            {**where, "ops": [one for one, _ in ops]},
            changed(value, value, errors=errors),
        ),
        Call(f"{name}::delete", where, ANY),
    ]


GROUP = {"stream_name": "m", "group_id": "g"}
ITEM = {**GROUP, "item_id": "i"}

FAILING = [
    call
    for where in (key("bad"), {**ITEM, "item_id": "bad"})
    for value, ops in (({"t": "x"}, [*BAD_PATHS, *BAD_VALUES]), ([], NO_OBJECT))
    for call in failing(value, ops, where)
]

STREAM = [
    Call("stream::set", {**ITEM, "data": {"n": 1}}, changed(None, {"n": 1})),
    Call("stream::get", ITEM, {"n": 1}),
    Call("stream::get", {**ITEM, "item_id": "none"}, ABSENT),
    Call("stream::update", {**ITEM, "ops": [ADD]}, changed({"n": 1}, {"n": 3})),
    Call("stream::list", GROUP, [{"n": 3}]),
    Call("stream::list", {**GROUP, "group_id": "none"}, []),
    Call("stream::list_groups", {"stream_name": "m"}, ["g"]),
    Call(
        "stream::list_all",
        {},
        {"stream": [{"id": "m", "groups": ["g"]}], "count": 1},
    ),
    Call("stream::send", {**GROUP, "type": "t", "data": [1], "id": "i"}, None),
    Call("stream::delete", ITEM, {"old_value": {"n": 3}}),
    Call("stream::delete", ITEM, {"old_value": None}),
    malformed("stream::set", ITEM, "missing field `data`"),
    malformed("stream::get", GROUP, "missing field `item_id`"),
    malformed("stream::send", GROUP, "missing field `type`"),
]

ONCE = {"topic": "once"}
DEAD = {
    "id": "2",
    "payload": {"n": 2},
    "error": ANY,
    "failed_at": ANY,
    "retries": 1,
    "size_bytes": 7,
}


def enqueued(queue: str, payload: Any, expected: Any) -> Call:
    action = {"type": "enqueue", "queue": queue}
    return Call("sdk::refuse", payload, expected, action=action)


def moved(count: int, message_id: str | None = None) -> dict[str, Any]:
    message = {} if message_id is None else {"message_id": message_id}
    return {"queue": "once", "redriven": count, **message}


def stats(**more: Any) -> dict[str, Any]:
    counts = {"depth": 0, "consumer_count": 10, "dlq_depth": 0}
    return {**counts, "config": None, "delivered": 0, "failed": 0, **more}


def dead_letters(count: int) -> list[dict[str, Any]]:
    row = {"topic": "once", "broker_type": "function_queue"}
    return [{**row, "message_count": count}]


QUEUE = [
    Call("queue::define", {"queue": "new"}, {"queue": "new", "changed": True}),
    Call("queue::define", {"queue": "new"}, {"queue": "new", "changed": False}),
    Call("iii::durable::publish", {"topic": "news", "data": None}, ABSENT),
    enqueued("once", {"n": 2}, {"messageReceiptId": ANY}),
    Call("engine::queue::topic_stats", ONCE, stats(dlq_depth=1, failed=1), repeat=True),
    Call("engine::queue::dlq_topics", {}, dead_letters(1)),
    Call("engine::queue::dlq_messages", ONCE, [DEAD]),
    Call("engine::queue::dlq_messages", {**ONCE, "limit": 0}, []),
    Call(
        "engine::queue::list_topics",
        {},
        [
            {"name": name, "broker_type": kind, "subscriber_count": count}
            for name, kind, count in (
                ("default", "function_queue", 10),
                ("once", "function_queue", 10),
                ("line", "function_queue", 10),
                ("new", "function_queue", 10),
                ("news", "builtin", 0),
            )
        ],
    ),
    Call(
        "iii::queue::redrive_message",
        {"queue": "once", "message_id": "2"},
        moved(1, "2"),
    ),
    Call("engine::queue::topic_stats", ONCE, stats(dlq_depth=1, failed=2), repeat=True),
    Call("iii::queue::redrive", {"queue": "once"}, moved(1)),
    Call("engine::queue::topic_stats", ONCE, stats(dlq_depth=1, failed=3), repeat=True),
    Call(
        "iii::queue::discard_message",
        {"topic": "once", "message_id": "2"},
        moved(1, "2"),
    ),
    Call(
        "iii::queue::discard_message",
        {"topic": "once", "message_id": "2"},
        moved(0, "2"),
    ),
    Call("engine::queue::dlq_topics", {}, []),
    Call(
        "engine::queue::enqueue",
        {"queue": "once", "function_id": "sdk::refuse", "messageReceiptId": "mine"},
        {"messageReceiptId": "mine"},
    ),
    Call(
        "engine::queue::enqueue",
        {"queue": "nowhere", "function_id": "sdk::refuse", "data": 1},
        Fails("queue_not_defined", "queue 'nowhere' is not defined"),
    ),
    enqueued(
        "nowhere", 1, Fails("enqueue_error", "queue_not_defined: queue 'nowhere'")
    ),
    enqueued(
        "line",
        {},
        Fails("enqueue_error", "FIFO queue 'line' requires field 'g' in data"),
    ),
    Call(
        "engine::queue::enqueue",
        {"queue": "line", "function_id": "sdk::refuse", "data": {"g": None}},
        Fails("invalid_message_group", "FIFO queue 'line': field 'g' must not be null"),
    ),
    Call(
        "queue::define",
        {"queue": "bad", "config": {"type": "lifo"}},
        Fails("invalid_queue_config", "Queue 'bad' has invalid type 'lifo'"),
    ),
    Call("queue::define", {"queue": ""}, Fails("queue_not_set")),
    Call(
        "iii::durable::publish",
        {"topic": "", "data": 1},
        Fails("topic_not_set", "Topic is not set"),
    ),
    Call(
        "iii::queue::redrive",
        {"queue": ""},
        Fails("queue_not_set", "Queue name is required"),
    ),
    Call(
        "iii::queue::redrive_message",
        {"queue": "once", "message_id": ""},
        Fails("message_id_not_set", "Message ID is required"),
    ),
    Call(
        "iii::queue::discard_message",
        {"queue": "", "message_id": "1"},
        Fails("queue_not_set", "Queue name is required"),
    ),
    Call(
        "engine::queue::topic_stats",
        {"topic": ""},
        Fails("topic_required", "topic is required"),
    ),
    Call(
        "engine::queue::dlq_messages",
        {"topic": ""},
        Fails("topic_required", "topic is required"),
    ),
    malformed("engine::queue::topic_stats", {}, "missing field `topic`"),
    malformed("iii::queue::redrive_message", {"queue": "q"}, "missing field"),
]

EXPRESSION = {"expression": "0 0 9 * * MON", "after": "2026-01-01T00:00:00+00:00"}

OTHERS = [
    Call("publish", {"topic": "t", "data": None}, ABSENT),
    Call(
        "publish", {"topic": "", "data": 1}, Fails("topic_not_set", "Topic is not set")
    ),
    malformed("publish", {"topic": "t"}, "missing field `data`"),
    Call("cron::list", {}, []),
    Call("cron::next", {**EXPRESSION, "count": 1}, ["2026-01-05T09:00:00+00:00"]),
    Call(
        "cron::next",
        {"expression": "no cron"},
        Fails("invalid_expression", "Invalid cron expression 'no cron': "),
    ),
    Call("cron::next", {**EXPRESSION, "after": "soon"}, Fails("invalid_time")),
    Call("cron::next", {**EXPRESSION, "count": 0}, Fails("invalid_count")),
    Call("configuration::set", {"id": "x", "value": 1}, Fails("NOT_REGISTERED", "'x'")),
    Call(
        "configuration::register",
        {"id": "x", "name": "X", "description": "An x.", "schema": {"type": "integer"}},
        ANY,
    ),
    Call("configuration::set", {"id": "x", "value": 1}, changed(None, 1)),
    Call("configuration::set", {"id": "x", "value": "1"}, Fails("SCHEMA_INVALID")),
    Call("configuration::set", {"id": "!", "value": 1}, Fails("INVALID_ID")),
    Call("configuration::get", {"id": "x"}, ANY),
    Call("configuration::get", {"id": "y"}, Fails("NOT_FOUND")),
    Call("configuration::schema", {"id": "x"}, ANY),
    Call("configuration::list", {}, ANY),
]

CALLS = [*STATE, *FAILING, *STREAM, *QUEUE, *OTHERS]
FAMILIES = re.compile(
    "(state|stream|queue|engine::queue|iii::queue|iii::durable|cron|configuration)::"
    r"\w+|publish"
)


@pytest.mark.parametrize(
    "language", ["py", pytest.param("ts", marks=pytest.mark.needs_node)]
)
async def test_an_sdk_calls_every_function(
    language: Language, tmp_path: pathlib.Path
) -> None:
    with trio.fail_after(PATIENCE):
        async with open_app({"workers": WORKERS}, data_dir=tmp_path / "data") as app:
            await check_calls(app, language, CALLS, tmp_path)
            offered = {
                function.function_id
                for function in app.engine.registry
                if FAMILIES.fullmatch(function.function_id)
            }
    assert offered == {
        call.function_id for call in CALLS if call.function_id != "sdk::refuse"
    }
