"""The update operations, rule by rule."""

from typing import Any

import pytest

from iii_trio.builtins._update_ops import (
    DOC_URL,
    AppendOp,
    DecrementOp,
    IncrementOp,
    MergeOp,
    RemoveOp,
    SetOp,
    UpdateOp,
    apply_update,
)

MISSING = object()
MAX_I64, MAX_U64 = 2**63 - 1, 2**64 - 1


def update(old: Any, *ops: UpdateOp) -> Any:
    """The value after operations of which none may fail."""
    updated = apply_update(
        None if old is MISSING else old, ops, exists=old is not MISSING
    )
    assert not updated.errors
    return updated.value


def failure(old: Any, op: UpdateOp) -> tuple[str, str]:
    """Code and message of an operation that must fail and leave the value alone."""
    exists = old is not MISSING
    updated = apply_update(old if exists else None, [op], exists=exists)
    assert updated.value == (old if exists else {})
    (error,) = updated.errors
    assert error.op_index == 0
    return error.code, error.message


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


@pytest.mark.parametrize(
    ("old", "op", "new"),
    [
        # set
        (MISSING, SetOp("", 5), 5),
        ({"a": 1}, SetOp("", [1]), [1]),
        ({"a": 1}, SetOp(""), None),
        (MISSING, SetOp("a", 1), {"a": 1}),
        ({"a": 1, "b": 2}, SetOp("a", 3), {"a": 3, "b": 2}),
        ({"a": 1}, SetOp("a"), {"a": None}),
        ({"a": {"b": 1}}, SetOp("a.b", 2), {"a": {"b": 1}, "a.b": 2}),
        # merge
        (MISSING, MergeOp({"a": 1}), {"a": 1}),
        ({"a": 1, "b": 2}, MergeOp({"a": {"x": 1}}, ""), {"a": {"x": 1}, "b": 2}),
        ({"a": {"x": 1}}, MergeOp({"a": {"y": 1}}, []), {"a": {"y": 1}}),
        ([1], MergeOp({"a": 1}), [1]),
        (None, MergeOp({"a": 1}), None),
        ({"a": {"x": 1}}, MergeOp({"y": 2}, "a"), {"a": {"x": 1, "y": 2}}),
        ({"a": 1}, MergeOp({"y": 2}, "a"), {"a": {"y": 2}}),
        ({}, MergeOp({"y": 2}, "a.b"), {"a.b": {"y": 2}}),
        (
            {"a": 7, "z": 0},
            MergeOp({"y": 2}, ["a", "b"]),
            {"a": {"b": {"y": 2}}, "z": 0},
        ),
        ("text", MergeOp({"y": 2}, ["a"]), {"a": {"y": 2}}),
        (MISSING, MergeOp({}, ["a"]), {"a": {}}),
        # increment, decrement
        (MISSING, IncrementOp("", 5), 5),
        (MISSING, DecrementOp("", 5), -5),
        (MISSING, DecrementOp("a", 5), {"a": -5}),
        (1, IncrementOp("", 2), 3),
        (1, DecrementOp("", 2), -1),
        ({"n": 1}, IncrementOp("n", 2), {"n": 3}),
        ({"n": 1}, DecrementOp("m", 2), {"n": 1, "m": -2}),
        (0.5, IncrementOp("", 2), 2.5),
        (1, IncrementOp("", 0.5), 1.5),
        (MAX_I64, IncrementOp("", 1), 2**63),
        (MAX_U64 - 1, IncrementOp("", 1), MAX_U64),
        (MISSING, DecrementOp("", -(2**63)), 2**63),
        # append
        (MISSING, AppendOp("x"), "x"),
        (MISSING, AppendOp(1), [1]),
        (None, AppendOp("x"), "x"),
        (None, AppendOp({"a": 1}), [{"a": 1}]),
        ([1], AppendOp([2, 3]), [1, [2, 3]]),
        ("ab", AppendOp("cd", ""), "abcd"),
        (MISSING, AppendOp("x", "a"), {"a": "x"}),
        (MISSING, AppendOp(1, ["a"]), {"a": [1]}),
        ({"a": None}, AppendOp("x", "a"), {"a": "x"}),
        ({"a": "x"}, AppendOp("y", "a"), {"a": "xy"}),
        ({"a": [1]}, AppendOp(2, "a"), {"a": [1, 2]}),
        (MISSING, AppendOp("x", ["a", "b"]), {"a": {"b": ["x"]}}),
        ({"a": 7}, AppendOp(1, ["a", "b"]), {"a": {"b": [1]}}),
        ({"a": {"b": None}}, AppendOp("x", ["a", "b"]), {"a": {"b": "x"}}),
        ({"a": {"b": None}}, AppendOp(1, ["a", "b"]), {"a": {"b": [1]}}),
        ({"a": {"b": "x"}}, AppendOp("y", ["a", "b"]), {"a": {"b": "xy"}}),
        # remove
        (MISSING, RemoveOp(""), None),
        ({"a": 1}, RemoveOp(""), None),
        ({"a": 1, "b": 2}, RemoveOp("a"), {"b": 2}),
        ({"a": 1}, RemoveOp("x"), {"a": 1}),
        (MISSING, RemoveOp("x"), {}),
    ],
)
def test_operation_gives_the_documented_value(old: Any, op: UpdateOp, new: Any) -> None:
    result = update(old, op)
    assert result == new
    assert type(result) is type(new)


@pytest.mark.parametrize(
    ("old", "op", "code", "words"),
    [
        ([1], SetOp("a", 1), "set.target_not_object", ("'a'", "array")),
        (None, SetOp("a", 1), "set.target_not_object", ("'a'", "null")),
        ("x", IncrementOp("", 1), "increment.not_number", ("'root'", "string")),
        (True, DecrementOp("", 1), "decrement.not_number", ("'root'", "boolean")),
        (None, IncrementOp("", 1), "increment.not_number", ("'root'", "null")),
        ({"n": None}, IncrementOp("n", 1), "increment.not_number", ("'n'", "null")),
        ({"n": {}}, DecrementOp("n", 1), "decrement.not_number", ("'n'", "object")),
        (3, IncrementOp("n", 1), "increment.target_not_object", ("'n'", "number")),
        ([], DecrementOp("n", 1), "decrement.target_not_object", ("'n'", "array")),
        (MAX_U64, IncrementOp("", 1), "increment.not_number", ("overflow",)),
        (-(2**63), DecrementOp("", 1), "decrement.not_number", ("overflow",)),
        (1.7e308, IncrementOp("", 1.7e308), "increment.not_number", ("overflow",)),
        (10**400, IncrementOp("", 0.5), "increment.not_number", ("overflow",)),
        ({}, AppendOp(1), "append.type_mismatch", ("'root'", "object")),
        ("x", AppendOp(1), "append.type_mismatch", ("'root'", "string", "number")),
        (7, AppendOp("x", "a"), "append.target_not_object", ("'a'", "number")),
        (7, AppendOp("x", ["a", "b"]), "append.target_not_object", ("'[a, b]'",)),
        ({"a": 1}, AppendOp(1, "a"), "append.type_mismatch", ("'a'",)),
        (
            {"a": {"b": True}},
            AppendOp(1, ["a", "b"]),
            "append.type_mismatch",
            ("[a, b]",),
        ),
        ([], RemoveOp("a"), "remove.target_not_object", ("'a'", "array")),
        ({}, MergeOp([1]), "merge.value.not_an_object", ("'root'", "array")),
        (
            {},
            MergeOp({str(n): n for n in range(1025)}),
            "merge.value.too_many_keys",
            ("1025",),
        ),
        ({}, MergeOp({"__proto__": 1}, "a"), "merge.value.proto_polluted", ("'a'",)),
        ({}, MergeOp({"a": nested(16)}), "merge.value.too_deep", ("'root'",)),
        ({}, MergeOp({}, ["a"] * 33), "merge.path.too_deep", ("33",)),
        ({}, AppendOp(1, ["a", ""]), "append.path.empty_segment", ("'[a, ]'",)),
        ({}, SetOp("é" * 129, 1), "set.path.segment_too_long", ("256",)),
        ({}, RemoveOp("constructor"), "remove.path.proto_polluted", ("constructor",)),
        ({}, IncrementOp("prototype", 1), "increment.path.proto_polluted", ()),
        ({}, DecrementOp("__proto__", 1), "decrement.path.proto_polluted", ()),
        ({}, SetOp("__proto__", 1), "set.path.proto_polluted", ()),
        ({}, AppendOp(1, ["prototype"]), "append.path.proto_polluted", ()),
        ({}, AppendOp(1, ["a"] * 33), "append.path.too_deep", ("33",)),
        ({}, AppendOp(1, "x" * 257), "append.path.segment_too_long", ("256",)),
        ({}, MergeOp({}, ["", "a"]), "merge.path.empty_segment", ("'[, a]'",)),
        ({}, MergeOp({}, "x" * 257), "merge.path.segment_too_long", ("256",)),
        ({}, RemoveOp("x" * 257), "remove.path.segment_too_long", ("256",)),
        ({}, IncrementOp("x" * 257, 1), "increment.path.segment_too_long", ("256",)),
        ({}, DecrementOp("x" * 257, 1), "decrement.path.segment_too_long", ("256",)),
    ],
)
def test_failing_operation_changes_nothing_and_says_why(
    old: Any, op: UpdateOp, code: str, words: tuple[str, ...]
) -> None:
    found, message = failure(old, op)
    assert found == code
    for word in words:
        assert word in message


def test_limits_themselves_are_allowed() -> None:
    update({}, MergeOp({}, ["a"] * 32))
    update({}, SetOp("é" * 128, 1))
    update({}, MergeOp({str(n): n for n in range(1024)}))
    update({}, MergeOp({"a": nested(15)}))
    update({}, MergeOp({"a": {"__proto__": 1}}))  # only top-level keys are looked at


def test_path_is_checked_before_the_value_and_depth_before_segments() -> None:
    assert failure({}, MergeOp([1], ["__proto__"]))[0] == "merge.path.proto_polluted"
    assert failure({}, MergeOp({}, [""] * 33))[0] == "merge.path.too_deep"
    assert failure({}, MergeOp({}, ["__proto__", ""]))[0] == "merge.path.proto_polluted"


def test_a_failed_operation_is_skipped_and_the_others_still_apply() -> None:
    updated = apply_update(
        {"n": "text"},
        [SetOp("a", 1), IncrementOp("n", 1), AppendOp(2, "n"), SetOp("b", 2)],
        exists=True,
    )
    assert updated.value == {"n": "text", "a": 1, "b": 2}
    assert [(error.op_index, error.code) for error in updated.errors] == [
        (1, "increment.not_number"),
        (2, "append.type_mismatch"),
    ]
    shown = updated.errors[0].to_json()
    assert shown.keys() == {"op_index", "code", "message", "doc_url"}
    assert shown["doc_url"] == DOC_URL


def test_a_missing_value_counts_as_empty_until_an_operation_succeeds() -> None:
    failing = SetOp("__proto__", 1)
    assert apply_update(None, [failing], exists=False).value == {}
    assert apply_update(None, [], exists=False).value == {}
    assert apply_update(None, [failing, IncrementOp("", 2)], exists=False).value == 2
    updated = apply_update(None, [RemoveOp("x"), IncrementOp("", 2)], exists=False)
    assert updated.value == {}
    assert [error.code for error in updated.errors] == ["increment.not_number"]


def test_a_stored_null_is_not_missing() -> None:
    updated = apply_update(None, [IncrementOp("", 1)], exists=True)
    assert updated.value is None
    assert len(updated.errors) == 1


@pytest.mark.parametrize(
    ("old", "ops", "new"),
    [
        ("a", [AppendOp("b"), AppendOp("c")], "abc"),
        ("a", [AppendOp("b"), SetOp("", 1)], 1),
        ("a", [AppendOp("b"), MergeOp({"x": 1})], "ab"),
        ("a", [AppendOp("b"), MergeOp({"x": 1}, "k")], {"k": {"x": 1}}),
        (
            {"k": "a", "n": 0},
            [AppendOp("b", "k"), IncrementOp("n", 1), AppendOp("c", ["k"])],
            {"k": "abc", "n": 1},
        ),
        ({"k": {"l": "a"}}, [AppendOp("b", ["k", "l"])] * 2, {"k": {"l": "abb"}}),
        ({"k": "a"}, [AppendOp("b", "k"), SetOp("k", 1)], {"k": 1}),
        ({"k": "a"}, [AppendOp("b", "k"), RemoveOp("k")], {}),
        ({"k": "a"}, [AppendOp("b", "k"), AppendOp("c", ["k", "l"])], {"k": {"l": ["c"]}}),
    ],
)  # fmt: skip
def test_a_string_grows_by_several_operations(
    old: Any, ops: list[UpdateOp], new: Any
) -> None:
    assert update(old, *ops) == new


def test_a_string_that_grew_is_a_string_in_errors() -> None:
    updated = apply_update(
        "a",
        [AppendOp("b"), IncrementOp("", 1), AppendOp(1), SetOp("k", 1)],
        exists=True,
    )
    assert updated.value == "ab"
    assert ["of type string" in error.message for error in updated.errors] == [True] * 3
