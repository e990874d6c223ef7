"""What holds for every program of update operations."""

import copy
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.builtins._payloads import structure_input
from iii_trio.builtins._update_ops import (
    UPDATE_OPS,
    AppendOp,
    DecrementOp,
    IncrementOp,
    MergeOp,
    RemoveOp,
    SetOp,
    UpdateOp,
    apply_update,
)
from iii_trio.builtins.state._inputs import UpdateInput, json_equal

keys = st.sampled_from(["a", "b", "", "a.b", "__proto__", "é", "x" * 257])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=6,
)
paths = keys | st.lists(keys, max_size=4) | st.none()
amounts = st.integers(-(2**63), 2**63 - 1) | st.floats(-1e308, 1e308)

operations: st.SearchStrategy[UpdateOp] = st.one_of(
    st.builds(SetOp, keys, values),
    st.builds(MergeOp, values, paths),
    st.builds(IncrementOp, keys, amounts),
    st.builds(DecrementOp, keys, amounts),
    st.builds(AppendOp, values, paths),
    st.builds(RemoveOp, keys),
)
programs = st.lists(operations, max_size=6)


@given(values, programs, st.booleans())
def test_no_argument_is_changed_in_place(
    old: Any, ops: list[UpdateOp], exists: bool
) -> None:
    before = copy.deepcopy((old, ops))
    apply_update(old, ops, exists=exists)
    assert (old, ops) == before


@given(values, programs, st.booleans())
def test_operations_that_share_a_value_do_not_share_its_changes(
    old: Any, ops: list[UpdateOp], exists: bool
) -> None:
    shared = apply_update(old, [*ops, *ops], exists=exists)
    apart = apply_update(old, [*ops, *copy.deepcopy(ops)], exists=exists)
    assert json_equal(shared.value, apart.value)
    assert shared.errors == apart.errors


@given(values, programs, st.booleans())
def test_the_result_is_json(old: Any, ops: list[UpdateOp], exists: bool) -> None:
    updated = apply_update(old, ops, exists=exists)
    text = msgspec.json.encode(updated.value)
    assert json_equal(msgspec.json.decode(text), updated.value)


@given(values, programs, programs)
def test_a_program_is_the_same_in_two_parts(
    old: Any, first: list[UpdateOp], second: list[UpdateOp]
) -> None:
    whole = apply_update(old, [*first, *second], exists=True)
    half = apply_update(old, first, exists=True)
    rest = apply_update(half.value, second, exists=True)
    assert json_equal(whole.value, rest.value)
    assert [error.code for error in whole.errors] == [
        error.code for error in (*half.errors, *rest.errors)
    ]


@given(values, programs, st.booleans())
def test_leaving_out_the_failed_operations_changes_nothing(
    old: Any, ops: list[UpdateOp], exists: bool
) -> None:
    updated = apply_update(old, ops, exists=exists)
    failed = {error.op_index for error in updated.errors}
    kept = [op for index, op in enumerate(ops) if index not in failed]
    again = apply_update(old, kept, exists=exists)
    assert json_equal(again.value, updated.value)
    assert not again.errors


@given(programs)
def test_operations_come_through_json_unchanged(ops: list[UpdateOp]) -> None:
    names = {kind: name for name, kind in UPDATE_OPS.items()}
    sent = [{"type": names[type(op)], **msgspec.to_builtins(op)} for op in ops]
    payload = {"scope": "s", "key": "k", "ops": msgspec.json.decode(encode(sent))}
    given_ops = structure_input("state::update", payload, UpdateInput).ops
    assert encode(given_ops) == encode(ops)


def encode(value: object) -> bytes:
    return msgspec.json.encode(value)


@given(values, values)
def test_json_equality_is_that_of_the_text_except_for_number_formats(
    left: Any, right: Any
) -> None:
    assert json_equal(left, copy.deepcopy(left))
    assert json_equal(left, right) == json_equal(right, left)
    if encode(left) == encode(right):
        assert json_equal(left, right)


def test_json_equality_tells_booleans_from_numbers_and_takes_1_for_1_0() -> None:
    assert not json_equal([True], [1])
    assert not json_equal({"a": 0}, {"a": False})
    assert not json_equal(None, False)
    assert json_equal({"a": 1, "b": [2.0]}, {"b": [2], "a": 1.0})
