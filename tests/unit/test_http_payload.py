"""What handlers, conditions and middleware are given."""

import json
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.builtins.http._payload import (
    _HUGE_NUMBER,
    _STRING,
    MAX_DEPTH,
    NULL,
    PayloadFrame,
    encode_middleware_payload,
    header_map,
    may_be_json,
    parse_json_body,
    query_params,
    with_channels,
)
from iii_trio.protocol import ChannelRef


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("", {}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a=1&a=2", {"a": "2"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("=x", {"": "x"}),
        ("a+b=c+d", {"a b": "c d"}),
        ("a=%C3%A9&b=%26", {"a": "é", "b": "&"}),
        ("a=%FF", {"a": "\ufffd"}),
        ("a=%zz", {"a": "%zz"}),
        ("a=1;b=2", {"a": "1;b=2"}),
        ("&&a=1&", {"a": "1"}),
    ],
)
def test_the_query_is_form_decoded(query: str, params: dict[str, str]) -> None:
    assert query_params(query) == params


def test_of_a_repeated_header_the_last_value_stays() -> None:
    assert header_map([("x", "1"), ("y", "2"), ("x", "3")]) == {"x": "3", "y": "2"}


def test_cookie_lines_are_joined() -> None:
    lines = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]
    assert header_map(lines) == {"cookie": "a=1; b=2; c=3"}


def test_a_header_value_that_is_not_visible_ascii_is_empty() -> None:
    lines = [("a", "caf\xe9"), ("b", "x\x7f"), ("c", "x\ty z"), ("d", "")]
    assert header_map(lines) == {"a": "", "b": "", "c": "x\ty z", "d": ""}


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ([], True),
        (["application/json"], True),
        (["application/json; charset=utf-8"], True),
        (["application/json-seq"], True),
        (['text/plain; x="application/json"'], True),
        (["Application/JSON"], False),
        (["application/x-www-form-urlencoded"], False),
        ([""], False),
        (["text/plain", "application/json"], False),
        (["application/json", "text/plain"], True),
    ],
)
def test_the_first_content_type_decides_about_json(
    types: list[str], expected: bool
) -> None:
    headers = [("host", "h"), *(("content-type", value) for value in types)]
    assert may_be_json(headers) is expected


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b' {"a": [1, 2.5e3, "\\u00e9", true, null]} ',
        b"1",
        b'"text"',
        b"null",
        '["é", "\U0001f600"]'.encode(),
        b"123456789012345678901234567890",
        b"1" * 400,
        b"[" * 127 + b"]" * 127,
        b"[" + b"[[]]," * 200 + b"[]]",
        b'{"a":"' + b"[{" * 200 + b'"}',
        b'["' + b'\\"[' * 200 + b'"]',
        b"1e-400",
        b'"1e400"',
        b'{"a":1,"a":2}',
    ],
)
def test_a_json_body_is_passed_as_it_came(body: bytes) -> None:
    assert bytes(parse_json_body(body)).strip() == body.strip()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b"{} x",
        b"nul",
        b"NaN",
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        b'{"\xc3": 1}',
        b'"\\ud800"',
        b"1e400",
        b'{"a": [-1E+400]}',
        b"1" * 400 + b".0",
        b"[" * 128 + b"]" * 128,
        b"[" * 64 + b'{"a":' * 64 + b"1" + b"}" * 64 + b"]" * 64,
        b"[" * 100_000 + b"]" * 100_000,
        b"a=1&b=2",
    ],
)
def test_anything_else_is_null(body: bytes) -> None:
    assert parse_json_body(body) is NULL


def payload_of(body: bytes = b'{"z": 1}') -> dict[str, object]:
    frame = PayloadFrame(
        query="q=1",
        path_params={"id": "a%20b"},
        headers=[("host", "h")],
        pattern="users/:id",
        method="POST",
    )
    found = json.loads(frame.around(msgspec.Raw(body)))
    assert isinstance(found, dict)
    return found


@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    "1" * 300,
                    "1" * 4300,
                    "1" * 4301,
                    "-" + "1" * 4300,
                    "1" * 400 + ".0",
                    "9" * 210 + "e0099",
                    "9" * 209 + "E+99",
                    "1e" + "0" * 5000 + "1",
                    "1e308",
                    "1e309",
                ),
                *(
                    "1.7976931348623157E+308",
                    "1.7976931348623159e308",
                    "0e999",
                    "-1e400",
                ),
                *("0." + "0" * 400 + "1e405", "1" * 400 + "e-300", "-0.5e+0308", "12"),
                *('"1e400"', '"\\"1e400"', '"\\\\"', '{"1e999":1e2}', "[1e400]"),
            ]
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_has_no_value_in_a_handler_is_null(values: list[str]) -> None:
    body = f"[{','.join(values)}]".encode()
    try:
        msgspec.json.decode(body)
    except msgspec.ValidationError:
        assert parse_json_body(body) == NULL
    else:
        assert parse_json_body(body) == msgspec.Raw(body)


BESIDE = {"1": 0, "[]": 1, '{"[":"]"}': 1, "[" * 9 + "{}" + "]" * 9: 10}


@st.composite
def towers(draw: st.DrawFn) -> tuple[str, int]:
    """Nested JSON, and how deep it is."""
    text, depth = "0", 0
    for _ in range(draw(st.integers(1, 4))):
        levels = draw(st.sampled_from([1, 3, 30, 60, 127]))
        width = draw(st.integers(1, 3))
        beside, height = draw(st.sampled_from([*BESIDE.items()]))
        text = "[" * levels + ",".join([text, *[beside] * width, text]) + "]" * levels
        depth = levels + max(depth, height)
    return text, depth


@given(towers())
def test_what_is_too_deep_is_null(tower: tuple[str, int]) -> None:
    text, depth = tower
    expected = NULL if depth > MAX_DEPTH else msgspec.Raw(text.encode())
    assert parse_json_body(text.encode()) == expected


@pytest.mark.parametrize("item", [b"{},", b"0.5,", b"1" * 299 + b","])
def test_looking_for_huge_numbers_builds_no_values(item: bytes) -> None:
    body = b"[" + item * (2**20 // len(item)) + b"1e100]"
    tracemalloc.start()
    try:
        assert parse_json_body(body) == msgspec.Raw(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(body)


def test_of_a_body_with_a_huge_number_only_such_numbers_are_looked_at() -> None:
    body = b"[-1e100," + b"12,0.5e-400,1e99," * 1000 + b'"1e100",' + b"1" * 210 + b"]"
    found = [match[0] for match in _HUGE_NUMBER.finditer(_STRING.sub(b"", body))]
    assert found == [b"-1e100", b"1" * 210]


def test_the_payload_has_the_documented_keys() -> None:
    assert payload_of() == {
        "query_params": {"q": "1"},
        "path_params": {"id": "a%20b"},
        "headers": {"host": "h"},
        "path": "users/:id",
        "method": "POST",
        "body": {"z": 1},
        "trigger": {"type": "http", "path": "users/:id", "method": "POST"},
    }


def test_channels_are_added_as_references() -> None:
    frame = PayloadFrame(
        query="", path_params={}, headers=[], pattern="/", method="GET"
    )
    payload = frame.around(NULL)
    read = ChannelRef(channel_id="1", access_key="k", direction="read")
    write = ChannelRef(channel_id="2", access_key="l", direction="write")
    full = with_channels(payload, request_body=read, response=write)
    found = json.loads(full)
    assert found["request_body"] == {
        "channel_id": "1",
        "access_key": "k",
        "direction": "read",
    }
    assert found["response"]["direction"] == "write"
    assert "response" not in json.loads(payload)


def test_middleware_gets_the_request_without_its_body() -> None:
    found = encode_middleware_payload(
        query="a=1", path_params={"x": "2"}, headers=[("h", "3")], method="GET"
    )
    assert json.loads(found) == {
        "phase": "preHandler",
        "request": {
            "path_params": {"x": "2"},
            "query_params": {"a": "1"},
            "headers": {"h": "3"},
            "method": "GET",
        },
        "context": {},
    }
