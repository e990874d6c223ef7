"""The caller of a call that is too large to be read is found."""

import json
from typing import Any

import pytest

from iii_trio.protocol import InvocationResult, decode, decode_error
from iii_trio.transport._oversize import judge_oversize

ID = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
DECOY = {"type": "ping", "invocation_id": OTHER, "function_id": "decoy"}
PAYLOAD = [DECOY, "x" * 20_000, DECOY]

NODE_CALL = {
    "type": "invokefunction",
    "invocation_id": ID,
    "function_id": 'a::"b"',
    "data": PAYLOAD,
}
PYTHON_CALL = {
    "function_id": 'a::"b"',
    "data": PAYLOAD,
    "invocation_id": ID,
    "type": "invokefunction",
}
NODE_RESULT = {**NODE_CALL, "type": "invocationresult"}
PYTHON_RESULT = {
    "invocation_id": ID,
    "function_id": 'a::"b"',
    "result": PAYLOAD,
    "type": "invocationresult",
}


def judge(frame: Any) -> Any:
    text = json.dumps(frame).encode()
    return judge_oversize(len(text), text[:4096] + b"\n" + text[-4096:])


@pytest.mark.parametrize(
    ("frame", "verdict"),
    [
        (NODE_CALL, "answer"),
        (PYTHON_CALL, "answer"),
        (NODE_RESULT, "result"),
        (PYTHON_RESULT, "result"),
    ],
)
def test_the_call_is_found_whatever_stands_in_its_payload(
    frame: Any, verdict: str
) -> None:
    found, text = judge(frame)
    result = decode(text)
    assert found == verdict
    assert isinstance(result, InvocationResult)
    assert (result.invocation_id, result.function_id) == (ID, 'a::"b"')
    error = decode_error(result.error)
    assert error.code == "payload_too_large"
    assert "the engine takes at most 67108864" in error.message


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "registerfunction", "id": "f", "metadata": "x" * 20_000},
        {"type": "ping", "invocation_id": ID, "data": "x" * 20_000},
        {"type": "invokefunction", "invocation_id": "no uuid", "data": "x" * 20_000},
        {"type": "invokefunction", "invocation_id": 7, "data": "x" * 20_000},
        "x" * 20_000,
    ],
)
def test_nobody_is_told_of_what_nobody_waits_for(frame: Any) -> None:
    assert judge(frame) is None


def test_a_call_that_nobody_waits_for_is_known_as_such() -> None:
    call = {"type": "invokefunction", "function_id": "void", "data": "x" * 20_000}
    assert judge(call) == ("void", b"")


def test_a_broken_text_is_no_id() -> None:
    text = b'{"type":"invokefunction","invocation_id":"\\ud800","data":"xxx'
    assert judge_oversize(10, text) is None
    assert judge_oversize(10, b'{"type":"\xff","invocation_id":"\xff"}') is None
