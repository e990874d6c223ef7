"""Who waits for a frame that cannot be read."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.errors import RemoteProtocolError
from iii_trio.protocol import Remains, decode, salvage

ID = "22222222-2222-4222-8222-222222222222"
HALF = b'"cut \\ud83d"'
DEEP = b"[" * 100_000 + b"]" * 100_000

UNREADABLE = {
    "half at the end": (HALF, "half of a surrogate pair"),
    "half before another escape": (b'"\\uD83D\\u0041"', "half of a surrogate pair"),
    "second half": (b'"\\uDE00"', "half of a surrogate pair"),
    "half beside a pair": (b'"\\ud83d\\ude00\\ud83d"', "half of a surrogate pair"),
    "half after a backslash": (b'"\\\\\\ud83d\\\\"', "half of a surrogate pair"),
    "half in a key": (b'{"\\ud83d":[1]}', "half of a surrogate pair"),
    "NaN": (b"NaN", "NaN or Infinity"),
    "infinity": (b'{"a":[1,-Infinity]}', "NaN or Infinity"),
    "both": (b'[NaN,"\\udfff"]', "NaN or Infinity"),
    "too deep": (DEEP, "nested too deep"),
    "too deep with half": (b'{"a":"\\ud83d","b":%b}' % DEEP, "JSON is malformed"),
    "no JSON": (b"{a:1}", "JSON is malformed"),
}


def call(payload: bytes) -> bytes:
    return (
        b'{"type":"invokefunction","invocation_id":"%b","function_id":"f","data":%b}'
    ) % (ID.encode(), payload)


def answer(payload: bytes) -> bytes:
    return (
        b'{"result":%b, "function_id":"f","invocation_id":"%b",'
        b'"type":"invocationresult"}'
    ) % (payload, ID.encode())


def salvaged(text: bytes) -> Remains | None:
    problem = ""
    try:
        decode(text)
    except RemoteProtocolError as exc:
        problem = str(exc)
    return salvage(text, problem)


@pytest.mark.parametrize(
    ("payload", "problem"), UNREADABLE.values(), ids=UNREADABLE.keys()
)
def test_the_ids_are_found_beside_what_cannot_be_read(
    payload: bytes, problem: str
) -> None:
    for text in (call(payload), answer(payload)):
        found = salvaged(text)
        assert found is not None
        assert (found.kind == "answer") == (text == answer(payload))
        assert (found.id, found.function_id) == (ID, "f")
        assert problem in found.problem


@pytest.mark.parametrize(
    "payload",
    [b"01", b"'f'", b'"a\nb"', b'"\\x"', b"", b'{"a":', b'"cut', DEEP + b"]"],
    ids=repr,
)
def test_ids_that_come_first_are_found_before_any_payload(payload: bytes) -> None:
    found = salvaged(call(payload))
    assert found is not None
    assert (found.id, found.function_id) == (ID, "f")
    assert found.problem.startswith("not a frame: ") or "too deep" in found.problem


def test_nobody_waits_for_a_void_call() -> None:
    text = call(b'NaN,"action":{"type":"%b"}')
    assert salvaged(text % b"void") is None
    assert salvaged(text % b"enqueue") is not None
    assert salvaged(call(b'NaN,"action":{"type":[]}')) is not None


def test_a_name_that_is_very_long_is_not_repeated() -> None:
    text = call(b"NaN").replace(b'"f"', b'"%b"' % (b"f" * 5000))
    found = salvaged(text)
    assert found is not None
    assert found.function_id == ""
    assert len(found.error().message) < 200


def test_what_can_be_read_has_no_problem() -> None:
    assert salvaged(call(b'"\\\\ud83d \\ud83d\\ude00 NaN"')) == Remains(
        kind="call", id=ID, function_id="f", problem=""
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"]{",
        b"[]",
        b"1",
        b'{"type":"invokefunction"}',
        b'{"type":"invokefunction","function_id":"f","data":NaN}',
        b'{"type":"invokefunction","invocation_id":"7","data":NaN}',
        b'{"type":"invocationresult","invocation_id":7}',
        b'{"type":"registerfunction","invocation_id":"7","id":NaN}',
        b'{"result":"\\q","type":"invocationresult","invocation_id":"7"}',
        b'{"type":"triggerregistrationresult","id":"7","function_id":NaN}',
        b'{"type":"triggerregistrationresult","id":"7","a":NaN,"error":null}',
    ],
)
def test_for_the_rest_nobody_can_be_found(text: bytes) -> None:
    assert salvaged(text) is None


@pytest.mark.parametrize("function_id", [b"5", b"null", b'"\\ud83d"'])
def test_a_function_that_is_lost_is_told_as_the_call(function_id: bytes) -> None:
    found = salvaged(
        b'{"type":"invocationresult","invocation_id":"7","traceparent":5,'
        b'"function_id":%b}' % function_id
    )
    assert found is not None
    assert found.error().code == "invocation_failed"
    assert "cannot be read" in found.error().message


def test_errors_name_the_function_and_say_what_is_wrong() -> None:
    of_call, of_answer = salvaged(call(HALF)), salvaged(answer(HALF))
    assert of_call is not None
    assert of_answer is not None
    assert of_call.error().code == "invocation_refused"
    assert of_call.error().message.startswith("the call of 'f' cannot be read: it ")
    assert of_answer.error().code == "invocation_failed"
    assert of_answer.error().message.startswith("the answer of 'f' cannot be read: ")


@pytest.mark.parametrize("payload", [HALF, b"NaN", DEEP, b"{a:1}"])
def test_the_refusal_of_a_trigger_is_found(payload: bytes) -> None:
    found = salvaged(
        b'{"id":"t","error":{"message":%b},"type":"triggerregistrationresult"}'
        % payload
    )
    assert found is not None
    assert (found.kind, found.id) == ("refusal", "t")
    assert found.error().code == "trigger_registration_failed"
    assert found.error().message.startswith("refused; why cannot be read: ")


@pytest.mark.parametrize("reason", [HALF, b"NaN", DEEP, b"{a:1}", b"[]"])
def test_what_is_cancelled_is_found(reason: bytes) -> None:
    text = b'{"reason":%b,"type":"cancelinvocation","invocation_id":"7"}' % reason
    found = salvaged(text)
    assert found is not None
    assert (found.kind, found.id) == ("cancellation", "7")


@pytest.mark.parametrize("more", [b'"id":5', b'"error":5'])
def test_members_of_other_frames_mean_nothing(more: bytes) -> None:
    assert salvaged(call(b"NaN," + more)) == Remains(
        kind="call",
        id=ID,
        function_id="f",
        problem="it holds NaN or Infinity, which JSON does not know",
    )


LARGE = 2**20
LARGE_PAYLOADS = {
    "text": b'"%b\\ud83d"' % (b"a" * LARGE),
    "list": b'["%b",NaN]' % (b"a" * LARGE),
}


@pytest.mark.parametrize("payload", LARGE_PAYLOADS.values(), ids=LARGE_PAYLOADS.keys())
def test_in_large_frames_the_ids_are_found_before_the_payload(payload: bytes) -> None:
    found = salvaged(call(payload))
    assert found is not None
    assert found.id == ID


def test_large_frames_without_a_payload_are_given_up() -> None:
    assert (
        salvaged(b'{"type":"invokefunction","x":"%b\\ud83d"}' % (b"a" * LARGE)) is None
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values, st.permutations(["type", "invocation_id", "function_id", "data"]))
def test_whatever_another_library_writes_the_ids_are_found(
    value: Any, order: list[str]
) -> None:
    frame = {
        "type": "invokefunction",
        "invocation_id": ID,
        "function_id": "f",
        "data": value,
    }
    found = salvaged(json.dumps({name: frame[name] for name in order}).encode())
    assert found is not None
    assert (found.id, found.function_id) == (ID, "f")


@given(st.binary())
def test_noise_is_nobodys(noise: bytes) -> None:
    found = salvaged(noise)
    assert found is None or msgspec.json.decode(noise)
