"""What an update costs: the sum of its operations and the old value, not their product.

Counted in bytes that are allocated while an operation runs; whatever copies a container
or a string shows, by whichever means.
"""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import pytest

from iii_trio.builtins._update_ops import (
    AppendOp,
    DecrementOp,
    IncrementOp,
    MergeOp,
    RemoveOp,
    SetOp,
    UpdateOp,
    apply_update,
)

SIZE = 20_000
"""Of the old value, in items or characters."""

OPERATIONS = 100


class Watched(Sequence[UpdateOp]):
    """Operations; adds up what each of them allocates at most at a time, in bytes."""

    def __init__(self, ops: Sequence[UpdateOp]) -> None:
        self.allocated = 0
        self._ops = ops

    def __len__(self) -> int:
        return len(self._ops)

    @overload
    def __getitem__(self, index: int) -> UpdateOp: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[UpdateOp]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._ops[index]

    def __iter__(self) -> Iterator[UpdateOp]:
        for op in self._ops:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            yield op
            _, peak = tracemalloc.get_traced_memory()
            self.allocated += peak - before


@pytest.fixture
def _counting() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def big_object() -> dict[str, Any]:
    return {str(number): number for number in range(SIZE)}


def big_list() -> list[int]:
    return list(range(SIZE))


@pytest.mark.usefixtures("_counting")
@pytest.mark.parametrize(
    ("old", "op"),
    [
        (big_object, lambda n: SetOp(str(n), "new")),
        (big_object, lambda n: SetOp("new", n)),
        (big_object, lambda n: RemoveOp(str(n))),
        (big_object, lambda n: IncrementOp("1", n)),
        (big_object, lambda n: DecrementOp(str(n), n)),
        (big_object, lambda n: MergeOp({"new": n})),
        (big_object, lambda n: MergeOp({"a": n}, ["new", str(n)])),
        (big_object, lambda n: AppendOp(n, "new")),
        (big_object, lambda n: AppendOp("text", "new")),
        (lambda: {"a": {"b": big_object()}}, lambda n: MergeOp({"1": n}, ["a", "b"])),
        (lambda: {"a": {"b": big_list()}}, lambda n: AppendOp(n, ["a", "b"])),
        (lambda: {"a": "x" * 8 * SIZE}, lambda _: AppendOp("text", "a")),
        (lambda: {"a": {"b": "x" * 8 * SIZE}}, lambda _: AppendOp("y", ["a", "b"])),
        (lambda: "x" * 8 * SIZE, lambda _: AppendOp("text")),
        (big_list, AppendOp),
    ],
)
def test_an_update_copies_what_it_changes_once(
    old: Callable[[], Any], op: Callable[[int], UpdateOp]
) -> None:
    before, _ = tracemalloc.get_traced_memory()
    value = old()
    size = tracemalloc.get_traced_memory()[0] - before
    watched = Watched([op(number) for number in range(OPERATIONS)])
    updated = apply_update(value, watched, exists=True)
    assert not updated.errors
    assert watched.allocated < 2 * size + OPERATIONS * 1000
