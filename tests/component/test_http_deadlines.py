"""One task sees to the time of all requests that have none of their own."""

import pytest
import trio
import trio.testing

from iii_trio.builtins.http._deadlines import Deadlines


async def test_each_is_late_at_its_time(autojump_clock: trio.abc.Clock) -> None:
    async with trio.open_nursery() as nursery:
        late: list[tuple[str, float]] = []
        deadlines: Deadlines[str] = Deadlines(
            nursery, 10, lambda who: late.append((who, trio.current_time() - began))
        )
        began = trio.current_time()
        assert deadlines.add("a") == pytest.approx(began + 10)
        deadlines.add("b")
        await trio.sleep(3)
        deadlines.add("c")
        deadlines.add("d")
        deadlines.discard("b")
        deadlines.discard("d")
        deadlines.discard("unknown")
        await trio.sleep(20)
        assert [who for who, _ in late] == ["a", "c"]
        assert [when for _, when in late] == [pytest.approx(10), pytest.approx(13)]
        assert not nursery.child_tasks, "nobody is here"


async def test_who_comes_back_begins_anew(autojump_clock: trio.abc.Clock) -> None:
    async with trio.open_nursery() as nursery:
        late: list[float] = []
        deadlines: Deadlines[str] = Deadlines(
            nursery, 10, lambda _: late.append(trio.current_time() - began)
        )
        began = trio.current_time()
        deadlines.add("a")
        await trio.sleep(4)
        deadlines.discard("a")
        deadlines.add("a")
        await trio.sleep(30)
        deadlines.add("a")
        await trio.sleep(30)
        assert late == [pytest.approx(14), pytest.approx(44)]
