"""Where a config names a condition, and which results let an event pass."""

from typing import Any

import pytest

from iii_trio.protocol import condition_of, is_truthy


@pytest.mark.parametrize(
    ("config", "condition"),
    [
        ({"condition_function_id": "f"}, "f"),
        ({"condition_function_id": ""}, None),
        ({"condition_function_id": 5}, None),
        ({"other": "f"}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_condition_is_named_by_text(config: Any, condition: str | None) -> None:
    assert condition_of(config) == condition


@pytest.mark.parametrize("result", [b"", b"null", b"false", b"0", b"0.0", b'""'])
def test_falsy_results_stop_an_event(result: bytes) -> None:
    assert not is_truthy(result)


@pytest.mark.parametrize(
    "result",
    [
        b"true",
        b"1",
        b"-0.5",
        b'"no"',
        b"{}",
        b"[]",
        b'{"a":0}',
        b"[0]",
        b"1e400",
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_truthy_results_let_an_event_pass(result: bytes) -> None:
    assert is_truthy(result)
