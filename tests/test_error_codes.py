"""Every error code of the bundled workers is named by a test that reaches it.

The list is read out of the source, so that a new code cannot be forgotten.
"""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = sorted((ROOT / "iii_trio" / "builtins").rglob("*.py"))
TESTS = [
    path
    for path in sorted((ROOT / "tests").rglob("test_*.py"))
    if path != pathlib.Path(__file__)
]
TRANSLATORS = {"FailingAs": 0, "_failing_as": 0, "_require": 1}
"""Functions that take a code, and the place of that argument."""

OF_THE_SHEETS = re.findall(
    r"\S+",
    """
deserialization_error enqueue_error trigger_registration_failed
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
"""What clients know from the reference. Its ``STREAM_SEND_ERROR`` cannot come about here:
sending stores nothing, and nothing in it can fail."""

MADE_AT_RUN_TIME = {"redrive_message_failed", "discard_message_failed"}


def codes_of(call: ast.Call) -> Iterator[str]:
    """The codes in one call: by keyword, or handed to one of ours."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    place = TRANSLATORS.get(getattr(call.func, "id", ""))
    if place is not None:
        given += call.args[place : place + 1]
    for value in given:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value


def all_codes() -> set[str]:
    calls = (
        node
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    )
    return MADE_AT_RUN_TIME.union(*map(codes_of, calls))


@pytest.fixture(scope="module")
def words_of_tests() -> set[str]:
    return {
        word for path in TESTS for word in re.findall(r"[A-Za-z_.]+", path.read_text())
    }


def test_the_list_is_found() -> None:
    found = all_codes()
    assert {"SET_ERROR", "STREAM_SET_ERROR", "enqueue_failed", "topic_not_set"} < found
    assert len(found) > 40


@pytest.mark.parametrize("code", sorted(all_codes().union(OF_THE_SHEETS)))
def test_a_code_has_a_test(code: str, words_of_tests: set[str]) -> None:
    assert code in words_of_tests
