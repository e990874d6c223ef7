"""Random programs of update operations against a plain model that changes in place.

The model follows the table of the state sheet row by row and shares nothing with the
product: it walks, checks and changes a copy, and gives the code of what fails.
"""

import copy
from typing import Any

import attrs
import hypothesis
from hypothesis import strategies as st

from iii_trio.builtins._payloads import structure_input
from iii_trio.builtins._update_ops import apply_update
from iii_trio.builtins.state._inputs import UpdateInput, json_equal

Op = dict[str, Any]

LONG = "é" * 129
FORBIDDEN = ("__proto__", "constructor", "prototype")
ABSENT: Any = object()


class SkippedError(Exception):
    """An operation fails with the code that is the argument."""


@attrs.define
class Model:
    """A value and the codes of what failed.

    Attributes:
        exists: false until an operation succeeds on a missing value.
    """

    value: Any
    exists: bool
    codes: list[tuple[int, str]] = attrs.field(factory=list)

    def run(self, ops: list[Op]) -> None:
        for index, op in enumerate(ops):
            before = copy.deepcopy(self.value)
            try:
                self.check_path(op)
                getattr(self, op["type"])(op)
            except SkippedError as exc:
                self.value = before
                self.codes.append((index, f"{op['type']}.{exc}"))
            else:
                self.exists = True

    def check_path(self, op: Op) -> None:
        path = op.get("path") or []
        segments = [path] if isinstance(path, str) else path
        if len(segments) > 32:
            raise SkippedError("path.too_deep")
        for segment in segments:
            if segment == "":
                raise SkippedError("path.empty_segment")
            if len(segment.encode()) > 256:
                raise SkippedError("path.segment_too_long")
            if segment in FORBIDDEN:
                raise SkippedError("path.proto_polluted")

    def need_object(self) -> None:
        if not isinstance(self.value, dict):
            raise SkippedError("target_not_object")

    def set(self, op: Op) -> None:
        if op["path"] == "":
            self.value = op.get("value")
        else:
            self.need_object()
            self.value[op["path"]] = op.get("value")

    def remove(self, op: Op) -> None:
        if op["path"] == "":
            self.value = None
        else:
            self.need_object()
            self.value.pop(op["path"], None)

    def increment(self, op: Op) -> None:
        self.add(op["path"], op["by"])

    def decrement(self, op: Op) -> None:
        self.add(op["path"], -op["by"])

    def add(self, path: str, by: float) -> None:
        if path == "":
            self.value = by if not self.exists else total(self.value, by)
        else:
            self.need_object()
            old = self.value.get(path, ABSENT)
            self.value[path] = by if old is ABSENT else total(old, by)

    def merge(self, op: Op) -> None:
        check_merged(op["value"])
        path = op.get("path") or []
        if not path:
            if isinstance(self.value, dict):
                self.value.update(op["value"])
            return
        if not isinstance(self.value, dict):
            self.value = {}
        target = self.value
        for segment in [path] if isinstance(path, str) else path:
            if not isinstance(target.get(segment), dict):
                target[segment] = {}
            target = target[segment]
        target.update(op["value"])

    def append(self, op: Op) -> None:
        path = op.get("path") or []
        if not path:
            old = self.value if self.exists else None
            self.value = appended(old, op["value"])
            return
        self.need_object()
        *parents, leaf = [path] if isinstance(path, str) else path
        target = self.value
        for segment in parents:
            if not isinstance(target.get(segment), dict):
                target[segment] = {}
            target = target[segment]
        if parents and leaf not in target:
            target[leaf] = [op["value"]]
        else:
            target[leaf] = appended(target.get(leaf), op["value"])


def total(old: Any, by: Any) -> Any:
    if isinstance(old, bool) or not isinstance(old, int | float):
        raise SkippedError("not_number")
    try:
        result = old + by
    except OverflowError:
        raise SkippedError("not_number") from None
    if isinstance(result, float):
        fits = abs(result) != float("inf")
    else:
        fits = -(2**63) <= result < 2**64
    if not fits:
        raise SkippedError("not_number")
    return result


def appended(old: Any, value: Any) -> Any:
    if isinstance(old, list):
        return [*old, value]
    if old is None:
        return value if isinstance(value, str) else [value]
    if isinstance(old, str) and isinstance(value, str):
        return old + value
    raise SkippedError("type_mismatch")


def check_merged(value: Any) -> None:
    if not isinstance(value, dict):
        raise SkippedError("value.not_an_object")
    if len(value) > 1024:
        raise SkippedError("value.too_many_keys")
    if any(key in FORBIDDEN for key in value):
        raise SkippedError("value.proto_polluted")
    if depth(value) > 16:
        raise SkippedError("value.too_deep")


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return 0
    return 1 + max(map(depth, value), default=0)


# What is tried

keys = st.sampled_from(["a", "a", "a", "b", "a.b", "__proto__", LONG])
walks = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3)
bad_walks = st.lists(st.sampled_from(["a", "", LONG]), max_size=3) | st.just(["a"] * 33)
paths = st.one_of(st.none(), st.just(""), keys, walks, walks, bad_walks)
numbers = st.integers(-3, 3) | st.sampled_from(
    [2**63 - 1, -(2**63), 2**64 - 1, 1.5, 1e308]
)
simple = st.none() | st.booleans() | numbers | st.sampled_from(["", "x"])
values: st.SearchStrategy[Any] = (
    simple
    | st.just("x")
    | st.recursive(
        simple,
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["a", "b", "constructor"]), inner, max_size=2
            )
        ),
        max_leaves=4,
    )
)
nested = st.integers(14, 18).map(lambda levels: {"a": wrapped(levels)})
merged = values | nested | st.just({str(number): 0 for number in range(1025)})
amounts = st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63), 0.5, -1e308])


def wrapped(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def operation(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Op]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


first_level = st.just("") | keys
operations = st.one_of(
    operation("set", path=first_level, value=values),
    operation("set", path=first_level),
    operation("remove", path=first_level),
    operation("increment", path=first_level, by=amounts),
    operation("decrement", path=first_level, by=amounts),
    operation("append", path=paths, value=values),
    operation("append", value=values),
    operation("merge", path=paths, value=merged),
    operation("merge", value=merged),
)


@hypothesis.given(values | st.just(ABSENT), st.lists(operations, max_size=12))
@hypothesis.example(ABSENT, [{"type": "append", "path": ["a", "b"], "value": "x"}])
@hypothesis.example(2**64 - 1, [{"type": "increment", "path": "", "by": 1}])
@hypothesis.example(-(2**63), [{"type": "decrement", "path": "", "by": 1}])
def test_programs_of_operations_do_what_the_table_says(old: Any, ops: list[Op]) -> None:
    exists = old is not ABSENT
    start = old if exists else None
    payload = {"scope": "s", "key": "k", "ops": ops}
    read = structure_input("state::update", payload, UpdateInput).ops
    before = copy.deepcopy((start, read))
    updated = apply_update(start, read, exists=exists)
    assert (start, read) == before, "what is given is never changed"
    model = Model(copy.deepcopy(start) if exists else {}, exists=exists)
    model.run(ops)
    assert json_equal(updated.value, model.value)
    assert [(error.op_index, error.code) for error in updated.errors] == model.codes
