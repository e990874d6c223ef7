"""Every error code is reached: some test compares it with what a caller was told.

The list is read out of the source, so that a new code cannot be forgotten.
"""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = sorted((ROOT / "iii_trio").rglob("*.py"))
TESTS = [
    path
    for path in sorted((ROOT / "tests").rglob("*.py"))
    if path != pathlib.Path(__file__)
]
TAKE_CODES = {
    "FailingAs": 0,
    "_failing_as": 0,
    "_require": 1,
    "failed": 1,
    "error_reply": 1,
}
"""Functions that take a code, and the place of that argument."""

COMPARERS = ("Fails", "parametrize")
"""Calls whose arguments are compared with what came: expectations of the tables of calls,
and the values of tests."""

OF_THE_SHEETS = re.findall(
    r"\S+",
    """
function_not_found invocation_stopped invocation_failed TIMEOUT
INVALID_NAMESPACE FORBIDDEN AUTH_ERROR payload_too_large NOT_FOUND INVALID_ARGUMENTS
FUNCTION_NAMESPACE_CONFLICT WORKER_NAMESPACE_CONFLICT
deserialization_error enqueue_error trigger_registration_failed trigger_type_not_found
url_validation_failed http_error http_request_failed http_response_failed
invalid_response secret_not_found token_not_found api_key_not_found bridge_error
CONDITION_NOT_MET MIDDLEWARE_TIMEOUT INTERNAL_ERROR METHOD_NOT_ALLOWED PAYLOAD_TOO_LARGE
NOT_REGISTERED INVALID_ID SCHEMA_INVALID SCHEMA_UNAVAILABLE EXPAND_FAILED ADAPTER_ERROR
memory_exporter_not_enabled time_value_overflow
SET_ERROR GET_ERROR DELETE_ERROR UPDATE_ERROR LIST_ERROR LIST_GROUPS_ERROR VALUE_TOO_LARGE
STREAM_SET_ERROR STREAM_GET_ERROR STREAM_DELETE_ERROR STREAM_UPDATE_ERROR
STREAM_GET_GROUP_ERROR STREAM_LIST_GROUPS_ERROR STREAM_LIST_ALL_ERROR JSON_ERROR
topic_not_set topic_required queue_not_set message_id_not_set
redrive_failed redrive_message_failed discard_message_failed
set.target_not_object remove.target_not_object
increment.not_number increment.target_not_object
decrement.not_number decrement.target_not_object
append.type_mismatch append.target_not_object
append.path.too_deep append.path.empty_segment append.path.segment_too_long
append.path.proto_polluted merge.path.too_deep merge.path.empty_segment
merge.path.segment_too_long merge.path.proto_polluted
set.path.segment_too_long set.path.proto_polluted
remove.path.segment_too_long remove.path.proto_polluted
increment.path.segment_too_long increment.path.proto_polluted
decrement.path.segment_too_long decrement.path.proto_polluted
merge.value.not_an_object merge.value.too_many_keys merge.value.proto_polluted
merge.value.too_deep
""",
)
"""What clients know from the reference. Some of its codes cannot come about here:
``STREAM_SEND_ERROR``, because sending stores nothing; ``invocation_error``, because two
calls may have one id; ``channel_send_failed``, because who is gone has no queue; ``unregister_failed``, because a provider is told and not asked;
``serialization_error`` and ``timestamp_error``, which are for faults of the engine. Those
of the observe family belong to what is not built."""

MADE_AT_RUN_TIME = {"redrive_message_failed", "discard_message_failed"}


def text_of(node: ast.AST | None) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def name_of(call: ast.Call) -> str:
    """The last part of the name of what is called."""
    func = call.func
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")


def codes_in(node: ast.AST) -> Iterator[str]:
    """The codes that one piece of the source makes."""
    match node:
        case ast.keyword(arg="code"):
            yield from text_of(node.value)
        case ast.Call():
            place = TAKE_CODES.get(name_of(node))
            if place is not None and len(node.args) > place:
                yield from text_of(node.args[place])
        case ast.Assign(targets=[ast.Name(id="default_code")]):
            yield from text_of(node.value)
        case ast.Dict():
            for key, value in zip(node.keys, node.values, strict=True):
                if "code" in text_of(key):
                    yield from text_of(value)
        case _:
            pass


def all_codes() -> set[str]:
    trees = [ast.parse(path.read_text()) for path in SOURCES]
    found = {
        code for tree in trees for node in ast.walk(tree) for code in codes_in(node)
    }
    return found | MADE_AT_RUN_TIME


def compares(node: ast.AST) -> bool:
    """Tell whether what stands in it is compared with what came."""
    match node:
        case ast.Assert() | ast.Compare() | ast.keyword(arg="match"):
            return True
        case ast.Call():
            return name_of(node) in COMPARERS
        case _:
            return False


@pytest.fixture(scope="module")
def compared() -> set[str]:
    """The words of all tests that are compared with something."""
    places = (
        place
        for path in TESTS
        for place in ast.walk(ast.parse(path.read_text()))
        if compares(place)
    )
    texts = (
        text for place in places for node in ast.walk(place) for text in text_of(node)
    )
    return {word for text in texts for word in re.findall(r"[A-Za-z_.]+", text)}


def test_the_list_is_found() -> None:
    found = all_codes()
    assert {"SET_ERROR", "STREAM_SET_ERROR", "enqueue_failed", "topic_not_set"} < found
    assert {
        "FORBIDDEN",
        "SERVICE_UNAVAILABLE",
        "UNAUTHORIZED",
        "engine_draining",
    } < found
    assert len(found) > 70


@pytest.mark.parametrize("code", sorted(all_codes().union(OF_THE_SHEETS)))
def test_a_code_is_compared_with_what_came(code: str, compared: set[str]) -> None:
    assert code in compared
