"""check_kv_store finds each rule that a store breaks, and only those."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from iii_trio.adapters import KeyValueStore
from iii_trio.testing import _checking as checking
from iii_trio.testing import _stores as rules
from iii_trio.testing import check_kv_store
from tests.conformance.key_values import (
    BlindUpdate,
    CommitInAnotherTask,
    DeleteTakesItsNeighbours,
    DeleteTakesTheSpace,
    Disk,
    EmptyIsAbsent,
    EmptyLeavesAsItIs,
    Ending,
    FalseOld,
    Folding,
    HalfDelete,
    HalfSet,
    HalfUpdate,
    KeepsNamesInPart,
    KeepsNoOrder,
    KeepsNothing,
    KeepsSets,
    KeepsSpaces,
    KeepsWhatWasDeleted,
    LastWrittenLast,
    Mutable,
    MutableChange,
    MutableItems,
    NoneDeletes,
    Normalising,
    Plain,
    Rewriting,
    SaysDoneWhenCancelled,
    SetTakesItsNeighbours,
    SetThenCancelled,
    Shortening,
    ShowsHalf,
    Slow,
    Spaces,
    SpacesAsTheyCame,
    Stripping,
    SwallowsRefusal,
    UpdatedFirst,
    UpdateForgetsDelete,
    UpdateForgetsSet,
    UpdateForgetsUpdate,
    UpdateThenCancelled,
    WritesRefused,
)


@asynccontextmanager
async def opened(store: KeyValueStore) -> AsyncIterator[KeyValueStore]:
    await trio.lowlevel.checkpoint()
    yield store


@pytest.mark.parametrize("kind", [Plain, Slow, Rewriting])
async def test_a_store_that_keeps_the_contract_in_its_own_way_passes(
    kind: type[Plain], autojump_clock: MockClock
) -> None:
    store = kind()
    await check_kv_store(lambda: opened(store), durable=True)
    assert store.data


async def test_a_store_that_holds_something_is_left_alone() -> None:
    store = Plain()
    await store.set("mine", "k", b"1")
    with pytest.raises(
        ValueError, match="holds \\['mine'\\]: give the check an empty one"
    ):
        await check_kv_store(lambda: opened(store))
    assert await store.get("mine", "k") == b"1"


WRONG: Final[dict[type[Plain], str]] = {
    FalseOld: rules.CHANGE,
    EmptyIsAbsent: rules.KEPT,
    EmptyLeavesAsItIs: rules.CHANGE,
    Mutable: rules.KEPT,
    MutableItems: rules.KEPT,
    MutableChange: rules.CHANGE,
    Stripping: rules.KEPT,
    NoneDeletes: rules.CHANGE,
    BlindUpdate: rules.UPDATE,
    SwallowsRefusal: rules.REFUSED,
    WritesRefused: rules.REFUSED,
    KeepsSpaces: rules.EMPTY_SPACE,
    LastWrittenLast: rules.ORDER,
    UpdatedFirst: rules.ORDER,
    SpacesAsTheyCame: rules.SORTED,
    Normalising: rules.NAMES,
    Folding: rules.NAMES,
    Shortening: rules.NAMES,
    Ending: rules.NAMES,
    SetTakesItsNeighbours: rules.ALONE,
    DeleteTakesItsNeighbours: rules.ALONE,
    DeleteTakesTheSpace: rules.ALONE,
    UpdateForgetsSet: rules.ATOMIC,
    UpdateForgetsUpdate: rules.ATOMIC,
    UpdateForgetsDelete: rules.ATOMIC,
    ShowsHalf: rules.ATOMIC,
    HalfSet: checking.UNDONE,
    HalfUpdate: checking.UNDONE,
    HalfDelete: checking.UNDONE,
    SetThenCancelled: checking.UNDONE,
    UpdateThenCancelled: checking.UNDONE,
    SaysDoneWhenCancelled: checking.DONE,
}


async def complaint(
    open_store: Callable[[], AbstractAsyncContextManager[KeyValueStore]],
) -> str:
    with pytest.raises(AssertionError) as caught:
        await check_kv_store(open_store, durable=True)
    return str(caught.value)


@pytest.mark.parametrize("kind", WRONG, ids=lambda kind: kind.__name__)
async def test_a_store_that_breaks_one_rule_is_told_which(kind: type[Plain]) -> None:
    store = kind()
    text = await complaint(lambda: opened(store))
    assert text.startswith(f"{WRONG[kind]}: ")
    assert " gave " in text


async def test_a_write_that_goes_on_behind_its_caller_is_found() -> None:
    async with trio.open_nursery() as nursery:
        store = CommitInAnotherTask(nursery)
        text = await complaint(lambda: opened(store))
    assert text.startswith(f"{checking.UNDONE}: looking after delete('s', 'k'), ")


@pytest.mark.parametrize(
    "method", ["get", "set", "delete", "update", "items", "spaces"]
)
async def test_a_method_that_is_no_checkpoint_is_named(method: str) -> None:
    store = Plain()
    whole = getattr(store, method)

    async def hasty(*args: Any) -> Any:
        with trio.CancelScope(shield=True):
            return await whole(*args)

    hasty.__name__ = method
    setattr(store, method, hasty)
    text = await complaint(lambda: opened(store))
    assert text.startswith(f"{checking.CHECKPOINT}: {method}(")


@pytest.mark.parametrize(
    "kind",
    [KeepsNothing, KeepsSets, KeepsWhatWasDeleted, KeepsNamesInPart, KeepsNoOrder],
)
async def test_a_store_that_forgets_is_no_durable_one(kind: type[Disk]) -> None:
    written: Spaces = {}
    text = await complaint(lambda: opened(kind(written)))
    assert text.startswith(f"{rules.DURABLE}: ")
