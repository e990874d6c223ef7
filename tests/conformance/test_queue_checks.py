"""check_queue_store finds each rule that a store breaks, and only those."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from iii_trio.adapters import QueueStore
from iii_trio.testing import _checking as checking
from iii_trio.testing import _queue_asking as rules
from iii_trio.testing import check_queue_store
from tests.conformance import queues
from tests.conformance.queues import Plain

WRONG: Final[dict[type[Plain], str]] = {
    queues.PutsOneByOne: checking.UNDONE,
    queues.PutThenCancelled: checking.UNDONE,
    queues.TakeThenCancelled: checking.UNDONE,
    queues.SettlesOneByOne: checking.UNDONE,
    queues.MovesOneByOne: checking.UNDONE,
    queues.PutsNothingWhenCancelled: checking.DONE,
    queues.PutsBackwards: rules.ORDER,
    queues.TakesTooMany: rules.LIMIT,
    queues.TakesTheYoungest: rules.ORDER,
    queues.TakesInTwoSteps: rules.ONE_TAKER,
    queues.TakesEarly: rules.DELAYS,
    queues.NothingIsDue: rules.DELAYS,
    queues.RetriesAtOnce: rules.DELAYS,
    queues.Mutable: rules.CONTENTS,
    queues.LosesTraceOnRetry: rules.CONTENTS,
    queues.LosesTraceOnGivingBack: rules.CONTENTS,
    queues.LosesTraceOfTheDead: rules.CONTENTS,
    queues.LosesTraceOfTheMoved: rules.CONTENTS,
    queues.IdsStartAgain: rules.IDS,
    queues.LosesPriorityOnRetry: rules.PLACE,
    queues.LosesPriorityOnGivingBack: rules.PLACE,
    queues.LosesPriorityOfTheMoved: rules.PLACE,
    queues.GivingBackCounts: rules.ATTEMPTS,
    queues.RetryDoesNotCount: rules.ATTEMPTS,
    queues.RetryOfAllDoesNotCount: rules.ATTEMPTS,
    queues.SettlesEachTime: rules.ATTEMPTS,
    queues.SettlesInAnyQueue: rules.NOT_ACTIVE,
    queues.SettlesTheDead: rules.NOT_ACTIVE,
    queues.SettlesTheWaiting: rules.NOT_ACTIVE,
    queues.DeadOldestFirst: rules.DEAD,
    queues.DeadWithoutError: rules.DEAD,
    queues.DeathOfAllHasNoError: rules.DEAD,
    queues.DeathOfAllHasNoTime: rules.DEAD,
    queues.RevivesTheTired: rules.REVIVED,
    queues.RevivesAtHome: rules.MOVES,
    queues.RevivesIntoTheOldGroup: rules.MOVES,
    queues.MovesByIdAlone: rules.MOVES,
    queues.RemovesTheDeadOnly: rules.MOVES,
    queues.MovesWhatIsInDelivery: rules.MOVES,
    queues.MovesUncounted: rules.MOVES,
    queues.KnowsNoGroups: rules.GROUPS,
    queues.RetryFreesItsGroup: rules.GROUPS,
    queues.OneGroupForAllQueues: rules.APART,
    queues.CountsTheDelayedAsWaiting: rules.COUNTS,
    queues.CountsEmptyQueues: rules.QUEUES,
    queues.KeepsNothing: rules.DURABLE,
    queues.GivesBackWhenOpened: rules.DURABLE,
    queues.ForgetsAttempts: rules.DURABLE,
    queues.ForgetsTheDead: rules.DURABLE,
    queues.IdsOfTheGone: rules.IDS,
}


async def check(store: Plain) -> None:
    opened = [store]

    @asynccontextmanager
    async def open_store() -> AsyncIterator[QueueStore]:
        await trio.lowlevel.checkpoint()
        yield opened[-1]
        opened.append(store.reopened())

    await check_queue_store(open_store, durable=True)


@pytest.mark.parametrize("kind", [queues.Plain, queues.Slow])
async def test_a_store_that_keeps_the_contract_in_its_own_way_passes(
    kind: type[Plain], autojump_clock: MockClock
) -> None:
    store = kind()
    await check(store)
    assert store.whole._queues


async def test_a_store_that_holds_something_is_left_alone() -> None:
    store = Plain()
    await rules.put(store, "mine")
    with pytest.raises(ValueError, match="give the check an empty one"):
        await check(store)
    await rules.expect_taken(rules.ORDER, "mine", store)


@pytest.mark.parametrize("kind", WRONG, ids=lambda kind: kind.__name__)
async def test_a_store_that_breaks_one_rule_is_told_which(kind: type[Plain]) -> None:
    with pytest.raises(AssertionError) as caught:
        await check(kind())
    assert str(caught.value).startswith(f"{WRONG[kind]}: ")
    assert " gave " in str(caught.value)


@pytest.mark.parametrize("method", ["put", "take", "settle", "move", "dead", "counts"])
async def test_a_method_that_is_no_checkpoint_is_named(method: str) -> None:
    store = Plain()
    whole = getattr(store, method)

    async def hasty(*args: Any, **kwargs: Any) -> Any:
        with trio.CancelScope(shield=True):
            return await whole(*args, **kwargs)

    hasty.__name__ = method
    setattr(store, method, hasty)
    with pytest.raises(AssertionError) as caught:
        await check(store)
    assert str(caught.value).startswith(checking.CHECKPOINT)
    assert f"{method}(" in str(caught.value) or method == "settle"
