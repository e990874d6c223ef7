"""Frames that a worker sends, and what it reads out of those it gets."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.errors import RegistrationError
from iii_trio.protocol import (
    MAX_MESSAGE_BYTES,
    ChannelRef,
    decode,
    encode,
    splice_caller,
)
from iii_trio.transport import Request, TriggerSpec, WorkerSpec
from iii_trio.worker._frames import (
    announcement,
    call_frame,
    take_caller,
    too_large,
    trigger_frame,
    trigger_from,
)
from iii_trio.worker._remote_channel import channel_url

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def read(frame: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(encode(frame))
    return value


@given(value=json_values, ascii_only=st.booleans())
def test_what_an_engine_spliced_in_is_taken_out_again(
    value: Any, ascii_only: bool
) -> None:
    payload = json.dumps(value, ensure_ascii=ascii_only).encode()
    spliced = bytes(splice_caller(payload, b'"_caller_worker_id":"w-1"'))
    taken, caller = take_caller(spliced)
    expected = value
    if isinstance(value, dict):
        expected = {k: v for k, v in value.items() if k != "_caller_worker_id"}
        assert caller == "w-1"
    else:
        assert caller is None
    assert json.loads(taken) == expected


@pytest.mark.parametrize(
    "payload",
    [
        b'{"_caller_worker_id":"forged","a":1,"_caller_worker_id":"real"}',
        b'{"\\u005fcaller_worker_id":"forged","a":1,"_caller_worker_id":"real"}',
    ],
)
def test_a_forged_caller_loses(payload: bytes) -> None:
    assert take_caller(payload) == (b'{"a":1}', "real")


def test_other_members_keep_their_spelling() -> None:
    payload = b'{"n": 1.50, "big": 123456789012345678901234567890}'
    assert take_caller(payload) == (payload, None)
    spliced = bytes(splice_caller(payload, b'"_caller_worker_id":"w"'))
    assert take_caller(spliced) == (
        b'{"n":1.50,"big":123456789012345678901234567890}',
        "w",
    )


@pytest.mark.parametrize(
    "payload",
    [
        b'["_caller_worker_id"]',
        b'"_caller_worker_id"',
        b'{"a":"_caller_worker_id"}',
        b'{"a":{"_caller_worker_id":"deep"}}',
        b"null",
    ],
)
def test_the_key_counts_only_at_the_top_of_an_object(payload: bytes) -> None:
    assert take_caller(payload) == (payload, None)


def test_a_number_out_of_range_passes_as_it_is() -> None:
    payload = b'{"n":1e400,"_caller_worker_id":"w"}'
    assert take_caller(payload) == (b'{"n":1e400}', "w")


@pytest.mark.parametrize("caller", [b"1e400", b"-1e400", b"1e5", b'["w"]', b"null"])
def test_a_caller_that_is_no_text_is_none(caller: bytes) -> None:
    payload = b'{"a":1,"_caller_worker_id":%b}' % caller
    assert take_caller(payload) == (b'{"a":1}', None)


def test_a_payload_too_deep_to_look_into_passes_as_it_is() -> None:
    payload = b'{"_caller_worker_id":"w","a":%b}' % (b"[" * 100_000 + b"]" * 100_000)
    assert take_caller(payload) == (payload, None)


def test_a_trigger_that_cannot_be_decoded_is_refused() -> None:
    frame = decode(
        b'{"type":"registertrigger","id":"t","trigger_type":"x","function_id":"f",'
        b'"config":1e400}'
    )
    with pytest.raises(RegistrationError, match="cannot be decoded"):
        trigger_from(frame)  # type: ignore[arg-type]


def test_announcement_carries_the_worker_and_its_features() -> None:
    spec = WorkerSpec(name="w", namespace="ns", pid=7, os="Linux", version="1")
    invocation_id = "00000000-0000-4000-8000-000000000000"
    frame = read(announcement(spec, invocation_id))
    assert frame == {
        "type": "invokefunction",
        "invocation_id": invocation_id,
        "function_id": "engine::workers::register",
        "namespace": "default",
        "data": {
            "runtime": "python",
            "version": "1",
            "name": "w",
            "os": "Linux",
            "pid": 7,
            "namespace": "ns",
            "features": ["iii-trio.cancel.v1", "large-messages.v1"],
        },
    }


def test_a_call_without_id_is_void_and_one_with_id_keeps_its_action() -> None:
    request = Request(function_id="a::b", payload=b"1", namespace="ns")
    assert read(call_frame(request, None, None)) == {
        "type": "invokefunction",
        "function_id": "a::b",
        "data": 1,
        "action": {"type": "void"},
        "namespace": "ns",
    }
    request = Request(
        function_id="a::b",
        payload=b"1",
        action=b'{"type":"enqueue","queue":"q"}',
        metadata=b'{"m":1}',
        traceparent="t",
        baggage="b",
    )
    invocation_id = "00000000-0000-4000-8000-000000000000"
    assert read(call_frame(request, invocation_id, 1500.0)) == {
        "type": "invokefunction",
        "invocation_id": invocation_id,
        "function_id": "a::b",
        "data": 1,
        "action": {"type": "enqueue", "queue": "q"},
        "metadata": {"m": 1},
        "namespace": "default",
        "traceparent": "t",
        "baggage": "b",
        "deadline_ms": 1500.0,
    }


def test_a_trigger_comes_back_as_it_was_sent() -> None:
    spec = TriggerSpec(
        trigger_id="t",
        trigger_type="http",
        function_id="a::b",
        config={"api_path": "/x"},
        metadata=[1],
        namespace="ns",
        trigger_namespace="p",
    )
    frame = decode(encode(trigger_frame(spec)))
    assert trigger_from(frame) == spec  # type: ignore[arg-type]


def test_a_config_of_none_is_sent_because_engines_want_one() -> None:
    spec = TriggerSpec(trigger_id="t", trigger_type="x", function_id="f")
    assert read(trigger_frame(spec))["config"] is None


def test_the_refusal_of_a_large_message_points_to_channels() -> None:
    body = too_large(MAX_MESSAGE_BYTES + 1)
    assert body.code == "payload_too_large"
    assert "channel" in body.message


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ws://h:1", "ws://h:1/ws/channels/c?key=k&dir=read"),
        ("ws://h:1/", "ws://h:1/ws/channels/c?key=k&dir=read"),
        ("wss://h/base/", "wss://h/base/ws/channels/c?key=k&dir=read"),
        ("ws://h:1/?token=x", "ws://h:1/ws/channels/c?token=x&key=k&dir=read"),
    ],
)
def test_a_channel_url_keeps_path_and_query_of_the_address(
    address: str, expected: str
) -> None:
    ref = ChannelRef(channel_id="c", access_key="k", direction="read")
    assert channel_url(address, ref) == expected


def test_a_channel_url_quotes_what_the_ref_holds() -> None:
    ref = ChannelRef(channel_id="a/b", access_key="k&x", direction="write")
    assert channel_url("ws://h", ref) == (
        "ws://h/ws/channels/a%2Fb?key=k%26x&dir=write"
    )
