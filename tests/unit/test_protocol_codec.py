"""Frames to bytes and back: every row of bad input, and the builders of the hot path."""

import json
from typing import Any

import msgspec
import pytest

from iii_trio import protocol
from iii_trio.errors import RemoteProtocolError

UUID = "0d9f2a44-5be5-4b6e-9a4f-4f3d0c1f6a00"
F = protocol.function_field("f")
F_CALL = protocol.invoke_field("f")

NOT_FRAMES = {
    "nothing": b"",
    "blank": b"  ",
    "bare word": b"hello",
    "cut short": b'{"type":"ping"',
    "array": b"[]",
    "number": b"5",
    "null": b"null",
    "two values": b"{} {}",
    "type is no text": b'{"type":5}',
    "type is not UTF-8": b'{"type":"\xff"}',
    "lone surrogate": b'{"type":"registerfunction","id":"\\ud800"}',
    "NaN in a payload": b'{"type":"invokefunction","function_id":"f","data":NaN}',
    "bare word in a payload": b'{"type":"invokefunction","function_id":"f","data":no}',
}

BAD_FRAMES = {
    "call without a function": {"type": "invokefunction"},
    "function id is no text": {"type": "invokefunction", "function_id": 5},
    "call id is no UUID": {
        "type": "invokefunction",
        "function_id": "f",
        "invocation_id": "1",
    },
    "deadline is no number": {
        "type": "invokefunction",
        "function_id": "f",
        "deadline_ms": "1",
    },
    "function without id": {"type": "registerfunction"},
    "null id": {"type": "registerfunction", "id": None},
    "trigger without type": {"type": "registertrigger", "id": "t", "function_id": "f"},
    "trigger without function": {
        "type": "registertrigger",
        "id": "t",
        "trigger_type": "x",
    },
    "type without id": {"type": "registertriggertype"},
    "result without id": {"type": "invocationresult", "function_id": "f"},
    "reattach without id": {"type": "reattach"},
    "cancel without id": {"type": "cancelinvocation"},
}


@pytest.mark.parametrize("text", NOT_FRAMES.values(), ids=NOT_FRAMES.keys())
def test_text_that_is_no_frame_is_the_peers_error(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        protocol.decode(text)
    assert not isinstance(caught.value, protocol.UnknownFrameError)


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_a_bad_frame_of_a_known_type_is_named_in_the_error(
    frame: dict[str, object],
) -> None:
    with pytest.raises(RemoteProtocolError, match=f"bad {frame['type']} frame"):
        protocol.decode(json.dumps(frame).encode())


def test_a_known_field_that_is_not_utf8_is_the_peers_error() -> None:
    with pytest.raises(RemoteProtocolError, match="bad registerfunction frame"):
        protocol.decode(b'{"type":"registerfunction","id":"\xff"}')


@pytest.mark.parametrize("text", [b"{}", b'{"type":"ping2"}', b'{"type":"Ping"}'])
def test_an_unknown_type_is_told_apart_from_a_bad_frame(text: bytes) -> None:
    with pytest.raises(protocol.UnknownFrameError, match="unknown frame type"):
        protocol.decode(text)


@pytest.mark.parametrize("where", ["known", "unknown"])
def test_nesting_too_deep_to_decode_is_an_error_of_the_frame_alone(where: str) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    known = b'{"type":"invokefunction","function_id":"f","data":%b}' % deep
    text = known if where == "known" else b'{"x":%b,"type":"other"}' % deep
    with pytest.raises(RemoteProtocolError, match="too deep"):
        protocol.decode(text)


def test_moderate_nesting_passes() -> None:
    deep = b"[" * 120 + b"]" * 120
    frame = protocol.decode(
        b'{"data":%b,"function_id":"f","type":"invokefunction"}' % deep
    )
    assert isinstance(frame, protocol.InvokeFunction)
    assert bytes(frame.data) == deep


def test_deep_nesting_behind_a_bad_field_does_not_hide_the_error() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(RemoteProtocolError, match="not a frame"):
        protocol.decode(b'{"type":"registerfunction","id":5,"x":%b}' % deep)


def test_unknown_fields_are_ignored() -> None:
    frame = protocol.decode(
        b'{"message_type":"x","id":"t","type":"unregistertrigger","new":[1]}'
    )
    assert frame == protocol.UnregisterTrigger(id="t")


def test_payloads_pass_byte_for_byte() -> None:
    data = b'{ "a" : 1e400, "b": 123456789012345678901234567890, "b": -0 }'
    frame = protocol.decode(
        b'{"type":"invokefunction","function_id":"f","data":%b}' % data
    )
    assert isinstance(frame, protocol.InvokeFunction)
    assert bytes(frame.data) == data


def test_null_and_absent_fields_mean_the_same() -> None:
    frame = protocol.decode(
        b'{"type":"invokefunction","function_id":"f","invocation_id":null,'
        b'"data":null,"namespace":null,"traceparent":null}'
    )
    assert isinstance(frame, protocol.InvokeFunction)
    assert frame.invocation_id is frame.namespace is frame.traceparent is None
    assert protocol.is_absent(frame.data)
    assert protocol.is_absent(protocol.ABSENT)
    assert protocol.is_absent(b"")
    assert not protocol.is_absent(b"0")
    assert protocol.payload_or_null(protocol.ABSENT) == b"null"
    assert protocol.payload_or_null(b"0") == b"0"


def test_absent_optional_fields_are_left_out() -> None:
    assert protocol.encode(protocol.UnregisterTrigger(id="t")) == (
        b'{"type":"unregistertrigger","id":"t"}'
    )


def test_a_rejection_always_names_an_owner_even_an_empty_one() -> None:
    frame = protocol.RegistrationRejected(code="X", namespace="default")
    assert json.loads(protocol.encode(frame))["owner_worker_id"] == ""


def test_a_call_names_its_caller_at_the_end() -> None:
    text = protocol.encode_invoke(UUID, F_CALL, b'{"c":0}', b'"c":1')
    assert text.endswith(b'"data":{"c":0,"c":1}}')
    assert json.loads(text)["data"] == {"c": 1}


def test_a_call_is_built_with_its_optional_fields() -> None:
    extras = protocol.invoke_extras(b'{"m":2}', "trace", 'bag"gage', 1500.5)
    text = protocol.encode_invoke(UUID, F_CALL, b"[1]", b'"c":1', extras)
    assert json.loads(text) == {
        "type": "invokefunction",
        "invocation_id": UUID,
        "function_id": "f",
        "data": [1],
        "metadata": {"m": 2},
        "traceparent": "trace",
        "baggage": 'bag"gage',
        "deadline_ms": 1500.5,
    }


def test_a_call_leaves_out_what_it_does_not_have() -> None:
    text = protocol.encode_invoke(UUID, F_CALL, b"null")
    assert json.loads(text).keys() == {"type", "invocation_id", "function_id", "data"}


@pytest.mark.parametrize(
    ("result", "error", "fields"),
    [
        (b"1", b"", {"result": 1}),
        (b"1", b'{"code":"c"}', {"error": {"code": "c"}}),
        (b"", b"", {}),
        (protocol.ABSENT, protocol.ABSENT, {}),
        (msgspec.Raw(b"null"), b"", {"result": None}),
    ],
)
def test_a_result_is_built_with_one_outcome(
    result: protocol.JSONBytes, error: protocol.JSONBytes, fields: dict[str, object]
) -> None:
    text = protocol.encode_result(UUID, F, result, error, "t", "b")
    assert json.loads(text) == {
        "type": "invocationresult",
        "invocation_id": UUID,
        "function_id": "f",
        "traceparent": "t",
        "baggage": "b",
        **fields,
    }


@pytest.mark.parametrize(
    ("payload", "spliced"),
    [
        (b"{}", b'{"c":1}'),
        (b"{ \n\t}", b'{ \n\t"c":1}'),
        (b'{"a":2}', b'{"a":2,"c":1}'),
        (b'{ "a":2 }', b'{ "a":2 ,"c":1}'),
        (b' {"a":2}', b'{"a":2,"c":1}'),
        (b'{"a":2}\n', b'{"a":2,"c":1}'),
        (b"[]", b"[]"),
        (b'"{}"', b'"{}"'),
        (b" 5 ", b" 5 "),
        (b"5", b"5"),
        (b"null", b"null"),
        (b"", b""),
    ],
)
def test_the_caller_is_spliced_into_objects_only(
    payload: bytes, spliced: bytes
) -> None:
    assert bytes(protocol.splice_caller(payload, b'"c":1')) == spliced
    raw = msgspec.Raw(payload)
    assert bytes(protocol.splice_caller(raw, b'"c":1')) == spliced


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (b'{"code":"C","message":"m"}', "C", "m"),
        (b'{"message":"m"}', "UNKNOWN", "m"),
        (b'{"code":null,"message":"m"}', "UNKNOWN", "m"),
        (b'{"code":"C"}', "C", "the callee sent an error without a message (C)"),
        (
            b"{}",
            "invocation_failed",
            "the callee sent an error without a message (None)",
        ),
        (b'{"code":"C","message":[1]}', "C", "[1]"),
        (b'{"code":1,"message":{"a":2}}', "invocation_failed", '{"a": 2}'),
        (b'"boom"', "invocation_failed", "boom"),
        (b"[1]", "invocation_failed", "[1]"),
        (b"17", "invocation_failed", "17"),
        (b"not json", "invocation_failed", "not json"),
        (b'"\xff"', "invocation_failed", '"\ufffd"'),
    ],
)
def test_an_error_body_is_read_however_malformed(
    text: bytes, code: str, message: str
) -> None:
    body = protocol.decode_error(text)
    assert (body.code, body.message) == (code, message)


def test_an_error_nested_too_deep_keeps_its_text() -> None:
    text = b"[" * 100_000 + b"]" * 100_000
    assert protocol.decode_error(text).message == text.decode()


def test_unknown_fields_of_an_error_pass_unchanged() -> None:
    text = b'{"code":"C","message":"m","stacktrace":"s","retry":{"after":3}}'
    body = protocol.decode_error(text)
    assert (body.stacktrace, body.extra) == ("s", {"retry": {"after": 3}})
    assert json.loads(protocol.encode_error(body)) == json.loads(text)


def test_a_stack_trace_that_is_no_text_is_dropped() -> None:
    body = protocol.decode_error(b'{"code":"C","message":"m","stacktrace":[1]}')
    assert body.stacktrace is None


@pytest.mark.parametrize("kept", [{}, {"a": 1}])
def test_texts_of_an_error_that_are_no_utf8_are_escaped(kept: dict[str, Any]) -> None:
    body = protocol.ErrorBody(
        code="C\ud83d", message="m\udce9", stacktrace="s", extra=kept
    )
    assert json.loads(protocol.encode_error(body)) == {
        "code": "C\\ud83d",
        "message": "m\\udce9",
        "stacktrace": "s",
    }


def test_fields_of_an_error_that_are_no_json_are_left_out() -> None:
    body = protocol.ErrorBody(code="C", message="m", extra={"a": object()})
    assert json.loads(protocol.encode_error(body)) == {"code": "C", "message": "m"}


def test_errors_of_any_depth_are_read_and_written() -> None:
    for levels in range(800, 1000):  # some are read, and cannot be written or shown
        deep = b"[" * levels + b"]" * levels
        for text in (b"%b", b'{"message":%b}', b'{"message":"m","a":%b}'):
            assert protocol.encode_error(protocol.decode_error(text % deep))
