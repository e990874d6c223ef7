"""Rules of the codec: round trips, the splice, and errors that are read somehow."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from iii_trio import protocol
from iii_trio.errors import RemoteProtocolError
from iii_trio.testing import strategies

CALLER = b'"_caller_worker_id":"w-1"'


@given(strategies.frames())
def test_every_frame_comes_back_as_it_was(frame: protocol.AnyFrame) -> None:
    assert protocol.decode(protocol.encode(frame)) == frame


@given(strategies.frames())
def test_the_type_may_stand_last(frame: protocol.AnyFrame) -> None:
    fields = json.loads(protocol.encode(frame))
    kind = fields.pop("type")
    again = protocol.decode(json.dumps({**fields, "type": kind}).encode())
    assert type(again) is type(frame)


@given(st.binary(max_size=60) | strategies.json_texts())
def test_any_bytes_give_a_frame_or_the_peers_error(text: bytes) -> None:
    try:
        frame = protocol.decode(text)
    except RemoteProtocolError:
        return
    assert type(frame) in protocol.SENDERS


@given(strategies.frames(), st.data())
def test_a_damaged_frame_gives_a_frame_or_the_peers_error(
    frame: protocol.AnyFrame, data: st.DataObject
) -> None:
    text = bytearray(protocol.encode(frame))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        protocol.decode(bytes(text))
    except RemoteProtocolError as exc:
        assert str(exc)  # noqa: PT017 - a frame would be right as well


@given(
    strategies.invocation_ids(),
    strategies.function_ids(),
    strategies.json_texts(),
    strategies.json_texts() | st.just(b""),
    st.none() | st.text(max_size=9),
    st.none() | st.floats(0, 1e9),
)
def test_a_built_call_decodes_to_what_it_was_built_of(
    invocation_id: str,
    function_id: str,
    payload: bytes,
    metadata: bytes,
    trace: str | None,
    deadline: float | None,
) -> None:
    text = protocol.encode_invoke(
        invocation_id,
        protocol.invoke_field(function_id),
        payload,
        extras=protocol.invoke_extras(metadata, trace, trace, deadline),
    )
    assert protocol.decode(text) == protocol.InvokeFunction(
        invocation_id=invocation_id,
        function_id=function_id,
        data=msgspec.Raw(payload),
        metadata=msgspec.Raw(metadata),
        traceparent=trace,
        baggage=trace,
        deadline_ms=deadline,
    )


@given(
    strategies.invocation_ids(),
    strategies.function_ids(),
    strategies.json_texts() | st.just(b""),
    strategies.json_texts() | st.just(b""),
)
def test_a_built_result_carries_the_error_or_else_the_result(
    invocation_id: str, function_id: str, result: bytes, error: bytes
) -> None:
    text = protocol.encode_result(
        invocation_id, protocol.function_field(function_id), result, error
    )
    assert protocol.decode(text) == protocol.InvocationResult(
        invocation_id=invocation_id,
        function_id=function_id,
        result=msgspec.Raw(b"" if error else result),
        error=msgspec.Raw(error),
    )


def objects() -> st.SearchStrategy[dict[str, Any]]:
    keys = st.text("ab", max_size=2) | st.just("_caller_worker_id")
    return st.dictionaries(keys, strategies.json_values(max_leaves=3), max_size=3)


@given(
    strategies.json_texts(objects()),
    st.text(" \t\r\n", max_size=3),
    st.text(" \t\r\n", max_size=3),
)
def test_the_spliced_caller_wins_over_a_forged_one(
    payload: bytes, before: str, after: str
) -> None:
    padded = before.encode() + payload + after.encode()
    spliced = json.loads(bytes(protocol.splice_caller(padded, CALLER)))
    assert spliced == {**json.loads(payload), "_caller_worker_id": "w-1"}


@given(
    strategies.json_texts(
        strategies.json_values().filter(lambda v: v.__class__ is not dict)
    )
)
def test_a_payload_that_is_no_object_is_not_touched(payload: bytes) -> None:
    assert protocol.splice_caller(payload, CALLER) is payload


@given(st.binary(max_size=40) | strategies.json_texts())
def test_any_error_is_read_and_can_be_written_again(text: bytes) -> None:
    body = protocol.decode_error(text)
    assert isinstance(body.code, str)
    assert protocol.decode_error(protocol.encode_error(body)) == body


@given(st.text(max_size=300))
def test_cleaning_a_label_twice_changes_nothing(text: str) -> None:
    once = protocol.clean_label(text)
    assert protocol.clean_label(once) == once
    assert once is None or 0 < len(once) <= protocol.MAX_LABEL_CHARACTERS
