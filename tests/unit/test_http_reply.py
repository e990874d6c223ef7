"""From results to responses, and the error envelope."""

import json
from typing import Any

import pytest

from iii_trio.builtins.http._reply import (
    Reply,
    StreamHead,
    UnusableResultError,
    condition_reply,
    error_id_at,
    error_reply,
    reply_from_middleware,
    reply_from_result,
)

JSON_TYPE = ("content-type", "application/json")


def reply_to(result: Any) -> Reply:
    found = reply_from_result(json.dumps(result).encode())
    assert found is not None
    return found


def parts(reply: Reply) -> tuple[int, list[tuple[str, str]], bytes]:
    return reply.status, reply.headers, reply.body


@pytest.mark.parametrize("result", [b"", b"null", b" null ", b"  "])
def test_null_or_nothing_is_no_response(result: bytes) -> None:
    assert reply_from_result(result) is None


@pytest.mark.parametrize(
    ("result", "body"),
    [
        (b'{"c": 5}', b'{"c":5}'),
        (b"[1, 2]", b"[1,2]"),
        (b"7", b"7"),
        (b'"text"', b'"text"'),
        (b"false", b"false"),
        (b"{}", b"{}"),
        (b'{"status": 404}', b'{"status":404}'),
        (b'"a  b"', b'"a  b"'),
    ],
)
def test_a_bare_value_is_the_body(result: bytes, body: bytes) -> None:
    found = reply_from_result(result)
    assert found == Reply(200, [JSON_TYPE], body)


def test_a_response_object_gives_status_headers_and_body() -> None:
    found = reply_to({"status_code": 201, "headers": {"X-A": "1"}, "body": {"b": 2}})
    assert parts(found) == (201, [("x-a", "1"), JSON_TYPE], b'{"b":2}')


def test_any_of_the_keys_makes_a_response_and_the_body_defaults_to_an_object() -> None:
    assert parts(reply_to({"status_code": 404})) == (404, [JSON_TYPE], b"{}")
    assert parts(reply_to({"headers": {}})) == (200, [JSON_TYPE], b"{}")
    assert parts(reply_to({"body": None})) == (200, [JSON_TYPE], b"null")
    assert parts(reply_to({"statusCode": 404})) == (404, [JSON_TYPE], b"{}")


def test_status_code_wins_over_its_alias() -> None:
    assert reply_to({"status_code": 202, "statusCode": 404}).status == 202


@pytest.mark.parametrize(
    "status",
    ["404", 404.0, 4e2, -1, 0, 99, 600, 999, 66000, 10**30, True, None, [], {}],
)
def test_what_is_no_status_is_sent_as_200(status: object) -> None:
    assert reply_to({"status_code": status}).status == 200


@pytest.mark.parametrize("status", [100, 101, 103, 199])
def test_an_informational_status_is_unusable(status: int) -> None:
    with pytest.raises(UnusableResultError, match=str(status)):
        reply_to({"status_code": status})


@pytest.mark.parametrize("status", [200, 302, 404, 599])
def test_a_final_status_is_sent(status: int) -> None:
    assert reply_to({"status_code": status}).status == status


@pytest.mark.parametrize("status", [204, 304])
def test_a_bodiless_status_has_no_body_and_no_type(status: int) -> None:
    found = reply_to({"status_code": status, "body": {"a": 1}, "headers": {"x": "1"}})
    assert parts(found) == (status, [("x", "1")], b"")


@pytest.mark.parametrize(
    ("content_type", "body", "sent"),
    [
        (None, "text", b'"text"'),
        (None, None, b"null"),
        ("text/plain", "text", b"text"),
        ("text/plain", "caf\xe9", "caf\xe9".encode()),
        ("application/json", '{"a":1}', b'{"a":1}'),
        ("text/html", None, b""),
        ("text/plain", [1, 2], b"[1,2]"),
        ("application/json", {"a": [1]}, b'{"a":[1]}'),
        ("application/json", 7, b"7"),
    ],
)
def test_the_content_type_decides_how_a_body_is_sent(
    content_type: str | None, body: object, sent: bytes
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    found = reply_to({"headers": headers, "body": body})
    assert found.headers == [("content-type", content_type or "application/json")]
    assert found.body == sent


def test_a_string_goes_out_raw_when_its_type_is_invalid() -> None:
    found = reply_to({"headers": {"content-type": "a\nb"}, "body": "raw"})
    assert parts(found) == (200, [], b"raw")


def test_header_lines_keep_duplicates_and_drop_bad_ones() -> None:
    lines = ["Set-Cookie: a=1", "Set-Cookie: b=2", "no colon", "bad name: x", 7]
    found = reply_to({"headers": lines, "body": 1})
    assert found.headers == [("set-cookie", "a=1"), ("set-cookie", "b=2"), JSON_TYPE]


def test_header_objects_drop_what_is_no_string_or_not_valid() -> None:
    headers = {
        "a": 1,
        "b": None,
        "c d": "x",
        "": "x",
        "e": "x\r\ny",
        "f": "g",
        "h": "é",
    }
    found = reply_to({"headers": headers})
    assert found.headers == [("f", "g"), ("h", "\xc3\xa9"), JSON_TYPE]


@pytest.mark.parametrize("headers", ["x: 1", 7, True, None])
def test_headers_of_another_type_are_ignored(headers: object) -> None:
    assert reply_to({"headers": headers, "body": 1}).headers == [JSON_TYPE]


def test_framing_headers_of_a_handler_are_dropped() -> None:
    names = ["Content-Length", "Transfer-Encoding", "Connection", "Upgrade"]
    found = reply_to({"headers": dict.fromkeys(names, "9"), "body": 1})
    assert found.headers == [JSON_TYPE]


TYPED = b'{"headers":{"content-type":"text/plain"},"body":%b}'


def test_a_result_too_deep_or_broken_is_unusable() -> None:
    deep = b'{"body":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for result in (deep, b'{"body":', b"no JSON", b"[1, 2", TYPED % b'"\xff"'):
        with pytest.raises(UnusableResultError, match="no usable JSON"):
            reply_from_result(result)


def test_parts_that_are_no_utf_8_count_as_misfits() -> None:
    result = b'{"status_code":"\xff","headers":{"a":"\xff"}}'
    found = Reply(200, [JSON_TYPE], b"{}")
    assert reply_from_result(result) == found
    respond = b'{"action":"respond","response":%b}' % result
    assert reply_from_middleware("m", respond) == Reply(200, [JSON_TYPE], b"null")
    assert reply_from_middleware("m", b'{"action":"\xff"}') is None


def test_numbers_keep_their_text() -> None:
    found = reply_from_result(
        b'{"body": {"n": 123456789012345678901234567890, "f": 1.50}}'
    )
    assert found is not None
    assert found.body == b'{"n":123456789012345678901234567890,"f":1.50}'


def middleware(result: Any) -> Reply | None:
    return reply_from_middleware("m", json.dumps(result).encode())


@pytest.mark.parametrize(
    "result",
    [{"action": "continue"}, {"action": "other"}, {}, None, [], 7, {"action": 1}],
)
def test_middleware_that_does_not_respond_continues(result: object) -> None:
    assert middleware(result) is None


def test_middleware_without_a_result_continues() -> None:
    assert reply_from_middleware("m", b"") is None


def test_middleware_responds_with_defaults() -> None:
    responses: list[object] = [{}, None, 7]
    for response in responses:
        found = middleware({"action": "respond", "response": response})
        assert found == Reply(200, [JSON_TYPE], b"null")
    assert middleware({"action": "respond"}) == Reply(200, [JSON_TYPE], b"null")


def test_middleware_bodies_are_always_json() -> None:
    response = {"status_code": 401, "body": "no", "headers": {"Content-Type": "text/x"}}
    found = middleware({"action": "respond", "response": response})
    assert found == Reply(401, [("content-type", "text/x")], b'"no"')


def test_one_bad_value_drops_all_middleware_headers() -> None:
    response = {"headers": {"a": "1", "b": 2}}
    found = middleware({"action": "respond", "response": response})
    assert found == Reply(200, [JSON_TYPE], b"null")


def test_middleware_statuses_follow_the_same_rules() -> None:
    gone = middleware({"action": "respond", "response": {"status_code": 204}})
    assert gone == Reply(204, [], b"")
    with pytest.raises(UnusableResultError):
        middleware({"action": "respond", "response": {"status_code": 101}})


def test_the_error_envelope() -> None:
    found = error_reply(500, "c", 'm "q"', "abc")
    assert (found.status, found.headers) == (500, [JSON_TYPE])
    assert json.loads(found.body) == {
        "error": {"code": "c", "message": 'm "q"', "error_id": "abc"}
    }
    assert json.loads(error_reply(404, "c", "m").body) == {
        "error": {"code": "c", "message": "m"}
    }


def test_the_answer_to_an_unmet_condition() -> None:
    found = condition_reply()
    assert found.status == 422
    assert json.loads(found.body) == {
        "error": {"code": "CONDITION_NOT_MET", "message": "Request condition not met"},
        "skipped": True,
    }


def test_error_ids_are_hex_of_48_bits_without_padding() -> None:
    assert error_id_at(1e-9) == "1"
    assert error_id_at(2**48 * 1e-9) == "0"
    assert len(error_id_at(1.8e9)) <= 12


def test_a_stream_head_takes_status_and_headers_and_later_ones_overwrite() -> None:
    head = StreamHead()
    assert (head.status, head.headers) == (200, [])
    head.apply('{"type":"set_status","status_code":404}')
    head.apply('{"type":"set_status","status_code":201}')
    head.apply('{"type":"set_headers","headers":{"X-A":"1","x-b":"2"}}')
    head.apply('{"type":"set_headers","headers":{"x-a":"3","x-c":4}}')
    assert (head.status, head.headers) == (201, [("x-a", "3"), ("x-b", "2")])


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        "[]",
        "{}",
        '{"type":"other"}',
        '{"type":"set_status"}',
        '{"type":"set_status","status_code":"404"}',
        '{"type":"set_status","status_code":true}',
        '{"type":"set_status","status_code":99}',
        '{"type":"set_status","status_code":101}',
        '{"type":"set_status","status_code":600}',
        '{"type":"set_headers","headers":[]}',
        '{"type":"set_headers","headers":{"content-length":"5","a b":"c"}}',
        "[" * 100_000,
    ],
)
def test_other_control_frames_are_ignored(frame: str) -> None:
    head = StreamHead()
    head.apply(frame)
    assert (head.status, head.headers) == (200, [])


def test_headers_that_cannot_be_decoded_are_none() -> None:
    found = reply_from_result(b'{"headers": {"a": 1e400}, "body": 1}')
    assert found == Reply(200, [JSON_TYPE], b"1")


def test_a_bare_value_too_deep_to_be_compacted_goes_out_as_it_is() -> None:
    deep = b"[ " * 100_000 + b"]" * 100_000
    found = reply_from_result(deep)
    assert found is not None
    assert found.body == deep
